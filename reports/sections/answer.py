"""The first screen: the answer in a sentence, a table, and the command to run next."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable

import pandas as pd

from bench.record.records import DECIDED
from reports import text
from reports.claims import as_printed
from reports.comparisons import ESTABLISHED, OPEN, Comparison, Comparisons, between
from reports.frontier import is_frontier
from reports.references import primary_reference, references_of
from reports.rows import grouped
from reports.sections import frontier
from reports.sections.content import Content, paragraphs, plural, problems_shown, wording
from reports.summary import REFERENCE_CELL, Summary, ranked
from reports.verdicts import NOT_RUN, REFUTED, SUPPORTED, verdict_of

MOST_NAMED = 3  # contenders or problems in the sentence; more are counted
MOST_ROWS = 30  # of the first table; the appendix has all
MOST_SEEDS = 100  # that a next command asks for
FEWEST = {"steps": "the fewest steps", "FLOPs": "the fewest FLOPs", "seconds": "the least time"}
REPLACED = ("seed=", "seeds=", "name=", "retry=", "dry_run=")  # of the sweep's command, in the next one


def first_screen(content: Content) -> str:
    """Answer in a sentence, with what is established and what is not, in a table, and say what to run next."""
    if is_frontier(content.stored):
        return paragraphs(frontier.first_screen(content), _notes(content), _next(content))
    said = f"**{text.escape(sentence(content))}**" if sentence(content) else ""
    return paragraphs(f"{said} {_certainty(content)}".strip(), _table(content), _notes(content), _next(content))


def sentence(content: Content) -> str:
    """Return the answer in a sentence of about twenty words, as plain text."""
    if is_frontier(content.stored):
        return frontier.sentence(content)
    if content.stored.claims is not None:
        return _on_claims(content)
    if not content.summaries:
        return _on_times(content)
    if content.repeated:
        return _on_sweeps(content)
    if references_of(content.stored.results):
        return _on_changes(content)
    ran = [row for row in content.summaries if row.runs]
    if not ran:
        return f"No run has an outcome that counts: {plural(len(content.stored.results), 'run')} failed."
    here = grouped(ran, lambda row: row.problem)
    if len({row.contender for row in ran}) == 1:
        return _on_one(ran)
    return _on_leaders(content, here)


def _on_leaders(content: Content, here: dict[str, list[Summary]]) -> str:
    """Say per problem who needs least: the best contender and all that no test sets apart from it."""
    established = any(row.differs for row in content.comparisons.values())
    leaders = {problem: _leaders(content, rows, established) for problem, rows in here.items()}
    problems_of: dict[tuple[str, ...], list[str]] = {}
    for problem, names in leaders.items():
        problems_of.setdefault(names, []).append(problem)
    none = problems_of.pop((), [])
    tested = {problem for problem, rows in here.items() if any(row.tested for row in rows)}
    scored = [
        f"{_all_of([*names], 'or')} has the lowest test loss on {_all_of([each for each in its if each in tested])}"
        for names, its in problems_of.items()
        if tested & {*its}
    ]
    problems_of = {names: [each for each in its if each not in tested] for names, its in problems_of.items()}
    problems_of = {names: its for names, its in problems_of.items() if its}
    parts = [f"{_all_of([*names], 'or')} on {_all_of(its)}" for names, its in problems_of.items()]
    if len(here) > MOST_NAMED or max(map(len, problems_of), default=0) > MOST_NAMED:
        counts = Counter(name for problem, names in leaders.items() if problem not in tested for name in names)
        most = max(counts.values(), default=0)
        first = _all_of([name for name, count in counts.items() if count == most], "or")
        parts = [f"{first} on {most} of {plural(len(here), 'problem')}"] if most else []
    if parts:
        who, _, on = parts[0].partition(" on ")
        does = f"needs {FEWEST[here[next(iter(here))][0].currency]}" if established else "has the lowest median"
        parts[0] = f"{who} {does} on {on}"
    unsolved = f"no run solves {_all_of(none)}" if none else ""
    said = "; ".join(filter(None, (", ".join(parts), *scored[:MOST_NAMED], unsolved)))
    said = said if parts or scored else f"N{said[1:]}"
    return f"{said}." if established or len(none) == len(here) else f"{said}; no difference is established."


def _leaders(content: Content, rows: list[Summary], established: bool) -> tuple[str, ...]:
    """Return the best contender on a problem and all from which it is not established to differ, of those with solved
    runs; where nothing at all is established, those that did equally well."""
    best, *others = ranked(rows)
    tested = best.tested
    if not best.solved and not tested:
        return ()
    names = [best.contender]
    for row in others:
        found = between(content.comparisons, row.problem, best.contender, row.contender)
        apart = found is not None and found.differs
        if not established:
            apart = tested or (row.share_solved, row.median_needed) != (best.share_solved, best.median_needed)
        if (row.solved or tested) and not apart:
            names.append(row.contender)
    return tuple(names)


def _on_changes(content: Content) -> str:
    """Say which contenders differ from their references, and in which direction, those that differ most first."""
    names = list(dict.fromkeys(references_of(content.stored.results).values()))
    against = names[0] if len(names) == 1 else "each one’s reference"
    better, worse = _directions(content.comparisons, lambda row: row.second)
    groups = {
        "better": [name for name in better if name not in worse],
        "worse": [name for name in worse if name not in better],
        "better or worse, by problem": [name for name in better if name in worse],
    }
    said = [f"{_all_of(its)} {how}" for how, its in groups.items() if its]
    if not said:
        return f"No contender is established to differ from {against}."
    return f"Established against {against}: {'; '.join(said)}."


def _on_sweeps(content: Content) -> str:
    """Say in which direction what two sweeps both ran changed from the first to the second."""
    first, second = content.stored.sweeps
    directions = _directions(content.between, lambda row: f"{row.second.removesuffix(f', {second}')} on {row.problem}")
    said = [f"{_all_of(its)} {how}" for how, its in zip(("better", "worse"), directions, strict=True) if its]
    if not said:
        return f"No cell is established to differ between {first} and {second}."
    return f"Established in {second} against {first}: {'; '.join(said)}."


def _directions(compared: Comparisons, name: Callable[[Comparison], str]) -> tuple[list[str], list[str]]:
    """Return the names of what is established to be better, and worse, than what it is compared with; those first whose
    ratio lies furthest from one."""

    def distance(row: Comparison) -> float:
        return abs(math.log(row.ratio.told)) if row.ratio.told > 0 else 0.0

    apart = sorted((row for row in compared.values() if row.differs), key=distance, reverse=True)
    better = dict.fromkeys(name(row) for row in apart if row.first_better < 0.5)
    return list(better), list(dict.fromkeys(name(row) for row in apart if row.first_better >= 0.5))


def _on_one(rows: list[Summary]) -> str:
    row, *others = rows
    if others:
        solved = sum(each.solved > 0 for each in rows)
        return f"{row.contender} solves {solved} of {len(rows)} problems in some of its runs."
    runs = plural(row.runs, "run")
    if row.tested:
        return f"{row.contender} has a test loss of {row.mean_loss:.3g} on {row.problem} in {runs}."
    if not row.solved:
        return f"{row.contender} did not solve {row.problem} within {text.amount(row.budget)} {row.currency} in {runs}."
    said = f"{row.contender} solved {row.problem} in {row.solved} of {runs}"
    if not math.isfinite(row.median_needed):
        return f"{said}."
    how = "at" if row.runs == 1 else "in a median of"
    return f"{said}, {how} {text.amount(row.median_needed)} {row.currency}."


def _on_claims(content: Content) -> str:
    claims = content.stored.claims
    assert claims is not None
    judged = content.judgements
    if not claims.publication:
        counts = Counter(verdict_of(claim, [row.verdict for row in judged[claim.name]]) for claim in claims.claims)
        total = counts.total()
        yes, no, missing = counts[SUPPORTED], counts[REFUTED], counts[NOT_RUN]
        said = f"Of {plural(total, 'claim')}, {yes} {_is(yes)} supported and {no} {_is(no)} refuted"
        left = total - yes - no - missing
        rest = [f"{left} remain{_s(left)} undecided"] if left else []
        rest += [f"{missing} lack{_s(missing)} runs"] if missing else []
        return f"{said}; {_all_of(rest)}." if rest else f"{said}."
    about = as_printed(claims).publication
    assert about is not None
    counts = Counter(
        row.verdict
        for claim in claims.claims
        for row in judged[claim.name]
        if row.finding.evidence is not None and claim.name not in about.withdrawn
    )
    agree, disagree = counts[SUPPORTED], counts[REFUTED]
    other = counts.total() - agree - disagree
    parts = [f"{agree or 'none'} agree{_s(agree or 1)}", f"{disagree or 'none'} disagree{_s(disagree or 1)}"]
    parts += [f"{other} remain{_s(other)} undecided"] if other else []
    return f"Of {plural(counts.total(), 'comparison')} with {about.name}, {_all_of(parts)}."


def _on_times(content: Content) -> str:
    """Say whose training steps take the least and the most time, over the reference cell's, where timed first."""
    cases = [case for case in content.timings if case.first and case.form == "own"]
    ratios = {case.label: case.ratio.estimate for case in cases if case.ratio is not None}
    if len(ratios) < 2:
        return ""
    said = [f"{ratios[name]:.2g}× ({name})" for name in (pick(ratios, key=ratios.__getitem__) for pick in (min, max))]
    where = f"{cases[0].task}, T={cases[0].time_steps:,}"
    return f"A training step takes {said[0]} to {said[1]} the time of {REFERENCE_CELL}'s, on {where}."


