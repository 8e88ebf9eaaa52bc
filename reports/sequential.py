"""Which contenders need more seeds: those of comparisons, or of claims, that are not decided by a look."""

from collections.abc import Collection
from dataclasses import replace

import pandas as pd

from bench.record.asked import Undecided
from reports.claims import Claims
from reports.comparisons import OPEN, UNTESTABLE, compare_contenders
from reports.load import Stored
from reports.naming import in_order
from reports.verdicts import NONE_OF_ITS, NONE_SOLVED, NOT_RUN, REFUTED, SUPPORTED, Judgement, judge, verdict_of
from reports.verdicts import OPEN as UNDECIDED
from reports.verdicts import UNTESTABLE as NEVER


def undecided(stored: Stored, runs: Collection[str]) -> Undecided:
    """Return what some runs do not decide: primary comparisons that are neither established nor equivalent, or if the
    sweep puts claims to the test, those that are not decided; of a publication, each finding.

    Args:
        stored: a sweep.
        runs: run_ids, of all looks so far.
    """
    if stored.results.empty:
        return Undecided(frozenset(), 0, 0)
    results = stored.results[stored.results["run_id"].isin(runs)]
    stored = replace(stored, results=in_order(results) if len(results) else results)
    return _of_comparisons(stored.results) if stored.claims is None else undecided_claims(stored.claims, judge(stored))


def _of_comparisons(results: pd.DataFrame) -> Undecided:
    primary = [row for row in compare_contenders(results).values() if row.primary] if len(results) else []
    left = [row for row in primary if row.verdict in (OPEN, UNTESTABLE)]
    wanted = {(row.problem, name) for row in left for name in (row.first, row.second)}
    subjects = zip(results["problem"], results["contender"], results["run_id"], strict=True)
    found = frozenset(str(run) for problem, name, run in subjects if (problem, name) in wanted)
    return Undecided(found, len(left), len(primary))


def undecided_claims(all_claims: Claims, judged: dict[str, list[Judgement]]) -> Undecided:
    """Return what some judgements of claims leave undecided; of a publication, each finding."""
    claims = {claim.name: claim for claim in all_claims.claims}
    if all_claims.publication:  # each test is a finding of its own
        found = [each for of in judged.values() for each in of if each.verdict != NOT_RUN]
        tests = [each for each in found if _is_open(each)]
        return Undecided(frozenset(key for each in tests for key in each.finding.runs), len(tests), len(found))
    verdicts = {name: verdict_of(claims[name], [each.verdict for each in of]) for name, of in judged.items()}
    left = [name for name, verdict in verdicts.items() if verdict in (UNDECIDED, NEVER)]
    tests = [each for name in left for each in judged[name] if _is_open(each)]
    run = [verdict for verdict in verdicts.values() if verdict != NOT_RUN]
    decided = sum(verdict in (SUPPORTED, REFUTED) for verdict in run)
    return Undecided(frozenset(key for each in tests for key in each.finding.runs), len(run) - decided, len(run))


def _is_open(judged: Judgement) -> bool:
    """Tell whether more seeds may decide a test: also where no run has solved the task so far."""
    return judged.verdict == UNDECIDED or judged.finding.why in (NONE_SOLVED, NONE_OF_ITS)
