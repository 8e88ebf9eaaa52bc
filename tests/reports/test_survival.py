"""Times to solve against closed forms, hand computations and simulations."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from reports.statistics import Interval, expected_time, median_interval, median_time, solve_curve
from reports.statistics.intervals import mid_p_bounds
from tests.reports.simulate import CASES, covers_expected_time


class TestSolveCurve:
    def test_without_censoring_it_is_the_empirical_distribution(self):
        curve = solve_curve([30, 10, 20], [True, True, True])
        assert curve.times.tolist() == [0, 10, 20, 30]
        assert curve.share == pytest.approx([0, 1 / 3, 2 / 3, 1])

    def test_censored_runs_are_kaplan_meiers(self):
        # The product-limit estimate by hand: 4 at risk at 10, then 2 at 20 (one left at 15 unsolved).
        curve = solve_curve([10, 15, 20, 30], [True, False, True, False])
        share = dict(zip(curve.times.tolist(), curve.share.tolist(), strict=True))
        assert share[10] == pytest.approx(1 / 4)
        assert share[20] == pytest.approx(1 - 3 / 4 * 1 / 2)

    def test_nothing_solved_is_a_line_at_zero(self):
        curve = solve_curve([100, 100], [False, False])
        assert curve.share.max() == 0
        assert np.isfinite([curve.low, curve.high]).all()

    def test_the_interval_encloses_the_estimate(self):
        curve = solve_curve([10, 15, 20, 30, 31], [True, False, True, False, True])
        assert (curve.low <= curve.share + 1e-12).all()
        assert (curve.share <= curve.high + 1e-12).all()


class TestMedianTime:
    def test_without_censoring_it_is_the_median(self):
        values = np.random.default_rng(0).lognormal(size=9)
        assert median_time(values, np.ones(9)) == median_interval(values)

    def test_at_one_budget_it_is_that_of_infinite_times(self):
        times, solved = [650, 700, 1500, 800, 1500, 1500], [True, True, False, True, False, False]
        found = median_time(times, solved)
        expected = median_interval([650, 700, 800, math.inf, math.inf, math.inf])
        # Half of them are solved: the curve is at a half from 800 on, with no end.
        assert (found.estimate, found.low, found.high) == (math.inf, expected.low, math.inf)
        none = median_time([100, 100], [False, False])
        assert (none.estimate, none.low, none.high) == (math.inf, math.inf, math.inf)

    def test_the_estimate_is_kaplan_meiers(self):
        generator = np.random.default_rng(3)
        for _ in range(50):
            times, cut = generator.exponential(size=15), generator.exponential(1.5, size=15)
            solved, seen = times <= cut, np.minimum(times, cut)
            curve = SurvfuncRight(seen, solved)
            theirs = next((t for t, s in zip(curve.surv_times, curve.surv_prob, strict=True) if s < 0.5), math.inf)
            assert median_time(seen, solved).estimate == theirs

    @pytest.mark.parametrize("n", [6, 10, 25])
    def test_it_covers_the_median_whatever_cuts_times_off(self, n):
        generator, hits, times = np.random.default_rng(n), 0, 2000
        for _ in range(times):
            needed, budget = generator.exponential(size=n), generator.exponential(3, size=n)
            found = median_time(np.minimum(needed, budget), needed <= budget)
            hits += found.low <= math.log(2) <= found.high
        assert hits / times >= found.confidence - 0.02

    def test_a_run_that_diverged_never_ends(self):
        found = median_time([700, math.inf, 650], [True, False, True])
        assert (found.estimate, found.low, found.high) == (700, 650, math.inf)
        assert median_time([5], [True]).confidence == 0


class TestExpectedTime:
    def test_it_is_all_that_was_spent_over_the_solved_runs(self):
        assert expected_time([100, 300, 2000], [True, True, False], 2000).estimate == pytest.approx(1200)
        one = expected_time([100], [True], 2000)
        assert (one.estimate, one.low, one.high, one.confidence) == (100, 100, 100, 0)

    def test_where_all_are_solved_some_might_not_have_been(self):
        """Half of the probability of five in five is 2.5 % if a run is solved with a probability of 0.05^(1/5)."""
        found = expected_time([100] * 5, [True] * 5, 2000)
        assert (found.estimate, found.low) == (100, 100)
        assert found.high == pytest.approx(100 + 2000 * (0.05 ** (-1 / 5) - 1))

    def test_no_time_at_all_is_a_time(self):
        assert expected_time([0, 0], [True, True], 0) == Interval(0, 0, 0)

    def test_where_none_is_solved_there_is_a_lower_bound(self):
        found = expected_time([2000] * 10, [False] * 10, 2000)
        most = 1 - 0.05 ** (1 / 10)  # share solved
        assert (found.estimate, found.high) == (math.inf, math.inf)
        assert found.low == pytest.approx(2000 * (1 - most) / most)

    def test_its_parts_are_put_together_by_their_distances(self):
        times, budget = np.array([400.0, 500, 700, 450, 2000, 2000]), 2000
        found = expected_time(times, times < budget, budget)
        mean, error = times[:4].mean(), stats.sem(times[:4]) / times[:4].mean()
        reach = math.exp(stats.t.ppf(0.975, 3) * error)
        low, high = mid_p_bounds(4, 6)
        wasted = budget * 2 / 4
        assert found.estimate == pytest.approx(mean + wasted)
        below = (mean - mean / reach) ** 2 + (wasted - budget * (1 - high) / high) ** 2
        above = (mean * reach - mean) ** 2 + (budget * (1 - low) / low - wasted) ** 2
        assert found.low == pytest.approx(mean + wasted - math.sqrt(below))
        assert found.high == pytest.approx(mean + wasted + math.sqrt(above))

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("n", [3, 5, 10, 20])
    def test_its_interval_covers(self, case, n):
        """In 93 %; of 1,000 simulations fewer than 91 % are as rare as one in a hundred then."""
        assert covers_expected_time(1000, CASES[case], n)[0] >= 0.91

    @pytest.mark.parametrize("n", [3, 7])
    def test_its_interval_covers_where_runs_end_at_random(self, n):
        generator, hits, times = np.random.default_rng(0), 0, 1000
        for _ in range(times):
            solved = generator.random(n) < 0.85
            spent = np.where(solved, 500 * np.exp(0.3 * generator.normal(size=n)), 2000 * generator.random(n))
            found = expected_time(spent, solved, 2000)
            hits += found.low <= 500 * math.exp(0.045) + 1000 * 0.15 / 0.85 <= found.high
        assert hits / times >= 0.91
