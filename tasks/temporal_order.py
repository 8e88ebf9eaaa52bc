"""Temporal order: which of two symbols came first."""

import math
from typing import Any

import torch

from tasks.arguments import flag, share, whole
from tasks.classification import Classification, guessing, one_hot
from tasks.endings import at, cut, drawn_ends
from tasks.task import Batch

# Where relevant symbols may stand, as shares of the length, by their number.
WINDOWS = {2: ((0.1, 0.2), (0.5, 0.6)), 3: ((0.1, 0.2), (0.33, 0.43), (0.66, 0.76))}


class TemporalOrder(Classification):
    """Tell in which order two or three relevant symbols came (Hochreiter & Schmidhuber 1997, tasks 6a and 6b).

    A sequence begins with E, ends with B, and is filled with distractors a, b, c, d, all equally likely, but for
    `symbols` places at which there is an X or a Y. With two of them the class is that of XX, XY, YX, YY:

        E c X a d b Y c a B  → XY, class 1

    Places are uniform in [T/10, 2T/10] and [5T/10, 6T/10], for three symbols in [T/10, 2T/10], [33T/100, 43T/100] and
    [66T/100, 76T/100]: for T = 100 those of the paper, whose sequences are between 100 and 110 steps long. With
    `extra` = 10 they are here, too, and are followed by zeros; without, all have one length. The answer is read at the
    last step, at which every sequence shows the same B: without memory all classes are equally likely, and the
    cross-entropy is n·ln 2.

    Args:
        length: T, at least 10.
        symbols: n, 2 or 3.
        extra: by how many steps at most a sequence is longer than T, all numbers equally likely.
        logistic: see `Classification`; as in the paper.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).
    """

    offline = True
    distance = "length"
    input_size = 8  # X, Y, a, b, c, d, E, B

    def __init__(
        self,
        length: int = 100,
        symbols: int = 2,
        extra: int = 0,
        logistic: bool = False,
        *,
        solved_accuracy: float = 0.99,
    ) -> None:
        self.symbols = whole("symbols", symbols, 2)
        if symbols not in WINDOWS:
            raise ValueError(f"symbols must be 2 or 3, not {symbols}")
        self.shortest, self.extra = whole("length", length, 10), whole("extra", extra, 0)
        self.length, self.logistic = length + extra, flag("logistic", logistic)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.output_size = 2**symbols
        self.baseline_loss = guessing(self.output_size) if logistic else symbols * math.log(2)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "length": self.shortest}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        classes = torch.randint(2, 6, (self.length, batch_size), generator=generator, device=device)
        classes[0], classes[-1] = 6, 7
        relevant = torch.randint(2, (self.symbols, batch_size), generator=generator, device=device)
        for symbol, (low, high) in zip(relevant, WINDOWS[self.symbols], strict=True):
            first, last = round(low * self.shortest), round(high * self.shortest)
            place = torch.randint(first, last + 1, (1, batch_size), generator=generator, device=device)
            classes.scatter_(0, place, symbol.unsqueeze(0))
        inputs = one_hot(classes, self.input_size)
        if self.extra:
            ends = drawn_ends(self.shortest, self.extra, batch_size, generator)
            classes.scatter_(0, ends.unsqueeze(0), 7)
            inputs = cut(one_hot(classes, self.input_size), ends)
        powers = 2 ** torch.arange(self.symbols - 1, -1, -1, device=device)
        return Batch(inputs, (relevant * powers.unsqueeze(1)).sum(dim=0))

    def cue(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        step = batch.inputs[..., :2].sum(dim=-1).argmax(dim=0)
        return at(batch.inputs, step)[:, :2], step
