"""The process that runs are executed in: apart from the one that asks for them, so that whatever a run does to its
process, be it a crash or all memory, ends that process only.

Launchers import this side of it, so nothing heavy is imported here."""

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from bench.session import give_up, happened, is_command, is_stopping, mark_dead, note, working
from bench.startup import module_path, prepare_streams

ATTEMPTS = 2  # at a run whose process dies
GRACE_SECONDS = 120.0  # for the step under way when whoever asked for it is gone
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
            if death.code == 0:  # somebody asked it to end
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

        if _is_worker or all(is_built_in(str(group["_target_"])) for group in (config.cell, config.task)):
            return function(config, *arguments)
        name = (function.__module__, function.__qualname__)
        try:
            answer = _current_worker().ask({"call": name, "arguments": (config, *arguments)})
        except WorkerDied:
            _forget_worker()
            raise
        if "error" in answer:
            raise answer["error"]
        return answer["value"]

    return called


class _Worker:
    """A process of its own, and the connection to it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        # It must find the same modules as this process does, a user's own among them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(module_path())}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.execute.worker", str(theirs.fileno())],
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
_is_worker = False  # whether this process is one


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


def _serve(connection: Connection) -> None:
    """Answer requests until there are no more, or it is asked to end, in the worker's process."""
    global _is_worker
    _is_worker = True
    stop = threading.Event()
    inbox: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def on_signal(*_: Any) -> None:
        stop.set()
        inbox.put(None)

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                inbox.put(connection.recv())
        on_signal()
        time.sleep(GRACE_SECONDS)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):  # Slurm's warning before it ends a job, too
        signal.signal(number, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=listen, daemon=True).start()
    while (request := inbox.get()) is not None:
        answer = _call(request) if "call" in request else _answer(request, stop)
        with contextlib.suppress(OSError):
            connection.send(answer)


def _call(request: dict[str, Any]) -> dict[str, Any]:
    """Call a function that `apart` would have called in this process."""
    from bench.record.errors import ConfigError, one_line

    module, name = request["call"]
    try:
        return {"value": getattr(import_module(module), name)(*request["arguments"])}
    except ConfigError as error:
        return {"error": ConfigError(str(error))}
    except (Exception, SystemExit) as error:
        return {"error": RuntimeError(one_line(error))}


def _answer(request: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
    """Do what is asked for; whatever goes wrong in it is an answer too."""
    from bench.execute.matching import matched
    from bench.execute.run import run, store_failure
    from bench.record.errors import explain_os, one_line
    from bench.spec.config import from_plain
    from bench.spec.identity import run_id

    config = None
    try:
        with working():
            if is_stopping():
                return {"status": "interrupted"}
            config = matched(from_plain(request["composed"]))
            result = store_failure(config, request["died"]) if request.get("give_up") else run(config, stop.is_set)
    except OSError as error:
        reason, event = f"cannot store results: {explain_os(error)}", f"cannot-store-{error.errno}"
    except Exception as error:
        reason, event = one_line(error), None
    else:
        return {key: result[key] for key in ("run_id", "status", "error") if key in result}
    if event is None or not happened(event):
        print(f"error: {reason}", file=sys.stderr, flush=True)
    if event is not None:  # a full disk is full for all runs
        note(event)
    if config is not None:
        give_up(run_id(config))
    return {"status": "failed", "error": reason}


def main() -> None:
    """Be a worker, that answers on the connection whose number `sys.argv` has."""
    prepare_streams()
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    _serve(Connection(descriptor))
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()
    sys.stdout.flush()
    os._exit(0)  # all is stored; Python would take a second to take torch apart, for which the command waits


if __name__ == "__main__":
    from bench.execute.worker import main as main_of_module  # what others import, and not its copy `__main__`

    main_of_module()
