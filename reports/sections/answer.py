"""The first screen: the answer, a table, and the command to run next."""

import math
import re
import shlex
from collections import Counter

import pandas as pd

from bench.record.asked import widest
from bench.record.records import DECIDED
from reports import text
from reports.comparisons import ESTABLISHED, OPEN, Comparison, between
from reports.frontier import is_frontier, problems_without_length
from reports.references import primary_reference, references_of
from reports.rows import grouped
from reports.sections import frontier
from reports.sections.content import (
    MOST_NAMED,
    Content,
    all_of,
    is_or_are,
    paragraphs,
    plural,
    problems_shown,
    quoted,
    wording,
)
from reports.sections.sentence import sentence
from reports.summary import Summary, ranked

MOST_ROWS = 30  # of the first table; the appendix has all
MOST_SEEDS = 100  # that a next command asks for
REPLACED = ("seed=", "seeds=", "name=", "retry=", "dry_run=")  # of the sweep's command, in the next one


def first_screen(content: Content) -> str:
    """Answer in a sentence, with what is established and what is not, in a table, and say what to run next."""
    if is_frontier(content.stored):
        return paragraphs(frontier.first_screen(content), _notes(content), _next(content))
    answer = sentence(content)
    said = f"**{text.escape(answer)}**" if answer else ""
    return paragraphs(f"{said} {_certainty(content)}".strip(), _table(content), _notes(content), _next(content))


def _certainty(content: Content) -> str:
    """Say how many of the primary comparisons are established, equivalent and open."""
    compared = content.between if content.repeated else content.comparisons
    primary = [row for row in compared.values() if row.primary]
    if not primary:
        return ""
    reference = None if content.repeated else primary_reference(content.stored.results)
    counts = Counter(row.verdict for row in primary)
    shown = counts[ESTABLISHED]
    one = len(primary) == 1
    does = f"{'establishes' if shown < 2 else 'establish'} a difference"
    said = [f"{shown or 'none'} of {len(primary):,} comparisons {does}"]
    if one:
        names = {primary[0].first, primary[0].second} - {reference}
        of = f" of {text.escape(quoted(names.pop()))}" if reference is not None else ""
        said = [f"the comparison{of} {does if shown else f'is {primary[0].verdict}'}"]
    said += (
        []
        if one
        else [
            f"{number} {is_or_are(number)} {verdict}"
            for verdict, number in sorted(counts.items())
            if verdict != ESTABLISHED
        ]
    )
    against = "" if reference is None else f"Against {text.escape(reference)}, "
    seeds, fewest = min(row.seeds for row in primary), max(row.fewest for row in primary)
    few = ""
    if not shown and seeds < fewest and primary[0].planned == 1:
        few = f" {plural(seeds, 'seed').capitalize()} cannot establish any: it takes {fewest} at least."
    counted = f"{against}{', '.join(said)}"
    return f"{counted[0].upper()}{counted[1:]}.{few}"


def _table(content: Content) -> str:
    """Tabulate per problem, best first, who solved it, in how many steps, and how that compares with the reference."""
    rows, cut = ([], False) if content.repeated else _rows(content)  # there the sweeps stand side by side
    if not rows:
        return ""
    return text.table(rows) + ("\n\nThe best on each problem; the appendix has all." if cut else "")


