"""What the timing study measured: its table in, a typed row per timed case out."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from reports.statistics import Interval, median_interval, ratio_interval
from reports.summary import REFERENCE_CELL

DESCRIBED = (
    "cell", "form", "task", "backend", "device", "dtype", "threads", "time_steps", "batch_size", "hidden_size",
    "gemm_size",
)  # fmt: skip


@dataclass(frozen=True)
class TimedCase:
    """A form of a cell, timed at a point: a task's length, a batch and a hidden size. Intervals are over rounds.

    Attributes:
        group: of the cases that were timed in the same rounds.
        point_size: hidden size of the reference cell that the case is compared with, its own if there is none.
        first: whether it is of the point timed first.
        label: the cell, which layer of a package it is, its depth where that varies, and its size where that is not the
            point's.
        form: "own", or "other" for an implementation timed only beside the one in use.
        gemm_size: rows and columns of the matrix product that `gemm` is the rate of; None in older tables.
        settings: of cell and task, by column.
        training_step, forward, inference_step: in ms; no inference_step of a contender that cannot run step by step,
            for the reason `no_steps`.
        ratio: of training steps to the reference cell's in the same rounds, that of its size or the only one; None
            without one.
        over_torch, over_torchrecurrent: of training steps of the fastest form there to this one's; None if this one was
            timed alone.
        gflops: GFLOP/s of a training step, and `share`: of the GEMM rate in the same rounds; None if its FLOPs are not
            known.
        gemm: GFLOP/s.
        flops_training_step, flop_ratio: its FLOPs, and over the reference cell's; NaN if not known.
        first_call: ms, and `peak_memory`: MiB; NaN if not known.
    """

    sweep: str
    group: str
    point_size: int
    first: bool
    label: str
    cell: str
    form: str
    task: str
    backend: str
    device: str
    dtype: str
    threads: int
    time_steps: int
    batch_size: int
    hidden_size: int
    gemm_size: int | None
    settings: dict[str, object]
    training_step: Interval
    forward: Interval
    inference_step: Interval | None
    no_steps: str | None
    ratio: Interval | None
    over_torch: Interval | None
    over_torchrecurrent: Interval | None
    gflops: Interval | None
    share: Interval | None
    gemm: Interval
    flops_training_step: float
    flop_ratio: float
    first_call: float
    peak_memory: float


def summarize_timing(timing: pd.DataFrame) -> list[TimedCase]:
    """Return a row per timed case, in the order in which they were timed."""
    if timing.empty:
        return []
    groups = timing.groupby(["sweep", "group"], sort=False)
    cases = [case for (sweep, group), measured in groups for case in _cases(str(sweep), str(group), measured)]
    first = (cases[0].sweep, cases[0].group, cases[0].point_size)
    return [replace(case, first=(case.sweep, case.group, case.point_size) == first) for case in cases]


def _cases(sweep: str, group: str, measured: pd.DataFrame) -> list[TimedCase]:
    """Return the cases of a group, which were timed in the same rounds."""
    rounds_of = {
        str(case): rounds.pivot_table(index="round", columns="quantity", values="value")
        for case, rounds in measured[measured["round"].notna()].groupby("case", sort=False)
    }
    once = measured[measured["round"].isna()].drop_duplicates(["case", "quantity"])
    singles = dict(zip(zip(once["case"], once["quantity"], strict=True), once["value"].astype(float), strict=True))

    def single(case: str | None, quantity: str) -> float:
        return singles.get((case, quantity), math.nan)

    facts = measured.drop_duplicates("case").set_index("case")
    columns = [column for column in facts if column.startswith(("cell.", "task."))]
    own = facts[facts["form"] == "own"]
    depths = own.groupby("cell")["cell.layers"].nunique(dropna=False) if "cell.layers" in facts else {}
    references = _references(facts)
    cases = []
    for case, rounds in rounds_of.items():
        described, reference = facts.loc[case], references[case]
        flops = single(case, "flops_training_step")
        rate = flops / rounds["training_step"] / 1e6  # FLOP per ms is kFLOP/s
        forms = _forms_of(facts, case)
        known: dict[str, Any] = {
            name: None if pd.isna(described[name]) else described[name] for name in (*DESCRIBED, *columns)
        }
        size = described["hidden_size"] if reference is None else facts.loc[reference, "hidden_size"]
        cases.append(
            TimedCase(
                sweep=sweep,
                group=group,
                point_size=size,
                first=False,
                label=_label(described, size, of_several_depths=depths.get(described["cell"], 1) > 1),
                **{name: known[name] for name in DESCRIBED},
                settings={name: known[name] for name in columns},
                training_step=median_interval(rounds["training_step"]),
                forward=median_interval(rounds["forward"]),
                inference_step=median_interval(rounds["inference_step"]) if "inference_step" in rounds else None,
                no_steps=_reason(described.get("no_steps")),
                ratio=_step_ratio(rounds_of, case, reference),
                over_torch=_step_ratio(rounds_of, _fastest(rounds_of, forms, ("torch", "loop")), case),
                over_torchrecurrent=_step_ratio(rounds_of, _fastest(rounds_of, forms, ("torchrecurrent",)), case),
                gflops=None if math.isnan(flops) else median_interval(rate),
                share=None if math.isnan(flops) else median_interval(rate / rounds["gemm"]),
                gemm=median_interval(rounds["gemm"]),
                flops_training_step=flops,
                flop_ratio=flops / single(reference, "flops_training_step"),
                first_call=single(case, "first_call"),
                peak_memory=single(case, "peak_memory"),
            )
        )
    return cases


def _reason(stored: Any) -> str | None:
    return None if stored is None or pd.isna(stored) else str(stored)


def _references(facts: pd.DataFrame) -> dict[str, str | None]:
    """Return what each case's time is divided by: the reference cell of its size; that of the only size there is of it,
    where cells were made equal in parameters or arithmetic and not in size; or nothing."""
    own = facts[(facts["cell"] == REFERENCE_CELL) & (facts["form"] == "own")].drop_duplicates("hidden_size")
    of_size = {size: str(case) for case, size in own["hidden_size"].items()}
    only = str(own.index[0]) if len(own) == 1 else None
    return {str(case): of_size.get(size, only) for case, size in facts["hidden_size"].items()}


def _forms_of(facts: pd.DataFrame, case: str) -> pd.DataFrame:
    """Return the forms of a case's cell that were timed beside it, itself among them; none if it is alone, and compared
    with nothing."""
    of = facts.loc[case]
    same = (facts["cell"] == of["cell"]) & (facts["hidden_size"] == of["hidden_size"])
    forms = facts[same & ((facts["form"] == "other") | (facts.index == case))]
    return forms if len(forms) > 1 else forms.iloc[:0]


def _label(described: pd.Series, size: int, of_several_depths: bool) -> str:
    layer = described.get("cell.layer")
    own_layer = (
        described["form"] == "own" and not pd.isna(layer) and str(layer).casefold() != str(described["cell"]).casefold()
    )
    name = f"{described['cell']} {layer}" if own_layer else str(described["cell"])
    if of_several_depths and not pd.isna(described["cell.layers"]):
        name = f"{name}, layers {described['cell.layers']:g}"
    return name if described["hidden_size"] == size else f"{name}, H={described['hidden_size']}"


def _fastest(rounds_of: dict[str, pd.DataFrame], forms: pd.DataFrame, backends: tuple[str, ...]) -> str | None:
    """Return the case with the shortest median training step among those of some backends."""
    candidates = [case for case in forms.index if forms.loc[case, "backend"] in backends]
    return min(candidates, key=lambda case: rounds_of[case]["training_step"].median(), default=None)


def _step_ratio(rounds_of: dict[str, pd.DataFrame], case: str | None, to: str | None) -> Interval | None:
    """Return the ratio of two cases' training steps over the rounds that timed both."""
    if case is None or to is None:
        return None
    steps = [rounds_of[name]["training_step"] for name in (case, to)]
    both = pd.concat(steps, axis=1).dropna().to_numpy(dtype=float)
    return ratio_interval(both[:, 0], both[:, 1]) if len(both) else None


