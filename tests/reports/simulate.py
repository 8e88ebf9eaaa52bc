"""How often reports claim a difference, on simulated runs of which it is known whether they differ.

    python -m tests.reports.simulate 1000

prints the table that METHODS.md quotes."""

import itertools
import sys
from collections.abc import Sequence

import numpy as np

from reports.statistics import ALPHA, Contrast, Times, in_sequence

# What runs need, in steps: the median, the spread of logarithms over seeds and the part of it that all runs of a seed
# have in common, the share of runs that never solve their task, and the budget. Evaluations are every 50 steps.
CASES = {
    "spread 0.3": (500, 0.3, 0.0, 0.0, 2000),
    "most solved at the first evaluation": (40, 0.3, 0.0, 0.0, 2000),
    "15 % never solve it": (500, 0.3, 0.0, 0.15, 2000),
    "half unsolved in both": (2000, 0.3, 0.0, 0.0, 2000),
    "spread 1, often unsolved": (1000, 1.0, 0.0, 0.0, 2000),
}
TREATMENTS = {f"{name}, half of it the seed's": (*case[:2], 0.5, *case[3:]) for name, case in CASES.items()}
EVERY = 50


def simulated(
    case: tuple[float, float, float, float, float], n: int, factors: Sequence[float], generator: np.random.Generator
) -> list[Times]:
    """Return the times of contenders that differ by known factors, runs of one seed at one position."""
    middle, spread, common, stuck, budget = case
    shared = generator.normal(size=n)
    times = []
    for factor in factors:
        logs = spread * (np.sqrt(common) * shared + np.sqrt(1 - common) * generator.normal(size=n))
        seen = np.ceil(factor * middle * np.exp(logs) / EVERY) * EVERY
        unsolved = (seen > budget) | (generator.random(n) < stuck)
        times.append(Times(np.where(unsolved, np.inf, seen), EVERY, budget))
    return times


def established(contenders: list[Times], paired: bool) -> list[bool]:
    """Return which comparisons a report establishes, of all pairs of contenders, those with the first primary."""
    pairs = list(itertools.combinations(range(len(contenders)), 2))
    p = [Contrast(contenders[j], contenders[i], paired).p for i, j in pairs]
    return [bool(corrected <= ALPHA) for corrected in in_sequence(p, [i == 0 for i, _ in pairs])]


def share_of_reports(
    times: int, case: tuple[float, float, float, float, float], n: int, factors: Sequence[float], paired: bool
) -> float:
    """Return the share of simulated reports that establish any difference."""
    generator = np.random.default_rng(0)
    return sum(any(established(simulated(case, n, factors, generator), paired)) for _ in range(times)) / times


def at_border(times: int, case: tuple[float, float, float, float, float], n: int, x: float, paired: bool) -> float:
    """Return the share of contrasts whose ratio is x and of which it is claimed to be above or below."""
    generator, false = np.random.default_rng(0), 0
    for _ in range(times):
        a, b = simulated(case, n, (x, 1.0), generator)
        contrast = Contrast(a, b, paired)
        false += min(contrast.p_above(x), contrast.p_below(x)) <= ALPHA / 2
    return false / times


def main() -> None:
    """Print the table for the number of simulated reports given."""
    times = int(sys.argv[1])
    columns = ["5 cells alike, n = 3", "5", "10", "ratio at a border of 1.5, n = 10", "factor 2 found, n = 5", "10"]
    print(f"| runs | {' | '.join(columns)} |\n|:--|{'--:|' * len(columns)}")
    for paired, cases in ((False, CASES), (True, TREATMENTS)):
        for name, case in cases.items():
            shares = [share_of_reports(times, case, n, [1] * 5, paired) for n in (3, 5, 10)]
            shares.append(at_border(times, case, 10, 1.5, paired))
            shares += [share_of_reports(times, case, n, [1, 2], paired) for n in (5, 10)]
            print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    for paired in (False, True):
        generator, found = np.random.default_rng(0), 0
        for _ in range(times):
            contenders = simulated(CASES["spread 0.3"], 10, (1, 2, 1, 1, 1), generator)
            found += established(contenders, paired)[0]
        kind = "pairs" if paired else "groups"
        print(f"{kind}: {found / times:.1%} find the one of five cells that takes twice as long")


if __name__ == "__main__":
    main()
