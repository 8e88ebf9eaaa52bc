"""Comparisons that are looked at more than once: seeds are added until they decide, at looks that were fixed before.

With K looks, each tests at 1/K of the level all runs that there are by then, so that p is K times the smallest p of a
look (Bonferroni; Pocock's spending of the level, but for the correlation of looks). That is a p-value whenever one
stops, for whatever reason, and so are Holm's corrections of several. An interval holds what no look's interval at that
level excludes (Jennison & Turnbull 1989)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from reports.statistics.contrasts import Contrast
from reports.statistics.families import fewest_seeds
from reports.statistics.intervals import Interval, around

MOST_LOOKS = 5


def looks_at(most: int, comparisons: int, paired: bool) -> list[int]:
    """Return after how many seeds a contender to look: first where the clearest difference would be established among
    so many comparisons, then after a constant factor more, at the end after all of them.

    Args:
        most: seeds.
        comparisons: of the family.
        paired: whether runs are compared in pairs.
    """
    for looks in range(min(MOST_LOOKS, most), 1, -1):
        first = fewest_seeds(comparisons * looks, paired)
        if first < most:
            counts = [round(first * (most / first) ** (k / (looks - 1))) for k in range(looks)]
            if len(set(counts)) == looks:
                return counts
    return [most]


@dataclass(frozen=True)
class Looks:
    """A comparison of two groups of runs, as looked at so far.

    Attributes:
        shown: all that is compared, to be described.
        tested: what was compared at each look so far, at the level `ALPHA` / planned.
        planned: how many looks there can be; a design without any has one, in the end.
    """

    shown: Contrast
    tested: Sequence[Contrast]
    planned: int = 1

    def until(self, looks: int) -> "Looks":
        """Return the same as it was after some looks."""
        return replace(self, tested=self.tested[:looks])

    def p_above(self, x: float) -> float:
        """Return the one-sided p-value of such runs if the ratio were x or less."""
        return over_looks((contrast.p_above(x) for contrast in self.tested), self.planned)

    def p_below(self, x: float) -> float:
        """Return the one-sided p-value of such runs if the ratio were x or more."""
        return over_looks((contrast.p_below(x) for contrast in self.tested), self.planned)

    @cached_property
    def p(self) -> float:
        """Two-sided p-value of such runs if the groups did not differ."""
        return over_looks((contrast.p for contrast in self.tested), self.planned)

    @cached_property
    def p_apart(self) -> float:
        """P-value of such runs if one group needed at least `MARGIN` times what the other does."""
        return over_looks((contrast.p_apart for contrast in self.tested), self.planned)

    @cached_property
    def interval(self) -> Interval:
        """The ratio of all that is compared, with the ratios that no look rejects."""
        return in_all(self.shown.median_ratio, [contrast.interval for contrast in self.tested])


def over_looks(p: Iterable[float], planned: int) -> float:
    """Return the p-value of all looks so far, of so many that were planned; 1 before the first."""
    return min(1.0, planned * min(p, default=1.0))


def in_all(estimate: float, intervals: Sequence[Interval]) -> Interval:
    """Return an estimate with what lies in the intervals of all looks, in the last one's if nothing does; without any,
    all positive numbers. The estimate is moved into it."""
    low = max((each.low for each in intervals), default=0.0)
    high = min((each.high for each in intervals), default=math.inf)
    if low > high:
        low, high = intervals[-1].low, intervals[-1].high
    return around(estimate, low, high)
