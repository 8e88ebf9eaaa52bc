"""What most tasks answer with: classes, at the end of a sequence or at each of its steps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.endings import at, ends_of
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


def half_squared_error(answers: Tensor, targets: Tensor) -> Tensor:
    """Return half the squared error of numbers (…, B, O), summed over all but the batch, of which it is the mean."""
    return 0.5 * (answers - targets).square().sum() / answers.shape[-2]


def guessing(classes: int) -> float:
    """Return the half squared error of logistic units that can only say how likely classes are, which is equally."""
    return 0.5 * (1 - 1 / classes)


def one_hot(classes: Tensor, size: int) -> Tensor:
    """Return classes (T, B) as inputs (T, B, size), float32."""
    return F.one_hot(classes, size).to(torch.float32)
