"""Tests between cells: references, exact enumeration, and simulations in which the truth is known."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from reports.statistics import (
    ALPHA,
    Paired,
    detectable_ratio,
    fewest_pairs,
    improvement,
    interquartile_mean,
    pair_up,
    performance_profile,
    probability_of_improvement,
    ratio,
    seeds_needed,
    significances,
    smallest_p,
)
from reports.statistics.paired import _power, exact_p, permutation_p, t_p
from tests.reports.simulate import DRAWS, simulated_family


class TestExactTest:
    @pytest.mark.parametrize("n", [2, 5, 8])
    def test_it_is_the_enumeration_of_all_signs(self, n):
        differences = np.random.default_rng(n).normal(size=n) + 0.4
        means = [abs(np.mean(differences * signs)) for signs in itertools.product((1, -1), repeat=n)]
        assert exact_p(Paired(differences)) == pytest.approx(
            np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
        )

    @pytest.mark.parametrize("n", [14, 20, 30])
    def test_it_is_the_distribution_of_signed_whole_numbers(self, n):
        """Which adding one number after another gives, however many there are; with ties, as on a grid."""
        generator = np.random.default_rng(n)
        for shift in (0, 2):
            whole = [int(value) for value in generator.integers(-3, 6, size=n) + shift]
            ways = {0: 1}
            for value in whole:
                added = [(total + sign * value, count) for total, count in ways.items() for sign in (-1, 1)]
                ways = {total: sum(count for other, count in added if other == total) for total, _ in added}
            reaching = {side: sum(count for total, count in ways.items() if side * total >= side * sum(whole))
                        for side in (1, -1)}  # fmt: skip
            # Times of 0.1, which no float is, so that equal sums come out with different rounding.
            differences = 0.1 * np.array(whole)
            assert permutation_p(differences, "greater") == reaching[1] / 2**n
            assert permutation_p(differences, "less") == reaching[-1] / 2**n
            assert exact_p(Paired(differences)) == min(1.0, 2 * min(reaching.values()) / 2**n)

    def test_all_of_one_sign_is_the_smallest_p(self):
        for n in (2, 5, 10, 30):
            assert exact_p(Paired(np.arange(1.0, n + 1))) == pytest.approx(smallest_p(n)) == 2 ** (1 - n)

    def test_no_difference_and_one_pair(self):
        assert exact_p(Paired(np.zeros(5))) == 1
        assert exact_p(Paired(np.array([3.0]))) == 1
        assert t_p(Paired(np.array([3.0]))) == 1

    def test_many_pairs_are_sampled(self):
        differences = np.random.default_rng(0).normal(size=40) + 0.3
        reference = stats.ttest_1samp(differences, 0).pvalue
        assert exact_p(Paired(differences)) == pytest.approx(reference, abs=0.02)


def test_beyond_all_random_exchanges_p_goes_on_falling():
    """Otherwise large families could claim nothing, however many seeds they have."""
    differences = 1 + 0.1 * np.random.default_rng(0).normal(size=20)
    assert exact_p(Paired(differences)) == pytest.approx(smallest_p(20))
    weaker = 0.9 + np.random.default_rng(0).normal(size=60)
    assert exact_p(Paired(weaker)) == pytest.approx(stats.ttest_1samp(weaker, 0).pvalue)
    assert smallest_p(60) < exact_p(Paired(weaker)) < 1e-4


def test_the_t_test_is_scipys():
    differences = np.random.default_rng(0).normal(size=6) + 1
    assert t_p(Paired(differences)) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_equal_differences_are_no_more_certain_than_their_rounding():
    """Evaluations every 50 steps: five pairs that all differ by one of them prove little."""
    pairs = pair_up([350.0] * 5, [300.0] * 5, grid=50)
    assert pairs.resolution == pytest.approx(math.sqrt((50 / 350) ** 2 / 12 + (50 / 300) ** 2 / 12))
    assert 0.001 < t_p(pairs) < 0.05
    assert ratio(pairs).low < 7 / 6 < ratio(pairs).high


def test_holm_is_its_step_down_procedure():
    generator = np.random.default_rng(0)
    family = [Paired(generator.normal(size=12) + shift) for shift in (0, 0.3, 0.9, 1.5)]
    tests = significances(family)
    order = sorted(range(4), key=lambda i: tests[i].p)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (4 - rank) * tests[index].p))
        assert tests[index].p_corrected == pytest.approx(worst)
    assert significances([]) == []


def test_which_test_depends_on_numbers_of_pairs_and_cut_off_values_alone():
    assert fewest_pairs(1) == 6
    assert fewest_pairs(20) == 10
    many, few, fewer = (Paired(np.full(n, 0.7) + 0.1 * np.arange(n)) for n in (10, 5, 3))
    cut_off = Paired(few.differences, complete=False)
    assert [each.test for each in significances([many, few, fewer, cut_off])] == ["exact", "t", "exact", "exact"]


@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("kind", DRAWS)
def test_where_nothing_differs_at_most_one_report_in_twenty_claims_it(n, kind):
    generator = np.random.default_rng(7)
    draw, times = DRAWS[kind](generator), 250
    families = (significances(simulated_family(n, [1] * 4, draw)) for _ in range(times))
    established = sum(any(each.differs for each in family) for family in families)
    # Beyond this a true rate of 5 % would come up once in a thousand simulations.
    assert established <= stats.binom.ppf(0.999, times, ALPHA)


@pytest.mark.parametrize(("n", "least"), [(5, 75), (10, 95)])
def test_twice_the_time_is_found(n, least):
    generator = np.random.default_rng(0)
    found, intervals, draw = 0, [], DRAWS["even"](generator)
    for _ in range(100):
        family = simulated_family(n, [1, 2, 1], draw)
        tests = significances(family)
        found += tests[0].differs and tests[2].differs
        intervals.append(ratio(family[0]))
    assert found >= least
    assert np.mean([each.low <= 2 <= each.high for each in intervals]) >= 0.88


class TestPower:
    @pytest.mark.parametrize(("effect", "n", "comparisons"), [(0.1, 5, 1), (0.8, 12, 190), (3.0, 9, 20), (2e3, 40, 3)])
    def test_it_is_statsmodels(self, effect, n, comparisons):
        expected = TTestPower().power(effect, n, ALPHA / comparisons, alternative="two-sided")
        assert _power(effect, n, comparisons) == pytest.approx(1.0 if math.isnan(expected) else expected, rel=1e-9)

    def test_seeds_needed_find_the_difference_in_four_of_five_cases(self):
        generator = np.random.default_rng(0)
        spread, effect, family = 0.5, math.log(1.5), 3
        pilot = generator.normal(size=4000)
        pilot = effect + spread * (pilot - pilot.mean()) / pilot.std(ddof=1)
        n = seeds_needed(Paired(pilot), family)
        found = [
            t_p(Paired(effect + spread * generator.normal(size=n))) <= ALPHA / family for _ in range(2000)
        ]  # fmt: skip
        assert np.mean(found) == pytest.approx(0.8, abs=0.05)
        assert detectable_ratio(Paired(pilot[:n] - pilot[:n].mean()), family) == pytest.approx(
            math.exp(effect * float(np.std(pilot[:n], ddof=1)) / spread), rel=0.1
        )

    def test_it_is_never_less_than_the_exact_test_needs(self):
        assert seeds_needed(Paired(np.array([5.0, 5.1, 5.2])), 20) == fewest_pairs(20)
        assert seeds_needed(Paired(np.array([5.0, 5.0])), 20) == fewest_pairs(20)

    def test_what_cannot_be_said(self):
        assert seeds_needed(Paired(np.array([1.0])), 3) is None
        assert seeds_needed(Paired(np.array([0.0, 0.0])), 3) is None
        assert seeds_needed(Paired(np.array([1.0, -1.0, 1e-4])), 3) is None
        assert detectable_ratio(Paired(np.array([1.0])), 3) is None
        assert detectable_ratio(Paired(np.array([1.0, 1.0])), 3) is None


def test_improvement_is_mann_whitneys():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 9, size=11).astype(float), generator.integers(2, 12, size=7).astype(float)
    u = stats.mannwhitneyu(b, a).statistic
    assert improvement(a, b) == pytest.approx(u / (11 * 7))
    assert improvement([1, math.inf], [math.inf]) == pytest.approx(0.75)


class TestOverTasks:
    def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end(self):
        scores = [np.array([0.0, 1.0]), np.array([2.0, 3.0, 4.0, 5.0, 6.0, 100.0])]
        found = interquartile_mean(scores)
        assert found.estimate == pytest.approx(np.mean([2, 3, 4, 5]))
        assert found.low <= found.estimate <= found.high

    def test_its_interval_covers(self):
        """Stratified: a task's mean is no part of the spread."""
        generator, hits = np.random.default_rng(0), 0
        for _ in range(300):
            scores = [mean + generator.uniform(-0.5, 0.5, size=25) for mean in (0.0, 0.0, 0.0)]
            found = interquartile_mean(scores)
            hits += found.low <= 0 <= found.high
        assert hits / 300 == pytest.approx(0.94, abs=0.04)

    def test_the_profile_is_the_share_above(self):
        share, low, high = performance_profile(
            [np.array([0.1, 0.5, 0.9]), np.array([-1.0, -1.0, -1.0])], np.array([0.0, 0.4, 0.95])
        )
        assert share == pytest.approx([0.5, 1 / 3, 0])
        assert (low <= share).all()
        assert (share <= high).all()

    def test_the_probability_of_improvement_is_a_mean_over_tasks(self):
        a, b = [np.array([2.0, 3.0]), np.array([1.0])], [np.array([1.0, 2.5]), np.array([1.0])]
        assert probability_of_improvement(a, b).estimate == pytest.approx((0.75 + 0.5) / 2)
