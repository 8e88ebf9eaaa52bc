"""Times to an event that some runs did not live to see: Kaplan & Meier (1958), and expected running times.

A time is in whatever currency: steps, samples, seconds, FLOPs. A run that was not solved is known to need more than it
spent, and no more than that is assumed of it."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from reports.statistics.intervals import CONFIDENCE, Interval, median_ranks, mid_p_bounds


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


def expected_time(spent: ArrayLike, solved: ArrayLike, budget: float) -> Interval:
    """Return what runs spend until one solves its task, if an unsolved one is followed by another: all that was spent
    over the number of solved runs (Auger & Hansen 2005).

    That is the mean of solved runs plus that of unsolved ones times the odds (1 − p) / p of not being solved. The
    interval of the sum is that of Zou & Donner (2008): its distance from the estimate, below and above, is the root of
    the squared distances of the bounds of both parts. The mean of solved runs m with standard error e is between
    m·exp(−t·e/m) and m·exp(t·e/m), for Student's t, and at most the budget; p is within `mid_p_bounds`; an unsolved run
    spends between the least that one did and the budget. In simulations of 3 to 20 runs, any share of them
    unsolved, it holds the truth in at least 93 %.

    Args:
        spent: (n), n ≥ 1, what each run needed, or spent without solving its task.
        solved: (n), which of the two.
        budget: what a run can spend.

    Returns:
        Estimate and bounds. Of runs of which none was solved, +inf with a lower bound; of one run, no interval.
    """
    cost, event = np.asarray(spent, dtype=float), np.asarray(solved, dtype=bool)
    n, k = len(cost), int(event.sum())
    most = max(budget, float(cost.max()))  # the last step ends beyond a budget of seconds
    estimate = float(cost.sum()) / k if k else math.inf
    if n == 1:
        return Interval(estimate, estimate, estimate, 0.0)
    low_p, high_p = mid_p_bounds(k, n)
    least_wasted = float(cost[~event].min(initial=most)) * (1 / high_p - 1)
    if not k:
        return Interval(estimate, least_wasted, math.inf)
    mean = float(cost[event].mean())
    wasted, most_wasted = estimate - mean, most * (1 / low_p - 1)
    low, high = _mean_bounds(cost[event], most)
    below = math.hypot(mean - low, wasted - least_wasted)
    above = math.hypot(high - mean, most_wasted - wasted)
    return Interval(estimate, max(estimate - below, low), estimate + above)


def _mean_bounds(values: np.ndarray, most: float) -> tuple[float, float]:
    """Return the bounds of the mean of values that are positive and at most so much."""
    k, mean = len(values), float(values.mean())
    if k == 1:
        return 0.0, most
    error = float(values.std(ddof=1)) / math.sqrt(k) / mean if mean else 0.0  # a clock may read no time at all
    reach = math.exp(min(700.0, float(special.stdtrit(k - 1, (1 + CONFIDENCE) / 2)) * error))
    return mean / reach, min(mean * reach, most)


def _censored(times: ArrayLike, solved: ArrayLike) -> stats.CensoredData:
    at, event = np.asarray(times, dtype=float), np.asarray(solved, dtype=bool)
    return stats.CensoredData(uncensored=at[event], right=at[~event])
