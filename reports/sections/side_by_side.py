"""Several sweeps side by side: in what they differ, and what became of what they have in common."""

from collections import Counter
from json import loads

import pandas as pd

from reports import text
from reports.naming import SETTINGS, by_own_names
from reports.sections.answer import evidence, ratio
from reports.sections.content import Content, paragraphs, wording
from reports.summary import Summary, summarize_results

MOST_VALUES = 5  # of a setting
MACHINE = ("cpu", "gpu", "git_commit", "version_torch")  # of the environment


def sweeps(content: Content) -> str:
    """Tabulate the settings in which sweeps differ, and the results of what several of them ran."""
    runs = content.stored.results
    names = [name for name in content.stored.sweeps if len(runs) and name in set(runs["sweep"])]
    if len(names) < 2:
        return ""
    settings = _differing(runs, names)
    what = text.table(settings) if settings else "No setting differs."
    return paragraphs("## Side by side", what, _results(content, by_own_names(runs), names))


def _differing(runs: pd.DataFrame, names: list[str]) -> list[dict[str, str]]:
    environments = runs["environment"].map(loads) if "environment" in runs else pd.Series({}, dtype=object)
    machine = {key: environments.map(lambda known, key=key: known.get(key)) for key in MACHINE}
    columns = [column for column in runs if column.startswith(SETTINGS) and "._" not in column]
    rows = []
    for name, values in ({column: runs[column] for column in (*columns, "backend")} | machine).items():
        said = {sweep: _said(values[runs["sweep"] == sweep]) for sweep in names}
        if len(set(said.values())) > 1:
            rows.append({"setting": name.removeprefix("version_")} | said)
    return rows


def _said(values: pd.Series) -> str:
    """List the values of a setting in words, of many the first."""
    known = sorted({f"{value:g}" if isinstance(value, float) else str(value) for value in values.dropna()})
    more = f" and {len(known) - MOST_VALUES} more" if len(known) > MOST_VALUES else ""
    return ", ".join(known[:MOST_VALUES]) + more if known else text.NONE


def _results(content: Content, runs: pd.DataFrame, names: list[str]) -> str:
    """Tabulate what several sweeps ran, a row per problem and contender; of two sweeps, compare them."""
    of_sweep = {
        name: {(row.problem, row.contender): row for row in summarize_results(runs[runs["sweep"] == name])}
        for name in names
    }
    counts = Counter(key for rows in of_sweep.values() for key in rows)
    common = [key for key, count in counts.items() if count > 1]
    if not common:
        return "No problem and cell is in more than one of them."
    compared = content.between
    rows = []
    for problem, contender in common:
        row = {"problem": problem, "cell": contender}
        row |= {name: _outcome(of_sweep[name].get((problem, contender))) for name in names}
        if compared:
            comparison = compared.get((problem, f"{contender}, {names[0]}", f"{contender}, {names[1]}"))
            row[f"{names[1]} / {names[0]}"] = text.NONE if comparison is None else ratio(comparison)
            row["evidence"] = text.NONE if comparison is None else evidence(comparison)
        rows.append(row)
    said = wording(
        "side_by_side", first=names[0], second=names[-1], compared=len(compared),
        planned=max((row.planned for row in compared.values()), default=1),
    )  # fmt: skip
    return f"{text.table(rows)}\n\n{said}"


def _outcome(row: Summary | None) -> str:
    if row is None:
        return text.NONE
    if row.tested:
        return text.number(row.final_loss)
    needed = f": {text.spent(row.needed, row.budget)}" if row.needed is not None else ""
    return f"{row.solved}/{row.runs}{needed}"
