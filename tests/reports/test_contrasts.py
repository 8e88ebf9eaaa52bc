"""Tests of one group against another: full enumeration, other implementations, and simulations with known truth."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.comparisons import contrast_of, outcomes_of
from reports.statistics import ALPHA, Contrast, Times, permutation
from reports.statistics.permutation import share_of_signs, share_of_splits
from tests.reports.simulate import (
    CASES,
    TREATMENTS,
    Case,
    at_border,
    established,
    share_of_reports,
    simulated,
    unequal_spreads,
)

INFINITE = math.inf


def times(*values: float, grid: float = 50, limit: float = 2000) -> Times:
    return Times(np.array(values), grid, limit)


class TestPermutation:
    def test_splits_are_those_of_full_enumeration(self):
        generator = np.random.default_rng(0)
        for _ in range(300):
            scores = generator.integers(-4, 5, size=generator.integers(2, 10))
            size = int(generator.integers(1, len(scores)))
            sums = [sum(chosen) for chosen in itertools.combinations(scores.tolist(), size)]
            least = int(generator.integers(min(sums), max(sums) + 2))
            share = share_of_splits(scores, size, least)
            assert share == pytest.approx(np.mean(np.array(sums) >= least), abs=1e-12)

    def test_signs_are_those_of_full_enumeration(self):
        generator = np.random.default_rng(0)
        for _ in range(300):
            scores = generator.integers(-4, 5, size=generator.integers(1, 10))
            sums = [np.dot(signs, scores) for signs in itertools.product((1, -1), repeat=len(scores))]
            least = int(generator.integers(min(sums), max(sums) + 2))
            assert share_of_signs(scores, least) == pytest.approx(np.mean(np.array(sums) >= least), abs=1e-12)

    @pytest.mark.parametrize("n", [30, 64])
    def test_so_many_against_as_many_are_exact(self, n):
        """Without ties it is the distribution of Mann and Whitney, also where a corrected p-value is made of it; or
        Brunner and Munzel's, where that is larger."""
        values = np.random.default_rng(1).normal(size=2 * n)
        for later in (0, 0.6, 1):
            a, b = np.exp(values[:n] + later), np.exp(values[n:])
            theirs = max(
                stats.mannwhitneyu(a, b, alternative="greater", method="exact").pvalue,
                stats.brunnermunzel(a, b, alternative="greater").pvalue,
            )
            assert Contrast(Times(a), Times(b)).p_above(1.0) == pytest.approx(theirs, rel=1e-9)

    def test_beyond_that_random_splits_come_near_it(self, monkeypatch):
        scores = np.random.default_rng(2).integers(-9, 10, size=40)
        for share in (lambda: share_of_splits(scores, 15, 20), lambda: share_of_signs(scores, 40)):
            exact = share()
            with monkeypatch.context() as patched:
                patched.setattr(permutation, "MOST_EXACT", 0)
                patched.setattr(permutation, "MOST_EXACT_SIGNS", 0)
                assert share() == pytest.approx(exact, abs=0.01)
                assert share() == share()


class TestSpreads:
    def test_groups_of_other_spreads_have_the_test_of_brunner_and_munzel(self):
        """The larger p-value, ties and unsolved runs included."""
        generator, larger = np.random.default_rng(11), []
        for n, m, spread in itertools.product((2, 5, 12), (3, 9, 24), (0.1, 1.0)):
            a, b = (simulated(Case(700, each), k, [1], generator)[0] for each, k in ((spread, n), (0.3, m)))
            scores = scores_by_comparing([*a.values, *b.values], n)
            splits, spreads = share_of_splits(*scores), stats.brunnermunzel(a.values, b.values, alternative="greater")
            assert Contrast(a, b).p_later == pytest.approx(max(splits, spreads.pvalue), rel=1e-9)
            larger.append(spreads.pvalue > splits)
        assert any(larger)
        assert not all(larger)

    def test_groups_apart_and_runs_alone_have_no_spread(self):
        assert Contrast(times(200, 200, 200), times(100, 100)).p_later == pytest.approx(1 / 10)
        assert Contrast(times(100, 100), times(200, 200, 200)).p_later == 1
        assert Contrast(times(300), times(100, 150, 200)).p_later == pytest.approx(1 / 4)

    @pytest.mark.parametrize(("n", "spreads"), [((10, 10), (0.8, 0.1)), ((7, 24), (0.8, 0.1)), ((24, 7), (0.5, 0.2))])
    def test_equal_medians_are_seldom_told_apart(self, n, spreads):
        assert 400 * unequal_spreads(400, n, spreads) <= stats.binom.ppf(0.999, 400, ALPHA)


