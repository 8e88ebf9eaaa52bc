"""Which differences are real: all comparisons, all problems together, costs against results, how cells were matched."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.record.fairness import TOLERANCE
from bench.record.files import write_text_atomic
from bench.record.records import DECIDED
from reports import text
from reports.claims import publications
from reports.comparisons import Comparison, Comparisons, as_table
from reports.figures import differences as figures
from reports.figures.panels import MOST_CURVES
from reports.figures.style import contender_looks
from reports.references import primary_reference, references_of
from reports.rows import grouped
from reports.sections.content import Content, paragraphs, problems_shown, wording
from reports.statistics import ALPHA, interquartile_mean, letters, probability_of_improvement
from reports.summary import REFERENCE_CELL, Summary, ranked
from reports.timings import step_times

MOST_ROWS = 40  # of the table of comparisons, unless these are all of the problems shown; the file beside it has all
MOST_ROWS_AT_ALL = 400
MOST_IN_MATRIX = 30  # contenders on a problem
COMMON = ("quantity", "test", "seeds")  # columns that are often the same in all rows
UNHEARD_OF = 100  # times as much, beyond which a ratio is no longer told
RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")
CHANGES = "greff2017"  # whose findings on changes to a cell are set beside ours


def drawn(content: Content) -> str:
    """Show which differences are established: of every two contenders, or of each from its reference."""
    shown = _of_problems_shown(content)
    if not shown:
        return ""
    if references := references_of(content.stored.results):
        figure = figures.against(shown, contender_looks(content.stored.results))
        names = " or ".join(dict.fromkeys(references.values()))
        heading = f"## Differences from {text.escape(names)}"
        section = content.show(figure, "differences", heading, tested=content.tested, losses=_losses(shown))
        return paragraphs(section, _beside_publication(content, shown))
    contenders = Counter(row.problem for row in content.summaries)
    few = [row for row in shown if contenders[row.problem] <= MOST_IN_MATRIX]
    if not few:
        return ""
    figure = figures.pairwise(few, content.summaries)
    return content.show(figure, "pairwise", "## Differences", tested=content.tested, losses=_losses(few))


def _losses(shown: list[Comparison]) -> str:
    """Return how many comparisons are of losses: all, some or none."""
    of_losses = [row.quantity == "loss" for row in shown]
    return "all" if all(of_losses) else "some" if any(of_losses) else "none"


def _of_problems_shown(content: Content) -> list[Comparison]:
    problems = problems_shown(content)
    return [row for row in content.comparisons.values() if row.problem in problems][:MOST_ROWS_AT_ALL]


def comparisons(content: Content) -> str:
    """Report every comparison of two contenders: a table to quote, a file to compute with."""
    compared = list(content.comparisons.values())
    if not compared:
        return ""
    write_text_atomic(content.folder / "comparisons.csv", _as_text(content.comparisons))
    shown = compared if len(compared) <= MOST_ROWS else _of_problems_shown(content)
    return paragraphs("## All comparisons", _table(content, shown, len(shown) < len(compared)), _about_tests(content))


def _about_tests(content: Content) -> str:
    compared = list(content.comparisons.values())
    primary = [row for row in compared if row.primary]
    reference = primary_reference(content.stored.results)
    said = wording(
        "about_tests", tests={row.test for row in compared}, primary=len(primary), others=len(compared) - len(primary),
        reference="the reference" if reference is None else text.escape(reference), alpha=f"{ALPHA:.0%}",
    )  # fmt: skip
    return f"{said} {about_seeds(content)}".rstrip()


def about_seeds(content: Content) -> str:
    """Say why there are as many seeds as there are: added at looks, added after outcomes were shown, or neither."""
    looks, added, runs = content.stored.looks, content.stored.added, content.stored.results
    said_added = wording("seeds_added", before=added) if added else ""
    if looks is None:
        return said_added
    if len(content.stored.sweeps) > 1:
        planned = max((row.planned for row in content.comparisons.values()), default=1)
        return f"{wording('looks_of_several', planned=planned)} {said_added}".rstrip()
    claims = content.stored.claims
    primary = [row for row in content.comparisons.values() if row.primary and claims is None]
    decided = Counter(row.decided for row in primary if row.decided is not None)
    subjects = len(runs[["problem", "contender"]].drop_duplicates())
    return wording(
        "looks", of="primary comparisons" if claims is None else "findings" if claims.publication else "claims",
        counts=looks.counts, finished=looks.finished, selected=not content.stored.trials.empty,
        decided=[f"{many} after {seeds}" for seeds, many in sorted(decided.items())],
        open=len(primary) - decided.total(), runs=len(runs), all=subjects * looks.counts[-1],
        unplanned=int(runs["look"].isna().sum()), unfinished=len(content.stored.missing) or content.open_claims,
    )  # fmt: skip


def _beside_publication(content: Content, shown: list[Comparison]) -> str:
    """Tabulate differences beside what a publication printed of the same change to the same cell."""
    if content.stored.claims is not None:  # it has a section of its own
        return ""
    runs = content.stored.results.drop_duplicates("contender").set_index("contender")
    cells, backends = runs["cell"], runs["backend"]
    publication = publications()[CHANGES]
    assert publication.publication is not None
    printed = {
        (str(test.over["cell"]), str(test.of["cell"])): claim.in_print
        for claim in publication.claims
        for test in claim.tests
        if test.over is not None
    }
    compared = {str(cells[row.first]) for row in shown}
    reference = compared.pop() if len(compared) == 1 else ""
    rows = []
    for name, mine in grouped(shown, lambda row: row.second).items():
        said = printed.get((reference, str(cells[name])))
        if said:
            here = dict.fromkeys((row.problem for row in shown), text.NONE)
            for row in mine:
                established = " (established)" if row.differs else ""
                here[row.problem] = f"{text.times(row.ratio)}{established}"
            about = {"change": name, "computed by": str(backends[name])}
            rows.append(about | here | {publication.publication.name: said})
    if not rows:
        return ""
    return f"{text.table(rows)}\n\n{wording('changes')} Source: {text.escape(publication.publication.source)}"


def _table(content: Content, shown: list[Comparison], cut: bool) -> str:
    """Tabulate comparisons; what is the same in all rows stands under the table once."""
    several = len({row.problem for row in shown}) > 1
    tested = {row.problem for row in content.summaries if row.tested}
    looks = any(row.planned > 1 for row in shown)
    rows = [({"problem": row.problem} if several else {}) | _row(row, row.problem in tested, looks) for row in shown]
    common = {key: rows[0][key] for key in COMMON if len(rows) > 1 and len({row[key] for row in rows}) == 1}
    kept = [{key: value for key, value in row.items() if key not in common} for row in rows]
    said = f"In all rows: {', '.join(f'*{key}* {value}' for key, value in common.items())}. " if common else ""
    file = f"{'The rest is in' if cut else 'Also as'} [comparisons.csv](comparisons.csv)."
    explained = wording("comparisons", file=file, looks=looks, tested=content.tested)
    return f"{text.table(kept)}\n\n{said}{explained}"


def _row(row: Comparison, tested: bool, looks: bool) -> dict[str, str]:
    ratio, loss = row.detectable, "test loss" if tested else "final loss"
    return {
        "cells": f"{row.second} / {row.first}",
        "quantity": loss if row.quantity == "loss" else f"{row.quantity} to solve",
        "ratio": text.times(row.ratio),
        "better": f"{1 - row.first_better:.0%}",
        "p": text.p_number(row.p),
        "corrected": text.p_number(row.p_corrected),
        "verdict": f"{row.verdict}{figures.mark(row)}",
        "test": row.test,
        "seeds": str(row.seeds),
        **({"decided": text.count(row.decided)} if looks else {}),
        "needed": text.range_of(row.needed, row.needed_most),
        "detectable": text.NONE if ratio is None else f"{ratio:.2g}×" if ratio < UNHEARD_OF else f">{UNHEARD_OF}×",
    }


def _as_text(comparisons: Comparisons) -> str:
    return as_table(comparisons).to_csv(index=False, float_format="%.6g")


def together(content: Content) -> str:
    """Report on all problems together: interquartile mean, performance profile, probability of improvement."""
    runs = content.stored.results
    scores = _scores(runs) if len(runs) else {}
    if not scores or len(next(iter(scores.values()))) < 2:
        return ""
    strips = len(scores) > MOST_CURVES
    section = content.show(figures.profile(scores), "profile", "## All problems together", strips=strips)
    references, primary = references_of(runs), primary_reference(runs)
    against = {*references.values()} or {primary or REFERENCE_CELL}
    over = next(iter(against)) if len(against) == 1 else "its reference"
    tasks_of = {contender: tasks for (_, contender), tasks in scores.items()}
    rows = []
    for contender, tasks in tasks_of.items():
        kept = [np.maximum(task, 0.0) for task in tasks]
        mean = interquartile_mean(kept)
        own = references.get(contender, primary)
        of_own = tasks_of.get(own or "") if own != contender else None
        better = None if of_own is None else probability_of_improvement(tasks, of_own)
        rows.append(
            {
                "cell": contender,
                "budget left, interquartile mean": text.percent(mean),
                f"better than {over}": text.percent(better),
            }
        )
    return paragraphs(section, text.table(rows), wording("budget_left", reference=text.escape(over)))


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
    if not any(row.solved for row in content.summaries):
        return ""
    problems = problems_shown(content)
    shown = [row for row in content.summaries if row.problem in problems]
    figure = figures.cost_quality(shown, step_times(content.stored.results, content.timings))
    return content.show(figure, "cost_quality", "## Cost against result", many=content.many)


def matching(content: Content) -> str:
    """Say how cells were matched, and how the order of cells changes where there are several ways."""
    if not content.summaries:
        return ""
    rows = [
        {"problem": problem, "equal": kind, "from best to worst": _ranked(content, matched)}
        for problem, here in grouped(content.summaries, lambda row: row.problem).items()
        for kind, matched in _matched(here).items()
    ]
    if not rows:
        return ""
    budgets = " or ".join(sorted({row.currency for row in content.summaries}))
    said = f"Runs on a problem have the same budget of {budgets}."
    sizes = [
        {
            "problem": row.problem,
            "cell": row.contender,
            "hidden size": text.count(row.hidden_size),
            "parameters": text.count(row.parameters),
            "FLOPs of a step": text.NONE if row.flops_step is None else text.amount(row.flops_step),
        }
        for row in content.summaries
    ]
    how = wording(
        "matching",
        kinds=", ".join(sorted({row["equal"] for row in rows})),
        reference=REFERENCE_CELL,
        **{name: f"{TOLERANCE[name]:.0%}" for name in ("parameters", "flops")},
    )
    sizes = sizes if len(sizes) <= MOST_ROWS else [{"": "see results.parquet"}]
    return paragraphs("## Matching", f"{said} {how}", text.table(rows), text.table(sizes))


def _matched(rows: list[Summary]) -> dict[str, list[Summary]]:
    """Return the contenders on a problem that have something in common with the reference, by what that is: of each
    cell the nearest ones, where every cell has some that are near enough."""
    references = [row for row in rows if row.cell == REFERENCE_CELL]
    if len(references) != 1 or len(rows) < 2:
        return {}

    def near(size: Callable[[Summary], float | None], tolerance: float) -> list[Summary]:
        of_reference = size(references[0])
        if not of_reference:
            return []
        off = {row.contender: abs(value / of_reference - 1) for row in rows if (value := size(row)) is not None}
        matched = []
        for mine in grouped((row for row in rows if row.contender in off), lambda row: row.cell).values():
            nearest = min(off[row.contender] for row in mine)
            matched += [row for row in mine if off[row.contender] == nearest <= tolerance]
        return matched

    matched_by = {
        "hidden size": near(lambda row: row.hidden_size, 0.0),
        "parameters": near(lambda row: row.parameters, TOLERANCE["parameters"]),
        "FLOPs": near(lambda row: row.flops_step, TOLERANCE["flops"]),
    }
    cells = {row.cell for row in rows}
    return {kind: matched for kind, matched in matched_by.items() if {row.cell for row in matched} == cells}


def _ranked(content: Content, matched: list[Summary]) -> str:
    """List contenders from best to worst, each with its letters."""
    names = [row.contender for row in ranked(matched) if row.runs]
    here = [row for row in content.comparisons.values() if row.problem == matched[0].problem and row.differs]
    apart = [frozenset((row.first, row.second)) for row in here if {row.first, row.second} <= set(names)]
    given = letters(names, apart) if len(names) <= MOST_IN_MATRIX else dict.fromkeys(names, "")
    return ", ".join(f"{name} {given[name].translate(RAISED)}".rstrip() for name in names)
