"""What the processes of one command on this machine tell each other: that it is to stop, and who is at work.

The command makes a folder for that, named in the environment, which the processes that it starts inherit. Where they
do not (on other machines), a launcher that is torn down does the same: workers save when whoever started them is
gone."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "recurrent-bench-"
VARIABLE = "RECURRENT_BENCH_SESSION"
PATIENCE_SECONDS = 120.0  # for the step under way and the checkpoint after it


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Hold a session, in the command's own process."""
    _clear_dead()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)))
        command = stack.enter_context((folder / "new").open("w"))
        fcntl.flock(command, fcntl.LOCK_EX)  # until this process ends, however it does
        command.write(str(os.getpid()))
        command.flush()
        (folder / "new").rename(folder / "command")  # never seen unlocked
        os.environ[VARIABLE] = str(folder)
        stack.callback(os.environ.pop, VARIABLE, None)
        yield


def _clear_dead() -> None:
    """Remove the folders of sessions whose command was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (folder / "command").open("r+") as command:
                fcntl.flock(command, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its command lives, or it is somebody else's
            continue
        shutil.rmtree(folder, ignore_errors=True)


def is_command() -> bool:
    """Tell whether this process is the command itself, and not one that a launcher started for it."""
    folder = _folder()
    return folder is not None and (folder / "command").read_text() == str(os.getpid())


def is_stopping() -> bool:
    """Tell whether the command was asked to stop."""
    folder = _folder()
    return folder is not None and (folder / "stop").exists()


def stop() -> None:
    """Have all runs of this session save and end; return when they have."""
    folder = _folder()
    if folder is None:
        return
    (folder / "stop").touch()
    asked: set[int] = set()
    end = time.monotonic() + PATIENCE_SECONDS
    while (pids := _workers(folder)) and time.monotonic() < end:
        for pid in pids - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        asked |= pids
        time.sleep(0.05)


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Be known as at work on a run, in the process that does it."""
    folder = _folder()
    path = folder / f"worker-{os.getpid()}" if folder else None
    if path is not None:
        with contextlib.suppress(OSError):
            path.touch()
    try:
        yield
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def mark_dead(pid: int) -> None:
    """Take note that a process that was at work is not there any more."""
    if (folder := _folder()) is not None:
        (folder / f"worker-{pid}").unlink(missing_ok=True)


def say_once(event: str, message: str) -> None:
    """Say something on standard error the first time that it happens to any process of the command; without a session,
    each time."""
    if (folder := _folder()) is not None:
        try:
            (folder / f"happened-{event}").touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:
            pass
    print(message, file=sys.stderr, flush=True)


def happened(event: str) -> bool:
    """Tell whether something happened that was said by `say_once`."""
    return (folder := _folder()) is not None and (folder / f"happened-{event}").exists()


def _workers(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("worker-")) for path in folder.glob("worker-*")}


def _folder() -> Path | None:
    """Return the session's folder, if this process belongs to one that is still there."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name and Path(name).is_dir() else None
