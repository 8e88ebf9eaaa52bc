"""What data say of one number: an estimate, its interval, and how surprising they were if it lay elsewhere."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reports.statistics.intervals import CONFIDENCE, Interval, log_log_slope, median_interval, solved_fraction
from reports.statistics.paired import Paired, permutation_p, ratio

Region = tuple[float, float]


@dataclass(frozen=True)
class Evidence:
    """What data say of a number.

    Attributes:
        interval: the estimate with its 95 % interval.
        n: how many values it was made of.
        p_above: of x, the one-sided p-value of such data if the number were x or less; small is evidence for above x.
        p_below: the same if it were x or more.
        fixed: whether the number is known, and not estimated.
        bound: "≥" or "≤" if the estimate is only a bound, "~" if it is neither.
    """

    interval: Interval
    n: int
    p_above: Callable[[float], float]
    p_below: Callable[[float], float]
    fixed: bool = False
    bound: str = ""


def known(value: float, n: int) -> Evidence:
    """Return the evidence of a number that is the same in all n runs."""
    return Evidence(
        Interval(value, value, value), n, lambda x: float(value <= x), lambda x: float(value >= x), fixed=True
    )


def share(successes: int, n: int) -> Evidence:
    """Return the evidence on a probability: Wilson's interval, and the exact binomial test, by scipy."""

    def p(x: float, alternative: str) -> float:
        return float(stats.binomtest(successes, n, min(1.0, max(0.0, x)), alternative=alternative).pvalue)

    return Evidence(solved_fraction(successes, n), n, lambda x: p(x, "greater"), lambda x: p(x, "less"))


def median(values: ArrayLike) -> Evidence:
    """Return the evidence on a median: the interval of order statistics, and the sign test, by scipy. Neither takes
    that values are spread in some way."""
    sample = np.asarray(values, dtype=float)

    def p(beyond: int) -> float:
        return float(stats.binomtest(beyond, len(sample), 0.5, alternative="greater").pvalue)

    return Evidence(
        median_interval(sample), len(sample), lambda x: p(int((sample > x).sum())), lambda x: p(int((sample < x).sum()))
    )


def geometric_mean(pairs: Paired, bound: str = "") -> Evidence:
    """Return the evidence on a geometric mean of ratios: its t-interval, and the permutation test of all exchanges
    within pairs (Fisher 1935): with more than 30 pairs, of 9,999 random ones.

    That a mean is above x is tested on ratios over x, which are as likely x/r as r if x is their centre.

    Args:
        pairs: differences of logarithms.
        bound: "≥" if some numerators were cut off by a budget, "≤" some denominators, "~" both. A mean that is only a
            bound can be told from 1, which takes no more than that budgets are the same; from another x only on the
            side on which it is one.
    """

    def p(x: float, alternative: str) -> float:
        cut = {"greater": ("≤", "~"), "less": ("≥", "~")}[alternative]
        if x <= 0 or len(pairs) < 2 or (x != 1.0 and bound in cut):
            return 1.0 if x > 0 or alternative == "less" else 0.0
        shifted = pairs.differences - math.log(x)
        if not np.any(shifted):
            return 1.0
        return permutation_p(shifted, alternative)

    return Evidence(ratio(pairs), len(pairs), lambda x: p(x, "greater"), lambda x: p(x, "less"), bound=bound)


def growth(x: ArrayLike, y: ArrayLike) -> Evidence | None:
    """Return the evidence on the exponent b of y ∝ x^b: least squares on logarithms, and its t-distribution.

    Args:
        x, y: (n), positive.

    Returns:
        None with fewer than three distinct x.
    """
    exponent, n = log_log_slope(x, y), len(np.asarray(x))
    if exponent is None:
        return None
    slope, degrees = exponent.estimate, n - 2
    error = max((exponent.high - slope) / float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)), 1e-12)
    return Evidence(
        exponent,
        n,
        lambda at: float(stats.t.sf((slope - at) / error, degrees)),
        lambda at: float(stats.t.cdf((slope - at) / error, degrees)),
    )


def p_inside(evidence: Evidence, region: Region) -> float:
    """Return the p-value of such data if the number lay outside of a region; small is evidence for inside."""
    low, high = region
    return max(
        evidence.p_above(low) if math.isfinite(low) else 0.0, evidence.p_below(high) if math.isfinite(high) else 0.0
    )


def p_outside(evidence: Evidence, region: Region) -> float:
    """Return the p-value of such data if the number lay within a bounded region, corrected for its two sides."""
    return min(1.0, 2 * min(evidence.p_below(region[0]), evidence.p_above(region[1])))


def p_of_verdicts(evidence: Evidence, supported: Region, refuted: Region | None) -> tuple[float, float]:
    """Return the p-values of the two verdicts: of such data if the number were none that supports, and none that
    refutes.

    Of these two hypotheses at most one is true, so that to test both takes no correction; except where the regions
    meet in a point, in which both are true, and p-values are doubled.

    Args:
        evidence: on the number.
        supported: the values that support.
        refuted: those that refute; None for all others than those that support.
    """
    if refuted is None:
        return p_inside(evidence, supported), p_outside(evidence, supported)
    factor = 2 if supported[0] == refuted[1] or supported[1] == refuted[0] else 1
    factor = 1 if evidence.fixed else factor
    return min(1.0, factor * p_inside(evidence, supported)), min(1.0, factor * p_inside(evidence, refuted))
