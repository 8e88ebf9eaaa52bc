"""Which differences are real: every pair, all problems together, costs against results, and how cells were matched."""

import math

import numpy as np
import pandas as pd

from bench.record.fairness import TOLERANCE
from bench.record.files import write_text_atomic
from bench.record.records import DECIDED
from reports import text
from reports.claims import find_claims, parse_claims
from reports.comparisons import between
from reports.figures import comparison as figures
from reports.figures.style import contender_looks
from reports.references import references_of
from reports.sections.content import Content, paragraphs, wording
from reports.statistics import interquartile_mean, probability_of_improvement
from reports.summary import REFERENCE_CELL, step_times

MOST_ROWS = 40  # of the table of comparisons, unless these are all of the problems shown; the file beside it has all
MOST_ROWS_AT_ALL = 400
MOST_IN_MATRIX = 30  # contenders on a problem
COMMON = ("of", "test", "seeds")  # columns that are often the same in all rows
UNHEARD_OF = 100  # times as much, beyond which a ratio is no longer told
MOST_PANELS = 6  # of problems in a figure
CHANGES = "greff2017"  # whose findings on changes to a cell are set beside ours


def pairs(content: Content) -> str:
    """Report every comparison of two cells: a matrix to look at, a table to quote, a file to compute with."""
    found = content.comparisons
    if found.empty:
        return ""
    write_text_atomic(content.folder / "comparisons.csv", _as_text(found))
    problems = _shown(content)
    if references := references_of(content.stored.results):
        return _against_reference(content, problems, references)
    shown = found if len(found) <= MOST_ROWS else found[found["problem"].isin(problems)].head(MOST_ROWS_AT_ALL)
    names = content.results.groupby("problem")["contender"].nunique()
    drawn = [problem for problem in problems if names[problem] <= MOST_IN_MATRIX]
    if not found["problem"].isin(drawn).any():
        return f"## Differences\n\n{_table(shown, len(shown) < len(found))}"
    figure = figures.pairwise(found[found["problem"].isin(drawn)], content.stored.results)
    section = content.show(figure, "pairwise", "## Differences")
    return f"{section}\n\n{_table(shown, len(shown) < len(found))}"


def _against_reference(content: Content, problems: list[str], references: dict[str, str]) -> str:
    """Report each contender's difference from its reference, and beside it what was published on such a change."""
    found = content.comparisons
    shown = found[found["problem"].isin(problems)].head(MOST_ROWS_AT_ALL)
    names = " or ".join(dict.fromkeys(references.values()))
    figure = figures.against(shown, contender_looks(content.stored.results))
    section = content.show(figure, "differences", f"## Differences from {text.escape(names)}")
    published = _beside_publication(content, shown)
    return paragraphs(section, published, _table(shown, len(shown) < len(found)))


def _beside_publication(content: Content, found: pd.DataFrame) -> str:
    """Tabulate differences beside what a publication printed of the same change to the same cell."""
    if content.stored.claims is not None:  # it has a section of its own
        return ""
    cells = content.stored.results.drop_duplicates("contender").set_index("contender")
    publication = parse_claims(find_claims(CHANGES), CHANGES)
    printed = {
        (str(test.over["cell"]), str(test.of["cell"])): claim.in_print
        for claim in publication.claims
        for test in claim.tests
        if test.over is not None
    }
    compared = {str(cells.loc[name, "cell"]) for name in found["first"]}
    reference = compared.pop() if len(compared) == 1 else ""
    said = {name: printed.get((reference, str(cells.loc[name, "cell"]))) for name in dict.fromkeys(found["second"])}
    rows = []
    for name in (name for name in said if said[name]):
        mine = found[found["second"] == name].set_index("problem")
        rows.append(
            {
                "change": name,
                "computed by": str(cells.loc[name, "backend"]),
                **{
                    problem: f"{text.times(mine.loc[problem, 'ratio'], mine.loc[problem, 'bound'])}"
                    f"{' (established)' if mine.loc[problem, 'differs'] else ''}"
                    if problem in mine.index else text.NONE
                    for problem in dict.fromkeys(found["problem"])
                },
                publication.publication["name"]: said[name],
            }
        )  # fmt: skip
    if not rows:
        return ""
    return f"{text.table(rows)}\n\n{publication.publication['protocol']} Source: {publication.publication['source']}"


