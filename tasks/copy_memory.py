"""Copy memory: repeat a list of symbols after a long pause."""

import math

import torch

from tasks.arguments import share, whole
from tasks.classification import Classification, one_hot
from tasks.task import Batch


class CopyMemory(Classification):
    """Repeat `span` symbols after `delay` steps (Hochreiter & Schmidhuber 1997; in the form of
    Arjovsky et al. 2016, section 5.1).

    With K=3 symbols a b c, span L=2, delay T=4, blank `_` and delimiter `:` a sequence and its
    answer, T+2L=8 steps, are

        inputs   b a _ _ _ : _ _
        targets  _ _ _ _ _ _ b a

    Inputs are one-hot, classes 0…K−1 the symbols, K the blank, K+1 the delimiter; targets are class
    indices 0…K. The loss is the cross-entropy over all steps. Without memory the best answer is the
    blank, which is certain, and then each symbol with probability 1/K at the last L of the T+2L
    steps, all of which show a blank: L·ln K/(T+2L).

    Args:
        symbols: K, at least 2.
        span: L, symbols to remember, at least 1.
        delay: T, at least 1: the first symbol is asked for T+L steps after it was shown.
        solved_accuracy: share of recalled symbols above which the task counts as solved, in [0, 1).
    """

    offline = True
    distance = "delay"

    def __init__(self, symbols: int = 8, span: int = 10, delay: int = 100, *, solved_accuracy: float = 0.99) -> None:
        self.symbols, self.delay = whole("symbols", symbols, 2), whole("delay", delay, 1)
        self.span = self.scored = whole("span", span, 1)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.input_size = symbols + 2
        self.output_size = symbols + 1
        self.length = delay + 2 * span
        self.baseline_loss = span * math.log(symbols) / self.length

    @property
    def longest_memory(self) -> int:
        return self.delay * 3 // 2  # of the published runs with chrono initialisation (Tallec & Ollivier 2018)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device, blank, delimiter = generator.device, self.symbols, self.symbols + 1
        shown = torch.randint(self.symbols, (self.span, batch_size), generator=generator, device=device)
        classes = torch.full((self.length, batch_size), blank, device=device)
        targets = classes.clone()
        classes[: self.span] = shown
        classes[self.span + self.delay - 1] = delimiter
        targets[-self.span :] = shown
        return Batch(one_hot(classes, self.input_size), targets)
