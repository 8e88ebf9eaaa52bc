"""What data say of one number: an estimate, its interval, and how surprising they were if it lay elsewhere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reports.statistics.contrasts import ALPHA
from reports.statistics.intervals import CONFIDENCE, Interval, log_log_slope, median_interval
from reports.statistics.sequential import Looks, in_all, over_looks

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
        testable: whether more of the same data could tell it from anything.
        alike: of a ratio, whether nothing that it leaves out speaks against calling the two equivalent.
    """

    interval: Interval
    n: int
    p_above: Callable[[float], float]
    p_below: Callable[[float], float]
    fixed: bool = False
    testable: bool = True
    alike: bool = True


def known(value: float, n: int) -> Evidence:
    """Return the evidence of a number that is the same in all n runs."""
    return Evidence(
        Interval(value, value, value), n, lambda x: float(value <= x), lambda x: float(value >= x), fixed=True
    )


def share(successes: int, n: int, level: float = ALPHA) -> Evidence:
    """Return the evidence on a probability: the exact binomial test and the interval of what it does not reject
    (Clopper & Pearson 1934), by scipy."""

    def p(x: float, alternative: str) -> float:
        return float(stats.binomtest(successes, n, min(1.0, max(0.0, x)), alternative=alternative).pvalue)

    exact = stats.binomtest(successes, n).proportion_ci(1 - level)
    interval = Interval(successes / n, float(exact.low), float(exact.high), 1 - level)
    return Evidence(interval, n, lambda x: p(x, "greater"), lambda x: p(x, "less"))


def median(values: ArrayLike, level: float = ALPHA, least: ArrayLike | None = None) -> Evidence:
    """Return the evidence on a median: the interval of order statistics, and the sign test, by scipy. Neither assumes
    a distribution.

    Args:
        values: (n), infinite where a value is only known to be beyond `least`.
        least: (n), which values are at least; None: they are known.
    """
    sample = np.asarray(values, dtype=float)
    lowest = sample if least is None else np.asarray(least, dtype=float)

    def p(beyond: int) -> float:
        return float(stats.binomtest(beyond, len(sample), 0.5, alternative="greater").pvalue)

    return Evidence(
        median_interval(sample, 1 - level),
        len(sample),
        lambda x: p(int(((lowest > x) | ((lowest == x) & (sample > x))).sum())),
        lambda x: p(int((sample < x).sum())),
    )


def ratio(looks: Looks) -> Evidence:
    """Return the evidence on the ratio of what two groups of runs need: see `Looks`."""
    n = min(len(looks.shown.a), len(looks.shown.b))
    return Evidence(
        looks.interval, n, looks.p_above, looks.p_below, testable=not looks.shown.all_tie, alike=looks.shown.alike
    )


def at_looks(looks: Sequence[Evidence], planned: int) -> Evidence:
    """Return what the evidence at each look so far comes to, each made at the level `ALPHA` / planned: the last
    estimate, and p-values and intervals as those of `Looks`."""
    return Evidence(
        in_all(looks[-1].interval.estimate, [each.interval for each in looks]),
        looks[-1].n,
        lambda x: over_looks((each.p_above(x) for each in looks), planned),
        lambda x: over_looks((each.p_below(x) for each in looks), planned),
    )


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
    """Return the one-sided p-value of such data if the number lay within a bounded region."""
    return min(evidence.p_below(region[0]), evidence.p_above(region[1]))


def p_of_verdicts(evidence: Evidence, supported: Region, refuted: Region | None) -> tuple[float, float]:
    """Return the p-values of the two verdicts: of such data if the number were none that supports, and none that
    refutes.

    Each is twice a one-sided one. So a verdict is never reached while the 95 % interval holds a border of its region,
    and the two together are false at most as often as they say, although between the regions both are.

    Args:
        evidence: on the number.
        supported: the values that support.
        refuted: those that refute; None for all others than those that support.
    """
    refutes = p_outside(evidence, supported) if refuted is None else p_inside(evidence, refuted)
    supports = 1.0 if refuted is None and not evidence.alike else p_inside(evidence, supported)
    return min(1.0, 2 * supports), min(1.0, 2 * refutes)