def _table(shown: pd.DataFrame, cut: bool) -> str:
    """Tabulate comparisons; what is the same in all rows stands under the table once."""
    rows = _rows(shown)
    common = {key: rows[0][key] for key in COMMON if len(rows) > 1 and len({row[key] for row in rows}) == 1}
    kept = [{key: value for key, value in row.items() if key not in common} for row in rows]
    said = f"In all rows: {', '.join(f'*{key}* {value}' for key, value in common.items())}. " if common else ""
    return f"{text.table(kept)}\n\n{said}{_notes(cut)}"


def _rows(found: pd.DataFrame) -> list[dict[str, str]]:
    several = found["problem"].nunique() > 1
    rows = []
    for _, row in found.iterrows():
        needed = row["needed"]
        rows.append(
            {
                **({"problem": row["problem"]} if several else {}),
                "cells": f"{row['second']} / {row['first']}",
                "of": "final loss" if row["quantity"] == "loss" else f"{row['quantity']} to solve",
                "ratio": text.times(row["ratio"], row["bound"]),
                "better": f"{1 - row['first_better']:.0%}",
                "p": text.p_value(row["p"]).removeprefix("p").removeprefix("="),
                "corrected": text.p_value(row["p_corrected"]).removeprefix("p").removeprefix("="),
                "test": row["test"],
                "log-rank": text.NONE if math.isnan(row["log_rank"])
                else text.p_value(row["log_rank"]).removeprefix("p").removeprefix("="),
                "seeds": str(row["pairs"]),
                "needed": text.NONE if needed is None or pd.isna(needed) else f"{int(needed):,}",
                "could find": _could_find(row["detectable"]),
            }
        )  # fmt: skip
    return rows


def _could_find(ratio: float | None) -> str:
    if ratio is None or pd.isna(ratio):
        return text.NONE
    return f"{ratio:.2g}×" if ratio < UNHEARD_OF else f">{UNHEARD_OF}×"


def _notes(cut: bool) -> str:
    return wording("comparisons", file=f"{'The rest is in' if cut else 'Also as'} [comparisons.csv](comparisons.csv).")


def _as_text(found: pd.DataFrame) -> str:
    flat = found.assign(
        ratio=[interval.estimate for interval in found["ratio"]],
        ratio_low=[interval.low for interval in found["ratio"]],
        ratio_high=[interval.high for interval in found["ratio"]],
    )
    return flat.to_csv(index=False, float_format="%.6g")