def step_time_ratios(results: pd.DataFrame, timings: list[TimedCase]) -> dict[tuple[str, str], Interval]:
    """Return the step-time ratio to the reference cell for each problem and contender that was timed.

    Args:
        results: a row per run, with `problem` and `contender`.
    """
    return {name: case.ratio for name, case in _timed(results, timings).items() if case.ratio is not None}


def step_times(results: pd.DataFrame, timings: list[TimedCase]) -> dict[tuple[str, str], float]:
    """Return the median milliseconds of a training step for each problem and contender that was timed."""
    return {name: case.training_step.estimate for name, case in _timed(results, timings).items()}


def _timed(results: pd.DataFrame, timings: list[TimedCase]) -> dict[tuple[str, str], TimedCase]:
    """Return the case in use of each problem and contender: the one of the same cell, task and settings."""
    if results.empty or not timings:
        return {}
    settings = [name for name in timings[0].settings if name in results]
    in_use = {
        (case.sweep, case.cell, case.task, *(case.settings[name] for name in settings), case.batch_size): case
        for case in timings
        if case.form == "own"
    }
    runs = results.drop_duplicates(["problem", "contender"])
    columns = runs[["sweep", "cell", "task", *settings, "training.batch_size"]]
    # 8 and 8.0 are equal as keys, and so are all forms of what is missing.
    keys = [tuple(None if pd.isna(value) else value for value in row) for row in columns.itertuples(index=False)]
    names = zip(runs["problem"], runs["contender"], strict=True)
    return {name: in_use[key] for name, key in zip(names, keys, strict=True) if key in in_use}
