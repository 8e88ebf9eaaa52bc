"""Statistics against closed forms, other implementations and simulations with known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics import log_log_slope, median_interval, ratio_interval, solve_curve, solved_fraction


def test_wilson_is_its_formula():
    for solved, runs in ((0, 3), (3, 3), (7, 10), (1, 1)):
        z, p = stats.norm.ppf(0.975), solved / runs
        centre = (p + z * z / (2 * runs)) / (1 + z * z / runs)
        half = z / (1 + z * z / runs) * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
        interval = solved_fraction(solved, runs)
        assert interval.estimate == p
        assert interval.low == pytest.approx(max(0, centre - half), abs=1e-12)
        assert interval.high == pytest.approx(min(1, centre + half), abs=1e-12)


class TestMedianInterval:
    def test_below_six_values_it_is_the_range_with_its_true_coverage(self):
        interval = median_interval([650, 850, 700])
        assert (interval.estimate, interval.low, interval.high) == (700, 650, 850)
        assert interval.confidence == pytest.approx(0.75)
        assert median_interval([1, 2, 3, 4, 5, 6]).confidence == pytest.approx(1 - 2 / 64)

    def test_it_is_the_interval_of_scipys_quantile_test(self):
        for n in (6, 9, 15, 30):
            values = np.random.default_rng(n).normal(size=n)
            theirs = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
            ours = median_interval(values)
            assert ours.confidence >= 0.95
            # Theirs may end one order statistic further in on one side, where coverage still suffices.
            ordered = np.sort(values)
            for mine, other in ((ours.low, theirs.low), (ours.high, theirs.high)):
                assert abs(np.searchsorted(ordered, mine) - np.searchsorted(ordered, other)) <= 1

    @pytest.mark.parametrize("n", [3, 5, 8, 15])
    def test_it_covers_the_median_as_often_as_it_says(self, n):
        generator = np.random.default_rng(0)
        hits, said = 0, 0.0
        for _ in range(4000):
            interval = median_interval(generator.lognormal(size=n))  # true median 1
            hits += interval.low <= 1 <= interval.high
            said = interval.confidence
        assert hits / 4000 == pytest.approx(said, abs=4 * math.sqrt(said * (1 - said) / 4000))

    def test_unsolved_runs_are_beyond_everything(self):
        interval = median_interval([700, math.inf, 650])
        assert (interval.estimate, interval.low, interval.high) == (700, 650, math.inf)
        assert median_interval([math.inf, math.inf, 3]).estimate == math.inf
        assert median_interval([math.inf, math.inf]).estimate == math.inf
        assert median_interval([1, math.inf]).estimate == math.inf

    def test_one_value(self):
        interval = median_interval([4])
        assert (interval.estimate, interval.low, interval.high, interval.confidence) == (4, 4, 4, 0)


def test_paired_ratios_are_free_of_common_drift():
    load = np.linspace(1, 3, 9)
    interval = ratio_interval(1.5 * load, load)
    assert (interval.low, interval.high) == pytest.approx((1.5, 1.5))


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


def test_the_slope_is_the_exponent():
    x = np.array([10.0, 20, 40, 80, 160])
    slope = log_log_slope(x, 3 * x**2)
    assert (slope.estimate, slope.low, slope.high) == pytest.approx((2, 2, 2))
    assert log_log_slope([1, 2, 2], [1, 2, 3]) is None
    generator, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        slope = log_log_slope(x, x**1.3 * np.exp(0.2 * generator.normal(size=5)))
        hits += slope.low <= 1.3 <= slope.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)
