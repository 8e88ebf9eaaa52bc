"""Command lines in forks of a process that has imported everything, so that hundreds take no longer than a few.

    python -m tests.end_to_end.forks

Reads a JSON object a line, {"arguments": […], "folder": …}, and answers with exit code and standard error."""

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import torch

from cells import native

SECONDS = 60  # for a command
MEMORY_BYTES = 4 << 30


def warm_up() -> None:
    """Import all that a command imports, so that forks need not."""
    for module in ("bench.cli", "bench.runner", "bench.sweep", "bench.worker", "reports.report", "torchrecurrent"):
        with contextlib.suppress(ImportError):
            import_module(module)
    torch.set_num_threads(1)
    native.library()


def in_a_fork(arguments: list[str], folder: Path) -> tuple[int | None, str]:
    """Run `python -m bench` in a fork of this process, in a folder, its runs in that same process; returns its exit
    code, None if it took too long, and standard error."""
    with tempfile.NamedTemporaryFile(prefix="said-") as log:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
                os.chdir(folder)
                os.dup2(log.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), write_through=True, errors="backslashreplace")
                sys.stdout = io.StringIO()
                code = _main(arguments)
            finally:
                os._exit(code)
        end = time.monotonic() + SECONDS
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.01)
        said = Path(log.name).read_text(errors="replace")
    return (os.waitstatus_to_exitcode(ended[1]) if ended[0] else None), said


def _main(arguments: list[str]) -> int:
    """Run the command line with its runs in this same process."""
    import traceback

    from bench import cli, worker

    def execute(composed):  # type: ignore[no-untyped-def]
        return worker._answer({"composed": composed}, worker.threading.Event())

    worker.execute = execute
    sys.argv = ["bench", *arguments]
    try:
        cli.main()
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 98
    return 0


def main() -> None:
    """Answer one command line after another."""
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(in_a_fork(request["arguments"], Path(request["folder"]))), flush=True)


if __name__ == "__main__":
    main()
