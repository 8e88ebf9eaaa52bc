"""How often reports claim a difference, on simulated runs of which it is known whether they differ.

    python -m tests.reports.simulate 1000

prints the tables that METHODS.md quotes."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import betaln

from bench.record.schedule import early_steps
from reports.statistics import ALPHA, Contrast, Interval, Looks, Times, expected_time, in_sequence, looks_at

EVERY = 50  # steps between regular evaluations


class Case(NamedTuple):
    """What runs need, in steps: the median, the spread of logarithms over seeds and the part of it that all runs of a
    seed have in common, the share of runs that never solve their task, the budget, and whether there are evaluations
    early on."""

    middle: float
    spread: float = 0.3
    common: float = 0.0
    stuck: float = 0.0
    budget: float = 2000
    early: bool = False


CASES = {
    "spread 0.3": Case(500),
    "most solved at the first evaluation": Case(40),
    "the same, evaluated early": Case(40, early=True),
    "15 % never solve it": Case(500, stuck=0.15),
    "half unsolved in both": Case(2000),
    "spread 1, often unsolved": Case(1000, 1.0),
}
TREATMENTS = {f"{name}, half of it the seed's": case._replace(common=0.5) for name, case in CASES.items()}
# Median, spread and budget of runs of which a share never solves the task.
KINDS = ((500, 0.1, 2000), (500, 0.3, 2000), (1000, 1, 20_000), (1500, 0.3, 2000), (200, 0.3, 10_000))
MOST = 32  # seeds, where they are added until they decide
RANDOM = 20_000  # permutations


def simulated(case: Case, n: int, factors: Sequence[float], generator: np.random.Generator) -> list[Times]:
    """Return the times of contenders that differ by known factors, runs of one seed at one position."""
    early = early_steps(EVERY) if case.early else []
    evaluations = np.array([*early, *range(EVERY, 10**6, EVERY)])
    shared = generator.normal(size=n)
    times = []
    for factor in factors:
        common = np.sqrt(case.common) * shared + np.sqrt(1 - case.common) * generator.normal(size=n)
        needed = factor * case.middle * np.exp(case.spread * common)
        seen = evaluations[evaluations.searchsorted(needed)]
        unsolved = (seen > case.budget) | (generator.random(n) < case.stuck)
        times.append(Times(np.where(unsolved, np.inf, seen), EVERY, case.budget, tuple(step / EVERY for step in early)))
    return times


def established(contenders: list[Times], paired: bool) -> list[bool]:
    """Return which comparisons a report establishes, of all pairs of contenders, those with the first primary."""
    pairs = list(itertools.combinations(range(len(contenders)), 2))
    p = [Contrast(contenders[j], contenders[i], paired).p for i, j in pairs]
    return [bool(corrected <= ALPHA) for corrected in in_sequence(p, [i == 0 for i, _ in pairs])]


def share_of_reports(times: int, case: Case, n: int, factors: Sequence[float], paired: bool) -> float:
    """Return the share of simulated reports that establish any difference."""
    generator = np.random.default_rng(0)
    return sum(any(established(simulated(case, n, factors, generator), paired)) for _ in range(times)) / times


def at_border(times: int, case: Case, n: int, x: float, paired: bool) -> float:
    """Return the share of contrasts whose ratio is x and of which it is claimed to be above or below."""
    generator, false = np.random.default_rng(0), 0
    for _ in range(times):
        a, b = simulated(case, n, (x, 1.0), generator)
        contrast = Contrast(a, b, paired)
        false += min(contrast.p_above(x), contrast.p_below(x)) <= ALPHA / 2
    return false / times


def first_of(times: Times, n: int) -> Times:
    """Return the first n runs."""
    return replace(times, values=times.values[:n])


def looked_at(contenders: list[Times], paired: bool) -> tuple[list[bool], int]:
    """Return which comparisons with the first contender are established where seeds are added to those that are not,
    and how many runs that takes."""
    others = range(1, len(contenders))
    counts = looks_at(len(contenders[0]), len(others), paired)
    tested: dict[int, list[Contrast]] = {i: [] for i in others}
    found, seeds = dict.fromkeys(others, False), dict.fromkeys(others, 0)
    for n in counts:
        for i in (i for i in others if not found[i]):
            a, b = first_of(contenders[i], n), first_of(contenders[0], n)
            tested[i].append(Contrast(a, b, paired, ALPHA / len(counts)))
            seeds[i] = n
        p = [Looks(tested[i][-1], tested[i], len(counts)).p for i in others]
        found = dict(zip(others, in_sequence(p, [True] * len(p)) <= ALPHA, strict=True))
        if all(found.values()):
            break
    return [bool(found[i]) for i in others], sum(seeds.values()) + max(seeds.values())


def after_all_looks(times: int, case: Case, paired: bool) -> float:
    """Return the share of simulated reports on five contenders alike that establish any difference by any look."""
    generator = np.random.default_rng(0)
    return sum(any(looked_at(simulated(case, MOST, [1] * 5, generator), paired)[0]) for _ in range(times)) / times


def decide_by_looks(a: Times, b: Times, counts: Sequence[int], level: float) -> tuple[int, bool]:
    """Return after how many seeds two groups are told apart by exact tests, the level shared out evenly among looks."""
    for n in counts:
        if Contrast(first_of(a, n), first_of(b, n)).p * len(counts) <= level:
            return n, True
    return counts[-1], False


def decide_jointly(
    a: Times, b: Times, counts: Sequence[int], level: float, generator: np.random.Generator
) -> tuple[int, bool]:
    """Return the same where the level is shared out by the joint distribution of the statistics of all looks, under
    random splits of the runs that come with each look: as AdaStop does it (Mathieu et al. 2023), but on Gehan's scores
    instead of means."""
    in_a, order, alive, before = np.zeros((RANDOM, 0), bool), np.zeros(0, int), np.ones(RANDOM, bool), 0
    for k, n in enumerate(counts, start=1):
        new = n - before
        in_a = np.hstack([in_a, generator.random((RANDOM, 2 * new)).argsort(axis=1) < new])
        order = np.concatenate([order, np.arange(before, n), MOST + np.arange(before, n)])
        before = n
        both = np.nan_to_num(np.concatenate([a.values[:n], b.values[:n]]), posinf=2 * max(a.limit, b.limit))
        of_run = np.sign(both[:, None] - both).sum(axis=1)[np.where(order < MOST, order, order - MOST + n)]
        sums = np.abs(in_a @ of_run)
        room = int(level * k / len(counts) * RANDOM) - int(np.count_nonzero(~alive))
        left = np.sort(sums[alive])[::-1]
        if 0 < room < len(left):
            if abs(of_run[order < MOST].sum()) > left[room]:
                return n, True
            alive &= sums <= left[room]
    return counts[-1], False


def decide_by_signs(a: Times, b: Times, most: int, level: float) -> tuple[int, bool]:
    """Return the same for the e-process of signs, looked at after every pair of runs: 2^n·B(w + 1, l + 1) is ever as
    large as 1/level with a probability of at most the level (Ville 1939)."""
    of_a, of_b = (np.nan_to_num(each.values[:most], posinf=2 * each.limit) for each in (a, b))
    wins = np.sign(of_b - of_a)
    won, lost = np.cumsum(wins > 0), np.cumsum(wins < 0)
    reached = (won + lost) * np.log(2) + betaln(won + 1, lost + 1) >= -np.log(level)
    return (int(reached.argmax()) + 1, True) if reached.any() else (most, False)


def compare_designs(times: int) -> None:
    """Print after how many seeds, of at most 32, designs tell two contenders apart among eight comparisons, and how
    often."""
    level = ALPHA / 8
    counts = looks_at(MOST, 8, paired=False)
    print("\n| runs | factor | all 32 | 10 | looks | joint looks | signs |\n|:--|--:|--:|--:|--:|--:|--:|")
    for name, case in CASES.items():
        for factor in (1.25, 1.5, 2, 3):
            generator, found = np.random.default_rng(0), []
            for _ in range(times):
                b, a = simulated(case, MOST, (1, factor), generator)
                found.append([
                    decide_by_looks(a, b, [MOST], level), decide_by_looks(a, b, [10], level),
                    decide_by_looks(a, b, counts, level), decide_jointly(a, b, counts, level, generator),
                    decide_by_signs(a, b, MOST, level),
                ])  # fmt: skip
            means = np.mean(found, axis=0)
            print(
                f"| {name} | {factor} | " + " | ".join(f"{seeds:.1f}, {share:.0%}" for seeds, share in means) + " |",
                flush=True,
            )


def unequal_spreads(times: int, n: tuple[int, int], spreads: tuple[float, float]) -> float:
    """Return the share of contrasts of equal medians and unequal spreads in which groups differ at `ALPHA`."""
    generator, found = np.random.default_rng(0), 0
    for _ in range(times):
        a, b = (simulated(Case(500, spread), many, [1], generator)[0] for many, spread in zip(n, spreads, strict=True))
        found += Contrast(a, b).p <= ALPHA
    return found / times


def bootstrap_of_expected_time(spent: np.ndarray, solved: np.ndarray, budget: float) -> Interval:
    """Return the expected running time with the percentile interval of a bootstrap of runs."""
    n = len(spent)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=1000).astype(float)
    with np.errstate(divide="ignore"):
        low, high = np.quantile(weights @ spent / (weights @ solved), [0.025, 0.975], method="nearest")
        return Interval(float(np.divide(spent.sum(), solved.sum())), float(low), float(high))


def covers_expected_time(
    times: int, case: Case, n: int, interval: Callable[..., Interval] = expected_time
) -> tuple[float, float]:
    """Return how often the interval of the expected running time holds that of 100,000 runs, and the median of its
    upper bound over its lower one."""
    generator = np.random.default_rng(0)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        values = simulated(case, n, [1], generator)[0].values
        return np.minimum(values, case.budget), np.isfinite(values)

    spent, solved = drawn(100_000)
    truth = spent.sum() / solved.sum()
    spent, solved = (each.reshape(times, n) for each in drawn(times * n))
    intervals = [interval(*runs, case.budget) for runs in zip(spent, solved, strict=True)]
    covered = sum(each.low <= truth <= each.high for each in intervals) / times
    return covered, float(np.median([each.high / each.low if 0 < each.low < np.inf else np.inf for each in intervals]))


def expected_times(times: int) -> None:
    """Print how often the interval of the expected running time holds the truth, beside a bootstrap's, and for the
    worst of many shares of runs that never solve their task."""
    numbers = (3, 5, 7, 10, 20)
    print(f"\n| runs | interval | {' | '.join(map(str, numbers))} |\n|:--|:--|{'--:|' * len(numbers)}")
    for name, case in CASES.items():
        for method, interval in (("of the report", expected_time), ("bootstrap", bootstrap_of_expected_time)):
            found = [covers_expected_time(times, case, n, interval) for n in numbers]
            cells = [f"{share:.1%}, {width:.1f}×" for share, width in found]
            print(f"| {name} | {method} | {' | '.join(cells)} |", flush=True)
    never = [0, 0.01, 0.02, 0.05, *np.arange(0.1, 1, 0.1)]
    several = [Case(middle, spread, 0, stuck, budget) for stuck in never for middle, spread, budget in KINDS]
    worst = [min(covers_expected_time(times, case, n)[0] for case in several) for n in numbers]
    print(f"| worst of {len(several)} cases | of the report | {' | '.join(f'{share:.1%}' for share in worst)} |")


def main() -> None:
    """Print the tables for the number of simulated reports given."""
    times = int(sys.argv[1])
    columns = [
        "5 cells alike, n = 3",
        "5",
        "10",
        "any look to 32",
        "ratio at a border of 1.5, n = 10",
        "factor 2 found, n = 5",
        "10",
    ]
    print(f"| runs | {' | '.join(columns)} |\n|:--|{'--:|' * len(columns)}")
    for paired, cases in ((False, CASES), (True, TREATMENTS)):
        for name, case in cases.items():
            shares = [share_of_reports(times, case, n, [1] * 5, paired) for n in (3, 5, 10)]
            shares += [after_all_looks(times, case, paired), at_border(times, case, 10, 1.5, paired)]
            shares += [share_of_reports(times, case, n, [1, 2], paired) for n in (5, 10)]
            print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    for paired in (False, True):
        generator, found = np.random.default_rng(0), 0
        for _ in range(times):
            contenders = simulated(CASES["spread 0.3"], 10, (1, 2, 1, 1, 1), generator)
            found += established(contenders, paired)[0]
        kind = "pairs" if paired else "groups"
        print(f"{kind}: {found / times:.1%} find the one of five cells that takes twice as long")
    for n in ((7, 7), (10, 10), (7, 24), (24, 7)):
        found_at = [f"{spreads} {unequal_spreads(times, n, spreads):.1%}" for spreads in ((0.5, 0.2), (0.8, 0.1))]
        print(f"{n[0]} against {n[1]} runs, equal medians, differ with spreads {', '.join(found_at)}")
    expected_times(times)
    compare_designs(times // 5)


if __name__ == "__main__":
    main()
