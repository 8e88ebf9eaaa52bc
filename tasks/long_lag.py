"""Long time lags without noise: remember the first symbol until the last, or until a trigger."""

import math

import torch
from torch import Tensor

from tasks.arguments import flag, share, whole
from tasks.classification import Classification, guessing, one_hot
from tasks.endings import cut
from tasks.task import Batch

CONTINUES = 0.9  # probability that one more distractor comes before the trigger


class LongLag(Classification):
    """Predict the next symbol of sequences that end as they began (Hochreiter & Schmidhuber 1997, tasks 2a and 2b).

    A sequence is x or y, then p − 1 symbols, then x or y again; every next symbol is asked for. The symbols between are
    a₁ … a_{p−1} in this order, or with `distractors` (task 2b) each is any of them, all equally likely. With p = 4:

        inputs   y a₁ a₂ a₃
        targets  a₁ a₂ a₃ y

    The last target is what needs memory, and the score is of it alone. Without memory it costs ln 2, and each of the
    p − 1 others nothing, with distractors ln(p − 1); the baseline is the mean over the p steps.

    Args:
        symbols: p, at least 2.
        distractors: whether the symbols between are drawn at random.
        logistic: see `Classification`; as in the paper. Errors of a sequence add up then.
        solved_accuracy: share of right last symbols above which the task counts as solved, in [0, 1).
    """

    scored = 1

    def __init__(
        self, symbols: int = 100, distractors: bool = False, logistic: bool = False, *, solved_accuracy: float = 0.99
    ) -> None:
        self.symbols, self.distractors = whole("symbols", symbols, 2), flag("distractors", distractors)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.length = symbols
        self.input_size = self.output_size = symbols + 1  # a₁ … a_{p−1}, x, y
        self.logistic = flag("logistic", logistic)
        if logistic:
            self.baseline_loss = guessing(2) + (symbols - 1) * guessing(symbols - 1) * distractors
        else:
            self.baseline_loss = (math.log(2) + (symbols - 1) * math.log(symbols - 1) * distractors) / symbols

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device, between = generator.device, self.symbols - 1
        kept = between + torch.randint(2, (1, batch_size), generator=generator, device=device)
        if self.distractors:
            shown = torch.randint(between, (between, batch_size), generator=generator, device=device)
        else:
            shown = torch.arange(between, device=device).unsqueeze(1).expand(between, batch_size)
        classes = torch.cat([kept, shown, kept])
        return Batch(one_hot(classes[:-1], self.input_size), classes[1:])


class TriggerRecall(Classification):
    """Name the second symbol when the trigger comes (Hochreiter & Schmidhuber 1997, task 2c).

    A sequence is b, then x or y, then q distractors, each any of p symbols, then more of them, each time with
    probability 9/10, and then the trigger e, at which x or y is asked for. With q = 2:

        inputs   b y a₃ a₁ a₃ e
        answer              y

    So at least q + 1 steps lie between. At most `extra` distractors come on top of q, which the paper does not limit;
    sequences are followed by zeros. The trigger says nothing: without memory x and y are equally likely, ln 2.

    Args:
        delay: q, at least 1.
        symbols: p, at least 1.
        extra: distractors beyond q at most, at least 1: by default 998 sequences of 1,000 would have no more.
        logistic: see `Classification`; as in the paper.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).
    """

    output_size = 2
    distance = "delay"

    def __init__(
        self,
        delay: int = 50,
        symbols: int = 50,
        extra: int = 60,
        logistic: bool = False,
        *,
        solved_accuracy: float = 0.99,
    ) -> None:
        self.delay, self.symbols = whole("delay", delay, 1), whole("symbols", symbols, 1)
        self.extra = whole("extra", extra, 1)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.length = delay + extra + 3
        self.input_size = symbols + 4  # distractors, b, e, x, y
        self.logistic = flag("logistic", logistic)
        self.baseline_loss = guessing(2) if logistic else math.log(2)

    @property
    def longest_memory(self) -> int:
        return self.delay + self.extra

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device, p = generator.device, self.symbols
        classes = torch.randint(p, (self.length, batch_size), generator=generator, device=device)
        kept = torch.randint(2, (batch_size,), generator=generator, device=device)
        # Of a geometric number, given that it is at most `extra`, by its distribution function.
        chance = torch.rand(batch_size, generator=generator, device=device, dtype=torch.float64)
        more = torch.log1p(-chance * (1 - CONTINUES ** (self.extra + 1))) / math.log(CONTINUES)
        ends = self.delay + 2 + more.long().clamp(max=self.extra)
        classes[0], classes[1] = p, p + 2 + kept
        classes.scatter_(0, ends.unsqueeze(0), p + 1)
        return Batch(cut(one_hot(classes, self.input_size), ends), kept)

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.inputs[1][:, -2:], torch.ones_like(batch.targets)
