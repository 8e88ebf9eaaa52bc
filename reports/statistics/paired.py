"""Whether two cells differ: paired differences of logarithms, exact tests, Holm's correction, and what could be found.

Two cells are compared at the same seeds, and so on the same data in the same order. Of a pair's two times,
log a − log b is the difference; a run that was not solved counts at its budget, so that what is compared is the mean
logarithm of the time up to the budget (the restricted mean, Royston & Parmar 2013). If the cells do not differ, the two
are as likely the other way round, and a difference as likely of the other sign: that is all that the exact test
assumes."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from reports.statistics.intervals import CONFIDENCE, Interval, log_ratio_interval

ALPHA = 1 - CONFIDENCE
POWER = 0.8
MOST_EXACT = 30  # pairs, up to which all 2^n signs are counted; beyond, that takes more than some milliseconds
RANDOM_EXCHANGES = 9999  # beyond
MOST_SEEDS = 10_000  # that are named as needed
FEWEST_FOR_T = 5  # pairs: with fewer, runs that fall into two kinds make a t-test claim far too much


@dataclass(frozen=True)
class Paired:
    """Paired differences of two groups.

    Attributes:
        differences: (n), log a − log b of each pair.
        resolution: the standard deviation that rounding alone gives to a difference; 0 if there is none.
        complete: whether no value was cut off by a budget.
    """

    differences: np.ndarray
    resolution: float = 0.0
    complete: bool = True

    def __len__(self) -> int:
        return len(self.differences)

    @property
    def spread(self) -> float:
        """Standard deviation of a difference, at least that of its rounding; NaN of a single pair."""
        return max(float(np.std(self.differences, ddof=1)), self.resolution) if len(self) > 1 else math.nan


def pair_up(a: ArrayLike, b: ArrayLike, grid: float = 0.0, complete: bool = True) -> Paired:
    """Return the paired differences of two groups' logarithms.

    Args:
        a, b: (n), positive and finite, paired by position.
        grid: distance of the values that can be observed, as of evaluations; 0 if they are exact. A time is then off
            by up to one grid step, evenly, which gives its logarithm a variance of (grid / time)²/12.
        complete: whether no value was cut off by a budget.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    rounding = (np.square(grid / first) + np.square(grid / second)) / 12
    return Paired(np.log(first) - np.log(second), float(np.sqrt(rounding.mean())) if len(first) else 0.0, complete)


def ratio(pairs: Paired) -> Interval:
    """Return the geometric mean of the ratios a/b with its 95 % t-interval."""
    return log_ratio_interval(pairs.differences, pairs.resolution)


def permutation_p(differences: np.ndarray, alternative: str) -> float:
    """Return the p-value of the permutation test that the mean of paired differences is zero: of all exchanges within
    pairs up to 30 pairs, of 9,999 random ones, by scipy, beyond.

    Args:
        differences: (n), n ≥ 2.
        alternative: "two-sided", "greater" or "less".
    """
    if len(differences) <= MOST_EXACT:
        observed = float(np.sum(differences))
        return {
            "two-sided": lambda: min(1.0, 2 * share_of_signs(differences, abs(observed))),
            "greater": lambda: share_of_signs(differences, observed),
            "less": lambda: share_of_signs(differences, -observed),
        }[alternative]()
    result = stats.permutation_test(
        (differences, np.zeros(len(differences))),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RANDOM_EXCHANGES,
        batch=4096,
        alternative=alternative,
        rng=np.random.default_rng(0),
    )
    return float(min(1.0, result.pvalue))