def _rows(content: Content) -> tuple[list[dict[str, str]], bool]:
    """Return the rows of the first table, and whether they are not all: where they would be too many, each problem has
    its best, and its reference."""
    shown = problems_shown(content) if len(content.summaries) > MOST_ROWS else None
    summaries = [row for row in content.summaries if shown is None or row.problem in shown]
    if content.stored.claims is not None and not content.stored.claims.publication:
        return [], False
    several = len({row.problem for row in content.summaries}) > 1
    currencies = {row.currency for row in content.summaries}
    currency = currencies.pop() if len(currencies) == 1 else "budget"
    here = grouped(summaries, lambda row: row.problem)
    lost = any(not any(row.solved for row in rows) for rows in here.values())
    tested = all(row.tested for row in summaries)
    references = references_of(content.stored.results)
    reference = primary_reference(content.stored.results) if content.comparisons else None
    against = {*references.values()} or {reference or ""}
    over = "reference" if len(against) > 1 else next(iter(against))
    most = max(1, MOST_ROWS // max(1, len(here))) if len(summaries) > MOST_ROWS else len(summaries)
    rows = []
    for problem, mine in here.items():
        for place, row in enumerate(ranked(mine)):
            if place >= most and row.contender not in against:
                continue
            own = references.get(row.contender, reference) or ""
            found = between(content.comparisons, problem, own, row.contender)
            rows.append(
                {
                    **({"problem": problem} if several else {}),
                    "cell": row.contender,
                    **({} if tested else _solving(row, currency)),
                    **({"test loss" if tested else "final loss": text.number(row.final_loss)} if lost else {}),
                    **(_against(found, own == row.contender, over) if content.comparisons else {}),
                }
            )
    return rows, len(rows) < len(content.summaries)


def _solving(row: Summary, currency: str) -> dict[str, str]:
    failed = f" (+{row.failed} failed)" if row.failed else ""
    return {"solved": f"{row.solved}/{row.runs}{failed}", f"{currency} to solve": text.spent(row.needed, row.budget)}


def _against(comparison: Comparison | None, is_reference: bool, over: str) -> dict[str, str]:
    if is_reference or comparison is None:
        return {f"over {over}": text.NONE, "evidence": "reference" if is_reference else text.NONE}
    return {f"over {over}": ratio(comparison), "evidence": evidence(comparison)}


def ratio(comparison: Comparison) -> str:
    """Say how many times as much the second of a comparison needed as the first, or of what else the ratio is."""
    said = text.times(comparison.ratio)
    return f"{said} of the loss" if comparison.quantity == "loss" and said != text.NONE else said


def evidence(comparison: Comparison) -> str:
    """Say in a few words what a comparison establishes, and how many seeds would be needed where it does not."""
    if comparison.differs:
        return f"established, {text.p_value(comparison.p_corrected)}"
    if comparison.planned > 1 and not comparison.looks:
        return "before the first look"
    if comparison.verdict != OPEN:
        return comparison.verdict
    needed = text.range_of(comparison.needed, comparison.needed_most)
    return "open" if needed == text.NONE else f"open; {needed} seeds needed"


def _notes(content: Content) -> str:
    """Say what a reader of the table would wonder about: failures, and unsolved runs that ended below the criterion."""
    runs = content.stored.results
    notes = []
    failed = sum(row.failed for row in content.summaries)
    if failed:
        notes.append(f"{plural(failed, 'run')} failed and count in no statistic (see Failures).")
    if is_frontier(content.stored):
        runs = runs.assign(problem=problems_without_length(runs))
    if len(runs) and (late := _met_late(runs)):
        several, who = late
        notes.append(
            wording("met_late", runs=plural(sum(who.values()), "unsolved run"), several=several, who=_counted(who))
        )
    return " ".join(notes)


def _counted(who: dict[str, int]) -> str:
    """Say e.g. "2 of lstm on adding, 1 of gru on adding and 7 of others", the most frequent first."""
    first = sorted(who.items(), key=lambda item: -item[1])
    shown = first if len(first) <= MOST_NAMED else first[: MOST_NAMED - 1]
    others = sum(who.values()) - sum(count for _, count in shown)
    return text.escape(
        all_of([f"{count} of {name}" for name, count in shown] + ([f"{others} of others"] if others else []))
    )


def _met_late(runs: pd.DataFrame) -> tuple[str, dict[str, int]] | None:
    """Return how many evaluations in a row have to meet a criterion, and how many unsolved runs of each contender on
    each problem met it at the last one; None if none did."""
    unsolved = runs[runs["status"].isin(DECIDED) & ~runs["solved"].astype(bool)]
    met = pd.Series(False, index=unsolved.index)
    for column in (column for column in unsolved if column.startswith("task.solved_")):
        score = f"final_score.{column.removeprefix('task.solved_')}"
        if score in unsolved:
            last, criterion = (pd.to_numeric(unsolved[name]).astype("Float64") for name in (score, column))
            # Scores are shares that must exceed the criterion; errors must fall below it.
            below = score.endswith(("mse", "loss", "error"))
            met |= ((last < criterion) if below else (last > criterion)).fillna(False).astype(bool)
    found = unsolved[met]
    if found.empty or "training.solved_evaluations" not in found:
        return None
    several = sorted(found["training.solved_evaluations"].unique())
    counts = found.groupby(["contender", "problem"], sort=False).size()
    return all_of([str(each) for each in several], "or"), {
        f"{quoted(name)} on {quoted(on)}": int(n) for (name, on), n in counts.items()
    }


def _next(content: Content) -> str:
    """Say what would decide more, with the command for it."""
    command = widest(content.stored.commands)
    missing = len(content.stored.missing)
    if command is None or content.repeated:
        return ""
    if missing:
        have = f"{plural(missing, 'planned run')} {'has' if missing == 1 else 'have'}"
        return _asked(f"{have} no outcome yet; the same command continues", command)
    if (claims := content.stored.claims) is not None and content.stored.looks is not None:  # which alone ask for seeds
        number = content.open_claims
        said = f"{plural(number, 'finding' if claims.publication else 'claim')} {is_or_are(number)} undecided"
        return _asked(f"{said}, and more seeds are planned; the same command continues", command) if number else ""
    open_ = [row for row in content.comparisons.values() if row.primary and row.verdict == OPEN]
    if not open_:
        return ""
    if any(row.looks < row.planned for row in open_):
        return _asked(f"{_open(open_)} and more seeds are planned", command)
    seeds = [row.needed_most or math.inf for row in open_] + [row.fewest for row in open_]
    likely = [row for row in open_ if row.needed_most is not None and row.needed_most <= MOST_SEEDS]
    if not likely and min(row.seeds for row in open_) >= max(row.fewest for row in open_):
        least = [row.needed for row in open_ if row.needed is not None]
        more = f"; at least {min(least):,} seeds would be needed" if least else ""
        return f"{_open(open_)}{more}."
    wanted = likely or open_
    number = int(max([each for each in seeds if each <= MOST_SEEDS]))
    minutes = _minutes(content, wanted, number)
    which = f"{len(wanted)} of them" if len(wanted) < len(open_) else "it" if len(open_) == 1 else "them"
    said = f"{_open(open_)}; new seeds, {number} at most, would likely decide {which}"
    return _asked(f"{said}{minutes}", _with_new_seeds(content, command, wanted, number))


def _open(rows: list[Comparison]) -> str:
    """Return e.g. "gru / lstm on copy is open", or of more than a few how many are."""
    names = [text.escape(f"{row.second} / {row.first} on {row.problem}") for row in rows]
    said = ", ".join(names) if len(rows) <= MOST_NAMED else f"{len(rows)} primary comparisons"
    return f"{said} {is_or_are(len(rows))} open"


def _asked(why: str, command: str) -> str:
    return f"Next: {why}.\n\n{text.code([command])}"


def _with_new_seeds(content: Content, command: str, rows: list[Comparison], number: int) -> str:
    """Return the sweep's command for new seeds, so many at most, in a folder of their own, narrowed to what is open: to
    add seeds to these because of a report would make p-values too small."""
    runs = content.stored.results
    words = [word for word in shlex.split(command) if not word.startswith(REPLACED)]
    contenders = {name for row in rows for name in (row.first, row.second)}
    problems = {row.problem for row in rows}
    if "+sweep=" in command and contenders <= set(runs["cell"]):
        axes = (("cell", "contender", contenders), ("task", "problem", problems))
        for axis, column, wanted in axes:
            names = list(dict.fromkeys(runs.loc[runs[column].isin(wanted), axis]))
            if len(names) < runs[axis].nunique() and not any(word.startswith(f"{axis}=") for word in words):
                words.append(f"{axis}={','.join(names)}")
    first = 1 + max(int(frame["seed"].max()) for frame in (runs, content.stored.trials) if len(frame))
    name = re.sub(r"\W+", "_", content.stored.sweeps[0])
    return shlex.join([*words, f"name={name}_more", "seeds=auto", f"seed=range({first},{first + number})"])


def _minutes(content: Content, rows: list[Comparison], seeds: int) -> str:
    runs = content.stored.results
    subjects = {(row.problem, name) for row in rows for name in (row.first, row.second)}
    taken = runs.groupby(["problem", "contender"])["seconds"].mean()
    seconds = seeds * sum(float(taken[subject]) for subject in subjects if subject in taken.index)
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    if seconds < 5400:
        return f" (about {plural(max(1, round(seconds / 60)), 'minute')} of processor time at most)"
    return f" (about {round(seconds / 3600):,} hours of processor time at most)"