def _all_of(names: list[str], last: str = "and") -> str:
    """Return e.g. "gru, lstm and rnn"; of more than a few the first, and how many more."""
    names = [f"“{name}”" if "," in name else name for name in names]
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[: MOST_NAMED - 1])} {last} {len(names) - MOST_NAMED + 1} more"
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _certainty(content: Content) -> str:
    """Say how many of the primary comparisons are established, equivalent and open."""
    compared = content.between if content.repeated else content.comparisons
    primary = [row for row in compared.values() if row.primary]
    if not primary:
        return ""
    counts = Counter(row.verdict for row in primary)
    shown = counts[ESTABLISHED]
    said = [f"{shown} of {plural(len(primary), 'comparison')} establish{_es(shown)} a difference"]
    said += [
        f"{number} {_is(number)} {verdict}" for verdict, number in sorted(counts.items()) if verdict != ESTABLISHED
    ]
    reference = None if content.repeated else primary_reference(content.stored.results)
    against = "" if reference is None else f"Against {text.escape(reference)}, "
    seeds, fewest = min(row.seeds for row in primary), max(row.fewest for row in primary)
    few = ""
    if not shown and seeds < fewest and primary[0].planned == 1:
        few = f" {plural(seeds, 'seed').capitalize()} cannot establish any: it takes {fewest} at least."
    return f"{against}{', '.join(said)}.{few}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _s(number: int) -> str:
    return "s" if number == 1 else ""


