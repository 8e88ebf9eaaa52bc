"""The mathematics of reports: pure functions on arrays. scipy does what it can."""

from reports.statistics.aggregate import interquartile_mean, performance_profile, probability_of_improvement
from reports.statistics.contrasts import ALPHA, MARGIN, Contrast, Times
from reports.statistics.evidence import Evidence, Region, at_looks, growth, known, median, p_of_verdicts, ratio, share
from reports.statistics.families import detectable_ratio, fewest_seeds, holm, in_sequence, letters, seeds_needed
from reports.statistics.frontier import Reach, p_apart, reach, window
from reports.statistics.intervals import (
    CONFIDENCE,
    Interval,
    geometric_mean_interval,
    log_log_slope,
    median_interval,
    ratio_interval,
    solved_fraction,
)
from reports.statistics.sequential import Looks, looks_at
from reports.statistics.survival import SolveCurve, expected_time, median_time, solve_curve

__all__ = [
    "ALPHA", "CONFIDENCE", "MARGIN", "Contrast", "Evidence", "Interval", "Looks", "Reach", "Region", "SolveCurve",
    "Times", "at_looks", "detectable_ratio", "expected_time", "fewest_seeds", "geometric_mean_interval", "growth",
    "holm", "in_sequence", "interquartile_mean", "known", "letters", "log_log_slope", "looks_at", "median",
    "median_interval", "median_time", "p_apart", "p_of_verdicts", "performance_profile",
    "probability_of_improvement", "ratio", "ratio_interval", "reach", "seeds_needed", "share", "solve_curve",
    "solved_fraction", "window",
]  # fmt: skip
