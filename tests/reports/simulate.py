"""How often reports claim a difference, on simulated cells of which it is known whether they differ.

    python -m tests.reports.simulate 2000

prints the shares that METHODS.md quotes."""

import gc
import itertools
import sys
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np

from reports.statistics import Paired, pair_up, paired, significances

Draw = Callable[[int], np.ndarray]


def simulated_family(
    n: int, factors: Sequence[float], draw: Draw, budget: float = 2000, grid: float = 50
) -> list[Paired]:
    """Comparisons of cells whose times differ by known factors, as a store would have them."""
    times = [np.ceil(factor * draw(n) / grid) * grid for factor in factors]
    return [
        pair_up(
            np.minimum(times[j], budget),
            np.minimum(times[i], budget),
            grid,
            bool((times[i] <= budget).all() and (times[j] <= budget).all()),
        )
        for i, j in itertools.combinations(range(len(factors)), 2)
    ]


# Times to solve of cells that do not differ, in steps: how they spread over seeds.
DRAWS = {
    "even": lambda g: lambda n: 500 * np.exp(0.2 * g.normal(size=n)),
    "coarse": lambda g: lambda n: 500 * np.exp(0.05 * g.normal(size=n)),
    "wide, often unsolved": lambda g: lambda n: 500 * np.exp(g.normal(size=n)),
    "two kinds of runs": lambda g: lambda n: g.choice([300.0, 900.0], size=n) * np.exp(0.05 * g.normal(size=n)),
}


def established(times: int, n: int, factors: Sequence[float], kind: str) -> tuple[float, float]:
    """Return the share of reports that establish any difference, and of those that establish every real one."""
    draw = DRAWS[kind](np.random.default_rng(0))
    differ = [a != b for a, b in itertools.combinations(factors, 2)]
    some = every = 0
    for _ in range(times):
        found = [test.differs for test in significances(simulated_family(n, factors, draw))]
        some += any(found)
        every += all(claimed for claimed, real in zip(found, differ, strict=True) if real)
    return some / times, every / times


def main() -> None:
    """Print the shares for the number of simulated reports given."""
    times = int(sys.argv[1])
    with mock.patch.object(gc, "collect"):  # statsmodels calls it at every correction
        for kind, n in itertools.product(DRAWS, (3, 5, 8)):
            print(f"no difference, 5 cells, {n} seeds, {kind}: {established(times, n, [1] * 5, kind)[0]:.1%} claim one")
        for n in (5, 10):
            found = established(times, n, [1, 2, 1], "even")[1]
            print(f"one of 3 cells takes twice as long, {n} seeds: {found:.1%} find it")
        with mock.patch.object(paired, "FEWEST_FOR_T", 2):
            share = established(times, 3, [1] * 5, "two kinds of runs")[0]
            print(f"no difference, 5 cells, 3 seeds, two kinds of runs, if the t-test were used: {share:.1%} claim one")


if __name__ == "__main__":
    main()
