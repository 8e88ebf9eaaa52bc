"""What a contender's runs on a problem come to: the table of runs in, a typed row per problem and contender out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from bench.record.records import DECIDED
from reports.statistics import (
    Interval,
    expected_time,
    geometric_mean_interval,
    median_interval,
    median_time,
    solved_fraction,
)

REFERENCE_CELL = "lstm"
TEST_SCORE = "test_score."  # how columns of scores on the test part begin
LEAST_LOSS = 1e-12  # what a loss of zero counts as, whose logarithm is taken


@dataclass(frozen=True)
class Summary:
    """A contender on a problem.

    A run that was not solved counts as never solved; one that diverged, as of infinite loss; one that failed is counted
    apart.

    Attributes:
        runs: how many say something of the architecture; `failed`: how many do not; `solved`: how many of `runs`.
        solved_fraction: of `runs`; None without any, as all intervals are.
        steps, samples, flops: to solve the problem; the last two None too where no run says what a step takes.
        expected: running time to a solution, in `currency`: all that runs spent over the number of solved ones.
        needed: median to solve it, in `currency`, that of the budget: "steps", "FLOPs" or "seconds".
        flops_step: of a training step.
        budget: the largest of a run, in `currency`.
        final_loss: `compared_loss`, the geometric mean.
        scores: on the test part, the median of each; none where the task has no such part.
    """

    problem: str
    contender: str
    cell: str
    runs: int
    failed: int
    solved: int
    solved_fraction: Interval | None
    steps: Interval | None
    samples: Interval | None
    flops: Interval | None
    needed: Interval | None
    expected: Interval | None
    final_loss: Interval | None
    scores: dict[str, Interval]
    parameters: int | None
    hidden_size: int | None
    flops_step: float | None
    currency: str
    budget: float

    @property
    def tested(self) -> bool:
        """Whether it was scored on a test part: such a task has no criterion of being solved."""
        return bool(self.scores)

    @property
    def share_solved(self) -> float:
        """Of the runs; 0 without any."""
        return self.solved / self.runs if self.runs else 0.0

    @property
    def median_needed(self) -> float:
        """Median of what solving took, in `currency`; infinite where it is beyond the budget or there are no runs."""
        return math.inf if self.needed is None else self.needed.estimate

    @property
    def mean_loss(self) -> float:
        """Geometric mean of the final loss; infinite where a run diverged or there are none."""
        return math.inf if self.final_loss is None else self.final_loss.estimate


def compared_loss(runs: pd.DataFrame) -> "pd.Series[float]":
    """Return the loss by which runs are compared: that on the test part, where their task has one, else the final
    held-out one; missing where a run diverged."""
    final = runs["final_loss"].astype("Float64")
    return runs["test_loss"].astype("Float64").fillna(final) if "test_loss" in runs else final


def ranked(rows: Iterable[Summary]) -> list[Summary]:
    """Return contenders on a problem from best to worst: by the share solved, then by the median needed, then by the
    loss."""
    return sorted(rows, key=lambda row: (-row.share_solved, row.median_needed, row.mean_loss))


def summarize_results(results: pd.DataFrame) -> list[Summary]:
    """Return a row per problem and contender, in the order in which the table of runs has them."""
    if results.empty:
        return []
    groups = results.groupby(["problem", "contender"], sort=False)
    return [_summary(str(problem), str(contender), runs) for (problem, contender), runs in groups]


def _summary(problem: str, contender: str, runs: pd.DataFrame) -> Summary:
    decided = runs[runs["status"].isin(DECIDED)]
    solved = int(decided["solved"].sum())
    flops, parameters, size = (_first(runs, column) for column in ("flops_step", "parameters", "hidden_size"))
    steps = _time_to_solve(decided, "steps_to_solve", "steps")
    return Summary(
        problem=problem,
        contender=contender,
        cell=str(runs["cell"].iloc[0]),
        runs=len(decided),
        failed=len(runs) - len(decided),
        solved=solved,
        solved_fraction=solved_fraction(solved, len(decided)) if len(decided) else None,
        steps=steps,
        samples=scaled(steps, _first(runs, "training.batch_size")),
        flops=scaled(steps, flops),
        needed=_time_to_solve(decided, "needed", "spent"),
        expected=_expected_time(decided),
        final_loss=_mean_loss(compared_loss(decided)),
        scores=_scores(decided),
        parameters=None if parameters is None else int(parameters),
        hidden_size=None if size is None else int(size),
        flops_step=flops,
        currency=str(runs["currency"].iloc[0]),
        budget=float(runs["budget"].max()),
    )


def _scores(runs: pd.DataFrame) -> dict[str, Interval]:
    """Return the median of each score on the test part, over the runs that have it."""
    found = {column.removeprefix(TEST_SCORE): runs[column].dropna() for column in runs if column.startswith(TEST_SCORE)}
    return {name: median_interval(values.astype(float)) for name, values in found.items() if len(values)}


def _first(runs: pd.DataFrame, column: str) -> float | None:
    """Return the first number that a column has; None if it has none."""
    present = list(runs[column].dropna()) if column in runs else []
    return float(present[0]) if present else None


def _time_to_solve(runs: pd.DataFrame, needed: str, spent: str) -> Interval | None:
    """Return the median of what runs needed to solve the task; None without runs."""
    if runs.empty:
        return None
    never = runs["status"] == "diverged"  # however early it ended
    times = runs[needed].astype("Float64").fillna(runs[spent].astype("Float64")).astype(float)
    return median_time(times.where(~never, math.inf), runs["solved"].astype(bool))


def _expected_time(runs: pd.DataFrame) -> Interval | None:
    """Return what runs spend until one solves the task; None without runs."""
    if runs.empty:
        return None
    spent = runs["needed"].astype("Float64").fillna(runs["spent"].astype("Float64")).astype(float)
    return expected_time(spent, runs["solved"].astype(bool), float(runs["budget"].max()))


def scaled(interval: Interval | None, factor: float | None) -> Interval | None:
    """Return an interval in another unit; None where either is unknown."""
    if interval is None or factor is None:
        return None
    return Interval(interval.estimate * factor, interval.low * factor, interval.high * factor, interval.confidence)


def _mean_loss(losses: pd.Series) -> Interval | None:
    """Return the geometric mean of losses, what is missing counted as infinite; None without runs."""
    if losses.empty:
        return None
    known = losses.astype("Float64").fillna(math.inf).to_numpy(dtype=float)
    return geometric_mean_interval(known.clip(min=LEAST_LOSS))
