"""Over several tasks at once, as Agarwal et al. (2021) do: interquartile means, performance profiles, probabilities of
improvement, with intervals by a bootstrap in which each task keeps its number of runs."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from reports.statistics.comparison import improvement
from reports.statistics.intervals import CONFIDENCE, Interval

RESAMPLES = 2000


def interquartile_mean(scores: Sequence[np.ndarray]) -> Interval:
    """Return the mean of the middle half of all scores, tasks put together, with its stratified bootstrap interval.

    Args:
        scores: of each task, (n) of its runs.
    """
    return _bootstrap([scores], lambda drawn: float(stats.trim_mean(np.concatenate(drawn[0]), 0.25)))


def performance_profile(scores: Sequence[np.ndarray], at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share of runs whose score is above each threshold, tasks weighing alike, and its pointwise interval.

    Args:
        scores: of each task, (n) of its runs.
        at: (m) thresholds.

    Returns:
        Share, low and high, each (m).
    """

    def share(drawn: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean([(task[:, None] > at).mean(axis=0) for task in drawn], axis=0)

    generator = np.random.default_rng(0)
    resampled = [share([_draw(task, generator) for task in scores]) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, _TAILS, axis=0)
    return share(scores), low, high


def probability_of_improvement(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Interval:
    """Return the probability that a run of a has a higher score than one of b at the same task, the mean over tasks,
    with its stratified bootstrap interval.

    Args:
        a, b: of each task, (n) and (m) of their runs.
    """

    def statistic(drawn: Sequence[Sequence[np.ndarray]]) -> float:
        return float(np.mean([improvement(-mine, -theirs) for mine, theirs in zip(*drawn, strict=True)]))

    return _bootstrap([a, b], statistic)


_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def _draw(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return values[generator.integers(len(values), size=len(values))]


def _bootstrap(
    groups: Sequence[Sequence[np.ndarray]], statistic: Callable[[Sequence[Sequence[np.ndarray]]], float]
) -> Interval:
    """Return a statistic of groups of tasks' scores with its percentile interval over resamples within tasks."""
    generator = np.random.default_rng(0)
    found = [statistic([[_draw(task, generator) for task in group] for group in groups]) for _ in range(RESAMPLES)]
    low, high = np.quantile(found, _TAILS)
    return Interval(statistic(groups), float(low), float(high))
