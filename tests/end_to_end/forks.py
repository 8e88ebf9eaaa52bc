"""Commands in forks of a process that has imported everything, with their runs in that same process and without drawing
figures, which takes a tenth of the time.

    python -m tests.end_to_end.forks

Reads a JSON object a line, the arguments of `in_a_fork`, and answers with what that returns."""

import atexit
import contextlib
import importlib
import io
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from cells import native

SECONDS = 300  # for a command
ROOT = Path(__file__).parents[2]


def warm_up() -> None:
    """Import all that a command imports, so that forks need not."""
    for module in ("bench.cli", "bench.probing", "bench.execute.run", "bench.sweep", "bench.execute.worker",
                   "reports.report", "reports.__main__", "matplotlib.backends.backend_svg", "torch._dynamo",
                   "torchrecurrent"):  # fmt: skip
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    torch.set_num_threads(1)
    native.library()


def in_a_fork(
    arguments: list[str], folder: str | Path, module: str = "bench", environment: dict[str, str] | None = None,
    memory_bytes: int | None = None,
) -> tuple[int | None, str, str]:  # fmt: skip
    """Run `python -m module` in a fork of this process, in a folder.

    Returns:
        Its exit code, None if it took too long, what it printed, and standard error.
    """
    with tempfile.NamedTemporaryFile(prefix="printed-") as out, tempfile.NamedTemporaryFile(prefix="said-") as err:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                atexit._clear()  # what the process that forks has to do at its own end
                if memory_bytes is not None:
                    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
                os.chdir(folder)
                sys.path.insert(0, os.getcwd())
                os.environ.update(environment or {})
                for number, file in ((1, out), (2, err)):
                    os.dup2(file.fileno(), number)
                sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), write_through=True, encoding="utf-8")
                sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), write_through=True, errors="backslashreplace")
                code = _main(module, arguments)
                threading._shutdown()  # type: ignore[attr-defined]  # as an interpreter ends
                atexit._run_exitfuncs()
            finally:
                os._exit(code)
        end = time.monotonic() + SECONDS
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.01)
        printed, said = (Path(file.name).read_text(errors="replace") for file in (out, err))
    return (os.waitstatus_to_exitcode(ended[1]) if ended[0] else None), printed, said


def _main(module: str, arguments: list[str]) -> int:
    """Run a module as `python -m` does, and its runs in this same process; files of figures are empty."""
    from bench import cli, probing
    from bench.execute import apart, turn, worker
    from reports.sections import content

    class Here(apart.Worker):
        """Does in this process what it is asked for."""

        def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
            return {"answers": worker._answers(request, threading.Event())}

        def lend(self) -> str:
            return ""  # where no template is: launchers' processes have their own

        def call_apart(self, function: Any, *arguments: Any) -> Any:
            return function(*arguments)

    cli.Worker = turn.Worker = probing.Worker = Here  # type: ignore[misc, attr-defined]
    content.save = lambda _, folder, name: (folder / f"{name}.png").touch()
    sys.argv = [module, *arguments]
    sys.modules.pop(f"{module}.__main__", None)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 98
    return 0


class Forks:
    """A process of this module's, and what is asked of it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.end_to_end.forks"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def run(self, folder: Path, *arguments: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Do as `in_a_fork`, which must end with this exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"arguments": arguments, "folder": str(folder), **options}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        done = subprocess.CompletedProcess([*arguments], *json.loads(self._process.stdout.readline()))
        assert done.returncode == code, f"{arguments}: {done.stderr}"
        return done

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Answer one command after another."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # forks have another standard output
    warm_up()
    for line in sys.stdin:
        answers.write(json.dumps(in_a_fork(**json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
