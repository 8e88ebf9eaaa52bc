"""The mathematics of reports: pure functions on arrays. scipy and statsmodels do what they can."""

from reports.statistics.aggregate import interquartile_mean, performance_profile, probability_of_improvement
from reports.statistics.evidence import Evidence, Region, geometric_mean, growth, known, median, p_of_verdicts, share
from reports.statistics.intervals import (
    CONFIDENCE,
    Interval,
    geometric_mean_interval,
    log_log_slope,
    log_ratio_interval,
    median_interval,
    ratio_interval,
    solved_fraction,
)
from reports.statistics.paired import (
    ALPHA,
    Paired,
    Significance,
    detectable_ratio,
    fewest_pairs,
    improvement,
    pair_up,
    ratio,
    seeds_needed,
    significances,
    smallest_p,
)
from reports.statistics.survival import SolveCurve, log_rank, median_time, solve_curve

__all__ = [
    "ALPHA", "CONFIDENCE", "Evidence", "Interval", "Paired", "Region", "Significance", "SolveCurve",
    "detectable_ratio", "fewest_pairs", "geometric_mean", "geometric_mean_interval", "growth", "improvement",
    "interquartile_mean", "known", "log_log_slope", "log_rank", "log_ratio_interval", "median", "median_interval",
    "median_time", "p_of_verdicts", "pair_up", "performance_profile", "probability_of_improvement", "ratio",
    "ratio_interval", "seeds_needed", "share", "significances", "smallest_p", "solve_curve", "solved_fraction",
]  # fmt: skip