class TestScores:
    def test_runs_of_one_evaluation_tie_and_unsolved_ones_are_last(self):
        contrast = Contrast(times(100, INFINITE), times(100, 50, INFINITE))
        assert contrast.first_sooner == pytest.approx((0.5 + 1 + 0.5) / 6)
        assert Contrast(times(50, 50, 50), times(50, 50, 50)).all_tie
        assert Contrast(times(50, 50, 50), times(50, 50, 50)).p == 1

    def test_both_are_censored_at_the_smaller_budget(self):
        """What one group did beyond the other's budget says nothing."""
        slow = times(1100, 1200, 1300, INFINITE)
        assert Contrast(slow, times(*[INFINITE] * 4, limit=1000)).all_tie
        # Scaled by two, 600 is 1200; by two and a half it is beyond 1000, as all of the others are.
        unsolved = times(*[INFINITE] * 5, limit=1000)
        assert Contrast(unsolved, times(350, 350, 350, 350, 350)).p_above(2.0) == pytest.approx(1 / math.comb(10, 5))
        assert Contrast(unsolved, times(350, 350, 350, 350, 350)).p_above(3.0) == 1

    def test_what_lies_between_evaluations_counts_against_the_claim(self):
        a, b = times(*[100] * 5), times(*[100] * 5)
        for x in (0.6, 0.9, 1.1, 1.6):  # ratios from 0.5 to 2 are possible
            assert Contrast(a, b).p_above(x) == Contrast(a, b).p_below(x) == 1
        assert Contrast(a, b).p_above(0.49) == Contrast(a, b).p_below(2.05) == pytest.approx(1 / math.comb(10, 5))

    def test_a_grid_that_lies_otherwise_makes_no_difference_of_its_own(self):
        """Half of all runs at 40, half at 80: two thirds as fast, the same runs are seen at 60 and 120."""
        generator, false = np.random.default_rng(0), 0
        for _ in range(300):
            fast, slow = (generator.choice([40.0, 80.0], size=12) * factor for factor in (1, 1.5))
            a, b = (times(*np.ceil(each / 50) * 50) for each in (slow, fast))
            false += Contrast(a, b).p_above(1.5) <= ALPHA
        assert false <= stats.binom.ppf(0.999, 300, ALPHA)


class TestInterval:
    def test_it_holds_one_unless_the_test_rejects_one(self):
        generator = np.random.default_rng(3)
        decided = 0
        for case, paired in itertools.product(CASES.values(), (False, True)):
            for factor in (1, 1.4, 2):
                a, b = simulated(case, 8, (factor, 1), generator)
                contrast = Contrast(a, b, paired)
                interval = contrast.interval
                decided += contrast.p <= ALPHA
                assert (contrast.p > ALPHA) == (interval.low < 1 < interval.high)
        assert decided > 5

    def test_its_ends_are_the_ratios_that_the_tests_do_not_reject(self):
        generator = np.random.default_rng(4)
        for paired in (False, True):
            a, b = simulated(CASES["spread 0.3"], 10, (2, 1), generator)
            contrast = Contrast(a, b, paired)
            low, high = contrast.interval.low, contrast.interval.high
            assert contrast.p_above(low) <= ALPHA / 2 < contrast.p_above(1.02 * low)
            assert contrast.p_below(high) <= ALPHA / 2 < contrast.p_below(high / 1.02)

    def test_no_border_that_it_holds_is_rejected(self):
        generator = np.random.default_rng(8)
        for case, paired in itertools.product(CASES.values(), (False, True)):
            contrast = Contrast(*simulated(case, 7, (1.6, 1), generator), paired)
            held = [x for x in np.geomspace(0.2, 5, 60) if contrast.interval.low < x < contrast.interval.high]
            assert held
            assert min(min(contrast.p_above(x), contrast.p_below(x)) for x in held) > ALPHA / 2

    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize("case", ["spread 0.3", "15 % never solve it", "half unsolved in both"])
    def test_it_covers(self, case, paired):
        generator, hits, repetitions = np.random.default_rng(5), 0, 60
        for _ in range(repetitions):
            a, b = simulated(CASES[case], 8, (1.5, 1), generator)
            interval = Contrast(a, b, paired).interval
            hits += interval.low <= 1.5 <= interval.high
        assert hits >= stats.binom.ppf(0.001, repetitions, 0.95)

    def test_exact_values_have_the_interval_of_hodges_and_lehmann(self):
        """Its ends are two of the ratios: the test counts how many are above x."""
        generator = np.random.default_rng(6)
        a, b = np.exp(generator.normal(0.5, 1, 9)), np.exp(generator.normal(0, 1, 9))
        ratios = np.sort((a[:, None] / b).ravel())
        ranks = np.arange(1, 19)
        least = next(u for u in range(82) if share_of_splits(ranks, 9, u + 45) <= ALPHA / 2)
        interval = Contrast(Times(a), Times(b)).interval
        assert (interval.low, interval.high) == pytest.approx((ratios[81 - least], ratios[least - 1]), rel=0.01)
        assert interval.estimate == pytest.approx(np.median(ratios))

    def test_what_is_not_known_has_no_bound(self):
        unsolved, solved = times(*[INFINITE] * 6), times(*[500] * 6)
        interval = Contrast(unsolved, solved).interval
        assert (interval.bound, interval.high) == ("≥", INFINITE)
        assert 3.5 < interval.low == interval.told <= 4.0  # of 500 and a budget of 2000
        assert Contrast(solved, unsolved).interval.bound == "≤"
        assert Contrast(unsolved, unsolved).interval.bound == "~"
        assert math.isnan(Contrast(unsolved, unsolved).interval.told)
        # As many as half solve it as soon as the others do, and the test rejects that they take 8 times as long.
        half = times(*[500] * 7, *[INFINITE] * 8)
        contrast = Contrast(half, times(*[500] * 15))
        assert Contrast(half, contrast.b.scaled(8)).p_sooner <= ALPHA / 2
        assert (contrast.interval.estimate, contrast.interval.high) == (INFINITE, INFINITE)
        few = Contrast(times(500), times(1000)).interval
        assert (few.low, few.high) == (0, INFINITE)


