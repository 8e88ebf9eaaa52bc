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
    settings = sorted(tuned(trials))
    groups = trials.groupby(["problem", "contender"], sort=False)
    rows = [_selected(str(problem), str(contender), runs, settings) for (problem, contender), runs in groups]
    done = {(row.problem, row.contender) for row in content.summaries}
    lacking = [f"{row['cell']} on {row['problem']}" for row in rows if (row["problem"], row["cell"]) not in done]
    counts, seeds = groups["settings"].nunique(), sorted(trials["seed"].unique())
    at_edge = any(row["at the edge"] for row in rows)
    said = wording(
        "selection",
        names=text.escape(", ".join(map(_short, settings))),
        tried=f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}",
        on=f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        runs=plural(len(trials), "run"),
        edges="Where the choice lies at the edge of what was tried, a better value may lie beyond." if at_edge else "",
    )
    missing = wording("not_reported", names=text.escape(", ".join(lacking))) if lacking else ""
    figures_shown = (_sensitivity(content, setting) for setting in settings)
    return paragraphs("## Selected settings", said, text.table(rows), missing, *figures_shown)


def _selected(problem: str, contender: str, runs: pd.DataFrame, settings: list[str]) -> dict[str, str]:
    chosen = runs[runs["chosen"]]
    return {
        "problem": problem,
        "cell": contender,
        **{_short(setting): _value(chosen[setting].iloc[0]) for setting in settings},
        "score": text.quantity(float(chosen["score"].mean()), 2),
        "tried": str(runs["settings"].nunique()),
        "at the edge": "yes" if any(_at_edge(runs, chosen, setting) for setting in settings) else "",
    }


def _sensitivity(content: Content, setting: str) -> str:
    """Show the score over a setting, if it is one of several positive numbers."""
    trials, key = content.stored.trials, _short(setting)
    values = pd.to_numeric(trials[setting], errors="coerce")
    if not (names_a_file(key) and values.notna().all() and values.nunique() > 1 and (values > 0).all()):
        return ""
    figure = figures.sensitivity(trials, setting)
    many = figures.many_in_sensitivity(trials)
    caption = wording("sensitivity", setting=key.replace("_", " "), many=many)
    return content.show(figure, f"sensitivity_{key}", caption=caption)


def _at_edge(runs: pd.DataFrame, chosen: pd.DataFrame, setting: str) -> bool:
    values = pd.to_numeric(runs[setting], errors="coerce")
    own = pd.to_numeric(chosen[setting], errors="coerce")
    return bool(values.notna().all() and values.nunique() > 2 and own.iloc[0] in (values.min(), values.max()))


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _short(setting: str) -> str:
    return setting.rpartition(".")[2]


def importance(content: Content) -> str:
    """Tabulate how much of the variance of scores each varied setting explains, per task and cell."""
    runs = content.stored.results if content.stored.trials.empty else content.stored.trials
    if runs.empty or importlib.util.find_spec("optuna") is None or importlib.util.find_spec("sklearn") is None:
        return ""
    from reports.importance import MOST, importances

    rows, most_runs = [], runs.groupby(["task", "cell"]).size().max()
    for (task, cell), part in runs.groupby(["task", "cell"], sort=False):
        shares = importances(part) if len(part) >= FEWEST_TRIALS else {}
        if len(shares) > 1:
            rows.append(
                {"task": task, "cell": cell, **{_short(name): f"{share:.0%}" for name, share in shares.items()}}
            )
    if not rows:
        return ""
    none = dict.fromkeys((name for row in rows for name in row), text.NONE)
    table = text.table([none | row for row in rows])
    return paragraphs(
        "### Which settings matter", table, wording("importance", most=MOST if most_runs > MOST else None)
    )
