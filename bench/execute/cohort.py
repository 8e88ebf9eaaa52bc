"""Cohorts: runs that differ in nothing but the seed, trained side by side in one process. Each keeps its folder, lease,
checkpoints, tracking and outcome, and ends with the bits that it has alone."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.execute.leases import is_leased
from bench.execute.run import CROWDED, LEASED, course_of, run
from bench.record.errors import explain_os, one_line
from bench.spec.config import Settings
from bench.spec.identity import run_id
from bench.train.steps import Course, StepResult, Steps, advance
from bench.train.trainer import Trainer

MOST = 8  # runs: more share hardly any further cost, and end later
CACHE_BYTES = 6 << 20  # of activations: beyond, what a pass forward leaves is out of the cache before the one backward
VALUES = 8  # kept a unit, row and time step, about


def run_cohort(
    configs: Sequence[Settings], share: int, sole: bool, stopping: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Train the runs that no other worker holds, several at a time; when one ends, the next one joins. Each ends as
    `bench.execute.run.run` would end it.

    Args:
        configs: runs that differ in nothing but the seed, in the order in which they are to be taken.
        share: how many runs to train at a time at most; fewer if that is faster.
        sole: whether to train none if another worker holds the first.
        stopping: whether to save after the current step and end.

    Returns:
        An answer for each that was taken, with its `run_id`: what `run` returns, or "unstored" with the `error`.
    """
    cohort = _Cohort(configs, share, stopping)
    if cohort.start() or not sole:
        cohort.train()
    return cohort.answers


class _Cohort:
    """Runs under way, and those that wait."""

    def __init__(self, configs: Sequence[Settings], most: int, stopping: Callable[[], bool]) -> None:
        self.answers: list[dict[str, Any]] = []
        self._waiting, self._most, self._stopping = [*configs], most, stopping
        self._is_choice = len(configs) > 1
        self._alone: list[Settings] = []  # those for which memory did not suffice in company
        self._due: dict[Course[dict[str, Any]], Trainer] = {}  # runs that wait for a step, and whose it is
        self._configs: dict[Course[dict[str, Any]], Settings] = {}

    def train(self) -> None:
        """Take all runs to their end, or to where they are to stop."""
        steps = Steps()
        while True:
            while self._waiting and len(self._due) < self._most and not self._stopping():
                self.start()
            if not self._due:
                break
            for course, result in zip([*self._due], steps.take([*self._due.values()]), strict=True):
                self._go_on(course, result)
        self.answers += [run(config, self._stopping) for config in self._alone]

    def start(self) -> bool:
        """Start the next run; returns whether no other worker holds it."""
        config = self._waiting.pop(0)
        identifier = run_id(config.run)
        # A worker's process may have died over it, which that worker sees to.
        if self._is_choice and is_leased(config.sweep.folder, identifier):
            return False
        course = course_of(config, self._stopping, company=lambda: len(self._configs) > 1)
        self._configs[course] = config
        is_ours = self._go_on(course, None)
        if course in self._due:
            self._most = min(self._most, _room(config, self._due[course]))
        return is_ours

    def _go_on(self, course: Course[dict[str, Any]], result: StepResult) -> bool:
        """Advance a run; returns whether it is still ours."""
        try:
            self._due[course] = advance(course, result)
            return True
        except StopIteration as end:
            answer = end.value
        except OSError as error:
            answer = {"status": "unstored", "error": f"cannot store results: {explain_os(error)}"}
        except Exception as error:
            answer = {"status": "unstored", "error": one_line(error)}
        self._due.pop(course, None)
        config = self._configs.pop(course)
        if answer["status"] == CROWDED:
            self._alone.append(config)
        elif answer["status"] != LEASED:
            self.answers.append({"run_id": run_id(config.run), **answer})
        return answer["status"] != LEASED


def _room(config: Settings, trainer: Trainer) -> int:
    """Return how many runs like this one are best taken side by side."""
    execution, training = config.execution, config.run.training
    if trainer.kernel is None or training.max_seconds is not None or execution.memory_gb is not None:
        return 1
    if execution.cohort != "auto":
        return int(execution.cohort)
    if trainer.held_out.inputs.device.type != "cpu":  # nobody has measured what it gains there
        return 1
    task, hidden = trainer.task, trainer.model.readout.in_features
    values = task.length * training.batch_size * (VALUES * hidden + task.input_size + task.output_size)
    return max(1, min(MOST, CACHE_BYTES // (values * trainer.dtype.itemsize)))
