"""How cells fare as the distance to remember grows: in training, and beyond what they were trained for."""

import pandas as pd

from bench.record.records import DECIDED
from reports import text
from reports.figures import lengths as figures
from reports.naming import varying
from reports.sections.content import Content, paragraphs, wording
from reports.statistics import log_log_slope

SCORE = "accuracy"  # what both built-in tasks have, and is drawn at longer distances


def reach(content: Content) -> str:
    """Show what solving takes against the task setting that a sweep varies, if it varies one, and how it grows."""
    runs = content.stored.results
    varied = [] if runs.empty else varying(runs, ["task.delay", "task.length"])
    columns = [column for column in varied if figures.over(runs, column)]
    parts = []
    for column in columns:
        name = column.replace("task.", "")
        figure = figures.reach(runs, column)
        caption = (
            f"What solving the task takes, over its {name}: points are runs, lines join medians; unsolved runs are "
            "hollow, on the dotted line."
        )
        parts.append(content.show(figure, f"reach_{name}", f"## Reach over {name}", caption))
        decided = runs[runs["status"].isin(DECIDED) & runs[column].notna()]
        solved = f"Runs solved, by {name}:\n\n{text.table(solved_by_value(decided, column))}"
        parts += [solved, _growth(decided, column)]
    return paragraphs(*parts)


def solved_by_value(runs: pd.DataFrame, column: str, prefix: str = "") -> list[dict[str, str]]:
    """Return a row per task and contender: how many runs solved, of those at each value of a column."""
    none = {f"{prefix}{value:g}": text.NONE for value in sorted(runs[column].dropna().unique())}
    rows = []
    for (task, contender), part in runs.groupby(["task", "contender"], sort=False):
        groups = part.groupby(column)
        counts = {f"{prefix}{value:g}": f"{int(here['solved'].sum())}/{len(here)}" for value, here in groups}
        rows.append({"task": str(task), "cell": str(contender)} | none | counts)
    return rows


def _growth(decided: pd.DataFrame, column: str) -> str:
    rows = []
    for (task, contender), part in decided.groupby(["task", "contender"], sort=False):
        times, solved = part["needed"].fillna(part["spent"]).clip(lower=1e-9).astype(float), part["solved"].astype(bool)
        slope = log_log_slope(part[column].astype(float), times, solved)
        if slope is not None:
            unsolved = str(int((~solved).sum()))
            rows.append({"task": task, "cell": contender, "exponent": text.number(slope), "unsolved": unsolved})
    return f"{text.table(rows)}\n\n{wording('growth', setting=column.removeprefix('task.'))}" if rows else ""


def beyond(content: Content) -> str:
    """Show how models that solved their task do at longer distances than they were trained for."""
    runs = content.stored.results
    factors = figures.factors_of(runs, SCORE) if len(runs) else []
    if len(factors) < 2 or not runs["solved"].any():
        return ""
    heading = "## Beyond the length trained for"
    section = content.show(figures.lengthened(runs, SCORE), "lengthened", heading, score=SCORE)
    rows = []
    for (problem, contender), part in runs[runs["solved"]].groupby(["problem", "contender"], sort=False):
        shares = {}
        for factor in factors:
            solved = part[f"at_{factor}x.solved"].dropna()
            score = part[f"at_{factor}x.{SCORE}"].dropna().astype(float)
            counted = f"{score.median():.2f} ({int(solved.sum())}/{len(solved)})" if len(score) else text.NONE
            shares[f"{factor}×"] = counted
        rows.append({"problem": problem, "cell": contender, **shares})
    note = f"Median {SCORE}, and how many of these models still meet the task's criterion there."
    return paragraphs(section, text.table(rows), note)
