"""Times to an event that some runs did not live to see: Kaplan & Meier (1958), and expected running times.

A time is in whatever currency: steps, samples, seconds, FLOPs. A run that was not solved is known to need more than it
spent, and no more than that is assumed of it."""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reports.statistics.intervals import CONFIDENCE, Interval, median_ranks

RESAMPLES = 2000


@dataclass(frozen=True)
class SolveCurve:
    """Share of runs solved by each time: one minus the Kaplan–Meier estimate of the survival function.

    Attributes:
        times: (m), beginning with 0.
        share, low, high: (m), the estimate and its pointwise 95 % interval (log-log, Kalbfleisch &
            Prentice 1980); where that is undefined, at 0 and 1, the estimate itself.
    """

    times: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def solve_curve(times: ArrayLike, solved: ArrayLike) -> SolveCurve:
    """Return the solve curve of runs, of which some were not solved when their budget ended.

    Args:
        times: (n), n ≥ 1, when each run was solved, or for how long it was not.
        solved: (n), which of the two.
    """
    survival = stats.ecdf(_censored(times, solved)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy says that the interval is undefined at 0 and 1, as handled below
        interval = survival.confidence_interval(CONFIDENCE, method="log-log")
    alive = np.asarray(survival.probabilities, dtype=float)

    def bound(values: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(values), values, alive)

    low, high = bound(interval.high.probabilities), bound(interval.low.probabilities)
    start = [0.0]
    return SolveCurve(
        np.concatenate([start, survival.quantiles]),
        np.concatenate([start, 1 - alive]),
        np.concatenate([start, 1 - low]),
        np.concatenate([start, 1 - high]),
    )


def median_time(times: ArrayLike, solved: ArrayLike) -> Interval:
    """Return the median time to solve: Kaplan & Meier's, the middle of the stretch if their curve has one at ½.

    The interval is distribution-free, between two order statistics (see `median_ranks`) of the times that runs would
    have had: its lower bound takes an unsolved run to have needed no more than it spent, its upper bound to need for
    ever. So it is at least as wide as that of the unseen times, and holds the median at least as often as it says,
    whatever the reason for which runs ended. Where all unsolved runs spent the same budget, more than any solved one,
    it is exactly theirs.

    Args:
        times: (n), n ≥ 1, when each run was solved, or for how long it was not; +inf for one that never will be.
        solved: (n), which of the two.

    Returns:
        Estimate and bounds, +inf where the budget was not enough to tell, and the probability of coverage.
    """
    at, event = np.asarray(times, dtype=float), np.asarray(solved, dtype=bool)
    beyond = 1 + max([0.0, *at[np.isfinite(at)]])  # in the place of for ever, which scipy does not take
    survival = stats.ecdf(_censored(np.minimum(at, beyond), event)).sf
    alive, when = np.asarray(survival.probabilities, dtype=float), np.asarray(survival.quantiles, dtype=float)
    drops = when[np.diff(alive, prepend=1.0) < 0]  # times of unsolved runs are listed, too
    left = alive[np.diff(alive, prepend=1.0) < 0]
    reached = np.flatnonzero(left <= 0.5 + 1e-12)
    estimate = math.inf
    if len(reached):
        first = reached[0]
        exactly = abs(left[first] - 0.5) < 1e-12
        following = drops[first + 1] if first + 1 < len(drops) else math.inf
        estimate = (drops[first] + following) / 2 if exactly else drops[first]
    k, confidence = median_ranks(len(at))
    least, most = np.sort(at), np.sort(np.where(event, at, math.inf))
    low, high = float(least[k - 1]), float(most[-k])
    last = float(at[event].max()) if event.any() else -math.inf
    return Interval(float(estimate), math.inf if low > last else low, high, confidence)


def expected_time(spent: ArrayLike, solved: ArrayLike) -> Interval:
    """Return what runs spend until one solves its task, if an unsolved one is followed by another: all that was spent
    over the number of solved runs (Auger & Hansen 2005), with a percentile interval of a bootstrap of runs.

    Args:
        spent: (n), n ≥ 1, what each run needed, or spent without solving its task.
        solved: (n), which of the two.

    Returns:
        Estimate and bounds, +inf where no run was solved, or none of a resample.
    """
    cost, event = np.asarray(spent, dtype=float), np.asarray(solved, dtype=float)
    weights = _resamples(len(cost))
    with np.errstate(divide="ignore"):
        resampled = np.sort(weights @ cost / (weights @ event))
        estimate = float(np.divide(cost.sum(), event.sum()))
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return Interval(estimate, float(resampled[tail]), float(resampled[-1 - tail]))


@lru_cache
def _resamples(n: int) -> np.ndarray:
    """Return how often each of n runs is drawn in each resample, (RESAMPLES, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)


def _censored(times: ArrayLike, solved: ArrayLike) -> stats.CensoredData:
    at, event = np.asarray(times, dtype=float), np.asarray(solved, dtype=bool)
    return stats.CensoredData(uncensored=at[event], right=at[~event])
