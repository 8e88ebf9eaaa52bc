"""Whether one group of runs needs longer than another, and how many times as long.

A time to solve is known to lie between two evaluations, or beyond the budget. Runs are ranked by Gehan's (1965) scores:
the number of runs that were certainly sooner, less the number that were certainly later; runs solved at the same
evaluation, or not at all, tie. The scores are tested by permutation, which assumes no distribution: over all splits of
the runs into two groups, or all exchanges within pairs of one seed.

All splits are alike only if the groups' distributions are. Of groups that differ in their spread alone, such a test
finds too often that one needs longer; Brunner & Munzel's (2000) divides by the spread of each group instead, but is too
bold with few runs. The larger of both p-values keeps the level in either case. Exchanges within pairs need no such
care: the spread of the differences is the same under all of them.

That a ratio is above x is tested in the same way once the other group's times are multiplied by x. The two groups
then have other evaluations and other budgets. Both are read at the evaluations of one group, and both are
censored at the smaller budget; where an evaluation of one falls between two of the other, its run counts on the side
that speaks against the claim. So each test keeps its level whatever the grid, and at x = 1 nothing is lost."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from scipy import special

from reports.statistics.intervals import CONFIDENCE, Interval, around
from reports.statistics.permutation import share_of_signs, share_of_splits

ALPHA = 1 - CONFIDENCE
MARGIN = 1.25  # up to which factor a difference counts as none
LARGEST = 1e4  # ratio that is looked for
PRECISION = 1.008  # of an interval's ends
COARSE = 1.3  # first step in looking for them
ROUNDING = 1e-9


@dataclass(frozen=True)
class Times:
    """What the runs of a group needed.

    Attributes:
        values: (n), positive, +inf where it was more than `limit`.
        grid: distance of evaluations: a value is known to lie between the one before it and itself; 0 if it is exact.
        limit: what all runs could spend.
        early: evaluations before the first of the grid, ascending, as shares of `grid`.
    """

    values: np.ndarray
    grid: float = 0.0
    limit: float = math.inf
    early: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def earliest(self) -> np.ndarray:
        """The evaluation before each value."""
        if not self.grid:
            return self.values
        shares = self.values / self.grid - ROUNDING
        steps = np.ceil(shares) - 1
        if not self.early:
            return np.asarray(self.grid * steps)
        before = np.array([0.0, *self.early])[np.searchsorted(self.early, shares)]
        return np.asarray(self.grid * np.where(steps == 0, before, steps))

    def scaled(self, factor: float) -> "Times":
        """Return times and evaluations multiplied by a factor, whose `places` are the same."""
        if factor == 1:
            return self
        times = Times(factor * self.values, factor * self.grid, factor * self.limit, self.early)
        if self.grid:
            vars(times)["places"] = self.places
        return times

    @cached_property
    def places(self) -> np.ndarray:
        """How many evaluations were before each value."""
        return self.evaluations_before(self.values)

    @cached_property
    def least_places(self) -> np.ndarray:
        """How many evaluations there were by the one before each value."""
        return self.evaluations_until(self.earliest)

    def evaluations_before(self, times: np.ndarray) -> np.ndarray:
        """Return how many evaluations, of a grid, were before each of some times."""
        shares = times / self.grid - ROUNDING
        regular = np.ceil(shares) - 1
        return np.searchsorted(self.early, shares) + regular if self.early else regular

    def evaluations_until(self, times: np.ndarray) -> np.ndarray:
        """Return how many there were by each of some times."""
        shares = times / self.grid + ROUNDING
        regular = np.floor(shares)
        return np.searchsorted(self.early, shares, side="right") + regular if self.early else regular


@dataclass(frozen=True)
class Contrast:
    """Two groups of runs, by the ratio a / b of what they need.

    Attributes:
        a, b: the groups.
        paired: whether their runs are pairs, by position; else they are independent.
        level: two-sided, of the test that the interval inverts.
        alike: whether nothing that a ratio of typical runs leaves out, such as runs that fail, speaks against calling
            the groups equivalent.
    """

    a: Times
    b: Times
    paired: bool = False
    level: float = ALPHA
    alike: bool = True

    def p_above(self, x: float) -> float:
        """Return the one-sided p-value of such runs if a needed no more than x times what b does; above half the level
        wherever the interval holds x, also where evaluations lie such that the test alone would not be monotone in x.
        """
        p = self.p_later if x == 1 else _p_later(self.a, self.b.scaled(x), self.paired) if x > 0 else 0.0
        return p if x in (0, 1) or x <= self.interval.low else max(p, math.nextafter(self.level / 2, 1))

    def p_below(self, x: float) -> float:
        """Return the one-sided p-value of such runs if a needed no less than x times what b does, likewise."""
        p = self.p_sooner if x == 1 else _p_later(self.b.scaled(x), self.a, self.paired) if x > 0 else 1.0
        return p if x in (0, 1) or x >= self.interval.high else max(p, math.nextafter(self.level / 2, 1))

    @cached_property
    def p_later(self) -> float:
        """One-sided p-value of such runs if those of a were no later than those of b."""
        return _p_later(self.a, self.b, self.paired)

    @cached_property
    def p_sooner(self) -> float:
        """One-sided p-value of such runs if those of a were no sooner."""
        return _p_later(self.b, self.a, self.paired)

    @cached_property
    def p(self) -> float:
        """Two-sided p-value of such runs if the groups did not differ."""
        p = 2 * (self.p_above(1.0) if self.z > 0 else self.p_below(1.0))
        return min(1.0, p)

    @cached_property
    def p_apart(self) -> float:
        """P-value of such runs if one group needed at least `MARGIN` times what the other does: twice the larger of two
        one-sided ones (Schuirmann 1987), so that it is at most the level where the interval lies within the margin. 1
        of groups that are not `alike`."""
        if not self.alike:
            return 1.0
        p = 2 * max(
            _p_later(self.a, self.b.scaled(1 / MARGIN), self.paired),
            _p_later(self.b.scaled(MARGIN), self.a, self.paired),
        )
        if p <= self.level and not (self.interval.low > 1 / MARGIN and self.interval.high < MARGIN):
            return 1.0
        return min(1.0, p)

    @cached_property
    def interval(self) -> Interval:
        """Median ratio of all runs of a to all of b (of pairs: of each to its own) with the interval of all x that
        neither one-sided test rejects at half the level. Bounds are 0 and +inf where runs do not tell more, as where
        most ratios are 0 or +inf, and the estimate is NaN where most are of two unsolved runs."""
        low = _largest_rejected(self.a, self.b, self.paired, self.level, self.p_later)
        below = _largest_rejected(self.b, self.a, self.paired, self.level, self.p_sooner)
        high = 1 / below if below else math.inf
        return around(self.median_ratio, low, high, 1 - self.level)

    @cached_property
    def scores(self) -> np.ndarray:
        """Gehan's scores of the runs of a, then of b."""
        return _scores(self.a, self.b)

    @cached_property
    def z(self) -> float:
        """Standardized sum of scores, positive if a needs longer; 0 if all runs tie."""
        return _z(self.scores, len(self.a), self.paired)

    @cached_property
    def first_sooner(self) -> float:
        """Probability that a run of a needs less than one of b, ties counted half (Mann & Whitney 1947)."""
        a, b = _on_one_grid(self.a, self.b)
        return float(np.mean((a[:, None] < b) + 0.5 * (a[:, None] == b)))

    @cached_property
    def all_tie(self) -> bool:
        """Whether no two runs can be told apart: then no number of such runs tells the groups apart."""
        return not np.any(self.scores)

    @cached_property
    def median_ratio(self) -> float:
        """Of all runs of a to all of b; of pairs, of each to its own. NaN where most are of two unsolved runs."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = self.a.values / self.b.values if self.paired else self.a.values[:, None] / self.b.values
        known = ratios[~np.isnan(ratios)]
        return float(np.median(known)) if 2 * len(known) > ratios.size else math.nan


def _p_later(a: Times, b: Times, paired: bool) -> float:
    """Return the p-value of such runs if those of a were no later than those of b."""
    n, (of_a, of_b) = len(a), _on_one_grid(a, b)
    scores = _ranked(np.concatenate((of_a, of_b)))
    if paired:
        differences = scores[:n] - scores[n:]
        return share_of_signs(differences, int(differences.sum()))
    by_spreads = _p_by_spreads(scores[:n] - _ranked(of_a), scores[n:] - _ranked(of_b))
    return max(by_spreads, share_of_splits(scores, n, int(scores[:n].sum())))


def _p_by_spreads(a_over_b: np.ndarray, b_over_a: np.ndarray) -> float:
    """Return the p-value of Brunner & Munzel (2000), which allows each group its own spread: by Student's distribution
    with Welch's degrees of freedom. A group of one run has no spread; then it is 0.

    Args:
        a_over_b, b_over_a: (n) and (m) whole numbers: of each run, how many of the other group were sooner, less how
            many were later.
    """
    n, m, total = len(a_over_b), len(b_over_a), int(a_over_b.sum())
    if min(n, m) < 2:
        return 0.0
    of_a = (n * int(a_over_b @ a_over_b) - total**2) / (n - 1)  # variances of the total
    of_b = (m * int(b_over_a @ b_over_a) - total**2) / (m - 1)
    if not of_a + of_b:  # all of a are later than all of b, or sooner, or all tie
        return float(total <= 0)
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (n - 1) + of_b**2 / (m - 1))
    return float(special.stdtr(freedom, -total / math.sqrt(of_a + of_b)))


def _scores(a: Times, b: Times) -> np.ndarray:
    """Return Gehan's scores of the runs of a, then of b: how many others were sooner, less how many were later."""
    return _ranked(np.concatenate(_on_one_grid(a, b)))


