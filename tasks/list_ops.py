"""ListOps: the value of nested operations on lists of digits."""

import math
import random
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from tasks.arguments import share, whole
from tasks.classification import Classification, one_hot
from tasks.endings import cut
from tasks.task import Batch

DIGITS = 10
OPERATIONS: tuple[Callable[[list[int]], int], ...] = (
    min,
    max,
    lambda values: _median(sorted(values)),
    lambda values: sum(values) % DIGITS,
)
END = DIGITS + len(OPERATIONS)
NESTED = 0.25  # probability that an argument is an operation


class TooLong(Exception):
    """An expression has more symbols than a sequence may have."""


class ListOps(Classification):
    """Name the value of an expression of nested operations, MIN, MAX, MED(ian, rounded down) and SM (sum modulo 10), on
    digits (Nangia & Bowman 2018), drawn as for the Long Range Arena (Tay et al. 2021).

        inputs  [MAX 2 9 [MIN 4 7 ] 0 ]
        target  9

    An argument is an operation with a probability of 1/4 down to the depth that is allowed, and a digit otherwise; each
    operation has 2 to `arguments` of them, all numbers and operations equally likely. Expressions with fewer than
    `shortest` symbols or more than `length` are drawn again. An operation and its opening bracket are one symbol, of 15
    in all. Zeros follow an expression, whose value is asked for at its last symbol.

    That symbol is a bracket, which tells nothing: the baseline is the entropy of the values in nats, exact.

    The Arena has lengths of 501 to 1,999, a depth of 10 and up to 10 arguments, and 96,000 expressions, drawn once.

    Args:
        shortest: symbols of an expression at least, at least 4.
        length: T, symbols of an expression at most.
        depth: of nested operations and digits, at least 2.
        arguments: of an operation at most, at least 2.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).

    Raises:
        ValueError: an argument out of its range, or no expression has so many symbols.
    """

    input_size = END + 1
    output_size = DIGITS

    def __init__(
        self,
        shortest: int = 10,
        length: int = 50,
        depth: int = 5,
        arguments: int = 5,
        *,
        solved_accuracy: float = 0.99,
    ) -> None:
        self.shortest = whole("shortest", shortest, 4)
        self.length = whole("length", length, shortest)
        self.depth, self.arguments = whole("depth", depth, 2, 21), whole("arguments", arguments, 2, 21)
        self.extra = length - shortest
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        values = _values_of(shortest, length, depth, arguments)
        if not sum(values) > 1e-6:
            raise ValueError(
                f"an expression of {shortest} to {length} symbols is too rare with these depth and arguments"
            )
        self.baseline_loss = -sum(p / sum(values) * math.log(p / sum(values)) for p in values if p > 0)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        draw = random.Random(int(torch.randint(2**62, (), generator=generator, device=device)))
        drawn = [self._expression(draw) for _ in range(batch_size)]
        symbols = torch.zeros(self.length, batch_size, dtype=torch.long)
        for b, (expression, _) in enumerate(drawn):
            symbols[: len(expression), b] = torch.tensor(expression)
        ends = torch.tensor([len(expression) - 1 for expression, _ in drawn])
        targets = torch.tensor([value for _, value in drawn])
        return Batch(cut(one_hot(symbols, self.input_size), ends).to(device), targets.to(device))

    def _expression(self, draw: random.Random) -> tuple[list[int], int]:
        """Return the symbols and the value of an expression that is neither too short nor too long."""
        while True:
            symbols: list[int] = []
            try:
                value = self._grow(draw, 1, symbols)
            except TooLong:
                continue
            if self.shortest <= len(symbols) <= self.length:
                return symbols, value

    def _grow(self, draw: random.Random, depth: int, symbols: list[int]) -> int:
        """Append an expression to `symbols` and return its value."""
        if len(symbols) >= self.length:
            raise TooLong
        if depth == self.depth or draw.random() > NESTED:
            symbols.append(value := draw.randrange(DIGITS))
            return value
        operation = draw.randrange(len(OPERATIONS))
        symbols.append(DIGITS + operation)
        values = [self._grow(draw, depth + 1, symbols) for _ in range(draw.randint(2, self.arguments))]
        symbols.append(END)
        return OPERATIONS[operation](values)


