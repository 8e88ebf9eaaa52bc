"""Which settings were selected, how much they matter, and by how much a cell depends on them."""

import importlib.util
from typing import Any

import pandas as pd

from reports import text
from reports.figures import differences as figures
from reports.sections.content import Content, names_a_file, paragraphs, plural, wording
from reports.selection import tuned

FEWEST_TRIALS = 8  # runs, for importances


def selection(content: Content) -> str:
    """Report what was selected, on which seeds, from what, and the sensitivity of each cell to it."""
    trials = content.stored.trials
    if trials.empty:
        return ""
    seeds = ", ".join(str(seed) for seed in sorted(trials["seed"].unique()))
    settings = sorted(tuned(trials))
    counts = trials.groupby(["problem", "contender"])["settings"].nunique()
    budget = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    rows = []
    for (problem, contender), runs in trials.groupby(["problem", "contender"], sort=False):
        chosen = runs[runs["chosen"]]
        edge = [s for s in settings if _at_edge(runs, chosen, s)]
        rows.append(
            {
                "problem": problem,
                "cell": contender,
                **{s.rpartition(".")[2]: _value(chosen[s].iloc[0]) for s in settings},
                "score": text.quantity(float(chosen["score"].mean()), 2),
                "tried": str(runs["settings"].nunique()),
                "at the edge": "yes" if edge else "",
            }
        )
    edges = (
        "Where the choice lies at the edge of what was tried, a better value may lie beyond."
        if any(row["at the edge"] for row in rows)
        else ""
    )
    names = text.escape(", ".join(s.rpartition(".")[2] for s in settings))
    said = wording(
        "selection",
        names=names,
        tried=budget,
        on=f"seed{'s' if trials['seed'].nunique() > 1 else ''} {seeds}",
        runs=plural(len(trials), "run"),
        edges=edges,
    )
    reported = content.stored.results
    done = set(zip(reported["problem"], reported["contender"], strict=True)) if len(reported) else set()
    lacking = [f"{row['cell']} on {row['problem']}" for row in rows if (row["problem"], row["cell"]) not in done]
    missing = wording("not_reported", names=text.escape(", ".join(lacking))) if lacking else ""
    parts = ["## Selected settings", said, text.table(rows), missing]
    for setting in settings:
        values = pd.to_numeric(trials[setting], errors="coerce")
        key = setting.rpartition(".")[2]
        if names_a_file(key) and values.notna().all() and values.nunique() > 1 and (values > 0).all():
            figure = figures.sensitivity(trials, setting)
            words = key.replace("_", " ")
            parts.append(content.show(figure, f"sensitivity_{key}", caption="sensitivity", setting=words))
    return paragraphs(*parts)


def _at_edge(runs: pd.DataFrame, chosen: pd.DataFrame, setting: str) -> bool:
    values = pd.to_numeric(runs[setting], errors="coerce")
    own = pd.to_numeric(chosen[setting], errors="coerce")
    return bool(values.notna().all() and values.nunique() > 2 and own.iloc[0] in (values.min(), values.max()))


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def importance(content: Content) -> str:
    """Tabulate how much of the variance of scores each varied setting explains, per problem and contender."""
    runs = content.stored.results if content.stored.trials.empty else content.stored.trials
    rows = []
    if len(runs):
        from reports.importance import importances

        if importlib.util.find_spec("optuna") is None or importlib.util.find_spec("sklearn") is None:
            return ""
        for (problem, cell), part in runs.groupby(["task", "cell"], sort=False):
            shares = importances(part) if len(part) >= FEWEST_TRIALS else {}
            rows += [
                {"task": problem, "cell": cell, **{k.rpartition(".")[2]: f"{v:.0%}" for k, v in shares.items()}}
            ] if len(shares) > 1 else []  # fmt: skip
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    filled = [{key: row.get(key, text.NONE) for key in columns} for row in rows]
    return paragraphs("### Which settings matter", text.table(filled), wording("importance"))
