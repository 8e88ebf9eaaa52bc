"""What every process of this program does first: find its own modules before anyone else's, and open streams that
take any text and never raise.

Nothing is imported here that a file of that name in the working directory could replace."""

import contextlib
import errno
import gc
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NO_READER = {errno.EPIPE, errno.EIO}  # `| head` has seen enough; a terminal was closed


def prepare_process() -> None:
    """Set up modules and streams of this process, and of those that it starts."""
    sys.path[:] = module_path()
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` puts the working directory before all others
    prepare_streams()


def module_path() -> list[str]:
    """Return where modules are looked for: a folder of the user's called `conf`, `tasks` or `reports` must not
    replace ours, while classes in the working directory can be found."""
    with contextlib.suppress(FileNotFoundError):  # the working directory was deleted
        here = os.getcwd()
        return list(dict.fromkeys([ROOT, *(path or here for path in sys.path), here]))
    return list(dict.fromkeys([ROOT, *filter(None, sys.path)]))


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Keep the garbage collector away from what is imported meanwhile, now and later: it all lives on, and collections
    take an eighth of the time that torch needs to be imported."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave(code: int) -> None:
    """End this process as Python does, but without taking torch apart, for which Python needs most of a second.
    Returns if standard output cannot be written: that, too, Python tells."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]  # wait for threads
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def prepare_streams() -> None:
    """Have standard output and error show what they cannot encode as "?", and stay quiet when nobody reads them.

    Closed ones are opened on nothing: the next file to be opened would get their number, and with it what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
    sys.stdout = _replaced(sys.stdout, 1)
    sys.stderr = _replaced(sys.stderr, 2)
    warnings.showwarning = _show_warning


def _replaced(stream: Any, number: int) -> Any:
    if stream is not None:
        if not isinstance(stream, io.TextIOWrapper) or isinstance(
            getattr(stream.buffer, "raw", stream.buffer), _Output
        ):
            return stream  # a notebook's, or replaced before
        try:
            number = stream.fileno()
        except io.UnsupportedOperation:
            return stream  # it writes into memory
        stream.flush()
    unbuffered = getattr(stream, "write_through", False)
    output = _Output(number, stream)
    return io.TextIOWrapper(
        output if unbuffered else io.BufferedWriter(output),  # type: ignore[arg-type]
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="replace",
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=unbuffered,
    )


class _Output(io.RawIOBase):
    """Writes to a file descriptor, and to nothing once its reader is gone."""

    def __init__(self, number: int, origin: Any) -> None:
        self._number, self._origin = number, origin  # the origin would close the descriptor when it is collected

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._number, left) :]
            except OSError as error:
                # Messages are no reason to end a run; what is asked for on standard output is missed if a disk is full.
                if error.errno not in NO_READER and self._number != 2:
                    raise
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._number)
                os.close(nowhere)
        return len(data)


def _show_warning(message: Any, category: type, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    """Show a warning of a library as one line, without its source."""
    from bench.record.errors import printable

    said = f"warning: {' '.join(str(message).split())} ({category.__name__}, {filename}:{lineno})"
    print(printable(said), file=file or sys.stderr)