def _median(ordered: list[int]) -> int:
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


@lru_cache(maxsize=8)
def _values_of(shortest: int, length: int, depth: int, arguments: int) -> tuple[float, ...]:
    """Return the probability of each value together with a number of symbols from `shortest` to `length`.

    From the deepest expressions upwards, by the joint distribution of value and symbols, (10, length + 1). The numbers
    of symbols of arguments add up, for which their distributions are multiplied after a Fourier transform. Sums beyond
    its points come back as small ones; weights that fall with the number of symbols make those negligible."""
    points = 2 ** math.ceil(math.log2(2 * length + 3))
    weights = 1e-11 ** (torch.arange(length + 1, dtype=torch.float64) / points)
    digit = torch.zeros(DIGITS, length + 1, dtype=torch.float64)
    digit[:, 1] = 1 / DIGITS
    joint = digit
    for _ in range(depth - 1):
        one = torch.fft.rfft(joint * weights, points)
        total = sum((_of_operations(one, n) for n in range(2, arguments + 1)), torch.zeros_like(one))
        symbols = torch.fft.irfft(total / (arguments - 1) / len(OPERATIONS), points)[:, : length - 1]
        nested = torch.zeros_like(digit)
        nested[:, 2:] = symbols.clamp(min=0) / weights[: length - 1]  # after the two brackets
        joint = (1 - NESTED) * digit + NESTED * nested
    return tuple(joint[:, shortest:].sum(dim=1).tolist())


def _of_operations(one: Tensor, n: int) -> Tensor:
    """Return the sum over operations of the distribution of their value on n arguments, which is `one` for each; both
    are transformed, (10, F)."""
    upto = one.cumsum(dim=0)  # of arguments that are at most v
    of_all = upto[-1]
    above = of_all - upto
    zero = torch.zeros_like(one[:1])
    least = torch.diff(_powers(of_all, n)[n] - _powers(above, n)[n], dim=0, prepend=zero)
    most = torch.diff(_powers(upto, n)[n], dim=0, prepend=zero)
    total = torch.fft.ifft(_powers(torch.fft.fft(one, dim=0), n)[n], dim=0)
    return least + most + torch.diff(_median_upto(upto, n), dim=0, prepend=zero) + total


def _median_upto(upto: Tensor, n: int) -> Tensor:
    """Return, for each value v, the distribution of medians that are at most v, (10, F)."""
    half, of_all = (n + 1) // 2, upto[-1]

    def middle(low: int, high: int) -> Tensor:
        """Of the two arguments in the middle, the lower one is at most `low` and the other at most `high`."""
        if low < 0:
            return torch.zeros_like(of_all)
        below, between, above = (_powers(each, n) for each in (upto[low], upto[high] - upto[low], of_all - upto[high]))
        terms = [
            math.comb(n, i) * math.comb(n - i, j) * below[i] * between[j] * above[n - i - j]
            for i in range(half, n + 1)
            for j in range(max(0, n // 2 + 1 - i), n - i + 1)
        ]
        return torch.stack(terms).sum(dim=0)

    if n % 2:
        return torch.stack([middle(v, v) for v in range(DIGITS)])
    # Rounded down, half of their sum is at most v if the sum is at most 2v + 1.
    found = []
    for v in range(DIGITS):
        highs = [min(2 * v + 1 - low, DIGITS - 1) for low in range(v + 1)]
        parts = [middle(low, high) - middle(low - 1, high) for low, high in enumerate(highs)]
        found.append(torch.stack(parts).sum(dim=0))
    return torch.stack(found)


def _powers(one: Tensor, n: int) -> list[Tensor]:
    """Return the powers from 0 to n, by products: torch takes complex powers by logarithms, which is slow."""
    powers = [torch.ones_like(one)]
    for _ in range(n):
        powers.append(powers[-1] * one)
    return powers
