"""Frames in, comparisons of every two contenders on a problem out."""

import numpy as np
import pandas as pd

from bench.records import DECIDED
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
        tables = {
            str(name): table.drop_duplicates("seed").set_index("seed").sort_index()
            for name, table in runs.groupby("contender", sort=False)
        }
        for first, second in wanted:
            if not {first, second} <= tables.keys():
                continue
            row, paired = pair_runs(tables[first], tables[second])
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


def pair_runs(first: pd.DataFrame, second: pd.DataFrame, by: str = "") -> tuple[dict[str, object], Paired]:
    """Return what two contenders' runs are compared by, and their paired differences, second over first.

    Args:
        first, second: runs by seed.
        by: "loss" for the final loss whatever was solved; else what was needed to solve the problem, if some were.
    """
    seeds = first.index.intersection(second.index)
    a, b = first.loc[seeds], second.loc[seeds]
    row: dict[str, object] = {
        "log_rank": log_rank(first["spent"].where(~first["solved"], first["needed"]), first["solved"],
                             second["spent"].where(~second["solved"], second["needed"]), second["solved"]),
    }  # fmt: skip
    if by != "loss" and (first["solved"].any() or second["solved"].any()):
        time_a, time_b = (
            table["needed"].fillna(table["spent"]).clip(lower=1e-9).to_numpy(dtype=float) for table in (a, b)
        )
        open_a, open_b = (bool((~table["solved"]).any()) for table in (a, b))
        grid = max((float(table["grid"].max()) for table in (a, b) if len(table)), default=0.0)
        bound = "~" if open_a and open_b else "≥" if open_b else "≤" if open_a else ""
        better = improvement(*(table["needed"].fillna(np.inf).to_numpy(dtype=float) for table in (first, second)))
        row |= {"quantity": first["currency"].iloc[0], "bound": bound, "first_better": better}
        return row, pair_up(time_b, time_a, grid=grid, complete=not (open_a or open_b))
    losses = [table["final_loss"].astype("Float64").astype(float) for table in (first, second)]
    worst = max((float(loss.max()) for loss in losses if loss.notna().any()), default=1.0)
    better = improvement(*(loss.fillna(np.inf).to_numpy(dtype=float) for loss in losses))
    known = [loss.fillna(worst).clip(lower=LEAST_LOSS).loc[seeds].to_numpy(dtype=float) for loss in losses]
    missing_a, missing_b = (bool(loss.loc[seeds].isna().any()) for loss in losses)
    bound = "~" if missing_a and missing_b else "≥" if missing_b else "≤" if missing_a else ""
    row |= {"quantity": "loss", "bound": bound, "first_better": better}
    return row, pair_up(known[1], known[0], complete=not (missing_a or missing_b))


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