def _shown(content: Content) -> list[str]:
    """Return the problems that figures show: all, or of each task the hardest ones that some run solved."""
    problems = list(dict.fromkeys(content.results["problem"]))
    if len(problems) <= MOST_PANELS:
        return problems
    solved = content.results.groupby("problem", sort=False)["solved"].sum()
    tasks = content.stored.results.groupby("problem", sort=False)["task"].first()
    each = max(1, MOST_PANELS // tasks.nunique())
    names = []
    for task in dict.fromkeys(tasks):
        mine = [problem for problem in problems if tasks[problem] == task]
        names += ([problem for problem in mine if solved[problem]] or mine)[-each:]
    return [problem for problem in problems if problem in names]


def together(content: Content) -> str:
    """Report on all problems together: interquartile mean, performance profile, probability of improvement."""
    runs = content.stored.results
    scores = _scores(runs) if len(runs) else {}
    if not scores or len(next(iter(scores.values()))) < 2:
        return ""
    section = content.show(figures.profile(scores), "profile", "## All problems together")
    reference = next((tasks for (cell, _), tasks in scores.items() if cell == REFERENCE_CELL), None)
    rows = []
    for (_, contender), tasks in scores.items():
        kept = [np.maximum(task, 0.0) for task in tasks]
        mean = interquartile_mean(kept)
        better = None if reference is None or tasks is reference else probability_of_improvement(tasks, reference)
        rows.append(
            {
                "cell": contender,
                "budget left, interquartile mean": text.percent(mean),
                f"better than {REFERENCE_CELL}": text.percent(better),
            }
        )
    return paragraphs(section, text.table(rows), wording("budget_left", reference=REFERENCE_CELL))


def _scores(runs: pd.DataFrame) -> dict[tuple[str, str], list[np.ndarray]]:
    """Return of each contender that ran on every problem, of each problem, what was left of the budget; −1 unsolved."""
    decided = runs[runs["status"].isin(DECIDED)]
    left = (1 - decided["needed"] / decided["budget"]).fillna(-1.0)
    problems = list(dict.fromkeys(decided["problem"]))
    scores = {}
    for (cell, contender), mine in left.groupby([decided["cell"], decided["contender"]], sort=False):
        tasks = [mine[decided["problem"].loc[mine.index] == problem].to_numpy(dtype=float) for problem in problems]
        if all(len(task) for task in tasks):
            scores[str(cell), str(contender)] = tasks
    return scores


def cost_against_result(content: Content) -> str:
    """Show what a step costs against how many it takes."""
    if content.results.empty or not content.results["solved"].sum():
        return ""
    summary = content.results[content.results["problem"].isin(_shown(content))]
    milliseconds = step_times(content.stored.results, content.timings)
    return content.show(figures.cost_quality(summary, milliseconds), "cost_quality", "## Cost against result")


def matching(content: Content) -> str:
    """Say how cells were matched, and how the order of cells changes where there are several ways."""
    if content.results.empty:
        return ""
    budgets = sorted({str(currency) for currency in content.results["currency"]})
    rows, kinds = [], set()
    for problem, here in content.results.groupby("problem", sort=False):
        for kind, cells in _matched(here).items():
            kinds.add(kind)
            rows.append({"problem": problem, "equal": kind, "from best to worst": " · ".join(_ranked(content, cells))})
    said = f"Runs on a problem have the same budget of {' or '.join(budgets)}."
    if not kinds:
        return f"## Matching\n\n{said} Cells have neither hidden size, nor parameters, nor FLOPs in common."
    sizes = text.table(
        [
            {
                "problem": row["problem"],
                "cell": row["contender"],
                "hidden size": text.count(row["hidden_size"]),
                "parameters": text.count(row["parameters"]),
                "FLOPs of a step": text.NONE if row["flops_step"] is None else text.amount(float(row["flops_step"])),
            }
            for _, row in content.results.iterrows()
        ]
        if len(content.results) <= MOST_ROWS
        else [{"": "see results.parquet"}]
    )
    what = wording(
        "matching",
        kinds=", ".join(sorted(kinds)),
        reference=REFERENCE_CELL,
        parameters=f"{TOLERANCE['parameters']:.0%}",
        flops=f"{TOLERANCE['flops']:.0%}",
    )
    return paragraphs("## Matching", f"{said} {what}", text.table(rows), sizes)


def _matched(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the contenders on a problem that have something in common with the reference, by what that is."""
    references = rows[rows["cell"] == REFERENCE_CELL]
    if len(references) != 1 or len(rows) < 2:
        return {}
    reference = references.iloc[0]

    def near(column: str, tolerance: float) -> pd.DataFrame:
        if reference[column] is None or pd.isna(reference[column]):
            return rows.iloc[:0]
        off = (pd.to_numeric(rows[column]).astype(float) / float(reference[column]) - 1).abs()
        nearest = off.groupby(rows["cell"]).transform("min")
        return rows[(off <= tolerance) & (off == nearest)]

    found = {
        "hidden size": near("hidden_size", 0.0),
        "parameters": near("parameters", TOLERANCE["parameters"]),
        "FLOPs": near("flops_step", TOLERANCE["flops"]),
    }
    cells = rows["cell"].nunique()
    return {kind: matched for kind, matched in found.items() if matched["cell"].nunique() == cells}


def _ranked(content: Content, rows: pd.DataFrame) -> list[str]:
    ran = [row for _, row in rows.iterrows() if row["runs"]]
    ordered = sorted(
        ran, key=lambda row: (-row["solved"] / row["runs"], row["needed"].estimate, row["final_loss"].estimate)
    )
    names = []
    for before, row in zip([None, *ordered], ordered, strict=False):
        found = None if before is None else between(
            content.comparisons, row["problem"], before["contender"], row["contender"]
        )  # fmt: skip
        joined = found is not None and not found["differs"]
        names.append(f"{'= ' if joined else ''}{row['contender']}")
    return names
