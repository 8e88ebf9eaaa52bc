"""Estimates with intervals: shares, medians, means, exponents."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

CONFIDENCE = 0.95
RESAMPLES = 4999
FEWEST_FOR_MEAN = 5  # values; the bootstrap of fewer reaches no further than their range, which holds too little


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval that covers the truth with probability `confidence`."""

    estimate: float
    low: float
    high: float
    confidence: float = CONFIDENCE

    @property
    def bound(self) -> str:
        """Of a ratio: "≥" or "≤" if only its lower or upper bound is known, "~" if neither is, "" if both are."""
        known = (self.low > 0, math.isfinite(self.high))
        return {(True, True): "", (True, False): "≥", (False, True): "≤", (False, False): "~"}[known]

    @property
    def told(self) -> float:
        """Of a ratio: the bound if only one is known, else the estimate; NaN where runs are too few or unsolved."""
        estimate = self.estimate if 0 < self.estimate < math.inf else math.nan
        return {"≥": self.low, "≤": self.high}.get(self.bound, estimate)


def around(ratio: float, low: float, high: float, confidence: float = CONFIDENCE) -> Interval:
    """Return a ratio with its interval, and moved into that. Where it is 0 or +inf, as where one group is mostly
    unsolved, there is no lower, or no upper, end: what a test says there rests on times that were not seen."""
    low, high = (0.0 if ratio == 0 else low), (math.inf if ratio == math.inf else high)
    return Interval(float(np.clip(ratio, low, high)), low, high, confidence)


