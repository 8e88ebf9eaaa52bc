"""Times to solve against closed forms, hand computations and simulations."""

import math

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from reports.statistics import expected_time, median_interval, median_time, solve_curve


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
        assert expected_time([100, 300, 2000], [True, True, False]).estimate == pytest.approx(1200)
        assert expected_time([2000, 2000], [False, False]).low == math.inf
        never_twice = expected_time([100, 2000], [True, False])
        assert (never_twice.low, never_twice.high) == (100, math.inf)

    def test_its_interval_covers(self):
        """Of an exponential time with a budget of its mean, which a run starts anew, the mean is expected."""
        generator, hits = np.random.default_rng(0), 0
        for _ in range(200):
            needed = generator.exponential(size=40)
            found = expected_time(np.minimum(needed, 1), needed <= 1)
            hits += found.low <= 1 <= found.high
        assert hits / 200 == pytest.approx(0.94, abs=0.05)
