"""The report: sections in order, from stored files only, the same bytes for the same files."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path

import pandas as pd

from bench.store import FAILED
from reports import figures, text
from reports.load import Stored, load, natural, varying
from reports.statistics import is_finite, log_log_slope
from reports.style import looks, save, set_theme
from reports.summary import REFERENCE_CELL, step_time_ratios, summarize_results, summarize_timing

WORDY_GROUPS = 4  # with more timed groups than this, sentences say less than the table


@dataclass(frozen=True)
class Report:
    """A written report: its file, and the headline table as a frame."""

    path: Path
    headline: pd.DataFrame


@dataclass(frozen=True)
class Content:
    """What sections are written from."""

    stored: Stored
    results: pd.DataFrame  # summarize_results, or empty
    timings: pd.DataFrame  # summarize_timing, or empty
    folder: Path  # where figures go


def write_report(folders: Sequence[Path], output: Path | None = None) -> Report:
    """Write README.md and its figures.

    Args:
        folders: sweeps' folders; several are merged and labelled.
        output: where to; by default `report/` in the first of them.

    Raises:
        LoadError: a folder without results.
        OSError: the report cannot be written.
    """
    stored = load(*folders)
    folder = output or Path(folders[0]) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    set_theme()
    results = _in_order(summarize_results(stored.results)) if len(stored.results) else pd.DataFrame()
    timings = _in_order(summarize_timing(stored.timing)) if len(stored.timing) else pd.DataFrame()
    content = Content(stored, results, timings, folder)
    sections = [section(content) for section in SECTIONS]
    path = folder / "README.md"
    path.write_text("\n\n".join(filter(None, sections)) + "\n", encoding="utf-8")
    return Report(path, pd.DataFrame(headline_rows(content)))


def _in_order(summary: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by cell within each problem, as figures do."""
    order = list(looks(summary["cell"]))
    first = [column for column in ("sweep", "problem", "task") if column in summary]
    ranks = {
        column: {value: i for i, value in enumerate(sorted(set(summary[column]), key=natural))} for column in first
    }
    keys = [summary[column].map(ranks[column]) for column in first]
    keys += [summary[column] for column in ("time_steps", "batch_size", "hidden_size") if column in summary]
    keys.append(summary["cell"].map(order.index))
    ranked = pd.concat(keys, axis=1, keys=range(len(keys)))
    return summary.loc[ranked.sort_values(list(ranked.columns), kind="stable").index].reset_index(drop=True)


# Sections: each returns markdown, or "" where it has nothing to say.


def title(content: Content) -> str:
    runs, sweeps = content.stored.results, ", ".join(content.stored.sweeps)
    lines = [f"# {text.escape(sweeps)}"]
    if len(runs):
        cells, tasks, seeds = (runs[column].nunique() for column in ("cell", "task", "seed"))
        lines.append(
            f"{len(runs)} runs: {_plural(cells, 'cell')} on {_plural(tasks, 'task')}, {_plural(seeds, 'seed')} each. "
            "At one seed all cells train on the same data in the same order."
        )
    return "\n\n".join(lines)


def protocol(content: Content) -> str:
    """Say what was run: each task's settings and how its models were trained."""
    runs = content.stored.results
    rows = []
    for task, part in runs.groupby("task") if len(runs) else ():
        settings = {
            column: _values(part[column]) for column in part.columns if column.startswith(("task.", "training."))
        }
        known = {column: value for column, value in settings.items() if value}
        rows += [
            {"": f"{task}: task", "settings": _join(known, "task.")},
            {"": f"{task}: training", "settings": _join(known, "training.")},
        ]
    for cell, part in runs.groupby("cell") if len(runs) else ():
        settings = {column: _values(part[column]) for column in part.columns if column.startswith("cell.")}
        rows.append({"": f"{cell}", "settings": _join({k: v for k, v in settings.items() if v}, "cell.")})
    return f"## What was run\n\n{text.table(rows)}" if rows else ""


def _values(column: pd.Series) -> str:
    return " / ".join(
        f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(set(column.dropna()))
    )


