"""Runs things in a separate process: a crash, a kill or a lack of memory in a run or a user's class ends that process
only. `bench.execute.worker` is the process itself. Launchers import this module, so it imports nothing heavy."""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, Self

from bench.execute.template import Fork, Template
from bench.session import is_command, is_stopping, mark_dead

ASKED_TO_END = 75  # the exit code of a worker that somebody asked to end; a run may end its process with 0
ATTEMPTS = 2  # at a run whose process dies
POLL_SECONDS = 1.0


class WorkerDied(RuntimeError):
    """The worker's process ended before it answered. The message says how.

    Attributes:
        code: its exit code, or minus the signal; None if nobody knows.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(_how(code))
        self.code = code


class Worker:
    """A process that does one thing after another. It is forked from a template when it is first needed, and anew when
    it has died."""

    def __init__(self, template: str | None = None) -> None:
        """Start nothing yet.

        Args:
            template: the address of one; None: it has a template of its own.
        """
        self._process: Fork | None = None
        self._template: Template | None = None
        self._address = template
        self._tool: str | None = None
        # Whoever started this process, that ends with it: what it is at is saved, and nothing more is begun.
        self._launcher = None if is_command() else os.getppid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, tool: str | None = None) -> None:
        """Start what takes time to start, before there is anything to ask.

        Args:
            tool: the one that runs will be tracked by.
        """
        self._tool = tool
        self.lend()

    def lend(self) -> str:
        """Let the process go; return the address of its template, from which other processes may fork theirs."""
        self._let_go()
        if self._template is None or not self._template.is_alive():
            self._end_template()
            self._template = Template(self._tool)
            self._address = self._template.address
        return self._template.address

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
        """Let the process go: it saves what is under way and ends. Returns when it has, and its template too."""
        self._let_go()
        self._end_template()

    def _let_go(self) -> None:
        if self._process is not None:
            self._process.connection.close()
            self._wait()

    def _end_template(self) -> None:
        if self._template is not None:
            self._template.close()
            self._template = self._address = None

    def _wait(self) -> int | None:
        """Return the exit code of the process once it has ended."""
        assert self._process is not None
        code = self._process.wait()
        if self._process.pid is not None:
            mark_dead(self._process.pid)
        self._process = None
        return code

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerDied: there will be none.
        """

        def end_if_orphaned() -> None:
            if self._launcher is not None and os.getppid() != self._launcher:
                os._exit(1)  # nobody is left to answer to; the worker notices, saves and ends

        end_if_orphaned()
        connection = self._alive().connection
        try:
            connection.send(request)
            while not connection.poll(POLL_SECONDS):
                end_if_orphaned()
            answer: dict[str, Any] = connection.recv()
            return answer
        except (EOFError, OSError) as error:
            raise WorkerDied(self._wait()) from error

    def _alive(self) -> Fork:
        if self._process is None or not self._process.is_alive():
            self._process = self._forked()
        return self._process

    def _forked(self) -> Fork:
        if self._address is not None:
            with contextlib.suppress(OSError):  # somebody has killed it
                return Fork(self._address)
        return Fork(self.lend())


def _how(code: int | None) -> str:
    """Say how a process ended that should not have."""
    if code is None:
        return "its process ended, and so did the one that could tell how"
    if code >= 0:
        return f"its process ended by itself, with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
