"""Runs things in a separate process: a crash, a kill or a lack of memory in a run or a user's class ends that process
only. `bench.execute.worker` is the process itself. Launchers import this module, so it imports nothing heavy."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any, Self

from bench.session import is_command, is_stopping, mark_dead
from bench.startup import module_path

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


class Worker:
    """A process that does one thing after another. It is started when it is first needed, and anew when it has died."""

    def __init__(self) -> None:
        self._process: _Process | None = None
        # Whoever started this process, that ends with it: what it is at is saved, and nothing more is begun.
        self._launcher = None if is_command() else os.getppid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process before there is anything to ask of it."""
        self._alive()

    def execute(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Take a run alone. If the process dies of it, another one goes on; if that dies too, the run failed.

        Args:
            settings: all of a run's, as `bench.spec.checks.from_plain` takes them.

        Returns:
            `status` as of `bench.execute.run.run`, or "unstored"; with `error` if there is one to tell.
        """
        request: dict[str, Any] = {"settings": settings, "seeds": [settings["seed"]], "share": 1, "sole": True}
        for _ in range(ATTEMPTS):
            if is_stopping():
                return {"status": "interrupted"}
            try:
                return self._ask_one(request)
            except WorkerDied as death:
                if death.code == ASKED_TO_END:
                    return {"status": "interrupted"}
                request["died"] = str(death)
        try:
            return self._ask_one({**request, "give_up": True})
        except WorkerDied as death:
            return {"status": "unstored", "error": str(death)}

    def execute_cohort(
        self, settings: dict[str, Any], runs: dict[str, int], share: int, sole: bool, left: Callable[[str], bool]
    ) -> dict[str, dict[str, Any]]:
        """Train the runs that no other worker holds, several at a time. If the process dies, the runs it had begun are
        trained again, each alone.

        Args:
            settings: what the runs have in common.
            runs: their seeds by run_id, in the order in which they are to be taken.
            share, sole: see `bench.execute.cohort.run_cohort`.
            left: tells whether a process that died may have begun a run.

        Returns:
            An answer for each that was taken, as `execute` returns it, by run_id.
        """
        if is_stopping():
            return {run_id: {"status": "interrupted"} for run_id in runs}
        if len(runs) == 1:
            return {run_id: self.execute({**settings, "seed": seed}) for run_id, seed in runs.items()}
        request = {"settings": settings, "seeds": [*runs.values()], "share": share, "sole": sole}
        try:
            answers = self._ask(request)["answers"]
        except WorkerDied as death:
            if death.code == ASKED_TO_END:
                return {run_id: {"status": "interrupted"} for run_id in runs}
            begun = [run_id for run_id in runs if left(run_id)]
            return {run_id: self.execute({**settings, "seed": runs[run_id]}) for run_id in begun}
        # What concerns none of them, concerns all.
        return {run_id: each for each in answers for run_id in ([each["run_id"]] if "run_id" in each else runs)}

    def _ask_one(self, request: dict[str, Any]) -> dict[str, Any]:
        answers = self._ask(request)["answers"]
        return answers[0] if answers else {"status": "leased"}

    def call(self, spec: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function: in the process if a run's specification names a user's class, which may do anything to the
        process that builds it, and else here.

        Raises:
            ConfigError: the function does.
            WorkerDied: the process does.
            RuntimeError: the function raises anything else, over there; the message says what.
        """
        from bench.spec.targets import is_built_in

        if all(is_built_in(str(group["_target_"])) for group in (spec.cell, spec.task)):
            return function(*arguments)
        return self.call_apart(function, *arguments)

    def call_apart(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of a module in the process.

        Raises:
            ConfigError, WorkerDied, RuntimeError: as `call`.
        """
        answer = self._ask({"call": (function.__module__, function.__qualname__), "arguments": arguments})
        if "error" in answer:
            raise answer["error"]
        return answer["value"]

    def close(self) -> None:
        """Let the process go: it saves what is under way and ends. Returns when it has."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._alive().ask(request, self._launcher)
        except WorkerDied:
            self._process = None
            raise

    def _alive(self) -> "_Process":
        if self._process is None or not self._process.is_alive():
            self._process = _Process()
        return self._process


class _Process:
    """A running `bench.execute.worker`, and the connection to it."""

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
        self._is_asked = False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], launcher: int | None) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            launcher: the process without which this one ends, if there is one.

        Raises:
            WorkerDied: there will be none.
        """

        def end_if_orphaned() -> None:
            if launcher is not None and os.getppid() != launcher:
                os._exit(1)  # nobody is left to answer to; the worker notices, saves and ends

        end_if_orphaned()
        self._is_asked = True
        try:
            self._connection.send(request)
            while not self._connection.poll(POLL_SECONDS):
                end_if_orphaned()
            return self._connection.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            mark_dead(self._process.pid)
            raise WorkerDied(code) from error

    def close(self) -> None:
        self._connection.close()
        if not self._is_asked:
            self._process.kill()  # it has nothing to save, and may be importing torch
        self._process.wait()
        mark_dead(self._process.pid)


def _how(code: int) -> str:
    """Say how a process ended that should not have."""
    if code >= 0:
        return f"its process ended by itself, with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
