"""A model in training, evaluated on held-out sequences."""

import math
import statistics
from typing import Any

import torch
from msgspec.structs import asdict
from torch import Tensor

from bench.record.records import Evaluation
from bench.record.schedule import early_steps
from bench.spec.config import Training
from bench.spec.optimizer import make_optimizer
from bench.train.model import Model
from bench.train.rates import rate_at
from bench.train.streams import Streams
from cells import native
from tasks import Batch, Task

NO_STEPS = (math.nan, math.nan)  # means over no training steps at all


class Trainer:
    """A model in training, and all that its further course depends on.

    Attributes:
        kernel: runs the cells of several trainers, whose steps are taken side by side; None if their cell has none.
        learn: has all gradients of a step in one call, by the kernel and the task's `torch_loss`; None if it cannot.
        seconds: spent on steps, evaluations left out; of steps taken side by side an equal share.
        sharing: how many trainers took the latest step side by side.
    """

    def __init__(self, model: Model, task: Task, training: Training, streams: Streams, dtype: torch.dtype) -> None:
        """Take a model on the device of the streams, in `dtype`, and draw the held-out sequences."""
        self.model, self.task, self.training, self.streams, self.dtype = model, task, training, streams, dtype
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(training, self.parameters)
        self.kernel: native.RunEach | None = getattr(model.cell, "run_each", None)
        self.is_foreign = not type(task).__module__.startswith("tasks.")  # and may draw from global generators
        self.learn: native.LearnEach | None = None
        if task.torch_loss is not None and not self.is_foreign:
            self.learn = getattr(model.cell, "learn_each", None)
        self.held_out = task.held_out(training.evaluation_size, streams.evaluation).to(dtype)
        self.testing = task.test_part(self.held_out.inputs.device)
        self.seconds, self.sharing = 0.0, 1
        self.step, self.last_step = 0, budgeted_steps(training)
        self.early = frozenset(early_steps(training.evaluate_every) if training.early_evaluations else ())
        self.recent: list[tuple[float, float]] = []  # loss and gradient norm of each step since the last evaluation
        self.latest: Evaluation | None = None
        self.solved_row: list[Evaluation] = []  # the solved evaluations running up to the latest
        self.best: Evaluation | None = None  # that of the lowest held-out loss
        self.best_weights: dict[str, Tensor] = {}  # then, of a task with a test part

    def sample(self) -> Batch:
        """Draw a batch to train on."""
        if self.is_foreign:
            self.streams.enter()
        return self.task.sample(self.training.batch_size, self.streams.training).to(self.dtype)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the loss of the model's outputs (T, B, O)."""
        if self.is_foreign:
            self.streams.enter()
        return self.task.loss(outputs, batch)

    @property
    def rate(self) -> float:
        """The learning rate of the step being taken."""
        return rate_at(self.training, self.step, self.last_step)

    @property
    def is_evaluated(self) -> bool:
        """Whether an evaluation follows the step just taken, regular or early."""
        return self._is_regular(self.step) or self.step in self.early

    @property
    def is_solved(self) -> bool:
        """Whether as many regular evaluations running as it takes were solved. Early ones, which are close together,
        only tell when that began."""
        regular = sum(self._is_regular(evaluation.step) for evaluation in self.solved_row)
        return regular >= self.training.solved_evaluations

    def _is_regular(self, step: int) -> bool:
        return step % self.training.evaluate_every == 0 or step == self.last_step

    def evaluate(self) -> Evaluation:
        """Evaluate on the held-out sequences."""
        self.streams.enter()
        loss, score = evaluate(self.model, self.task, self.held_out)
        columns = zip(*self.recent, strict=True)
        train_loss, grad_norm = (statistics.fmean(column) for column in columns) if self.recent else NO_STEPS
        evaluation = Evaluation(
            step=self.step, samples=self.step * self.training.batch_size, seconds=self.seconds, train_loss=train_loss,
            grad_norm=grad_norm, loss=loss, score=score, solved=self.task.solved(score),
        )  # fmt: skip
        self.recent.clear()
        self.latest = evaluation
        self.solved_row = [*self.solved_row, evaluation] if evaluation.solved else []
        if self.best is None or loss < (self.best.loss or 0.0):
            self.best = evaluation
            if self.testing is not None:
                self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        return evaluation

    @property
    def stalled(self) -> bool:
        """Whether `training.patience` stretches of `evaluate_every` steps brought nothing better than the best one."""
        patience = self.training.patience
        return bool(patience and self.best and self.step - self.best.step >= patience * self.training.evaluate_every)

    def test(self) -> tuple[float, dict[str, float]]:
        """Go back to the weights of the best evaluation; return loss and scores on the test part."""
        assert self.testing is not None
        self.streams.enter()
        self.model.load_state_dict(self.best_weights)
        return evaluate(self.model, self.task, self.testing.to(self.dtype), self.training.evaluation_size)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the further course depends on, as tensors and plain values."""
        assert self.latest is not None
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.streams.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "recent": [list(pair) for pair in self.recent],
            "latest": asdict(self.latest),
            "solved_row": [asdict(evaluation) for evaluation in self.solved_row],
            "best": asdict(self.best) if self.best else None,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: it is the state of something else.
        """
        self.latest = Evaluation(**state["latest"])
        self.solved_row = [Evaluation(**evaluation) for evaluation in state["solved_row"]]
        self.best = Evaluation(**state["best"]) if state.get("best") else None
        self.best_weights = dict(state.get("best_weights") or {})
        self.recent = [(loss, norm) for loss, norm in state["recent"]]
        self.step = int(state["step"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.streams.load_state_dict(state["random"])
        self.seconds = float(state["seconds"])


def most_evaluations(training: Training) -> int:
    """Return how many evaluations a run has if it spends its budget of steps."""
    early = early_steps(training.evaluate_every) if training.early_evaluations else []
    return 1 + len(early) + math.ceil(budgeted_steps(training) / training.evaluate_every)


def budgeted_steps(training: Training) -> int:
    """Return the step at which the budget of steps or of samples is spent."""
    if training.max_samples is None:
        return training.max_steps
    return min(training.max_steps, max(1, training.max_samples // training.batch_size))


@torch.no_grad()
def evaluate(model: Model, task: Task, batch: Batch, at_once: int | None = None) -> tuple[float, dict[str, float]]:
    """Return a model's loss and scores on a batch.

    Args:
        at_once: how many sequences the model is given at a time; None: all.
    """
    model.eval()
    size, lengths = at_once or batch.inputs.shape[1], getattr(batch, "lengths", None)
    inputs = batch.inputs.split(size, dim=1)
    ends = [None] * len(inputs) if lengths is None else lengths.split(size)
    outputs = torch.cat([model(*each) for each in zip(inputs, ends, strict=True)], dim=1)
    loss = task.loss(outputs, batch).item()
    score = {name: float(value) for name, value in task.score(outputs, batch).items()}
    model.train()
    return loss, score
