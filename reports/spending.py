"""What a run could spend and what it needed, in the currency of its budget: steps, FLOPs or seconds."""

import numpy as np
import pandas as pd

from bench.record.fairness import NO_LIMIT

BY_BUDGET = {"training.max_steps"}  # settings that follow from a budget in another currency


def has_other_budget(runs: pd.DataFrame) -> bool:
    """Tell whether what limits runs is not a number of steps."""
    return _currency(runs) != "steps"


def add_spending(results: pd.DataFrame) -> pd.DataFrame:
    """Return results with what runs could spend and did.

    New columns: `currency`, one for each problem; `budget`; `needed` (to solve the task, missing if it was not
    solved); `spent` (in all; by a run that diverged, which could not have gone on, or that its `training.patience`
    ended, the whole budget); `grid` (between two regular evaluations); `early` (the steps between two of these if there
    were early ones before the first, which say nothing exact of seconds; else 0); and whatever the currency
    `flops_to_solve`.
    """
    parts = []
    for _, runs in results.groupby("problem", sort=False):
        currency = _currency(runs)
        unit = {
            "steps": pd.Series(1.0, index=runs.index),
            "FLOPs": _floats(runs, "flops_step"),
            "seconds": _floats(runs, "step_ms") / 1000,
        }[currency]
        spent, needed = unit * _floats(runs, "steps"), unit * _floats(runs, "steps_to_solve")
        budget = unit * _floats(runs, "training.max_steps")
        if currency == "seconds":
            spent, needed = _floats(runs, "seconds"), _floats(runs, "seconds_to_solve")
            budget = _floats(runs, "training.max_seconds")
        budget = np.maximum(budget.fillna(spent), 0)
        early = _had_early(runs) & (currency != "seconds")
        parts.append(
            runs.assign(
                currency=currency,
                budget=budget,
                needed=needed,
                spent=spent.where(~_gave_up(runs), budget),
                grid=(unit * _floats(runs, "training.evaluate_every")).fillna(0.0),
                early=_floats(runs, "training.evaluate_every").where(early, 0.0).fillna(0.0),
                flops_to_solve=_floats(runs, "flops_step") * _floats(runs, "steps_to_solve"),
            )
        )
    return pd.concat(parts).loc[results.index] if parts else results


def _gave_up(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Return which runs ended before their budget by what came of them, and not by a lack of time."""
    had_patience = _floats(runs, "training.patience").notna() & (runs["status"] == "unsolved")
    return (runs["status"] == "diverged") | had_patience


def _currency(runs: pd.DataFrame) -> str:
    if (_floats(runs, "training.max_steps") >= NO_LIMIT).all() and _floats(runs, "training.max_seconds").notna().all():
        return "seconds"
    if _floats(runs, "training.max_flops").notna().all() and _floats(runs, "flops_step").notna().all():
        return "FLOPs"
    return "steps"


def _had_early(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Return which runs had early evaluations; tables from before there were any do not have the column."""
    column = runs.get("training.early_evaluations", pd.Series(False, index=runs.index))
    return column.astype("boolean").fillna(False).astype(bool)


def _floats(runs: pd.DataFrame, column: str) -> "pd.Series[float]":
    if column not in runs:
        return pd.Series(np.nan, index=runs.index)
    return pd.to_numeric(runs[column], errors="coerce").astype("Float64").astype(float)
