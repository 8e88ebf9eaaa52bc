"""Runs things in a separate process: a crash, a kill or a lack of memory in a run or a user's class ends that process
only. `bench.execute.worker` is the process itself. Launchers import this module, so it imports nothing heavy."""

import atexit
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any

from bench.session import is_command, is_stopping, mark_dead
from bench.startup import module_path

WORKER = "bench.execute.worker"  # the module that a worker runs
ASKED_TO_END = 75  # the exit code of a worker that somebody asked to end; a run may end its process with 0
ATTEMPTS = 2  # at a run whose process dies
POLL_SECONDS = 1.0


class WorkerDied(RuntimeError):
    """The worker's process ended before it answered. The message says how.

    Attributes:
        code: its exit code, or minus the signal.
    """

    def __init__(self, code: int) -> None:
        super().__init__(_how(code))
        self.code = code


def execute(composed: dict[str, Any]) -> dict[str, Any]:
    """Run what Hydra composed, in a worker. If that dies, another one goes on; if that dies too, the run failed.

    Args:
        composed: the configuration, resolved, without Hydra's own.

    Returns:
        As `bench.execute.run.run`, but of the result no more than says how it ended.
    """
    request: dict[str, Any] = {"composed": composed}
    for _ in range(ATTEMPTS):
        if is_stopping():
            return {"status": "interrupted"}
        try:
            return _current_worker().ask(request)
        except WorkerDied as death:
            _forget_worker()
            if death.code == ASKED_TO_END:
                return {"status": "interrupted"}
            request = {"composed": composed, "died": str(death)}
    try:
        return _current_worker().ask({**request, "give_up": True})
    except WorkerDied as death:
        return {"status": "failed", "error": str(death)}


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function of a configuration be called in a worker where the configuration names a user's class, which may
    do anything to its process, and else here.

    Raises:
        ConfigError: the function does.
        WorkerDied: the worker does.
        RuntimeError: the function raises anything else; the message says what.
    """

    @functools.wraps(function)
    def called(config: Any, *arguments: Any) -> Any:
        from bench.spec.targets import is_built_in

        if _is_worker() or all(is_built_in(str(group["_target_"])) for group in (config.cell, config.task)):
            return function(config, *arguments)
        return call_apart(function, config, *arguments)

    return called


def call_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a worker.

    Raises:
        ConfigError, WorkerDied, RuntimeError: as `apart`.
    """
    name = (function.__module__, function.__qualname__)
    try:
        answer = _current_worker().ask({"call": name, "arguments": arguments})
    except WorkerDied:
        _forget_worker()
        raise
    if "error" in answer:
        raise answer["error"]
    return answer["value"]


class _Worker:
    """A process of its own, and the connection to it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        # It must find the same modules as this process does, a user's own among them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(module_path())}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            process_group=0,  # a terminal's Ctrl-C is for the command, which tells the worker
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerDied: there will be none.
        """
        launcher = None if is_command() else os.getppid()
        try:
            self._connection.send(request)
            while not self._connection.poll(POLL_SECONDS):
                if launcher is not None and os.getppid() != launcher:
                    os._exit(1)  # nobody is left to answer to; the worker notices, saves and ends
            return self._connection.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            mark_dead(self._process.pid)
            raise WorkerDied(code) from error

    def close(self) -> None:
        """Let it go: it saves what is under way and ends. Returns when it has."""
        self._connection.close()
        self._process.wait()
        mark_dead(self._process.pid)


_worker: _Worker | None = None


def _is_worker() -> bool:
    """Tell whether this process is a worker itself."""
    main = sys.modules["__main__"]
    return getattr(getattr(main, "__spec__", None), "name", None) == WORKER


def _current_worker() -> _Worker:
    """Return this process's worker, which serves one run after another."""
    global _worker
    if _worker is None or not _worker.is_alive():
        _worker = _Worker()
        atexit.unregister(close_worker)
        atexit.register(close_worker)
    return _worker


def _forget_worker() -> None:
    global _worker
    _worker = None


def close_worker() -> None:
    """End this process's worker, if it has one."""
    worker = _worker
    _forget_worker()
    if worker is not None:
        worker.close()


def _how(code: int) -> str:
    """Say how a process ended that should not have."""
    if code >= 0:
        return f"its process ended by itself, with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
