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
    """

    solved_accuracy: float
    extra: int = 0
    scored: int | None = None

    @property
    def criterion(self) -> str | None:
        return None if self.extra else "cross_entropy"

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the outputs at the steps that are asked for, (B, O) or (S, B, O) as the targets are."""
        if self.extra:
            return at(outputs, ends_of(batch.inputs))
        return outputs[-1] if batch.targets.dim() == 1 else outputs[-len(batch.targets) :]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats over all answers."""
        return F.cross_entropy(self.answers(outputs, batch).flatten(0, -2), batch.targets.flatten())

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`: share of right answers."""
        last = slice(None if self.scored is None else -self.scored, None)
        right = self.answers(outputs, batch)[last].argmax(dim=-1) == batch.targets[last]
        return {"accuracy": right.double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return score["accuracy"] > self.solved_accuracy


def one_hot(classes: Tensor, size: int) -> Tensor:
    """Return classes (T, B) as inputs (T, B, size), float32."""
    return F.one_hot(classes, size).to(torch.float32)
