"""Exact permutation distributions of sums of whole scores, by dynamic programming over the sums."""

import math
from functools import lru_cache

import numpy as np
from scipy import stats

MOST_EXACT = 128  # scores of two groups; the distribution of more takes more than a twentieth of a second
MOST_EXACT_SIGNS = 256
RANDOM = 9_999  # splits or signs beyond


def share_of_splits(scores: np.ndarray, size: int, least: int) -> float:
    """Return the share of all choices of `size` of the scores that sum up to at least so much: the one-sided p-value of
    a permutation test of two groups.

    The number of choices of k scores with sum s is that without the next score, plus that of k − 1 scores with sum
    s less this score (Pagano & Tritchler 1983). More than 128 scores are split at random instead, 9,999 times.

    Args:
        scores: (n) whole numbers.
        size: of a choice, at most n.
    """
    if len(scores) > MOST_EXACT:
        drawn = np.sort(scores)[_random_choices(len(scores), size)].sum(axis=1)
        deviation = math.sqrt(size * (len(scores) - size) / (len(scores) - 1)) * float(scores.std())
        return _share_of_random(drawn, least, size * float(scores.mean()), deviation)
    if 2 * size > len(scores):  # as many choices of those left over
        scores, size, least = -scores, len(scores) - size, least - int(scores.sum())
    if not size:
        return float(least <= 0)
    lowest, highest = int(scores.min()), int(scores.max())
    above, below = size * highest - least, least - 1 - size * lowest  # the shorter tail is counted
    if above <= below:
        return _share(tuple(np.sort(highest - scores).tolist()), size, above)
    return 1 - _share(tuple(np.sort(scores - lowest).tolist()), size, below)


@lru_cache(100_000)
def _share(steps: tuple[int, ...], size: int, most: int) -> float:
    """Return the share of all choices of `size` of ascending steps from 0 on that sum up to no more than `most`."""
    if most < 0:
        return 0.0
    unit = math.gcd(*steps) or 1
    units = [step // unit for step in steps if step <= most]
    ways = np.zeros((size + 1, most // unit + 1))  # of choosing k steps with sum s
    ways[0, 0] = 1.0
    for i, step in enumerate(units):
        fewest, until = max(1, size - (len(units) - 1 - i)), min(i + 1, size)  # k that can still become `size`
        ways[fewest : until + 1, step:] += ways[fewest - 1 : until, : ways.shape[1] - step]
    return float(ways[size].sum()) / math.comb(len(steps), size)


def share_of_signs(scores: np.ndarray, least: int) -> float:
    """Return the share of all 2^n choices of signs under which scores sum up to at least so much: the one-sided p-value
    of a permutation test of pairs. Signs of more than 256 scores are drawn at random instead, 9,999 times.

    Args:
        scores: (n) whole numbers, of either sign.
    """
    steps = np.abs(scores)
    if len(steps) > MOST_EXACT_SIGNS:
        signs = np.random.default_rng(0).choice([-1, 1], size=(RANDOM, len(steps)))
        return _share_of_random(signs @ steps, least, 0.0, math.sqrt(float(steps @ steps)))
    top = int(steps.sum())
    if least > top:
        return 0.0
    ways = np.zeros(top + 1)  # of making a sum s of those with a positive sign: the signed sum is 2s − top
    ways[0] = 1.0
    for step in steps[steps > 0].tolist():
        ways[step:] += ways[: top + 1 - step]
        ways /= 2
    bound = max(0, -((-least - top) // 2))
    return float(ways[bound:].sum())


@lru_cache(4)
def _random_choices(n: int, size: int) -> np.ndarray:
    """Return so many of n places, (RANDOM, size), drawn at random."""
    places = np.tile(np.arange(n, dtype=np.int32), (RANDOM, 1))
    return np.random.default_rng(0).permuted(places, axis=1)[:, :size].copy()


def _share_of_random(drawn: np.ndarray, least: float, mean: float, deviation: float) -> float:
    """Return the share of random sums that reach a bound, itself counted. Where no other does it is no more than the
    normal distribution's, which large families need: sums of ranks have shorter tails."""
    reaching = int(np.count_nonzero(drawn >= least))
    share = (1 + reaching) / (RANDOM + 1)
    return share if reaching else min(share, float(stats.norm.sf((least - mean) / deviation)))
