"""The training loop: a trainer in, evaluations and an outcome out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.record.records import TRAINED, Evaluation
from bench.train.steps import Course, finish
from bench.train.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        status: "solved", "unsolved", "diverged", or "interrupted" if it was asked to stop before its end.
        steps, seconds: spent, without evaluations.
        final: the last evaluation; of a task with a test part, the one whose held-out loss was the lowest.
        test_loss, test_score: on the test part, with the weights of that evaluation; None and none if there is none.
        solved_at: the first evaluation of the unbroken row of solved ones that ended the run, if any.
        error: why it diverged, if it did.
    """

    status: str
    steps: int
    seconds: float
    final: Evaluation
    solved_at: Evaluation | None = None
    error: str | None = None
    test_loss: float | None = None
    test_score: Mapping[str, float] = field(default_factory=dict)


def train(
    trainer: Trainer,
    on_evaluation: Callable[[Evaluation], None],
    after_step: Callable[[Trainer], bool] = lambda _: True,
) -> Outcome:
    """Train alone, as `course` says."""
    return finish(course(trainer, on_evaluation, after_step))


def course(
    trainer: Trainer, on_evaluation: Callable[[Evaluation], None], after_step: Callable[[Trainer], bool]
) -> Course[Outcome]:
    """Train until the task is solved, a budget or `training.patience` is spent, or the numbers are no longer finite.
    Whoever advances this takes each step (`bench.train.steps`).

    Args:
        trainer: at its start, or wherever it was left.
        on_evaluation: called with every evaluation, the first before any step.
        after_step: called after every step and what follows from it; it may keep the trainer's state, and
            returns whether to go on. What it takes is no training time.

    Returns:
        The outcome. "Solved" means that `training.solved_evaluations` evaluations running were.
    """
    training = trainer.training

    def outcome(status: str, error: str | None = None) -> Outcome:
        assert trainer.latest is not None
        solved_at = trainer.solved_row[0] if status == "solved" else None
        if trainer.testing is None or status not in TRAINED:
            return Outcome(status, trainer.step, trainer.seconds, trainer.latest, solved_at, error)
        assert trainer.best is not None
        loss, scores = trainer.test()
        if not math.isfinite(loss):
            status, error = "diverged", f"loss {loss} on the test part, with the weights of step {trainer.best.step}"
            return Outcome(status, trainer.step, trainer.seconds, trainer.best, None, error)
        return Outcome(status, trainer.step, trainer.seconds, trainer.best, solved_at, error, loss, scores)

    def look() -> Evaluation:
        evaluation = trainer.evaluate()
        on_evaluation(evaluation)
        return evaluation

    def lost(evaluation: Evaluation) -> Outcome | None:
        """Return the end of a run whose held-out loss is not a number any more."""
        if evaluation.loss is not None and math.isfinite(evaluation.loss):
            return None
        return outcome("diverged", f"held-out loss {evaluation.loss} at step {trainer.step}")

    start = look() if trainer.latest is None else trainer.latest
    if end := lost(start):
        return end
    while trainer.step < trainer.last_step:
        if wrong := (yield trainer):
            return outcome("diverged", wrong)
        spent = training.max_seconds is not None and trainer.seconds > training.max_seconds
        if trainer.is_evaluated or spent:
            evaluation = look()
            if end := lost(evaluation):
                return end
            if trainer.is_solved:
                return outcome("solved")
            if spent or trainer.stalled:
                break
        if not after_step(trainer):
            return outcome("interrupted")
    return outcome("unsolved")
