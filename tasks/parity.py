"""Parity: whether the number of ones so far is odd."""

import math
from typing import Self

import torch

from tasks.arguments import share, whole
from tasks.classification import Classification
from tasks.endings import at, cut, drawn_ends
from tasks.task import Batch


class Parity(Classification):
    """Tell after every bit whether the number of ones so far is odd (Minsky & Papert 1969; for recurrent networks
    Delétang et al. 2023, who ask for it at the end only).

        inputs   1 0 1 0 1 0 0
        targets  1 1 0 0 1 1 1

    Every bit counts: whoever forgets one knows nothing. Bits are shown as −1 and 1, and equally likely. The first
    answer is the first bit; after that, without memory, odd and even are equally likely: (T − 1)/T·ln 2 a step.

    With `shortest`, lengths are uniform in [shortest, T], zeros follow, and the only answer is asked for at the end, as
    in the published task; `lengthened(k)` then draws lengths from T + 1 to k·T.

    Args:
        length: T, at least 2.
        solved_accuracy: share of right answers at the last step above which the task counts as solved, in [0, 1).
        shortest: the shortest length, at least 1; None: an answer after every bit of T.
    """

    input_size = 1
    output_size = 2
    distance = "length"
    scored: int | None = 1  # the last answer, for which all bits count

    def __init__(self, length: int = 20, *, solved_accuracy: float = 0.99, shortest: int | None = None) -> None:
        self.length = whole("length", length, 2)
        self.shortest = None if shortest is None else whole("shortest", shortest, 1, length + 1)
        if shortest is not None:
            self.scored, self.extra = None, length - shortest
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        steps = range(1, length + 1) if shortest is None else range(shortest, length + 1)
        self.baseline_loss = sum(step > 1 for step in steps) / len(steps) * math.log(2)

    def lengthened(self, factor: int) -> Self:
        if self.shortest is None or factor == 1:
            return super().lengthened(factor)
        return type(self)(**self.options() | {"shortest": self.length + 1, "length": factor * self.length})

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        bits = torch.randint(2, (self.length, batch_size), generator=generator, device=generator.device)
        inputs, odd = (2.0 * bits - 1).unsqueeze(-1), bits.cumsum(dim=0) % 2
        if self.shortest is None:
            return Batch(inputs, odd)
        ends = drawn_ends(self.shortest, self.length - self.shortest, batch_size, generator)
        return Batch(cut(inputs, ends), at(odd, ends))
