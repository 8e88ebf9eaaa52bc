"""How far contenders reach: the runs of a sweep with `seeds=frontier` in, a row per problem and contender out."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import pandas as pd

from bench.record.records import DECIDED
from reports.load import Stored
from reports.naming import problems_of, varying
from reports.statistics import ALPHA, Reach, holm, p_apart, reach, window

RATE = "training.learning_rate"


@dataclass(frozen=True)
class Frontier:
    """A contender on a problem, whose runs have many lengths and several learning rates.

    Attributes:
        problem: without the lengths and learning rates.
        runs: how many of each learning rate say something of the architecture.
        reaches: by learning rate, from all its runs.
        rate: the learning rate that reached furthest in the looks that choose one; None: these are not over.
        best: what runs at it say that did not choose it; None without any.
        tested: how many these are.
        solving: at which learning rates more than half of the runs solve `length`, by `reports.statistics.window`.
        length: the middle one of those that could be tried, where all staircases began.
    """

    problem: str
    contender: str
    cell: str
    runs: dict[float, int]
    reaches: dict[float, Reach]
    rate: float | None
    best: Reach | None
    tested: int
    length: int

    @cached_property
    def solving(self) -> dict[float, bool | None]:
        return window(self.reaches, self.length)


def is_frontier(stored: Stored) -> bool:
    """Tell whether all runs were placed where half of them solve."""
    lengths = stored.looks.lengths if stored.looks is not None else []
    return bool(lengths) and len(stored.results) > 0 and bool(stored.results["horizon"].isin(lengths).all())


def frontiers(stored: Stored) -> list[Frontier]:
    """Return a row per problem and contender, of a sweep that `is_frontier`."""
    looks = stored.looks
    assert looks is not None
    runs = stored.results[stored.results["status"].isin(DECIDED)]
    if runs.empty:
        return []
    runs = runs.assign(problem=problems_without_length(runs))
    rows = []
    for (problem, contender), mine in runs.groupby(["problem", "contender"], sort=False):
        by_rate = dict(list(mine.groupby(mine[RATE].astype(float))))
        fresh = {rate: part[part["look"].fillna(0) > looks.choosing] for rate, part in by_rate.items()}
        rate = max(fresh, key=lambda each: len(fresh[each]))
        tested = len(fresh[rate])
        rows.append(
            Frontier(
                str(problem),
                str(contender),
                str(mine["cell"].iloc[0]),
                {each: len(part) for each, part in by_rate.items()},
                {each: _reach(looks.lengths, part) for each, part in by_rate.items()},
                rate if tested else None,
                _reach(looks.lengths, fresh[rate]) if tested else None,
                tested,
                looks.lengths[(len(looks.lengths) - 1) // 2],
            )
        )
    return rows


def problems_without_length(runs: pd.DataFrame) -> "pd.Series[Any]":
    """Return each run's problem without its length, what follows from that, and its learning rate."""
    return problems_of(runs, _of_length(runs))


def told_apart(rows: list[Frontier]) -> dict[tuple[str, frozenset[str]], float]:
    """Return by problem and two contenders the p-value of their reaching equally far, Holm-corrected over all of these;
    those that are told apart have `ALPHA` or less."""
    pairs = [
        (one, other)
        for one, other in combinations(rows, 2)
        if one.problem == other.problem and one.best is not None and other.best is not None
    ]
    p = holm([p_apart(one.best, other.best) for one, other in pairs if one.best and other.best])
    return {
        (one.problem, frozenset((one.contender, other.contender))): float(value)
        for (one, other), value in zip(pairs, p, strict=True)
    }


def apart_on(told: dict[tuple[str, frozenset[str]], float], problem: str) -> set[frozenset[str]]:
    """Return the pairs of contenders that are told apart on a problem."""
    return {pair for (on, pair), p in told.items() if on == problem and p <= ALPHA}


def _of_length(runs: pd.DataFrame) -> set[str]:
    """Return the columns that tell no problems apart: learning rates, and what follows from the length of a run."""
    of_length = {RATE}
    for _, mine in runs.groupby("task"):
        columns = varying(mine, ["task.", "training."])
        each = mine.groupby("horizon")[columns].nunique(dropna=False)
        of_length |= {column for column in columns if (each[column] == 1).all()}
    return of_length


def _reach(lengths: list[int], runs: pd.DataFrame) -> Reach:
    return reach(lengths, zip(runs["horizon"].astype(float), runs["solved"].astype(bool), strict=True))
