"""What the report says, as numbers: frames in, a row per contender and problem, or per timed cell, out."""

import math

import pandas as pd

from bench.record.records import DECIDED
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
    use), `point_size` (the hidden size of the reference cell that it is compared with), `first` (whether it is of the
    point timed first), and as `Interval`s over rounds training_step, forward, inference_step (ms), ratio (of training
    steps to the reference cell's in the same rounds: that of its size, or the only one), over_torch (of the
    fastest form in torch to this one), over_torchrecurrent, gflops (achieved), share (of the GEMM rate in the same
    rounds); and once flops_training_step, flop_ratio (to the reference cell's), first_call (ms), peak_memory (MiB).
    """
    rows = []
    for (sweep, group), measured in timing.groupby(["sweep", "group"], sort=False):
        tables = {
            case: rounds.pivot_table(index="round", columns="quantity", values="value")
            for case, rounds in measured[measured["round"].notna()].groupby("case", sort=False)
        }
        facts = measured.drop_duplicates("case").set_index("case")
        references = _references(facts)
        for case, rounds in tables.items():
            described, reference = facts.loc[case], references[case]
            once = measured[(measured["case"] == case) & measured["round"].isna()].set_index("quantity")["value"]
            flops = _flops(measured, case)
            rate = flops / rounds["training_step"] / 1e6  # FLOP per ms is kFLOP/s
            settings = [column for column in facts if column.startswith(("cell.", "task."))]
            here = _forms_of(facts, case)
            size = described["hidden_size"] if reference is None else facts.loc[reference, "hidden_size"]
            rows.append(
                {
                    "sweep": sweep,
                    "group": group,
                    "point_size": size,
                    **described[[*DESCRIBED, *settings]].to_dict(),
                    "label": _label(described, size),
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
    found = pd.DataFrame(rows)
    points = found.groupby(["sweep", "group", "point_size"], sort=False).ngroup()
    return found.assign(first=points == 0)


def _references(facts: pd.DataFrame) -> dict[str, str | None]:
    """Return what each case's time is divided by: the reference cell of its size; that of the only size there is of it,
    where cells were made equal in parameters or arithmetic and not in size; or nothing."""
    found = facts[(facts["cell"] == REFERENCE_CELL) & (facts["form"] == "own")].drop_duplicates("hidden_size")
    of_size = {size: str(case) for case, size in found["hidden_size"].items()}
    only = str(found.index[0]) if len(found) == 1 else None
    return {str(case): of_size.get(size, only) for case, size in facts["hidden_size"].items()}


def _forms_of(facts: pd.DataFrame, case: str) -> pd.DataFrame:
    """Return the forms of a case's cell that were timed beside it, itself among them; none if it is alone, and compared
    with nothing."""
    of = facts.loc[case]
    same = (facts["cell"] == of["cell"]) & (facts["hidden_size"] == of["hidden_size"])
    forms = facts[same & ((facts["form"] == "other") | (facts.index == case))]
    return forms if len(forms) > 1 else forms.iloc[:0]


def _label(described: pd.Series, size: int) -> str:
    """Name a timed cell: by its own name, the layer that it is of a package, and its size if it is another than that
    of the point."""
    layer = described.get("cell.layer")
    own_layer = described["form"] == "own" and layer is not None and not pd.isna(layer)
    name = f"{described['cell']} {layer}" if own_layer else str(described["cell"])
    return name if described["hidden_size"] == size else f"{name}, H={described['hidden_size']}"


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


def _first(values: pd.Series) -> object:
    present = values.dropna()
    return present.iloc[0] if len(present) else None