def _es(number: int) -> str:
    return "es" if number == 1 else ""


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


def _against(found: Comparison | None, is_reference: bool, over: str) -> dict[str, str]:
    if is_reference or found is None:
        return {f"over {over}": text.NONE, "evidence": "reference" if is_reference else text.NONE}
    return {f"over {over}": ratio(found), "evidence": evidence(found)}


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
    if len(runs) and (late := _met_late(runs)):
        several, who = late
        notes.append(
            wording("met_late", runs=plural(sum(who.values()), "unsolved run"), several=several, who=_counted(who))
        )
    return " ".join(notes)


def _counted(who: dict[str, int]) -> str:
    return text.escape(_all_of([f"{count} of {name}" for name, count in who.items()]))


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
    return _all_of([str(each) for each in several], "or"), {
        f"{name} on {on}": int(n) for (name, on), n in counts.items()
    }


def _next(content: Content) -> str:
    """Say what would decide more, with the command for it."""
    command = next((each for each in reversed(content.stored.commands) if each.startswith("python -m bench ")), None)
    missing = len(content.stored.missing)
    if command is None or content.repeated:
        return ""
    if missing:
        have = f"{plural(missing, 'planned run')} {'has' if missing == 1 else 'have'}"
        return _asked(f"{have} no outcome yet; the same command continues", command)
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
    return f"{said} {_is(len(rows))} open"


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
