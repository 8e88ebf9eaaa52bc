"""What the processes of one command on this machine tell each other: that it is to stop, and who is at work.

The command makes a folder for that, named in the environment, which the processes that it starts inherit. Where they
do not (on other machines), a launcher that is torn down does the same: workers save when whoever started them is
gone."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "RECURRENT_BENCH_SESSION"
PATIENCE_SECONDS = 120.0  # for the step under way and the checkpoint after it


class Again(BaseException):  # no Exception: Hydra would take it for a callback's failure
    """The command is to be run once more: runs are left that nobody is at."""


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Hold a session, in the command's own process."""
    with tempfile.TemporaryDirectory(prefix="recurrent-bench-", ignore_cleanup_errors=True) as folder:
        os.environ[VARIABLE] = folder
        (Path(folder) / "command").write_text(str(os.getpid()))
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)


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


def _workers(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("worker-")) for path in folder.glob("worker-*")}


def _folder() -> Path | None:
    """Return the session's folder, if this process belongs to one that is still there."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name and Path(name).is_dir() else None
