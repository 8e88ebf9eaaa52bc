"""The training loop: a model, a task and a stream of fresh batches in, evaluations and an outcome out."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from bench.config import Training, make_optimizer
from bench.model import Model
from bench.seeds import Streams
from tasks import Batch, Task

NO_STEPS = (math.nan, math.nan)  # means over no training steps at all


@dataclass(frozen=True)
class Evaluation:
    """What is known after a number of steps.

    Attributes:
        step: optimiser steps taken.
        samples: training sequences seen.
        seconds: training time so far, without evaluations.
        train_loss: mean loss of the batches since the last evaluation, NaN at step 0.
        grad_norm: mean norm of the whole gradient before clipping over the same batches.
        loss: on the held-out sequences.
        score: on the held-out sequences, by name.
        solved: what the task says of that score.
    """

    step: int
    samples: int
    seconds: float
    train_loss: float
    grad_norm: float
    loss: float
    score: dict[str, float]
    solved: bool


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        status: "solved", "unsolved" or "diverged".
        steps, seconds: spent, without evaluations.
        final: the last evaluation.
        solved_at: the first evaluation of the unbroken row of solved ones that ended the run, if any.
        error: why it diverged, if it did.
    """

    status: str
    steps: int
    seconds: float
    final: Evaluation
    solved_at: Evaluation | None = None
    error: str | None = None


class _Clock:
    """Seconds spent training, evaluations left out. On a GPU no synchronisation is needed: wherever the
    clock is read, the loop has just read a loss back from the device."""

    def __init__(self) -> None:
        self._start = perf_counter()

    def read(self) -> float:
        return perf_counter() - self._start

    def leave_out(self, seconds: float) -> None:
        self._start += seconds


def train(
    model: Model,
    task: Task,
    training: Training,
    streams: Streams,
    dtype: torch.dtype,
    on_evaluation: Callable[[Evaluation], None],
) -> Outcome:
    """Train until the task is solved, a budget is spent or the numbers are no longer finite.

    Args:
        model: on the device of the streams, in `dtype`.
        task: what to learn.
        training: optimiser, budgets, evaluation.
        streams: of training and evaluation data.
        dtype: of the data.
        on_evaluation: called with every evaluation, the first before any step.

    Returns:
        The outcome. "Solved" means that `training.solved_evaluations` evaluations running were.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(training, parameters)
    held_out = task.sample(training.evaluation_size, streams.evaluation).to(dtype)
    last_step = _last_step(training)
    clock = _Clock()
    steps: list[tuple[float, float]] = []  # loss and gradient norm of each since the last evaluation
    solved_row: list[Evaluation] = []

    def evaluation_at(step: int) -> Evaluation:
        seconds = clock.read()
        loss, score = evaluate(model, task, held_out)
        train_loss, grad_norm = (statistics.fmean(column) for column in zip(*steps, strict=True)) if steps else NO_STEPS
        samples = step * training.batch_size
        evaluation = Evaluation(step, samples, seconds, train_loss, grad_norm, loss, score, task.solved(score))
        steps.clear()
        on_evaluation(evaluation)
        clock.leave_out(clock.read() - seconds)
        return evaluation

    latest = evaluation_at(0)
    for step in range(1, last_step + 1):
        batch = task.sample(training.batch_size, streams.training).to(dtype)
        loss, norm = _take_gradient(model, task, batch, optimizer, parameters, training.clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            reason = f"loss {loss} and gradient norm {norm} at step {step}"
            return Outcome("diverged", step, clock.read(), latest, error=reason)
        optimizer.step()
        steps.append((loss, norm))

        spent = training.max_seconds is not None and clock.read() > training.max_seconds
        if step % training.evaluate_every == 0 or step == last_step or spent:
            latest = evaluation_at(step)
            if not math.isfinite(latest.loss):
                reason = f"held-out loss {latest.loss} at step {step}"
                return Outcome("diverged", step, clock.read(), latest, error=reason)
            solved_row = [*solved_row, latest] if latest.solved else []
            if len(solved_row) == training.solved_evaluations:
                return Outcome("solved", step, clock.read(), latest, solved_at=solved_row[0])
            if spent:
                break
    return Outcome("unsolved", latest.step, clock.read(), latest)


def _last_step(training: Training) -> int:
    """Return the step at which the budget of steps or of samples is spent."""
    if training.max_samples is None:
        return training.max_steps
    return min(training.max_steps, max(1, training.max_samples // training.batch_size))


def _take_gradient(
    model: Model,
    task: Task,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    clip_norm: float | None,
) -> tuple[float, float]:
    """Leave the clipped gradient of a batch's loss in the parameters; return loss and norm before clipping."""
    optimizer.zero_grad()
    loss = task.loss(model(batch.inputs), batch)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf if clip_norm is None else clip_norm)
    return loss.item(), norm.item()


@torch.no_grad()
def evaluate(model: Model, task: Task, batch: Batch) -> tuple[float, dict[str, float]]:
    """Return a model's loss and scores on a batch."""
    model.eval()
    outputs = model(batch.inputs)
    loss = task.loss(outputs, batch).item()
    score = {name: value.item() for name, value in task.score(outputs, batch).items()}
    model.train()
    return loss, score
