"""Over several tasks at once, as Agarwal et al. (2021) do: interquartile means, performance profiles, probabilities of
improvement, with percentile intervals of a bootstrap in which each task keeps its number of runs."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from reports.statistics.intervals import CONFIDENCE, Interval

RESAMPLES = 2000
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def interquartile_mean(scores: Sequence[np.ndarray]) -> Interval:
    """Return the mean of the middle half of all scores, tasks put together, with its interval.

    Args:
        scores: of each task, (n) of its runs.
    """
    generator = np.random.default_rng(0)
    drawn = [task[generator.integers(len(task), size=(RESAMPLES, len(task)))] for task in scores]
    low, high = np.quantile(stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1), TAILS)
    return Interval(float(stats.trim_mean(np.concatenate(scores), 0.25)), float(low), float(high))


def performance_profile(scores: Sequence[np.ndarray], at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share of runs whose score is above each threshold, tasks weighing alike, and its pointwise interval.

    Args:
        scores: of each task, (n) of its runs.
        at: (m) thresholds.

    Returns:
        Share, low and high, each (m).
    """
    generator = np.random.default_rng(0)
    above = [(task[:, None] > at).astype(float) for task in scores]
    resampled = np.mean([_weights(len(task), generator) @ task for task in above], axis=0)
    low, high = np.quantile(resampled, TAILS, axis=0)
    return np.mean([task.mean(axis=0) for task in above], axis=0), low, high


def probability_of_improvement(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Interval:
    """Return the probability that a run of a has a higher score than one of b at the same task, ties counted half, the
    mean over tasks, with its interval.

    Args:
        a, b: of each task, (n) and (m) of their runs.
    """
    generator = np.random.default_rng(0)
    wins = [(mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs) for mine, theirs in zip(a, b, strict=True)]
    resampled = [
        np.sum((_weights(len(task), generator) @ task) * _weights(task.shape[1], generator), axis=1) for task in wins
    ]
    low, high = np.quantile(np.mean(resampled, axis=0), TAILS)
    return Interval(float(np.mean([task.mean() for task in wins])), float(low), float(high))


def _weights(n: int, generator: np.random.Generator) -> np.ndarray:
    """Return the weight of each of n runs in each resample, (RESAMPLES, n): how often it was drawn, over n."""
    return generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
