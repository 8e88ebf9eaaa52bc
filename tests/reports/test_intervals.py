"""Statistics against closed forms, other implementations and simulations with known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics import (
    geometric_mean_interval,
    log_log_slope,
    median_interval,
    ratio_interval,
    solved_fraction,
)
from reports.statistics.intervals import mid_p_bounds


def test_wilson_is_its_formula():
    for solved, runs in ((0, 3), (3, 3), (7, 10), (1, 1)):
        z, p = stats.norm.ppf(0.975), solved / runs
        centre = (p + z * z / (2 * runs)) / (1 + z * z / runs)
        half = z / (1 + z * z / runs) * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
        interval = solved_fraction(solved, runs)
        assert interval.estimate == p
        assert interval.low == pytest.approx(max(0, centre - half), abs=1e-12)
        assert interval.high == pytest.approx(min(1, centre + half), abs=1e-12)


def test_mid_p_bounds_leave_the_probability_of_a_tail():
    for solved, runs in ((1, 3), (3, 5), (7, 10), (19, 20)):
        low, high = mid_p_bounds(solved, runs)
        assert stats.binom.sf(solved, runs, low) + stats.binom.pmf(solved, runs, low) / 2 == pytest.approx(0.025)
        assert stats.binom.cdf(solved - 1, runs, high) + stats.binom.pmf(solved, runs, high) / 2 == pytest.approx(0.025)
    assert mid_p_bounds(5, 5) == pytest.approx((0.05 ** (1 / 5), 1))
    assert mid_p_bounds(0, 8) == pytest.approx((0, 1 - 0.05 ** (1 / 8)))


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


def covered(draw, interval, truth: float, times: int) -> float:
    """The share of simulated intervals that hold the truth."""
    found = [interval(draw()) for _ in range(times)]
    return float(np.mean([each.low <= truth <= each.high for each in found]))


def test_the_slope_with_cut_off_values_is_that_of_all():
    """Least squares on what was seen would be too flat: the largest values are missing."""
    x = np.repeat([10.0, 20, 40, 80, 160], 5)
    generator = np.random.default_rng(0)
    ours, naive = [], []
    for _ in range(200):
        y = x**1.3 * np.exp(0.5 * generator.normal(size=len(x)))
        budget = 80**1.3
        cut, seen = np.minimum(y, budget), y < budget
        slope = log_log_slope(x, cut, seen)
        ours.append((slope.estimate, slope.low <= 1.3 <= slope.high))
        naive.append(log_log_slope(x[seen], cut[seen]).estimate)
    estimates, hits = zip(*ours, strict=True)
    assert np.mean(estimates) == pytest.approx(1.3, abs=0.04)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)
    assert np.mean(naive) < 1.2


def test_the_slope_of_whole_data_does_not_change_with_how_it_is_found():
    x = np.repeat([10.0, 20, 40], 4)
    y = x**0.7 * np.exp(0.1 * np.random.default_rng(1).normal(size=12))
    far = np.append(y, 1e-9 * y[0])  # one that is known to be more than nothing at all: it says nothing
    plain = log_log_slope(x, y)
    cut = log_log_slope(np.append(x, 10.0), far, np.append(np.ones(12, dtype=bool), False))
    assert cut.estimate == pytest.approx(plain.estimate, abs=1e-4)
    assert (cut.low, cut.high) == pytest.approx((plain.low, plain.high), abs=1e-3)
    assert log_log_slope([10, 20, 40], [1, 2, 3], [True, True, False]) is None


class TestGeometricMean:
    @pytest.mark.parametrize(("n", "times"), [(6, 300), (20, 300)])
    def test_it_covers_as_often_as_it_says(self, n, times):
        generator = np.random.default_rng(n)
        share = covered(lambda: np.exp(generator.normal(size=n)), geometric_mean_interval, 1.0, times)
        assert share == pytest.approx(0.95, abs=0.03)

    def test_it_is_the_mean_of_logarithms(self):
        interval = geometric_mean_interval([1, 10, 100, 1000, 10])
        assert interval.estimate == pytest.approx(10**1.4)
        assert 1 <= interval.low < interval.estimate < interval.high <= 1000

    def test_few_equal_and_infinite_values(self):
        few = geometric_mean_interval([1, 4, 2])
        assert (few.estimate, few.low, few.high) == pytest.approx((2, 1, 4))
        assert few.confidence == pytest.approx(0.75)
        assert geometric_mean_interval([3] * 9).low == pytest.approx(3)
        assert geometric_mean_interval([3]).confidence == 0
        assert geometric_mean_interval([1, 2, math.inf]).high == math.inf
        assert geometric_mean_interval([math.inf]).estimate == math.inf