def test_a_border_other_than_one_takes_no_symmetry():
    """Nine tied pairs and three at 1.5: signs of the logarithms of ratio over 0.9 would say p = 2^-12."""
    a, b = times(*[400] * 9, *[600] * 3), times(*[400] * 12)
    for paired in (False, True):
        contrast = Contrast(a, b, paired)
        assert contrast.p_above(0.9) > 0.1
        assert contrast.p >= 0.2
    assert Contrast(a, b, True).p == pytest.approx(0.25)
    assert Contrast(Times(a.values), Times(b.values), True).p_above(1.0) == pytest.approx(1 / 8)


def test_early_evaluations_place_times_as_all_evaluations_one_by_one_would():
    """Of a ratio x, the times of one group multiplied by x are read at the evaluations of the coarser group."""
    generator = np.random.default_rng(9)
    early = (0.02, 0.04, 0.06, 0.1, 0.16, 0.26, 0.42, 0.68)
    steps = np.array([0.0, *early, *range(1, 60)]) * 50
    for x in (0.3, 0.9, 1.0, 1.02, 1.7, 4.0):
        at, scaled = generator.integers(1, 30, size=(2, 12)), steps * x
        contrast = Contrast(*(Times(steps[index], 50, math.inf, early) for index in at))
        reference = scaled if x > 1 else steps
        placed = [next(i for i, e in enumerate(reference) if e > steps[index - 1] + 1e-6) for index in at[0]]
        placed += [next(i for i, e in enumerate(reference) if e >= scaled[index] - 1e-6) for index in at[1]]
        spreads = stats.brunnermunzel(placed[:12], placed[12:], alternative="greater").pvalue
        p = max(spreads, share_of_splits(*scores_by_comparing(placed, 12)))
        assert contrast.p_above(x) == pytest.approx(p if x <= contrast.interval.low else max(p, ALPHA / 2))


def scores_by_comparing(placed: list[float], n: int) -> tuple[np.ndarray, int, int]:
    """Return Gehan's scores by counting, how many are of the first group, and their sum."""
    scores = np.array([sum(other < one for other in placed) - sum(other > one for other in placed) for one in placed])
    return scores, n, int(scores[:n].sum())


class TestValidity:
    """Of cells that do not differ, at most one report in twenty claims a difference, whatever their runs are like."""

    @pytest.mark.parametrize("n", [4, 10])
    @pytest.mark.parametrize("case", CASES)
    def test_of_groups(self, case, n):
        share = share_of_reports(60, CASES[case], n, [1] * 4, paired=False)
        assert 60 * share <= stats.binom.ppf(0.999, 60, ALPHA)

    @pytest.mark.parametrize("case", TREATMENTS)
    def test_of_pairs(self, case):
        share = share_of_reports(100, TREATMENTS[case], 10, [1] * 4, paired=True)
        assert 100 * share <= stats.binom.ppf(0.999, 100, ALPHA)

    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("x", [0.9, 1.1, 1.5])
    def test_at_a_border(self, case, paired, x):
        share = at_border(100, CASES[case], 10, x, paired)
        assert 100 * share <= stats.binom.ppf(0.999, 100, ALPHA)


def test_groups_find_a_factor_of_two_that_pairs_would_not():
    """Ten seeds, a spread of 0.3, ten comparisons of five cells."""
    generator, found = np.random.default_rng(7), {False: 0, True: 0}
    for _ in range(60):
        contenders = simulated(CASES["spread 0.3"], 10, (1, 2, 1, 1, 1), generator)
        for paired in found:
            found[paired] += established(contenders, paired)[0]
    assert found[False] >= 0.9 * 60
    assert found[False] > found[True]


def test_both_groups_may_have_unsolved_runs():
    """Which a bound on the ratio could not tell apart."""
    runs = pd.read_parquet(Path(__file__).parent / "data" / "both_unsolved.parquet")  # of a run of claims_quick
    names = [f"lstm, forget_bias 1, {strategy}" for strategy in ("interpolation", "deletion")]
    of, over = (outcomes_of(runs)["adding_missing, correlation 0", name] for name in names)
    assert (of.solved.sum(), over.solved.sum(), len(of.seeds)) == (6, 34, 38)
    looks, _ = contrast_of(of, over)
    contrast = looks.shown
    assert contrast.paired  # two treatments of one cell
    assert looks.p == pytest.approx(looks.planned * min(each.p for each in looks.tested))
    assert contrast.p < 1e-6
    assert Contrast(contrast.a, contrast.b).p_above(1.0) < 1e-6
    assert contrast.interval.low > 1
