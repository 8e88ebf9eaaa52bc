"""The report's answer in a sentence of about twenty words."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import permutations

from reports import text
from reports.claims import as_printed
from reports.comparisons import Comparison, Comparisons, between
from reports.frontier import is_frontier
from reports.references import references_of
from reports.rows import grouped
from reports.sections import frontier
from reports.sections.content import MOST_NAMED, Content, all_of, is_or_are, plural
from reports.summary import REFERENCE_CELL, Summary, ranked
from reports.verdicts import NOT_RUN, REFUTED, SUPPORTED, is_elsewhere, verdict_of

FEWEST = {"steps": "the fewest steps", "FLOPs": "the fewest FLOPs", "seconds": "the least time"}


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
    """Say per problem who needs least: the contenders that none is established to be better than."""
    established = any(row.differs for row in content.comparisons.values())
    leaders = {problem: _leaders(content, rows, established) for problem, rows in here.items()}
    problems_of: dict[tuple[str, ...], list[str]] = {}
    for problem, names in leaders.items():
        problems_of.setdefault(names, []).append(problem)
    none = problems_of.pop((), [])
    tested = {problem for problem, rows in here.items() if any(row.tested for row in rows)}
    scored = [
        f"{all_of([*names], 'or')} has the lowest test loss on {all_of([each for each in its if each in tested])}"
        for names, its in problems_of.items()
        if tested & {*its}
    ]
    problems_of = {names: [each for each in its if each not in tested] for names, its in problems_of.items()}
    problems_of = {names: its for names, its in problems_of.items() if its}
    parts = [f"{all_of([*names], 'or')} on {all_of(its)}" for names, its in problems_of.items()]
    if len(here) > MOST_NAMED or max(map(len, problems_of), default=0) > MOST_NAMED:
        counts = Counter(name for problem, names in leaders.items() if problem not in tested for name in names)
        most = max(counts.values(), default=0)
        first = [name for name, count in counts.items() if count == most]
        parts = [f"{all_of(first, 'or')} on {most} of {plural(len(here), 'problem')}"] if first else []
    if parts:
        who, _, on = parts[0].partition(" on ")
        does = f"needs {FEWEST[here[next(iter(here))][0].currency]}" if established else "does best"
        parts[0] = f"{who} {does} on {on}"
    if len(none) == len(here) > MOST_NAMED:
        return f"No run solves any of {plural(len(none), 'problem')}."
    unsolved = f"no run solves {all_of(none)}" if none else ""
    said = "; ".join(filter(None, (", ".join(parts), *scored[:MOST_NAMED], unsolved)))
    said = said if parts or scored else f"N{said[1:]}"
    return f"{said}." if established or len(none) == len(here) else f"{said}; no difference is established."


def _leaders(content: Content, rows: list[Summary], established: bool) -> tuple[str, ...]:
    """Return the contenders on a problem of which some runs solved it and that none is established to be better than,
    those solved most often first. Where nothing is established, these are the ones with the same share solved and the
    same median as the first."""
    in_play = [row for row in ranked(rows) if row.solved or row.tested]
    if not in_play:
        return ()
    if not established:
        best = in_play[0]
        return tuple(row.contender for row in in_play if row is best or (not best.tested and _rank(row) == _rank(best)))
    beaten = {
        one.contender
        for one, other in permutations(in_play, 2)
        if (found := between(content.comparisons, one.problem, other.contender, one.contender))
        and found.differs
        and found.first_better > 0.5
    }
    return tuple(row.contender for row in in_play if row.contender not in beaten) or (in_play[0].contender,)


def _rank(row: Summary) -> tuple[float, float]:
    return row.share_solved, row.median_needed


def _on_changes(content: Content) -> str:
    """Say which contenders are better and which worse than their references, the largest differences first."""
    names = list(dict.fromkeys(references_of(content.stored.results).values()))
    better, worse = _directions(content.comparisons, lambda row: row.second)
    groups = {
        ("better", ""): [name for name in better if name not in worse],
        ("worse", ""): [name for name in worse if name not in better],
        ("better", " on some problems and worse on others"): [name for name in better if name in worse],
    }
    said: list[str] = []
    for (how, where), its in groups.items():
        if its:
            against = names[0] if len(names) == 1 else "its reference" if len(its) == 1 else "their references"
            than = "" if said else f" than {against}"
            on = where or _where(content, its)
            said.append(f"{all_of(its)} {is_or_are(len(its))} {how}{than}{on}")
    if not said:
        return f"No contender is established to differ from {names[0] if len(names) == 1 else 'its reference'}."
    return f"{'; '.join(said)}."


def _where(content: Content, names: list[str]) -> str:
    """Say on which problems a contender differs from its reference, if not on all; of several, how many do on all."""
    rows_of = {name: [row for row in content.comparisons.values() if row.second == name] for name in names}
    apart = [row.problem for row in rows_of[names[0]] if row.differs]
    everywhere = sum(all(row.differs for row in rows) for rows in rows_of.values())
    if everywhere == len(names):
        return ""
    return f" on {all_of(apart)}" if len(names) == 1 else f" ({everywhere or 'none'} of them on all problems)"


def _on_sweeps(content: Content) -> str:
    """Say in which direction what two sweeps both ran changed from the first to the second."""
    first, second = content.stored.sweeps
    directions = _directions(content.between, lambda row: f"{row.second.removesuffix(f', {second}')} on {row.problem}")
    said: list[str] = []
    for how, its in zip(("better", "worse"), directions, strict=True):
        if its:
            than = "" if said else f" than in {first}"
            said.append(f"{all_of(its)} {is_or_are(len(its))} {how}{than}")
    if not said:
        return f"No cell is established to differ between {first} and {second}."
    return f"In {second}, {'; '.join(said)}."


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
        of_both = [f"{n or 'none'} {is_or_are(n or 1)} {how}" for n, how in ((yes, "supported"), (no, "refuted"))]
        said = f"Of {plural(total, 'claim')}, {all_of(of_both)}"
        left = total - yes - no - missing
        rest = [f"{left} remain{_s(left)} undecided"] if left else []
        rest += [f"{missing} lack{_s(missing)} runs"] if missing else []
        return f"{said}; {all_of(rest)}." if rest else f"{said}."
    registered = as_printed(claims)
    about, findings = registered.publication, {claim.name: claim for claim in registered.findings}
    assert about is not None
    compared = [
        (row, findings.get(claim.name, claim).printed)
        for claim in claims.claims
        for row in judged[claim.name]
        if row.finding.evidence is not None and claim.name not in about.withdrawn
    ]
    counts = Counter(row.verdict for row, _ in compared)
    unsure = sum(printed.confirmed == "memory" for _, printed in compared)
    elsewhere = sum(is_elsewhere(content.stored, row, about, printed) for row, printed in compared)
    agree, disagree = counts[SUPPORTED], counts[REFUTED]
    other = counts.total() - agree - disagree
    parts = [f"{agree or 'none'} agree{_s(agree or 1)}", f"{disagree or 'none'} disagree{_s(disagree or 1)}"]
    parts += [f"{other} remain{_s(other)} undecided"] if other else []
    said = f"Of {plural(counts.total(), 'comparison')} with {about.name}, {all_of(parts)}"
    limits = [f"{elsewhere} {is_or_are(elsewhere)} at another length than printed"] if elsewhere else []
    limits += [f"for {unsure} the printed result is unconfirmed"] if unsure else []
    return f"{said}; {all_of(limits)}." if limits else f"{said}."


def _on_times(content: Content) -> str:
    """Say whose training steps take the least and the most time, over the reference cell's, where timed first."""
    cases = [case for case in content.timings if case.first and case.form == "own"]
    ratios = {case.label: case.ratio.estimate for case in cases if case.ratio is not None}
    if len(ratios) < 2:
        return ""
    said = [f"{ratios[name]:.2g} ({name})" for name in (pick(ratios, key=ratios.__getitem__) for pick in (min, max))]
    where = f"{cases[0].task}, T={cases[0].time_steps:,}"
    return f"On {where}, a training step takes {said[0]} to {said[1]} times as long as {REFERENCE_CELL}’s."


def _s(number: int) -> str:
    return "s" if number == 1 else ""
