"""The report's section on cost: what the architecture costs, and what its implementation does."""

import math

import pandas as pd

from reports import figures, text
from reports.sections import Content, figure_section, plural
from reports.statistics import log_log_slope
from reports.style import looks, save
from reports.summary import REFERENCE_CELL

WORDY_GROUPS = 4  # with more timed groups than this, sentences say less than the table


def cost(content: Content) -> str:
    """Report time, arithmetic, rate and memory per cell, and cost over length where lengths were timed."""
    if content.timings.empty:
        return ""
    timings = content.timings
    several = {key: timings[key].nunique() > 1 for key in ("sweep", "batch_size", "hidden_size", "device", "threads")}
    rows = [
        {
            **{key: row[key] for key, shown in several.items() if shown},
            "task": f"{row['task']}, T={row['time_steps']}",
            "cell": row["cell"],
            "backend": row["backend"],
            "training step, ms": text.number(row["training_step"], 3),
            f"/ {REFERENCE_CELL}": text.number(row["ratio"], 3),
            "MFLOP": text.quantity(row["flops_training_step"] / 1e6),
            "GFLOP/s": text.number(row["gflops"]),
            "of GEMM": text.percent(row["share"]),
            "forward, ms": text.number(row["forward"]),
            "one step, ms": text.number(row["inference_step"]),
            "first call, ms": text.quantity(row["first_call"], 2),
            "memory, MiB": text.quantity(row["peak_memory"], 2),
        }
        for _, row in timings.iterrows()
    ]
    save(figures.timing_bars(timings), content.folder, "step_time")
    bars = figure_section(
        "",
        "step_time",
        f"Time of a training step: medians and intervals over rounds, with the ratio to {REFERENCE_CELL} in the same "
        "rounds and the share of the machine's GEMM rate that the cell's matrix products reach. A bar is long for two "
        "reasons that this share tells apart: more arithmetic, or a kernel that does it slowly.",
    )
    where = timings.iloc[0]
    rounds = int(content.stored.timing["round"].max()) + 1
    gemm = text.number(where["gemm"])
    note = (
        f"All cells of a row group were timed in one process with nothing else of the sweep running, in {rounds} "
        f"interleaved rounds, on {where['device']}, {plural(int(where['threads']), 'thread')}. A training step is "
        "forward, backward, clipping and optimiser at the run's batch size; *one step* is inference at batch 1. "
        "*MFLOP* counts the matrix products of a training step; *of GEMM* is GFLOP/s over the rate of a "
        f"1024×1024×1024 matrix product in the same round ({gemm} GFLOP/s). *memory* is the most "
        "that a training step holds in tensors. "
        "Intervals are distribution-free, 95 % from six rounds on. Times of rows in different tables or reports are "
        "not comparable; ratios are. The backend is what ran: `loop` is Python over time steps, whose times say more "
        "about Python than about the cell."
    )
    parts = ["## Cost", bars, _cost_in_words(timings), text.table(rows), note, _scaling(content)]
    return "\n\n".join(filter(None, parts))


def _cost_in_words(timings: pd.DataFrame) -> str:
    """Split each time ratio into the architecture's part and the implementation's, in words."""
    keys = ["sweep", "task", "time_steps", "batch_size", "hidden_size"]
    lines = []
    for (_, task, steps, _, _), rows in timings.groupby(keys, sort=False, dropna=False):
        said = [
            f"{row['cell']} {row['ratio'].estimate:.2f}× = {row['flop_ratio']:.2f}× the arithmetic at "
            f"{row['flop_ratio'] / row['ratio'].estimate:.2f}× the rate"
            for _, row in rows.iterrows()
            if row["cell"] != REFERENCE_CELL and row["ratio"] is not None and math.isfinite(row["flop_ratio"])
        ]
        if said:
            lines.append(
                f"- **{task}, T={steps}**, time of a training step over {REFERENCE_CELL}'s: {'; '.join(said)}."
            )
    return "\n".join(lines) if len(lines) <= WORDY_GROUPS else ""


def _scaling(content: Content) -> str:
    figure = figures.scaling(content.timings)
    if figure is None:
        return ""
    save(figure, content.folder, "scaling")
    slopes = []
    for cell in looks(content.timings["cell"]):
        rows = content.timings[content.timings["cell"] == cell]
        for (task, batch, hidden), part in rows.groupby(["task", "batch_size", "hidden_size"]):
            slope = log_log_slope(part["time_steps"].tolist(), [time.estimate for time in part["training_step"]])
            if slope is not None:
                slopes.append(
                    {"task": task, "B": batch, "H": hidden, "cell": cell, "time ∝ T^b, b": text.number(slope)}
                )
    section = figure_section(
        "### Cost over length",
        "scaling",
        "Time of a training step over sequence length; both axes are logarithmic, so a straight line is a power of T "
        "and its slope the exponent.",
    )
    return "\n\n".join([section, text.table(slopes)]) if slopes else section
