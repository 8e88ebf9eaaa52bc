"""Parity: whether the number of ones so far is odd."""

import math

import torch

from tasks.classification import AfterEach
from tasks.task import Batch


class Parity(AfterEach):
    """Tell after every bit whether the number of ones so far is odd (Minsky & Papert 1969; for recurrent networks
    Delétang et al. 2023, who ask for it at the end only).

        inputs   1 0 1 0 1 0 0
        targets  1 1 0 0 1 1 1

    Every bit counts: whoever forgets one knows nothing. Bits are shown as −1 and 1, and equally likely. The first
    answer is the first bit; after that, without memory, odd and even are equally likely: (T − 1)/T·ln 2 a step.

    Args:
        length, solved_accuracy, shortest: see `AfterEach`.
    """

    input_size = 1
    output_size = 2

    def __init__(self, length: int = 20, *, solved_accuracy: float = 0.99, shortest: int | None = None) -> None:
        super().__init__(length, shortest, solved_accuracy)
        self.baseline_loss = sum(step > 0 for step in self.answered) / len(self.answered) * math.log(2)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        bits = torch.randint(2, (self.length, batch_size), generator=generator, device=generator.device)
        return self.asked((2.0 * bits - 1).unsqueeze(-1), bits.cumsum(dim=0) % 2, generator)
