"""Parity: whether the number of ones so far is odd."""

import math

import torch

from tasks.arguments import share, whole
from tasks.classification import Classification
from tasks.task import Batch


class Parity(Classification):
    """Tell after every bit whether the number of ones so far is odd (Minsky & Papert 1969; for recurrent networks
    Delétang et al. 2023, who ask for it at the end only).

        inputs   1 0 1 0 1 0 0
        targets  1 1 0 0 1 1 1

    Every bit counts: whoever forgets one knows nothing. Bits are shown as −1 and 1, and equally likely. The first
    answer is the first bit; after that, without memory, odd and even are equally likely: (T − 1)/T·ln 2 a step.

    Args:
        length: T, at least 2.
        solved_accuracy: share of right answers at the last step above which the task counts as solved, in [0, 1).
    """

    input_size = 1
    output_size = 2
    distance = "length"
    scored = 1  # the last answer, for which all bits count

    def __init__(self, length: int = 20, *, solved_accuracy: float = 0.99) -> None:
        self.length = whole("length", length, 2)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.baseline_loss = (length - 1) / length * math.log(2)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        bits = torch.randint(2, (self.length, batch_size), generator=generator, device=generator.device)
        return Batch((2.0 * bits - 1).unsqueeze(-1), bits.cumsum(dim=0) % 2)