def share_of_signs(differences: np.ndarray, least: float) -> float:
    """Return the share of all 2^n choices of signs under which differences sum up to at least so much.

    The sums of either half are listed, those of one half sorted, and for each of the other half counted how many reach
    the bound with it (Horowitz & Sahni 1974): 2^(n/2) numbers instead of 2^n. Sums that only rounding tells apart count
    as equal.
    """
    bound = least - 1e-13 * float(np.abs(differences).sum())
    half = len(differences) // 2
    first, second = _signed_sums(differences[:half]), np.sort(_signed_sums(differences[half:]))
    reaching = len(second) * len(first) - int(np.searchsorted(second, bound - first, side="left").sum())
    return reaching / 2 ** len(differences)


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """Return the (2^n) sums of n values under all choices of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def exact_p(pairs: Paired) -> float:
    """Return the two-sided p-value of the paired permutation test of the mean difference (Fisher 1935): all 2^n
    exchanges within pairs up to 30 pairs, 9,999 random ones beyond. Where none of these is as extreme, p is that of
    the t-test, which large families need: it is never below the smallest that all exchanges could give."""
    if len(pairs) < 2 or not np.any(pairs.differences):
        return 1.0
    p = permutation_p(pairs.differences, "two-sided")
    if len(pairs) > MOST_EXACT and p <= 2 / (RANDOM_EXCHANGES + 1):
        return min(p, max(t_p(pairs), smallest_p(len(pairs))))
    return p


def t_p(pairs: Paired) -> float:
    """Return the two-sided p-value of the paired t-test, whose standard deviation is at least that of rounding."""
    if len(pairs) < 2 or not np.any(pairs.differences):
        return 1.0
    t = float(np.mean(pairs.differences)) * math.sqrt(len(pairs)) / pairs.spread if pairs.spread > 0 else math.inf
    return float(2 * stats.t.sf(abs(t), len(pairs) - 1))


def smallest_p(n: int) -> float:
    """Return the smallest p-value that the exact test of n pairs can give: 2 of 2^n signs."""
    return min(1.0, 2.0 ** (1 - n))


def fewest_pairs(comparisons: int) -> int:
    """Return how many pairs the exact test needs to find anything in a family of that many comparisons."""
    return next(n for n in range(2, 100) if smallest_p(n) * comparisons <= ALPHA)


@dataclass(frozen=True)
class Significance:
    """What a test says of a comparison within its family.

    Attributes:
        test: "exact" or "t".
        p: of this comparison alone.
        p_corrected: Holm's (1979): that of a family in which any false claim is as rare as ALPHA.
    """

    test: str
    p: float
    p_corrected: float

    @property
    def differs(self) -> bool:
        return self.p_corrected <= ALPHA


def significances(comparisons: list[Paired]) -> list[Significance]:
    """Test all comparisons of a family, with Holm's correction over them.

    The test of a comparison is the exact one, unless no outcome of so few pairs could be significant in a family of
    this size. Then it is the t-test, which takes differences to be normal, if there are at least five pairs and all
    values are complete. Which test it is does not depend on how large differences are.
    """
    enough = fewest_pairs(len(comparisons)) if comparisons else 0
    kinds = ["t" if FEWEST_FOR_T <= len(pairs) < enough and pairs.complete else "exact" for pairs in comparisons]
    p = [t_p(pairs) if kind == "t" else exact_p(pairs) for kind, pairs in zip(kinds, comparisons, strict=True)]
    corrected = multipletests(p, ALPHA, method="holm")[1] if p else []
    return [Significance(*row) for row in zip(kinds, p, map(float, corrected), strict=True)]


def seeds_needed(pairs: Paired, comparisons: int) -> int | None:
    """Return how many pairs would find the observed difference, if it is real, in four of five cases, after
    Bonferroni's correction.

    Args:
        pairs: whose spread is taken to be that of all.
        comparisons: size of the family.

    Returns:
        The number by the power of the t-test, and no fewer than the exact test needs; None if the
        spread is unknown, or it is above 10,000.
    """
    size, spread = abs(float(np.mean(pairs.differences))), pairs.spread
    if len(pairs) < 2 or size == 0:
        return None
    least = fewest_pairs(comparisons)
    if spread == 0 or _power(size / spread, least, comparisons) >= POWER:
        return least
    if _power(size / spread, MOST_SEEDS, comparisons) < POWER:
        return None
    low, high = least, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(size / spread, middle, comparisons) >= POWER else (middle, high)
    return high


def detectable_ratio(pairs: Paired, comparisons: int) -> float | None:
    """Return the ratio that as many pairs with this spread would find in four of five cases, after Bonferroni's
    correction; None if they are too few for any, or their spread is unknown."""
    if len(pairs) < 2 or not pairs.spread > 0:
        return None
    size = _detectable_effect(len(pairs), comparisons)
    detectable = math.exp(min(700.0, size * pairs.spread))
    return detectable if math.isfinite(size) and detectable < 1e6 else None


@cache
def _detectable_effect(n: int, comparisons: int) -> float:
    """Return the standardized effect that n pairs would find, by statsmodels; infinite if there is none."""
    try:
        size = TTestPower().solve_power(nobs=n, alpha=ALPHA / comparisons, power=POWER, alternative="two-sided")
    except ValueError:
        return math.inf
    return float(np.asarray(size).item())


def _power(effect_size: float, n: int, comparisons: int) -> float:
    """Return the power of the two-sided t-test of n pairs, as statsmodels does, which takes ten times as long."""
    critical, shift = _critical(n, comparisons), effect_size * math.sqrt(n)
    power = 1 - special.nctdtr(n - 1, shift, critical) + special.nctdtr(n - 1, shift, -critical)
    return float(np.nan_to_num(power, nan=1.0))  # beyond what the non-central t can be computed for


@cache
def _critical(n: int, comparisons: int) -> float:
    return float(stats.t.isf(ALPHA / comparisons / 2, n - 1))


def improvement(a: ArrayLike, b: ArrayLike) -> float:
    """Return the probability that a run of a needs less than one of b, ties counted half (Mann & Whitney 1947).

    Args:
        a, b: (n) and (m), +inf for what was not solved.
    """
    first, second = np.asarray(a, dtype=float)[:, None], np.asarray(b, dtype=float)[None, :]
    return float(np.mean((first < second) + 0.5 * (first == second)))
