"""Many comparisons in one report: corrected p-values, seeds that they would take, letters for what is told apart."""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reports.statistics.contrasts import ALPHA, Contrast

POWER = 0.8
MOST_SEEDS = 10_000  # that are named as needed
LETTERS = "abcdefghijklmnoprstuvwxyzABCDEFGHIJKLMNOPRSTUVWXYZ"  # all but q, which there is no raised one of


def holm(p: ArrayLike) -> np.ndarray:
    """Return p-values corrected so that any false rejection at `ALPHA` is as rare as `ALPHA` (Holm 1979)."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return corrected


def in_sequence(p: Sequence[float], primary: Sequence[bool]) -> np.ndarray:
    """Return the corrected p-values of a report: Holm among primary comparisons; of the others the share of false ones
    among those found (Benjamini & Hochberg 1995), and no less than the smallest one of a primary comparison, so that
    nothing is found among them where no primary comparison is."""
    values, first = np.asarray(p, dtype=float), np.asarray(primary, dtype=bool)
    corrected = values.copy()
    corrected[first] = holm(values[first])
    if not first.all():
        gate = corrected[first].min(initial=1.0)
        corrected[~first] = np.maximum(stats.false_discovery_control(values[~first]), gate)
    return corrected


@lru_cache
def fewest_seeds(comparisons: int, paired: bool) -> int:
    """Return from how many seeds on a family of that many comparisons can establish anything: where all runs of one
    group are sooner than all of the other, p is 2 of the C(2n, n) splits, or of the 2^n exchanges within pairs."""
    return next(n for n in range(2, 100) if 2 / (2**n if paired else math.comb(2 * n, n)) * comparisons <= ALPHA)


def seeds_needed(contrast: Contrast, comparisons: int) -> tuple[int | None, int | None]:
    """Return how many seeds would find such a difference in four of five cases, as a range: of differences that lie as
    far above and below the one seen as its 80 % interval reaches, since few seeds tell little of its size.

    The standardized sum of scores grows with the square root of the number of seeds (Noether 1987). Of groups it has to
    reach the quantile of the level, corrected as Bonferroni does, plus that of the power times its own standard
    deviation: 1 if they do not differ, 0 if they do not overlap. Of pairs it is a t-test's (Guenther 1981).

    Returns:
        At least and at most; None where it cannot be said, or is above 10,000.
    """
    n = min(len(contrast.a), len(contrast.b))
    if n < 2 or contrast.z == 0:
        return None, None
    level, power, reach = _quantile(comparisons), _quantile_of_power(), NormalDist().inv_cdf(0.9)
    fewest = fewest_seeds(comparisons, contrast.paired)

    def needed(z: float) -> int | None:
        if z <= 0:
            return None
        effect = z**2 / n
        if contrast.paired:
            seeds = (level + power) ** 2 * (1 / effect - 1) + level**2 / 2
        else:
            seeds = (level + power * math.sqrt(max(0.0, 1 - effect / 1.5))) ** 2 / effect
        return max(math.ceil(seeds), fewest) if seeds <= MOST_SEEDS else None

    return needed(abs(contrast.z) + reach), needed(abs(contrast.z) - reach)


def detectable_ratio(contrast: Contrast, comparisons: int) -> float | None:
    """Return the ratio that as many seeds would find in four of five cases, if runs spread as the width of the
    interval says; None where that has no ends, or there are too few seeds for any."""
    low, high, confidence = contrast.interval.low, contrast.interval.high, contrast.interval.confidence
    seeds = min(len(contrast.a), len(contrast.b))
    if not 0 < low < high < math.inf or seeds < fewest_seeds(comparisons, contrast.paired):
        return None
    error = math.log(high / low) / (2 * NormalDist().inv_cdf((1 + confidence) / 2))
    return math.exp(min(700.0, error * (_quantile(comparisons) + _quantile_of_power())))


def _quantile(comparisons: int) -> float:
    return NormalDist().inv_cdf(1 - ALPHA / comparisons / 2)


def _quantile_of_power() -> float:
    return NormalDist().inv_cdf(POWER)


def letters(names: Sequence[str], apart: Collection[frozenset[str]]) -> dict[str, str]:
    """Return letters such that two names share one if and only if they are not told apart (Piepho 2004).

    Args:
        names: in the order in which letters are given.
        apart: pairs of names.
    """
    groups = [set(names)]
    for pair in sorted(apart, key=sorted):
        for group in [group for group in groups if pair <= group]:
            groups.remove(group)
            groups += [group - {name} for name in sorted(pair)]
        groups = [g for i, g in enumerate(groups) if not any(g < o or (g == o and i > j) for j, o in enumerate(groups))]
    rank = {name: i for i, name in enumerate(names)}
    groups.sort(key=lambda group: sorted(rank[name] for name in group))
    return {name: "".join(_letter(i) for i, group in enumerate(groups) if name in group) for name in names}


def _letter(i: int) -> str:
    """Return one character for each group, of other alphabets where there are very many."""
    return LETTERS[i] if i < len(LETTERS) else chr(ord("Ā") + i - len(LETTERS))
