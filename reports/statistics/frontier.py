"""The length at which half of a cell's runs solve a task, estimated from runs at lengths that earlier runs chose.

The share of runs that solve length L is taken to be 1 / (1 + exp((log₂ L − log₂ L½) / s)); L½ is the estimate. Before
any run, log₂ L½ is uniform, from half of the shortest length to twice the longest, and so is s, from 0.1 to 1 octave.
Runs are placed at the length nearest to the median of L½ as known by then, as in QUEST (Watson & Pelli 1983); unlike
there, s is unknown and averaged over (Kontsevich & Tyler 1999).

By simulation, of 16 runs at four looks, the 95 % interval covers L½ at least as often as it says up to s = 0.6, and
90 % of the time at s = 0.8, where it takes a factor of eleven from 90 % to 10 % solved."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import log_expit

from reports.statistics.intervals import CONFIDENCE, Interval

STEP = 0.02  # between values of L½, in octaves
# s in octaves, each for a tenth of the range from 0.1 to 1: from 90 % to 10 % solved it takes 4.4 s.
SPREADS = np.linspace(0.1, 1.0, 21)[1::2]


@dataclass(frozen=True)
class Reach:
    """What is known of the length at which half of the runs solve a task.

    Attributes:
        lengths: that could be tried, from the shortest to the longest.
        octaves: (G), values of log2 L½.
        weights: (G), their probabilities.
    """

    lengths: tuple[float, ...]
    octaves: np.ndarray
    weights: np.ndarray

    def quantile(self, p: float) -> float:
        """Return a length below which L½ lies with probability p; 0 or infinite where it is beyond those tried."""
        length = 2.0 ** float(np.interp(p, self.below, self.octaves))
        if length < self.lengths[0]:
            return 0.0
        return length if length <= self.lengths[-1] else math.inf

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the median of L½ and the interval that leaves out as much below as above."""
        low, high = self.quantile((1 - confidence) / 2), self.quantile((1 + confidence) / 2)
        return Interval(self.quantile(0.5), low, high, confidence)

    def above(self, length: float) -> float:
        """Return the probability that L½ is above a length: that more than half of the runs solve it."""
        return 1 - float(np.interp(math.log2(length), self.octaves, self.below))

    @property
    def median(self) -> float:
        """Of L½, also where it is beyond the lengths tried."""
        return 2.0 ** float(np.interp(0.5, self.below, self.octaves))

    @cached_property
    def below(self) -> np.ndarray:
        """(G), the probability that log2 L½ is below each of its values."""
        return np.asarray(np.cumsum(self.weights) - self.weights / 2)


def reach(lengths: Collection[float], runs: Iterable[tuple[float, bool]]) -> Reach:
    """Return what runs say of the length at which half of them solve the task.

    Args:
        lengths: that could be tried, positive.
        runs: the length of each, and whether it solved the task.
    """
    tried = np.log2(sorted(lengths))
    octaves = np.arange(tried[0] - 1, tried[-1] + 1 + STEP / 2, STEP)
    log_likelihood = np.zeros((len(octaves), len(SPREADS)))
    for length, solved in runs:
        z = (octaves[:, None] - math.log2(length)) / SPREADS
        log_likelihood += log_expit(z if solved else -z)
    weights = np.exp(log_likelihood - log_likelihood.max()).sum(axis=1)
    return Reach(tuple(sorted(lengths)), octaves, weights / weights.sum())


def p_apart(one: Reach, other: Reach) -> float:
    """Return the two-sided p-value of two L½ being the same: twice the probability of the less likely order."""
    shorter = float(one.weights @ (1 - other.below))
    return min(1.0, 2 * min(shorter, 1 - shorter))


def window(reaches: Mapping[float, Reach], length: float) -> dict[float, bool | None]:
    """Return at which learning rates more than half of the runs solve a length: True or False where that is known with
    `CONFIDENCE`, else None."""
    error = (1 - CONFIDENCE) / 2
    solves: dict[float, bool | None] = {}
    for rate, known in sorted(reaches.items()):
        p = known.above(length)
        solves[rate] = True if p >= 1 - error else False if p <= error else None
    return solves