def solved_fraction(solved: int, runs: int) -> Interval:
    """Return the share of solved runs with Wilson's (1927) 95 % score interval.

    Args:
        solved: successes.
        runs: trials, at least 1.
    """
    interval = stats.binomtest(solved, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(solved / runs, float(interval.low), float(interval.high))


@lru_cache
def mid_p_bounds(solved: int, runs: int) -> tuple[float, float]:
    """Return the bounds of a probability that the exact binomial test does not reject if only half of the probability
    of what was observed counts as evidence against it (mid-p, Lancaster 1961; Berry & Armitage 1995). Near 0 and 1 it
    holds the truth more often than Wilson's.

    Args:
        solved: successes.
        runs: trials, at least 1.
    """

    def lower(k: int) -> float:
        def excess(p: float) -> float:
            at_least, more = special.bdtrc(k - 1, runs, p), special.bdtrc(k, runs, p)
            return float(at_least + more) / 2 - (1 - CONFIDENCE) / 2

        return float(optimize.brentq(excess, 0.0, 1.0)) if k else 0.0

    return lower(solved), 1 - lower(runs - solved)


def median_ranks(n: int, confidence: float = CONFIDENCE) -> tuple[int, float]:
    """Return k such that the k-th smallest and k-th largest of n values enclose their distribution's median, and the
    probability that they do: 1 − 2·P(Binomial(n, ½) < k).

    It is the largest k that reaches the confidence; of too few values none does, and k is 1, which gives their range.
    """

    def coverage(k: int) -> float:
        return 1 - 2 * float(stats.binom.cdf(k - 1, n, 0.5))

    k = max((k for k in range(1, (n + 1) // 2 + 1) if coverage(k) >= confidence), default=1)
    return k, max(coverage(k), 0.0)


def median_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return the median with the distribution-free interval of `median_ranks`.

    Args:
        values: (n), n ≥ 1; +inf stands for "not within the budget", whichever larger value it would
            have been.

    Returns:
        Estimate and bounds, each +inf where the value it falls on is, and the probability of coverage.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    k, coverage = median_ranks(n, confidence)
    return Interval(
        _middle(ordered[(n - 1) // 2], ordered[n // 2]), float(ordered[k - 1]), float(ordered[n - k]), coverage
    )


def _middle(lower: float, upper: float) -> float:
    """Return the mean of two values; of two infinite ones, that."""
    return float(lower if lower == upper else (lower + upper) / 2)


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike) -> Interval:
    """Return the median of paired ratios with its order-statistic interval; see `median_interval`.

    Args:
        numerator, denominator: (n), positive, paired by position.
    """
    return median_interval(np.asarray(numerator, dtype=float) / np.asarray(denominator, dtype=float))


def geometric_mean_interval(values: ArrayLike) -> Interval:
    """Return the geometric mean with a bootstrap interval: BCa (Efron 1987) of the mean logarithm, by scipy.

    The bootstrap of a few values is too narrow, by √((n−1)/n) for the plug-in variance and by the difference between
    normal and t quantiles. The nominal level is raised to make up for both, as Hesterberg (2015, section 5.3) does
    for percentiles: to 1 − 2·Φ(−√(n/(n−1))·t₀.₉₇₅(n−1)). With normal logarithms that holds the truth 94 to 96 % of the
    time from five values on; with skewed or heavy-tailed ones 90 % of the time at five, 92 to 95 % from ten on. Of
    fewer values than five the interval is their range, with the probability that it holds the median.

    Args:
        values: (n), n ≥ 1, positive; +inf for a run that diverged.

    Returns:
        Estimate and bounds; infinite where a value is.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(values, dtype=float))
    n = len(logs)
    if not np.isfinite(logs).all():
        return median_interval(values)
    estimate = float(np.exp(logs.mean()))
    if n < FEWEST_FOR_MEAN or np.ptp(logs) <= 1e-12 * np.abs(logs).max():
        low, high = (float(np.exp(bound)) for bound in (logs.min(), logs.max()))
        return Interval(estimate, low, high, median_ranks(n)[1] if n < FEWEST_FOR_MEAN else CONFIDENCE)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    level = 1 - 2 * float(stats.norm.sf(math.sqrt(n / (n - 1)) * t))
    same = np.random.default_rng(0)  # the same values, the same interval
    bounds = stats.bootstrap(
        (logs,), np.mean, confidence_level=level, n_resamples=RESAMPLES, method="BCa", batch=512, rng=same
    ).confidence_interval
    return Interval(estimate, float(np.exp(bounds.low)), float(np.exp(bounds.high)))


def log_log_slope(x: ArrayLike, y: ArrayLike, observed: ArrayLike | None = None) -> Interval | None:
    """Return the exponent b of y ∝ x^b with its 95 % interval, where some y may be known only to be larger.

    The model is log y = a + b·log x + s·e with normal e, and its parameters those of highest likelihood, to which a
    censored y contributes the probability of lying beyond (Tobin 1958). The standard error of b is that of the
    observed information, times √(m/(m−2)) for m observed y, and the interval takes the t quantile of m−2 degrees of
    freedom. Without censoring that is least squares.

    Args:
        x, y: (n), positive.
        observed: (n), whether y is that or more; all observed if None.

    Returns:
        The exponent, or None with fewer than three observed y or three distinct x of such.
    """
    log_x, log_y = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
    seen = np.ones(len(log_x), dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
    if len(np.unique(log_x[seen])) < 3:
        return None
    fit = stats.linregress(log_x[seen], log_y[seen])
    degrees = int(seen.sum()) - 2
    slope, error = float(fit.slope), float(fit.stderr)
    if not seen.all():
        residual = log_y[seen] - fit.intercept - fit.slope * log_x[seen]
        scale = math.log(max(float(np.std(residual)), 1e-6))
        slope, error = _censored_slope(log_x, log_y, seen, np.array([fit.intercept, fit.slope, scale]))
        error *= math.sqrt((degrees + 2) / degrees)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    return Interval(slope, slope - reach, slope + reach)


def _censored_slope(x: np.ndarray, y: np.ndarray, seen: np.ndarray, start: np.ndarray) -> tuple[float, float]:
    """Return slope and standard error of a line with normal errors of which some are cut off below."""

    def negative_log_likelihood(parameters: np.ndarray) -> float:
        intercept, slope, log_scale = parameters
        z = (y - intercept - slope * x) * math.exp(-log_scale)
        return float(-np.sum(stats.norm.logpdf(z[seen]) - log_scale) - np.sum(stats.norm.logsf(z[~seen])))

    # A scale far below any that could be told apart from none keeps a perfect fit finite.
    bounds = [(None, None), (None, None), (math.log(1e-6), None)]
    best = optimize.minimize(negative_log_likelihood, start, method="L-BFGS-B", bounds=bounds).x
    steps = np.maximum(1e-4, 1e-4 * np.abs(best))
    information = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            e_i, e_j = steps * (np.arange(3) == i), steps * (np.arange(3) == j)
            information[i, j] = (
                negative_log_likelihood(best + e_i + e_j)
                - negative_log_likelihood(best + e_i - e_j)
                - negative_log_likelihood(best - e_i + e_j)
                + negative_log_likelihood(best - e_i - e_j)
            ) / (4 * steps[i] * steps[j])
    variance = float(np.linalg.pinv(information)[1, 1])
    return float(best[1]), math.sqrt(max(variance, 0.0))
