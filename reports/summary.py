"""What the report says, as numbers: frames in, a row per contender and problem, or per timed cell, out."""

import math

import pandas as pd

from bench.records import DECIDED
from reports.statistics import (
    Interval,
    geometric_mean_interval,
    median_interval,
    median_time,
    ratio_interval,
    solved_fraction,
)

REFERENCE_CELL = "lstm"
LEAST_LOSS = 1e-12  # what a loss of zero counts as, whose logarithm is taken
DESCRIBED = (
    *("cell", "form", "task", "backend", "device", "dtype", "threads", "time_steps", "batch_size", "hidden_size"),
    "gemm_size",
)


def summarize_results(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per problem and contender.

    Columns: problem, contender, cell, runs (that say something of the architecture), failed, solved,
    solved_fraction, `steps`, `samples`, `flops` (to solve) and `needed` (the same in the currency of the budget),
    final_loss (each an `Interval` or None), parameters, hidden_size, flops_step, currency, budget. A run that was
    not solved counts as never solved; one that diverged, as of infinite loss; one that failed is
    counted apart.
    """
    rows = []
    for (problem, contender), runs in results.groupby(["problem", "contender"], sort=False):
        decided = runs[runs["status"].isin(DECIDED)]
        solved = int(decided["solved"].sum())
        flops, batch = _first(runs["flops_step"]), _first(runs.get("training.batch_size", pd.Series(dtype=float)))
        steps = _time_to_solve(decided, "steps_to_solve", "steps")
        rows.append(
            {
                "problem": problem,
                "contender": contender,
                "cell": runs["cell"].iloc[0],
                "runs": len(decided),
                "failed": len(runs) - len(decided),
                "solved": solved,
                "solved_fraction": solved_fraction(solved, len(decided)) if len(decided) else None,
                "steps": steps,
                "samples": scaled(steps, batch),
                "flops": scaled(steps, flops),
                "needed": _time_to_solve(decided, "needed", "spent"),
                "final_loss": _mean_loss(decided["final_loss"]),
                "parameters": _first(runs["parameters"]),
                "hidden_size": _first(runs["hidden_size"]),
                "flops_step": flops,
                "currency": runs["currency"].iloc[0],
                "budget": float(runs["budget"].max()),
            }
        )
    return pd.DataFrame(rows)


def _time_to_solve(runs: pd.DataFrame, needed: str, spent: str) -> Interval | None:
    """Return the median of what runs needed to solve the task; None without runs."""
    if runs.empty:
        return None
    never = runs["status"] == "diverged"  # however early it ended
    times = runs[needed].astype("Float64").fillna(runs[spent].astype("Float64")).astype(float)
    return median_time(times.where(~never, math.inf), runs["solved"].astype(bool))


def scaled(interval: Interval | None, factor: object) -> Interval | None:
    """Return an interval in another unit; None where either is unknown."""
    if interval is None or factor is None:
        return None
    by = float(factor)  # type: ignore[arg-type]
    return Interval(interval.estimate * by, interval.low * by, interval.high * by, interval.confidence)


def _mean_loss(losses: pd.Series) -> Interval | None:
    """Return the geometric mean of losses, what is missing counted as infinite; None without runs."""
    if losses.empty:
        return None
    known = losses.astype("Float64").fillna(math.inf).to_numpy(dtype=float)
    return geometric_mean_interval(known.clip(min=LEAST_LOSS))


def summarize_timing(timing: pd.DataFrame) -> pd.DataFrame:
    """Return a row per timed case: where (task, time_steps, batch_size, hidden_size, …), `cell`, `label` (the cell,
    and which layer of a package), `form` ("own", or "other" for an implementation timed only beside the one in
    use), `first` (whether it is of the point timed first), and as `Interval`s over rounds training_step, forward,
    inference_step (ms), ratio (of training steps to the reference cell's in the same rounds), over_torch (of the
    fastest form in torch to this one), over_torchrecurrent, gflops (achieved), share (of the GEMM rate in the same
    rounds); and once flops_training_step, flop_ratio (to the reference cell's), first_call (ms), peak_memory (MiB).
    """
    rows = []
    groups = timing.groupby(["sweep", "group", "hidden_size"], sort=False, dropna=False)
    for number, ((sweep, _, _), measured) in enumerate(groups):
        tables = {
            case: rounds.pivot_table(index="round", columns="quantity", values="value")
            for case, rounds in measured[measured["round"].notna()].groupby("case", sort=False)
        }
        facts = measured.drop_duplicates("case").set_index("case")
        reference = _reference_case(measured)
        for case, rounds in tables.items():
            described = facts.loc[case]
            once = measured[(measured["case"] == case) & measured["round"].isna()].set_index("quantity")["value"]
            flops = _flops(measured, case)
            rate = flops / rounds["training_step"] / 1e6  # FLOP per ms is kFLOP/s
            settings = [column for column in facts if column.startswith(("cell.", "task."))]
            forms = facts[(facts["cell"] == described["cell"]) & ((facts["form"] == "other") | (facts.index == case))]
            here = forms if len(forms) > 1 else forms.iloc[:0]  # alone, it is compared with nothing
            rows.append(
                {
                    "sweep": sweep,
                    "first": number == 0,
                    **described[[*DESCRIBED, *settings]].to_dict(),
                    "label": _label(described),
                    "training_step": median_interval(rounds["training_step"]),
                    "forward": median_interval(rounds["forward"]),
                    "inference_step": median_interval(rounds["inference_step"]),
                    "ratio": _step_ratio(tables, case, reference),
                    "over_torch": _step_ratio(tables, _fastest(tables, here, ("torch", "loop")), case),
                    "over_torchrecurrent": _step_ratio(tables, _fastest(tables, here, ("torchrecurrent",)), case),
                    "gflops": None if math.isnan(flops) else median_interval(rate),
                    "share": None if math.isnan(flops) else median_interval(rate / rounds["gemm"]),
                    "gemm": median_interval(rounds["gemm"]),
                    "flops_training_step": flops,
                    "flop_ratio": flops / _flops(measured, reference),
                    "first_call": float(once.get("first_call", math.nan)),
                    "peak_memory": float(once.get("peak_memory", math.nan)),
                }
            )
    return pd.DataFrame(rows)


def _label(described: pd.Series) -> str:
    """Name a timed cell: by its own name, and the layer that it is of a package."""
    layer = described.get("cell.layer")
    own_layer = described["form"] == "own" and layer is not None and not pd.isna(layer)
    return f"{described['cell']} {layer}" if own_layer else str(described["cell"])


def _fastest(tables: dict[str, pd.DataFrame], cases: pd.DataFrame, backends: tuple[str, ...]) -> str | None:
    """Return the case with the shortest median training step among those of some backends."""
    candidates = [case for case in cases.index if cases.loc[case, "backend"] in backends]
    return min(candidates, key=lambda case: tables[case]["training_step"].median(), default=None)


def _step_ratio(tables: dict[str, pd.DataFrame], case: str | None, to: str | None) -> Interval | None:
    """Return the ratio of two cases' training steps over the rounds that timed both."""
    if case is None or to is None:
        return None
    both = (
        pd.concat([tables[case]["training_step"], tables[to]["training_step"]], axis=1).dropna().to_numpy(dtype=float)
    )
    return ratio_interval(both[:, 0], both[:, 1]) if len(both) else None


def step_time_ratios(results: pd.DataFrame, timings: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    """Return the step-time ratio to the reference cell for each problem and contender that was timed.

    Args:
        results: a row a run, with `problem` and `contender`.
        timings: of `summarize_timing`.
    """
    return _timed(results, timings, "ratio")


def step_times(results: pd.DataFrame, timings: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the median milliseconds of a training step for each problem and contender that was timed."""
    return {name: found.estimate for name, found in _timed(results, timings, "training_step").items()}


def _timed(results: pd.DataFrame, timings: pd.DataFrame, column: str) -> dict[tuple[str, str], Interval]:
    if results.empty or timings.empty:
        return {}
    timings = timings[timings["form"] == "own"]
    settings = [name for name in timings if name.startswith(("cell.", "task.")) and name in results]
    on = ["sweep", "cell", "task", *settings, "batch_size"]
    runs = results.assign(batch_size=results["training.batch_size"]).drop_duplicates(["problem", "contender"])
    values = dict(zip(_row_keys(timings, on), timings[column], strict=True))
    names = zip(runs["problem"], runs["contender"], strict=True)
    found = {name: values.get(key) for name, key in zip(names, _row_keys(runs, on), strict=True)}
    return {name: value for name, value in found.items() if value is not None}


def _row_keys(frame: pd.DataFrame, columns: list[str]) -> list[tuple[object, ...]]:
    """Return each row's values as a hashable key, in which 8 and 8.0 are equal and so are all forms of missing."""
    return [tuple(None if pd.isna(value) else value for value in row) for row in frame[columns].itertuples(index=False)]


def _flops(measured: pd.DataFrame, case: str | None) -> float:
    counted = measured[(measured["case"] == case) & (measured["quantity"] == "flops_training_step")]["value"]
    return float(counted.iloc[0]) if len(counted) else math.nan


def _reference_case(measured: pd.DataFrame) -> str | None:
    cases = measured.loc[(measured["cell"] == REFERENCE_CELL) & (measured["form"] == "own"), "case"].unique()
    return str(cases[0]) if len(cases) else None


def _first(values: pd.Series) -> object:
    present = values.dropna()
    return present.iloc[0] if len(present) else None
