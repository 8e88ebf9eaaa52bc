"""The report's sections on results. Each returns markdown, or "" where it has nothing to say."""

import math
import re
from dataclasses import dataclass
from json import loads
from pathlib import Path

import pandas as pd

from bench.store import FAILED
from reports import figures, text
from reports.load import Stored, varying
from reports.style import save
from reports.summary import REFERENCE_CELL, step_time_ratios


@dataclass(frozen=True)
class Content:
    """What sections are written from."""

    stored: Stored
    results: pd.DataFrame  # summarize_results, or empty
    timings: pd.DataFrame  # summarize_timing, or empty
    folder: Path  # where figures go


def title(content: Content) -> str:
    """Name the sweeps and say how many runs there are."""
    runs, sweeps = content.stored.results, ", ".join(content.stored.sweeps)
    lines = [f"# {text.escape(sweeps)}"]
    if len(runs):
        cells, tasks, seeds = (runs[column].nunique() for column in ("cell", "task", "seed"))
        lines.append(
            f"{len(runs)} runs: {plural(cells, 'cell')} on {plural(tasks, 'task')}, {plural(seeds, 'seed')} each. "
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
    if not math.isfinite(row["steps"].estimate):
        return f"{name} solved {share} within {row['budget']:,} steps"
    return f"{name} solved {share}, median {row['steps'].estimate:,.0f} steps"


def headline(content: Content) -> str:
    """Tabulate per problem who solved it, how fast, how well and at what cost."""
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
    if seeds == 1:
        notes.append("One seed has no interval: how the next would do, nothing here says.")
    elif confidence < 0.95:
        notes.append(
            f"With {plural(seeds, 'seed')} that interval is the range of all runs, which holds the true median with a "
            f"probability of {confidence:.0%} only: read small differences as none. Six seeds give 95 %."
        )
    return " ".join(notes)


def learning(content: Content) -> str:
    """Show held-out loss against training steps."""
    if not len(content.stored.curves):
        return ""
    save(figures.learning_curves(content.stored.curves, content.stored.results), content.folder, "learning_curves")
    return figure_section(
        "## Learning curves",
        "learning_curves",
        "Held-out loss while training, per cell: the line is the median over seeds, the band the range of all seeds; "
        "a run that has ended keeps its last loss. A curve that stays at the dotted baseline has learned nothing that "
        "needs memory.",
    )


def time_to_solve(content: Content) -> str:
    """Show the share of runs solved by each step."""
    if not len(content.results) or not content.results["runs"].sum():
        return ""
    save(figures.solve_curves(content.stored.results), content.folder, "time_to_solve")
    return figure_section(
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
            figure_section(
                f"## Reach over {name}",
                f"reach_{name}",
                f"Training steps to solve as the {name} grows: points are runs, lines join medians, hollow marks on "
                "the dotted line are runs that were not solved within their budget.",
            )
        )
    return "\n\n".join(parts)


def _varies_within(runs: pd.DataFrame, column: str) -> bool:
    return bool((runs.groupby("task")[column].nunique() > 1).any())


def failures(content: Content) -> str:
    """List the runs that failed or diverged, with their reasons, and what could not be read."""
    runs, wrong = content.stored.results, content.stored.wrong
    left_out = [
        "Left out of this report, because its files are damaged:",
        *(f"- {text.escape(each)}" for each in wrong),
    ]
    parts = ["\n".join(left_out)] if wrong else []
    bad = runs[runs["status"].isin([*FAILED, "diverged"])] if len(runs) else runs
    if len(bad):
        rows = [{"run": row["run_id"], "status": row["status"], "reason": row["error"]} for _, row in bad.iterrows()]
        parts += [text.table(rows), "Diverged runs count as unsolved; failed ones count in no statistic."]
    elif len(runs):
        parts.append("Every run ended solved or unsolved." if wrong else "None: every run ended solved or unsolved.")
    return "\n\n".join(["## Failures", *parts]) if parts else ""


def environment(content: Content) -> str:
    """Say what runs and times were measured on."""
    frames = [frame for frame in (content.stored.results, content.stored.timing) if len(frame)]
    found: dict[str, list[str]] = {}
    for text_form in dict.fromkeys(form for frame in frames for form in frame["environment"]):
        for key, value in loads(text_form).items():
            found.setdefault(key.removeprefix("version_"), []).append(text.NONE if value is None else str(value))
    notes = [] if "gpu" in found else ["Nothing here was measured on a GPU."]
    notes += [
        f"Native kernels could not be had ({reason.removeprefix('none: ')}): cells ran on their next backend, named "
        "with each result, and their times compare kernels of different quality."
        for reason in dict.fromkeys(found.get("native_kernels", []))
        if reason.startswith("none: ")
    ]
    for key in ("device", "dtype", "threads", "allocator"):
        found[key] = [str(value) for frame in frames if key in frame for value in frame[key].dropna().unique()]
    rows = [{"": key, "value": ", ".join(dict.fromkeys(values))} for key, values in found.items() if values]
    return "\n\n".join(["## Environment", text.table(rows), *map(text.escape, notes)])


def reproduce(content: Content) -> str:
    """Give the commands that lead to these numbers."""
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
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", lines)), default=0))  # what is in it cannot end it
    return f"{fence}\n{lines}\n{fence}"


def figure_section(heading: str, name: str, sentence: str) -> str:
    """Return a heading, the figure `name` and the sentence that says what it shows."""
    alternative = name.replace("_", " ").capitalize()
    parts = [heading, f"![{alternative}]({name}.png)", f"{sentence} ([SVG]({name}.svg))"]
    return "\n\n".join(filter(None, parts))


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. "1 seed" or "3 seeds"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
