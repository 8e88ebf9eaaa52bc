"""Statistics as pure functions on arrays; scipy does the mathematics."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval that covers the truth with probability `confidence`."""

    estimate: float
    low: float
    high: float
    confidence: float


def solved_fraction(solved: int, runs: int) -> Interval:
    """Return the share of solved runs with Wilson's (1927) 95 % score interval.

    Args:
        solved: successes.
        runs: trials, at least 1.
    """
    interval = stats.binomtest(solved, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(solved / runs, float(interval.low), float(interval.high), CONFIDENCE)


def median_interval(values: ArrayLike) -> Interval:
    """Return the median with a distribution-free interval between two order statistics.

    The k-th smallest and k-th largest of n values enclose the median of their distribution with
    probability 1 − 2·P(Binomial(n, ½) < k). The interval is the narrowest of these that reaches 95 %;
    below six values none does, and the interval is their range, with the probability that it has.

    Args:
        values: (n), n ≥ 1; +inf stands for "not within the budget", whichever larger value it would
            have been.

    Returns:
        Estimate and bounds, each +inf where the value it falls on is, and the probability of coverage.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)

    def coverage(k: int) -> float:
        return 1 - 2 * float(stats.binom.cdf(k - 1, n, 0.5))

    k = max((k for k in range(1, (n + 1) // 2 + 1) if coverage(k) >= CONFIDENCE), default=1)
    # Not np.median: the mean of a finite and an infinite value would be infinite, which is what is
    # meant, but of two infinite ones NaN is not.
    lower, upper = ordered[(n - 1) // 2], ordered[n // 2]
    estimate = lower if lower == upper else (lower + upper) / 2
    return Interval(float(estimate), float(ordered[k - 1]), float(ordered[n - k]), max(coverage(k), 0.0))


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike) -> Interval:
    """Return the median of paired ratios with its order-statistic interval; see `median_interval`.

    Args:
        numerator, denominator: (n), positive, paired by position.
    """
    return median_interval(np.asarray(numerator, dtype=float) / np.asarray(denominator, dtype=float))


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
    event = np.asarray(solved, dtype=bool)
    at = np.asarray(times, dtype=float)
    data = stats.CensoredData(uncensored=at[event], right=at[~event])
    survival = stats.ecdf(data).sf
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


def log_log_slope(x: ArrayLike, y: ArrayLike) -> Interval | None:
    """Return the exponent b of y ∝ x^b, by least squares on logarithms, with its 95 % t-interval.

    Args:
        x, y: (n), positive.

    Returns:
        The exponent, or None with fewer than three distinct x.
    """
    log_x, log_y = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
    if len(np.unique(log_x)) < 3:
        return None
    fit = stats.linregress(log_x, log_y)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(log_x) - 2)) * float(fit.stderr)
    return Interval(float(fit.slope), float(fit.slope) - reach, float(fit.slope) + reach, CONFIDENCE)
