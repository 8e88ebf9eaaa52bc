"""Statistics over several tasks against what they are by hand."""

import numpy as np
import pytest

from reports.statistics import interquartile_mean, performance_profile, probability_of_improvement


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
