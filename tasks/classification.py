"""What most tasks answer with: classes, at the end of a sequence or at each of its steps."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import share, whole
from tasks.endings import at, cut, drawn_ends, ends_of
from tasks.task import Batch, Task


class Classification(Task):
    """A task that asks for classes; targets are their indices, (B) for the last step, (S, B) for the last S steps.

    Attributes:
        solved_accuracy: share of right answers above which the task counts as solved.
        extra: by how many steps at most a sequence is longer than the shortest; if by any, it is followed by zeros,
            and the answer is read at its own last step.
        scored: how many of the answers, the last ones, make up the score; None: all.
        logistic: whether outputs are logistic units, one for each class, and the loss is half their squared error.
    """

    solved_accuracy: float
    extra: int = 0
    scored: int | None = None
    logistic: bool = False

    @property
    def torch_loss(self) -> str | None:
        return None if self.extra or self.logistic else "cross_entropy"

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the outputs at the steps that are asked for, (B, O) or (S, B, O) as the targets are."""
        if self.extra:
            return at(outputs, ends_of(batch.inputs))
        return outputs[-1] if batch.targets.dim() == 1 else outputs[-len(batch.targets) :]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats over all answers; of `logistic` ones half the squared error of a sequence."""
        if self.logistic:
            units = self.answers(outputs, batch).sigmoid()
            return half_squared_error(units, F.one_hot(batch.targets, units.shape[-1]).to(units.dtype))
        return F.cross_entropy(self.answers(outputs, batch).flatten(0, -2), batch.targets.flatten())

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`: share of right answers."""
        last = slice(None if self.scored is None else -self.scored, None)
        right = self.answers(outputs, batch)[last].argmax(dim=-1) == batch.targets[last]
        return {"accuracy": right.double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return score["accuracy"] > self.solved_accuracy


class AfterEach(Classification):
    """Classes after every symbol of a sequence, scored at the last; or, with `shortest`, after the last one only, of
    sequences whose lengths are uniform in [shortest, T] and that zeros follow. `lengthened(k)` then draws lengths from
    T + 1 to k·T, as Delétang et al. (2023) test.

    Args:
        length: T, at least 2.
        shortest: the shortest length, at least 1; None: an answer after every symbol of T.
        solved_accuracy: share of right last answers above which the task counts as solved, in [0, 1).
    """

    distance = "length"
    spacing = 1  # lengths that sequences may have lie so far apart, counted from 1

    def __init__(self, length: int, shortest: int | None, solved_accuracy: float) -> None:
        self.length = whole("length", length, 2)
        self.shortest = None if shortest is None else whole("shortest", shortest, 1, length + 1)
        if shortest is None:
            self.scored = 1
        else:
            self.extra = length - shortest
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)

    @property
    def answered(self) -> list[int]:
        """The steps, from 0, at which sequences are answered, equally likely."""
        first = 0 if self.shortest is None else self.shortest - 1
        spacing = 1 if self.shortest is None else self.spacing
        return [step - step % spacing for step in range(first, self.length)]

    def asked(self, inputs: Tensor, answers: Tensor, generator: torch.Generator) -> Batch:
        """Return a batch of sequences (T, B, I) with the answers (T, B) that are asked for."""
        if self.shortest is None:
            return Batch(inputs, answers)
        ends = drawn_ends(self.shortest, self.extra, inputs.shape[1], generator)
        ends = ends - ends % self.spacing
        return Batch(cut(inputs, ends), at(answers, ends))

    def lengthened(self, factor: int) -> Self:
        if self.shortest is None or factor == 1:
            return super().lengthened(factor)
        return type(self)(**self.options() | {"shortest": self.length + 1, "length": factor * self.length})


def half_squared_error(answers: Tensor, targets: Tensor) -> Tensor:
    """Return half the squared error of numbers (…, B, O), summed over all but the batch, of which it is the mean."""
    return 0.5 * (answers - targets).square().sum() / answers.shape[-2]


def guessing(classes: int) -> float:
    """Return the half squared error of logistic units that can only say how likely classes are, which is equally."""
    return 0.5 * (1 - 1 / classes)


def one_hot(classes: Tensor, size: int) -> Tensor:
    """Return classes (T, B) as inputs (T, B, size), float32."""
    return F.one_hot(classes, size).to(torch.float32)
