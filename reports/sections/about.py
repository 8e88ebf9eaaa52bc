"""What was run, what went wrong, on what, and how to do it again."""

import shlex
from json import loads
from pathlib import Path

import pandas as pd

from bench.record.asked import widest
from bench.record.records import FAILED
from reports import text
from reports.references import references_of, wanted_reference
from reports.sections.content import Content, paragraphs, plural, wording

MOST_LINES, MOST_SEEDS = 20, 12  # of runs without an outcome


def title(content: Content) -> str:
    """Name the sweeps, and warn where runs are missing or the reference is."""
    runs, sweeps, missing = content.stored.results, ", ".join(content.stored.sweeps), content.stored.missing
    lines = [f"# {text.escape(sweeps)}"]
    wanted = wanted_reference(runs) if len(runs) else {}
    if wanted and not references_of(runs):
        said = ", ".join(f"{column} {value}" for column, value in wanted.items())
        lines.append(f"No contender is the reference that was asked for ({text.escape(said)}): all pairs are compared.")
    if len(missing):
        planned = len(missing) + len(runs) + len(content.stored.trials)
        lines.append(wording("incomplete", missing=len(missing), planned=planned))
    return paragraphs(*lines)


def scope(content: Content) -> str:
    """Say how many runs there are, of what."""
    runs = content.stored.results
    if len(runs) < 2:
        return ""
    cells, tasks = (runs[column].nunique() for column in ("cell", "task"))
    counts = runs.groupby(["problem", "contender"])["seed"].nunique()
    seeds = plural(counts.max(), "seed") if counts.min() == counts.max() else f"{counts.min()} to {counts.max()} seeds"
    each = " each" if len(counts) > 1 else ""
    return f"{plural(len(runs), 'run')}: {plural(cells, 'cell')} on {plural(tasks, 'task')}, {seeds}{each}."


def protocol(content: Content) -> str:
    """Say what was run: each task's settings, how its models were trained, and each cell's settings."""
    runs = content.stored.results
    if runs.empty:
        return ""
    rows = [
        {"": f"{task}: {group}", "settings": _settings(part, f"{group}.")}
        for task, part in runs.groupby("task")
        for group in ("task", "training")
    ]
    rows += [{"": f"{cell}", "settings": _settings(part, "cell.")} for cell, part in runs.groupby("cell")]
    return paragraphs("## What was run", text.table(rows), wording("protocol"))


def _settings(runs: pd.DataFrame, group: str) -> str:
    """List the settings of a group with their values; classes and versions are told in names, if they vary."""
    columns = [column for column in runs if column.startswith(group) and "._" not in column]
    values = {column.removeprefix(group): sorted(set(runs[column].dropna())) for column in columns}
    return ", ".join(f"{name} {' / '.join(map(_value, its))}" for name, its in values.items() if its)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    parts.append(_unmeasured(runs))
    if len(content.stored.missing):
        parts.append(_unfinished(content.stored.missing))
    if repeats := content.stored.repeats:
        parts.append(wording("repeats", runs=plural(repeats, "run")))
    return paragraphs("## Failures", *parts) if any(parts) else ""


def _unmeasured(runs: pd.DataFrame) -> str:
    """List the diagnostics and evaluations that contenders lack, with the reasons."""
    if runs.empty or "unmeasured" not in runs:
        return ""
    counts: dict[str, int] = {}
    for contender, lines in zip(runs["contender"], runs["unmeasured"].fillna(""), strict=True):
        for line in lines.splitlines():
            said = f"{contender}, {line}"
            counts[said] = counts.get(said, 0) + 1
    lines = [f"- {text.escape(said)} ({plural(runs, 'run')})" for said, runs in counts.items()]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"- and {len(lines) - MOST_LINES} more"]
    return "\n".join(["Not measured:", "", *lines]) if lines else ""


def _unfinished(missing: pd.DataFrame) -> str:
    """List the runs without an outcome by cell and task."""
    lines = []
    for (cell, task), runs in missing.groupby(["cell", "task"]):
        seeds = sorted(set(runs["seed"]))
        more = f" and {len(seeds) - MOST_SEEDS} more" if len(seeds) > MOST_SEEDS else ""
        said = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds[:MOST_SEEDS]))}{more}"
        lines.append(f"- {text.escape(f'{cell} on {task}')}: {plural(len(runs), 'run')}, {said}")
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"- and {len(lines) - MOST_LINES} more combinations of cell and task"]
    heading = (
        "Planned and without an outcome: not started, interrupted, or still running. The sweep's command continues."
    )
    return "\n".join([heading, "", *lines])


def environment(content: Content) -> str:
    """Say what runs and times were measured on."""
    frames = [frame for frame in (content.stored.results, content.stored.trials, content.stored.timing) if len(frame)]
    values_of: dict[str, list[str]] = {}
    for text_form in dict.fromkeys(form for frame in frames for form in frame["environment"]):
        for key, value in loads(text_form).items():
            values_of.setdefault(key.removeprefix("version_"), []).append(text.NONE if value is None else str(value))
    notes = [
        wording("no_native_kernels", reason=reason.removeprefix("none: "))
        for reason in dict.fromkeys(values_of.get("native_kernels", []))
        if reason.startswith("none: ")
    ]
    for key in ("device", "dtype", "threads", "allocator"):
        values_of[key] = [str(value) for frame in frames if key in frame for value in frame[key].dropna().unique()]
    rows = [{"": key, "value": ", ".join(dict.fromkeys(values))} for key, values in values_of.items() if values]
    return paragraphs("## Environment", text.table(rows), *map(text.escape, notes))


def reproduce(content: Content) -> str:
    """Give the commands that lead to these numbers."""
    commands, runs = content.stored.commands, content.stored.results
    if not commands:
        return ""
    parts = ["## Reproduce", text.code(commands)]
    whole = widest([command for command in commands if "+sweep=" in command])
    if whole and len(runs):
        row = runs.iloc[0]
        single = f"{whole} cell={row['cell']} task={row['task']} seed={row['seed']}"
        parts += ["Any single run is the sweep narrowed to it, for example", text.code([single])]
    parts += [
        "The tables and figures again, from the stored files:",
        text.code([f"python -m reports {_folders(content)}"]),
    ]
    return paragraphs(*parts)


def _folders(content: Content) -> str:
    return " ".join(shlex.quote(f"results/{Path(sweep).name}") for sweep in content.stored.sweeps)