def _join(settings: dict[str, str], prefix: str) -> str:
    own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    return ", ".join(f"{key} {value}" for key, value in own.items())


def answers(content: Content) -> str:
    """Say in a sentence per problem who solved it and how fast."""
    lines = []
    for problem, rows in content.results.groupby("problem", sort=False) if len(content.results) else ():
        ordered = sorted(
            (row for _, row in rows.iterrows() if row["runs"]),
            key=lambda row: (-row["solved"] / row["runs"], row["steps"].estimate),
        )
        said = [_says(row) for row in ordered]
        lines.append(f"- **{text.escape(str(problem))}**: {'; '.join(said)}." if said else "")
    return "\n".join(filter(None, lines))


def _says(row: pd.Series) -> str:
    name = text.escape(row["contender"])
    share = f"{row['solved']}/{row['runs']}"
    if row["solved"] == 0:
        return f"{name} solved {share}"
    if not is_finite(row["steps"]):
        return f"{name} solved {share} within {row['budget']:,} steps"
    return f"{name} solved {share}, median {row['steps'].estimate:,.0f} steps"


def headline(content: Content) -> str:
    rows = headline_rows(content)
    if not rows:
        return ""
    tables = []
    frame = pd.DataFrame(rows)
    for problem, part in frame.groupby("problem", sort=False):
        tables.append(
            f"### {text.escape(str(problem))}\n\n{text.table(part.drop(columns='problem').to_dict('records'))}"
        )
    return "\n\n".join(["## Results", *tables, _reading_notes(content)])


def headline_rows(content: Content) -> list[dict[str, str]]:
    """Return the headline table: a row per problem and contender, values as text."""
    ratios = step_time_ratios(content.stored.results, content.timings)
    rows = []
    for _, row in content.results.iterrows():
        failed = f" (+{row['failed']} failed)" if row["failed"] else ""
        rows.append(
            {
                "problem": row["problem"],
                "cell": row["contender"],
                "solved": f"{row['solved']}/{row['runs']}{failed}",
                "steps to solve": text.steps(row["steps"], row["budget"]),
                "final loss": text.number(row["final_loss"]),
                "parameters": text.count(row["parameters"]),
                f"step time / {REFERENCE_CELL}": text.number(ratios.get((row["problem"], row["contender"]))),
            }
        )
    return rows


def _reading_notes(content: Content) -> str:
    intervals = [row["steps"] for _, row in content.results.iterrows() if row["steps"] is not None]
    seeds = int(content.results["runs"].max())
    confidence = min((interval.confidence for interval in intervals), default=0.0)
    notes = [
        "*Solved*: runs that met the task's criterion at several evaluations running, of those that ended; "
        "*steps to solve* counts to the first of these evaluations, unsolved runs as beyond the budget. "
        "*Final loss* is that on held-out sequences when a run ended. Both are medians over seeds with an interval "
        "between two of the observed values."
    ]
    if confidence < 0.95:
        notes.append(
            f"With {_plural(seeds, 'seed')} that interval is the range of all runs, which holds the true median with a "
            f"probability of {confidence:.0%} only: read small differences as none. Six seeds give 95 %."
        )
    return " ".join(notes)


def learning(content: Content) -> str:
    if not len(content.stored.curves):
        return ""
    save(figures.learning_curves(content.stored.curves, content.stored.results), content.folder, "learning_curves")
    return _figure_section(
        "## Learning curves",
        "learning_curves",
        "Held-out loss while training, per cell: the line is the median over seeds, the band the range of all seeds; "
        "a run that has ended keeps its last loss. A curve that stays at the dotted baseline has learned nothing that "
        "needs memory.",
    )


def time_to_solve(content: Content) -> str:
    if not len(content.results) or not content.results["runs"].sum():
        return ""
    save(figures.solve_curves(content.stored.results), content.folder, "time_to_solve")
    return _figure_section(
        "## Time to solve",
        "time_to_solve",
        "Share of runs solved by each training step (one minus the Kaplan–Meier estimate; marks are runs, bands "
        "pointwise 95 % intervals; curves that coincide are set apart slightly). Further left and higher is better; a "
        "line along the bottom is a cell that solved nothing within its budget.",
    )


