"""What several tasks answer with: one class at the end of a sequence."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.task import Batch, Task


class Classification(Task):
    """A task that asks for one class, read at the last step; targets are class indices (B).

    Attributes:
        solved_accuracy: share of right answers above which the task counts as solved.
    """

    solved_accuracy: float

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats at the last step."""
        return F.cross_entropy(outputs[-1], batch.targets)

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`: share of right answers."""
        return {"accuracy": (outputs[-1].argmax(dim=-1) == batch.targets).double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return score["accuracy"] > self.solved_accuracy


def one_hot(classes: Tensor, size: int) -> Tensor:
    """Return classes (T, B) as inputs (T, B, size), float32."""
    return F.one_hot(classes, size).to(torch.float32)
