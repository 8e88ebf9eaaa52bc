"""Frames in, comparisons of every two contenders on a problem out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.record.records import DECIDED
from reports.references import compared_pairs
from reports.statistics import (
    ALPHA,
    Interval,
    Paired,
    detectable_ratio,
    improvement,
    log_rank,
    pair_up,
    ratio,
    seeds_needed,
    smallest_p,
    test_family,
)
from reports.summary import LEAST_LOSS


@dataclass(frozen=True)
class Outcomes:
    """What a contender's runs on a problem came to: arrays (n), by ascending seed.

    Attributes:
        seeds: each once.
        solved: whether a run solved the problem.
        needed: to solve it, NaN if it was not solved, in `currency`.
        spent: in all.
        grid: the smallest difference that can be seen.
        loss: at the end; NaN if there is none.
        currency: "steps", "FLOPs" or "seconds".
    """

    seeds: np.ndarray
    solved: np.ndarray
    needed: np.ndarray
    spent: np.ndarray
    grid: np.ndarray
    loss: np.ndarray
    currency: str

    @classmethod
    def of(cls, runs: pd.DataFrame) -> "Outcomes":
        """Take a contender's runs from results; of several at a seed the first."""
        runs = runs.drop_duplicates("seed").sort_values("seed")
        needed, spent, grid, loss = (
            runs[name].astype("Float64").to_numpy(float, na_value=np.nan)
            for name in ("needed", "spent", "grid", "final_loss")
        )
        seeds, solved = runs["seed"].to_numpy(int), runs["solved"].to_numpy(bool)
        return cls(seeds, solved, needed, spent, grid, loss, str(runs["currency"].iloc[0]))

    @property
    def times(self) -> np.ndarray:
        """What was needed, or of an unsolved run spent."""
        return np.where(np.isnan(self.needed), self.spent, self.needed)


def compare(results: pd.DataFrame) -> pd.DataFrame:
    """Compare every two contenders on each problem, or each with its reference, in pairs of the same seed.

    What is compared is what they needed to solve the task, in the currency of the budget; where no run of either
    solved it, the final loss. All comparisons are one family, over which p-values are corrected.

    Args:
        results: a row a run, of `reports.load.load`.

    Returns:
        A row a comparison: problem, first, second, `quantity` ("steps", "FLOPs", "seconds" or "loss"), pairs, `ratio`
        (an `Interval` of second over first), `bound` ("" if that is exact, "≥" or "≤" if unsolved runs of one
        make it a bound, "~" if both have some), `first_better` (the probability that a run of the first needs less than
        one of the second), `test` ("exact" or "t"), p, p_corrected, `differs`, `decidable` (whether so many pairs could
        show anything), `log_rank` (p, uncorrected, unpaired), `needed` (seeds to find a difference of this size),
        `detectable` (the ratio that these seeds would find).
    """
    rows, pairs = [], []
    wanted = compared_pairs(results)
    for problem, runs in results[results["status"].isin(DECIDED)].groupby("problem", sort=False):
        outcomes = {str(name): Outcomes.of(table) for name, table in runs.groupby("contender", sort=False)}
        for first, second in wanted:
            if first not in outcomes or second not in outcomes:
                continue
            row, paired = pair_runs(outcomes[first], outcomes[second])
            if len(paired):
                rows.append({"problem": problem, "first": first, "second": second, "pairs": len(paired), **row})
                pairs.append(paired)
    tests = test_family(pairs)
    for row, paired, test in zip(rows, pairs, tests, strict=True):
        family = len(pairs)
        row |= {
            "ratio": ratio(paired),
            "test": test.kind,
            "p": test.p,
            "p_corrected": test.p_corrected,
            "differs": test.differs,
            "decidable": test.differs or test.kind == "t" or smallest_p(len(paired)) * family <= ALPHA,
            "needed": seeds_needed(paired, family),
            "detectable": detectable_ratio(paired, family),
        }
    return pd.DataFrame(rows)


def pair_runs(first: Outcomes, second: Outcomes, by: str = "") -> tuple[dict[str, object], Paired]:
    """Return what two contenders' runs are compared by, and their paired differences, second over first.

    Args:
        by: "loss" for the final loss whatever was solved; else what was needed to solve the problem, if some were.
    """
    both = np.intersect1d(first.seeds, second.seeds, assume_unique=True)
    at = [np.isin(outcomes.seeds, both) for outcomes in (first, second)]
    row: dict[str, object] = {
        "log_rank": log_rank(*(array for each in (first, second)
                               for array in (np.where(each.solved, each.needed, each.spent), each.solved))),
    }  # fmt: skip
    if by != "loss" and (first.solved.any() or second.solved.any()):
        a, b = (np.maximum(each.times[here], 1e-9) for each, here in zip((first, second), at, strict=True))
        cut_off = [bool(not each.solved[here].all()) for each, here in zip((first, second), at, strict=True)]
        grid = max(float(each.grid[here].max(initial=0.0)) for each, here in zip((first, second), at, strict=True))
        quantity, paired = first.currency, pair_up(b, a, grid=grid, complete=not any(cut_off))
        never = [np.nan_to_num(each.needed, nan=np.inf) for each in (first, second)]
    else:
        worst = np.nanmax(np.concatenate([first.loss, second.loss, [-np.inf]]))
        worst = worst if np.isfinite(worst) else 1.0
        a, b = (
            np.maximum(np.nan_to_num(each.loss[here], nan=worst), LEAST_LOSS)
            for each, here in zip((first, second), at, strict=True)
        )
        cut_off = [bool(np.isnan(each.loss[here]).any()) for each, here in zip((first, second), at, strict=True)]
        quantity, paired = "loss", pair_up(b, a, complete=not any(cut_off))
        never = [np.nan_to_num(each.loss, nan=np.inf) for each in (first, second)]
    bound = {(False, False): "", (False, True): "≥", (True, False): "≤", (True, True): "~"}[cut_off[0], cut_off[1]]
    return row | {"quantity": quantity, "bound": bound, "first_better": improvement(*never)}, paired


def inverted(comparison: pd.Series) -> pd.Series:
    """Return a comparison seen from the other side."""
    found, swapped = comparison["ratio"], {"≥": "≤", "≤": "≥"}
    return pd.Series(
        {
            **comparison.to_dict(),
            "first": comparison["second"],
            "second": comparison["first"],
            "ratio": Interval(1 / found.estimate, _reciprocal(found.high), _reciprocal(found.low), found.confidence),
            "bound": swapped.get(comparison["bound"], comparison["bound"]),
            "first_better": 1 - comparison["first_better"],
        }
    )


def _reciprocal(value: float) -> float:
    return 1 / value if value > 0 else np.inf


def between(comparisons: pd.DataFrame, problem: str, first: str, second: str) -> pd.Series | None:
    """Return the comparison of two contenders, second over first; None if there is none."""
    if comparisons.empty:
        return None
    here = comparisons[comparisons["problem"] == problem]
    for one, other, turn in ((first, second, False), (second, first, True)):
        found = here[(here["first"] == one) & (here["second"] == other)]
        if len(found):
            return inverted(found.iloc[0]) if turn else found.iloc[0]
    return None