def reach(content: Content) -> str:
    """Show steps to solve against the task setting that a sweep varies, if it varies one."""
    runs = content.stored.results
    columns = [] if runs.empty else [c for c in varying(runs, ["task.delay", "task.length"]) if _varies_within(runs, c)]
    parts = []
    for column in columns:
        name = column.replace("task.", "")
        save(figures.reach(runs, column), content.folder, f"reach_{name}")
        parts.append(
            _figure_section(
                f"## Reach over {name}",
                f"reach_{name}",
                f"Training steps to solve as the {name} grows: points are runs, lines join medians, hollow marks on "
                "the dotted line are runs that were not solved within their budget.",
            )
        )
    return "\n\n".join(parts)


def _varies_within(runs: pd.DataFrame, column: str) -> bool:
    return bool((runs.groupby("task")[column].nunique() > 1).any())


def cost(content: Content) -> str:
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
    bars = _figure_section(
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
        f"interleaved rounds, on {where['device']}, {_plural(int(where['threads']), 'thread')}. A training step is "
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
    section = _figure_section(
        "### Cost over length",
        "scaling",
        "Time of a training step over sequence length; both axes are logarithmic, so a straight line is a power of T "
        "and its slope the exponent.",
    )
    return "\n\n".join([section, text.table(slopes)]) if slopes else section


def failures(content: Content) -> str:
    runs = content.stored.results
    bad = runs[runs["status"].isin([*FAILED, "diverged"])] if len(runs) else runs
    if len(runs) == 0:
        return ""
    if bad.empty:
        return "## Failures\n\nNone: every run ended solved or unsolved."
    rows = [{"run": row["run_id"], "status": row["status"], "reason": row["error"]} for _, row in bad.iterrows()]
    return f"## Failures\n\n{text.table(rows)}\n\nDiverged runs count as unsolved; failed ones count in no statistic."


def environment(content: Content) -> str:
    frames = [frame for frame in (content.stored.results, content.stored.timing) if len(frame)]
    found: dict[str, list[str]] = {}
    for text_form in dict.fromkeys(form for frame in frames for form in frame["environment"]):
        for key, value in loads(text_form).items():
            found.setdefault(key.removeprefix("version_"), []).append(text.NONE if value is None else str(value))
    gpu = "" if "gpu" in found else "\n\nNothing here was measured on a GPU."
    for key in ("device", "dtype", "threads", "allocator"):
        found[key] = [str(value) for frame in frames if key in frame for value in frame[key].dropna().unique()]
    rows = [{"": key, "value": ", ".join(dict.fromkeys(values))} for key, values in found.items() if values]
    return f"## Environment\n\n{text.table(rows)}{gpu}"


def reproduce(content: Content) -> str:
    commands, runs = content.stored.commands, content.stored.results
    if not commands:
        return ""
    parts = ["## Reproduce", _code("\n".join(commands))]
    whole = next((command for command in reversed(commands) if "+sweep=" in command), None)
    if whole and len(runs):
        row = runs.iloc[0]
        single = f"{whole} cell={row['cell']} task={row['task']} seed={row['seed']}"
        parts += ["Any single run is the sweep narrowed to it, for example", _code(single)]
    parts += ["The tables and figures again, from the stored files:", _code(f"python -m reports {_folders(content)}")]
    return "\n\n".join(parts)


def _folders(content: Content) -> str:
    return " ".join(f"results/{Path(sweep).name}" for sweep in content.stored.sweeps)


def _code(lines: str) -> str:
    return f"```\n{lines}\n```"


SECTIONS: tuple[Callable[[Content], str], ...] = (
    title,
    answers,
    headline,
    learning,
    time_to_solve,
    reach,
    cost,
    failures,
    protocol,
    environment,
    reproduce,
)


def _figure_section(heading: str, name: str, sentence: str) -> str:
    alternative = name.replace("_", " ").capitalize()
    parts = [heading, f"![{alternative}]({name}.png)", f"{sentence} ([SVG]({name}.svg))"]
    return "\n\n".join(filter(None, parts))


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


__all__ = ["SECTIONS", "Report", "write_report"]