def _ranked(times: np.ndarray) -> np.ndarray:
    """Return of each time how many others are less, less how many are more."""
    ordered = times.copy()
    ordered.sort()
    return ordered.searchsorted(times, "left") + ordered.searchsorted(times, "right") - len(times)


def _on_one_grid(a: Times, b: Times) -> tuple[np.ndarray, np.ndarray]:
    """Return both groups' times as numbers of evaluations of whichever has the coarser ones (as they are where both are
    exact), +inf beyond the smaller limit. What cannot be placed exactly is placed early of a and late of b."""
    limit = min(a.limit, b.limit)
    early, late = a.values, b.values
    beyond = (a.earliest >= limit * (1 - ROUNDING) if a.grid else early > limit, late > limit * (1 + ROUNDING))
    a_is_coarser = (a.grid, -len(a.early)) >= (b.grid, -len(b.early))
    if a_is_coarser and a.grid:
        early, late = a.least_places, a.evaluations_before(b.values)
    elif b.grid:
        early = b.evaluations_until(a.earliest) if a.grid else b.evaluations_before(a.values)
        late = b.places
    return np.where(beyond[0], np.inf, early), np.where(beyond[1], np.inf, late)


def _z(scores: np.ndarray, n: int, paired: bool) -> float:
    """Return the sum of the first n scores over its standard deviation under permutation; 0 if all runs tie."""
    if paired:
        differences = scores[:n] - scores[n:]
        total, variance = float(differences.sum()), float(differences @ differences)
    else:
        size = len(scores)
        total, variance = float(scores[:n].sum()), n * (size - n) * float(scores @ scores) / (size * max(size - 1, 1))
    return total / math.sqrt(variance) if variance else 0.0


