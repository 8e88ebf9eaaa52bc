"""What the processes of one command on this machine tell each other: that it is to stop, and who is at work.

The command makes a folder for that, named in the environment, which the processes that it starts inherit. Where they
do not (on other machines), a launcher that is torn down does the same: workers save when whoever started them is
gone."""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "recurrent-bench-"
VARIABLE = "RECURRENT_BENCH_SESSION"
PATIENCE_SECONDS = 120.0  # for the step under way and the checkpoint after it


class Again(BaseException):  # no Exception: Hydra would warn of it and go on
    """The command is to be run once more: runs are left that nobody is at."""


class NextRound(BaseException):
    """The command is to be run once more: what is to be run next depends on what was run now."""


class PastHydra(BaseException):
    """Carries an exception of a callback, `error`, to the command."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


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
    """Remove what sessions left whose command was killed: their folders, and launchers' processes that wait for
    it for ever. Workers of runs are not among these: they save and end by themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (folder / "command").open("r+") as command:
                fcntl.flock(command, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its command lives, or it is somebody else's
            continue
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                ours = f"{VARIABLE}={folder}\0".encode() in (process / "environ").read_bytes()
                if ours and b"bench.execute.worker" not in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
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


_noted: set[str] = set()  # by this process, which may belong to no session


def note(event: str) -> None:
    """Take note, for all processes of the command, that something happened."""
    _noted.add(event)
    if (folder := _folder()) is not None:
        with contextlib.suppress(OSError):
            (folder / f"happened-{event}").touch()


def happened(event: str) -> bool:
    """Tell whether something happened that was taken note of."""
    folder = _folder()
    return event in _noted or (folder is not None and (folder / f"happened-{event}").exists())


def give_up(name: str) -> None:
    """Take note that a run could not be stored, so that it is not tried again and again."""
    if (folder := _folder()) is not None:
        with contextlib.suppress(OSError):
            (folder / f"gave-up-{name}").touch()


def given_up() -> frozenset[str]:
    """Return the runs that could not be stored."""
    folder = _folder()
    names = (path.name for path in folder.glob("gave-up-*")) if folder else ()
    return frozenset(name.removeprefix("gave-up-") for name in names)


def note_left(runs: int) -> None:
    """Take note of how many runs the command has yet to finish."""
    if (folder := _folder()) is not None:
        (folder / "left").write_text(str(runs))


def has_begun() -> bool:
    """Tell whether the command was found fit to be run."""
    folder = _folder()
    return folder is not None and (folder / "left").exists()


def runs_left() -> int:
    """Return how many runs the command had yet to finish when it last began."""
    folder = _folder()
    return int((folder / "left").read_text()) if folder else 0


def _workers(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("worker-")) for path in folder.glob("worker-*")}


def _folder() -> Path | None:
    """Return the session's folder, if this process belongs to one that is still there."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name and Path(name).is_dir() else None
