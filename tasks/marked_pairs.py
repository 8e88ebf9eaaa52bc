"""Adding and multiplication as Hochreiter & Schmidhuber (1997) define them."""

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import flag, whole
from tasks.classification import half_squared_error
from tasks.endings import at, cut, drawn_ends, ends_of
from tasks.task import Batch, Task

FIRST_PAIRS = 10  # among which the first number is marked
TOLERANCE = 0.04  # an answer is right if it is off by less
RECENT = 2000  # sequences of which the criterion counts wrong answers


class MarkedPairs(Task):
    """Combine the two marked numbers of a list.

    Each step has a number and a marker: −1 at the first and the last step, 1 at the two that are marked, else 0. One of
    the first ten pairs is marked, and one of those not yet marked among the first ⌊T/2⌋. Where the first pair is drawn
    its marker stays −1, and `neutral`, which changes no result, stands in the place of its number. Sequences have
    between T and T + ⌊T/10⌋ steps, all equally likely, and zeros after that; the answer is read at the last one. There
    a random number is shown, so that without memory the best answer is the mean target, and the loss its variance.

    Args:
        minimal_length: T, at least 20.
        wrong: the task counts as solved if fewer than `wrong` of 2,000 answers are off by 0.04 or more, at least 1.
        logistic: whether the output is a logistic unit, and the loss half the squared error, as in the paper.
    """

    input_size = 2
    output_size = 1
    distance = "minimal_length"
    neutral: ClassVar[float]

    def __init__(self, minimal_length: int = 100, logistic: bool = False, *, wrong: int = 1) -> None:
        self.minimal_length, self.wrong = whole("minimal_length", minimal_length, 20), whole("wrong", wrong, 1)
        self.extra, self.half = minimal_length // 10, minimal_length // 2
        self.length, self.logistic = minimal_length + self.extra, flag("logistic", logistic)
        first = 1 / FIRST_PAIRS + (1 - 1 / FIRST_PAIRS) / (self.half - 1)
        self.baseline_loss = self._variance(first) * (0.5 if logistic else 1)

    @staticmethod
    @abstractmethod
    def _values(uniform: Tensor) -> Tensor:
        """Return the numbers that uniform ones in [0, 1) stand for."""

    @staticmethod
    @abstractmethod
    def _target(first: Tensor, second: Tensor) -> Tensor:
        """Return the answers."""

    @staticmethod
    @abstractmethod
    def _variance(first: float) -> float:
        """Return the variance of the answers, given the probability that the first pair is drawn."""

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        ends = drawn_ends(self.minimal_length, self.extra, batch_size, generator)
        values = self._values(torch.rand(self.length, batch_size, generator=generator, device=device))
        first = torch.randint(FIRST_PAIRS, (1, batch_size), generator=generator, device=device)
        second = torch.randint(self.half - 1, (1, batch_size), generator=generator, device=device)
        marked = torch.cat([first, second + (second >= first)])
        markers = torch.zeros_like(values).scatter_(0, marked, 1.0).scatter_(0, ends.unsqueeze(0), -1.0)
        markers[0] = -1.0
        numbers = torch.where(marked == 0, self.neutral, values.gather(0, marked))
        return Batch(cut(torch.stack([values, markers], dim=-1), ends), self._target(*numbers))

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        step = (batch.inputs[..., 1] == 1).long().argmax(dim=0)
        return at(batch.inputs, step)[:, :1], step

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error at each sequence's last step, or half of it (`logistic`); targets are (B)."""
        answers = self._answers(outputs, batch)
        if self.logistic:
            return half_squared_error(answers.unsqueeze(-1), batch.targets.unsqueeze(-1))
        return F.mse_loss(answers, batch.targets)

    def _answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        answers = at(outputs, ends_of(batch.inputs))[:, 0]
        return answers.sigmoid() if self.logistic else answers

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`mse`, and `accuracy`: share of answers off by less than 0.04."""
        error = self._answers(outputs, batch) - batch.targets
        return {"mse": error.square().mean(), "accuracy": (error.abs() < TOLERANCE).double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return (1 - score["accuracy"]) * RECENT < self.wrong - 1e-9


class ClassicAdding(MarkedPairs):
    """Add two marked numbers (Hochreiter & Schmidhuber 1997, task 4).

    Numbers X are uniform in [−1, 1), and the target is 0.5 + (X₁ + X₂)/4. With a last step at 5

        numbers  0.3 −0.5 0.8 −0.1 0.4 0.2
        markers  −1     1   0    1   0  −1  → 0.5 + (−0.5 − 0.1)/4 = 0.35

    A number has the variance 1/3 and the first pair, which counts as 0, is drawn with probability
    q = 1/10 + 9/10/(⌊T/2⌋ − 1): the baseline is (2 − q)/48.

    Args: see `MarkedPairs`.
    """

    neutral = 0.0

    @staticmethod
    def _values(uniform: Tensor) -> Tensor:
        return 2 * uniform - 1

    @staticmethod
    def _target(first: Tensor, second: Tensor) -> Tensor:
        return 0.5 + (first + second) / 4

    @staticmethod
    def _variance(first: float) -> float:
        return (2 - first) / 48


class Multiplication(MarkedPairs):
    """Multiply two marked numbers (Hochreiter & Schmidhuber 1997, task 5).

    Numbers X are uniform in [0, 1), and the target is X₁·X₂. With a last step at 5

        numbers  0.3 0.5 0.8 0.1 0.4 0.2
        markers  −1    1   0   1   0  −1  → 0.05

    The first pair, which counts as 1, is drawn with probability q = 1/10 + 9/10/(⌊T/2⌋ − 1). The baseline is
    (1 − q)/9 + q/3 − ((1 − q)/4 + q/2)².

    Args: see `MarkedPairs`.
    """

    neutral = 1.0

    @staticmethod
    def _values(uniform: Tensor) -> Tensor:
        return uniform

    @staticmethod
    def _target(first: Tensor, second: Tensor) -> Tensor:
        return first * second

    @staticmethod
    def _variance(first: float) -> float:
        return (1 - first) / 9 + first / 3 - ((1 - first) / 4 + first / 2) ** 2