def _largest_rejected(a: Times, b: Times, paired: bool, level: float, p_at_one: float) -> float:
    """Return up to which x it is rejected, at half the level, that a needs at most x times what b does; 0 if none is.
    For x = 1 the p-value is given.

    It is looked for upwards from 1 if that is rejected, and downwards if it is not, so that the interval holds 1 if and
    only if the test at 1 does not reject. The normal approximation says where, the exact test decides."""

    def rejected(x: float) -> bool:
        return _p_later(a, b.scaled(x), paired) <= level / 2

    normal = NormalDist().inv_cdf(1 - level / 2)

    def nearly(x: float) -> bool:
        return _z(_scores(a, b.scaled(x)), len(a), paired) >= normal

    upwards = p_at_one <= level / 2
    if not upwards and not rejected(1 / LARGEST):
        return 0.0
    if upwards and rejected(LARGEST):
        return LARGEST
    low, high = (1.0, LARGEST) if upwards else (1 / LARGEST, 1.0)
    near = _border(nearly, low, high, 1.0, COARSE)
    return _border(rejected, low, high, near, PRECISION)


def _border(holds: Callable[[float], bool], low: float, high: float, start: float, step: float) -> float:
    """Return the number up to which something holds, to `PRECISION`, looked for from `start` in growing steps.

    Args:
        low, high: where it holds, and where it does not.
    """
    x = min(max(start, low * step), high / step)
    while low < x < high:
        if holds(x):
            low, x = x, x * step
        else:
            high, x = x, x / step
        step = min(step * step, 4.0)
    while high / low > PRECISION:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
