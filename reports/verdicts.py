"""Claims and frames in, verdicts out: what the data say of each test of each claim, by the rules fixed for it."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bench.record.records import DECIDED
from reports.claims import RATIOS, Claim, Claims, Test
from reports.claims.publications import DISTANCES, Printed, Publication
from reports.comparisons import Outcomes, contrast_of, outcomes_of
from reports.conditions import holds, select
from reports.load import Stored
from reports.naming import with_names
from reports.selection import tuned
from reports.statistics import ALPHA, Evidence, at_looks, growth, known, median, p_of_verdicts, ratio, share

SUPPORTED, REFUTED, OPEN, NOT_RUN = "supported", "refuted", "not decidable", "not run"
UNTESTABLE = "not testable by this rule"  # by any number of such runs
NO_RUNS, NOTHING_TO_DIVIDE_BY, NO_TIMES = "no such runs", "no such runs of what it is divided by", "no such times"
NONE_SOLVED = "no run of either was solved"
NONE_OF_ITS = "no run was solved, of which alone it is"
TIMES = ("step_time", "time_growth")
PROBED = ("gradient_decay", "memory")
SHARES = ("share_solved", "accuracy")
COUNTED = ("parameters", "flops")  # which are known, and not estimated


@dataclass(frozen=True)
class Finding:
    """What the data say of a test on a problem, before it is judged.

    Attributes:
        subject: what the test is of, e.g. "gru / lstm".
        evidence: None if there is none, and `why` there is not.
        runs: the run_ids of what it is made of; none of times.
        within: the budget, e.g. "1,500 steps", of what was solved or not, and of scores of runs that did not solve.
    """

    problem: str
    subject: str
    evidence: Evidence | None = None
    why: str = ""
    runs: tuple[str, ...] = ()
    within: str = ""

    @property
    def estimates(self) -> bool:
        """Whether something is estimated, and not just known."""
        return self.evidence is not None and not self.evidence.fixed


@dataclass(frozen=True)
class Judgement:
    """The verdict on a test on a problem.

    Attributes:
        p: the smaller one of those of its two verdicts; 1 without evidence.
        p_corrected: over the tests of its claim, and over all claims.
        verdict: SUPPORTED, REFUTED, OPEN, UNTESTABLE or NOT_RUN.
    """

    test: Test
    finding: Finding
    p: float
    p_corrected: float
    verdict: str


def judge(stored: Stored) -> dict[str, list[Judgement]]:
    """Judge every test of the claims that a sweep keeps, and return the judgements of each claim, by its name.

    The p-value of a test is the smaller one of its two verdicts, each two-sided. A verdict that a claim reaches only if
    all of its tests do is an intersection-union test (Berger 1982): each test is made at the claim's level. One that
    any of its tests reaches is made at that level over their number. Over all claims of the file that estimate
    something, run or not, the share of false verdicts is held to 5 % on average (Benjamini & Hochberg 1995). Of a
    publication, each finding has a verdict of its own, and so counts as a claim of its own.
    """
    if stored.claims is None:
        return {}
    claims = stored.claims
    found = {
        claim.name: [(test, finding) for test in claim.tests for finding in _findings(stored, claims, test, runs)]
        for claim in claims.claims
        for runs in [runs_of(stored, claim)]
    }
    units = [
        (claim, unit)
        for claim in claims.claims
        for unit in ([[each] for each in found[claim.name]] if claims.publication else [found[claim.name]])
    ]
    p_of_units = [_corrected_in_claim(claim, unit) for claim, unit in units]
    tested = [any(test.statistic not in COUNTED for test, _ in unit) for _, unit in units]
    factor = _factor([_p(unit[0], p) for unit, p, counts in zip(units, p_of_units, tested, strict=True) if counts])
    judged: dict[str, list[Judgement]] = {claim.name: [] for claim in claims.claims}
    for (claim, unit), p_of_both, counts in zip(units, p_of_units, tested, strict=True):
        by = factor if counts else 1.0
        judged[claim.name] += [_judged(*of, *p, by) for of, p in zip(unit, p_of_both, strict=True)]
    return judged


def _p_of_both(test: Test, finding: Finding) -> tuple[float, float]:
    if finding.evidence is None:
        return 1.0, 1.0
    low, high = test.supported
    if test.statistic in SHARES:  # which lie nowhere beyond 0 and 1
        low, high = -math.inf if low <= 0 else low, math.inf if high >= 1 else high
    return p_of_verdicts(finding.evidence, (low, high), test.refuted)


def _corrected_in_claim(claim: Claim, tests: Sequence[tuple[Test, Finding]]) -> list[tuple[float, float]]:
    """Return the p-values of each test's two verdicts, the one that decides the claim alone times the number of such
    tests."""
    several = sum(test.statistic not in COUNTED for test, _ in tests) or 1
    of_supported, of_refuted = (1, several) if claim.needs == "all" else (several, 1)
    return [(min(1.0, of_supported * p), min(1.0, of_refuted * q)) for p, q in (_p_of_both(*each) for each in tests)]


def _p(claim: Claim, p_of_both: Sequence[tuple[float, float]]) -> float:
    """Return a claim's p-value: the smaller one of its two verdicts."""
    supports, refutes = zip(*p_of_both, strict=True)
    return min(max(supports), min(refutes)) if claim.needs == "all" else min(min(supports), max(refutes))


def _factor(p: Sequence[float]) -> float:
    """Return by how much p-values are corrected: their number over that of those found at a false discovery rate of
    `ALPHA`, or over 1 where none is."""
    ordered, n = sorted(p), len(p)
    found = max((k for k in range(1, n + 1) if ordered[k - 1] * n / k <= ALPHA), default=1)
    return n / found


def _judged(test: Test, finding: Finding, supports: float, refutes: float, factor: float) -> Judgement:
    if finding.why in (NO_RUNS, NOTHING_TO_DIVIDE_BY, NO_TIMES):
        verdict = NOT_RUN
    elif finding.evidence is not None and factor * min(supports, refutes) <= ALPHA:
        verdict = SUPPORTED if supports <= refutes else REFUTED
    elif finding.why in (NONE_SOLVED, NONE_OF_ITS) or (finding.evidence is not None and not finding.evidence.testable):
        verdict = UNTESTABLE
    else:
        verdict = OPEN
    return Judgement(test, finding, min(_p_of_both(test, finding)), min(1.0, factor * min(supports, refutes)), verdict)


def verdict_of(claim: Claim, verdicts: Collection[str]) -> str:
    """Return a claim's verdict from those of its tests: with `needs: all`, supported if all of them are and refuted if
    one is; with `any`, supported if one is and refuted if all are. Otherwise it is not run if only tests that were not
    run keep it from that, or if it has no tests; not testable, if only tests that are not, or these too; else open."""
    one, every = (REFUTED, SUPPORTED) if claim.needs == "all" else (SUPPORTED, REFUTED)
    if one in verdicts:
        return one
    left = set(verdicts) - {every}
    if not verdicts or left == {NOT_RUN}:
        return NOT_RUN
    if not left:
        return every
    return UNTESTABLE if left <= {NOT_RUN, UNTESTABLE} else OPEN


def is_elsewhere(stored: Stored, row: Judgement, about: Publication, printed: Printed) -> bool:
    """Return whether a verdict rests on runs at another delay or length than was printed."""
    runs = stored.results[stored.results["run_id"].isin(row.finding.runs)]
    protocol = [each for each in about.protocol if each.setting in DISTANCES and len(select(runs, each.where))]
    lists = printed.at or {each.setting: each.values for each in protocol}
    same = all(holds(runs, column, values).all() for column, values in lists.items() if column in runs)
    return row.verdict in (SUPPORTED, REFUTED) and not same


def runs_of(stored: Stored, claim: Claim) -> pd.DataFrame:
    """Return the runs that a claim is judged by, named by what varies among them."""
    assert stored.claims is not None
    parts = [_selected(stored.results, stored.claims, test) for test in claim.tests if test.statistic not in TIMES]
    runs = pd.concat([part for pair in parts for part in pair]) if parts else stored.results.iloc[:0]
    return _named(stored, runs[~runs.index.duplicated()].sort_index())


def _selected(frame: pd.DataFrame, claims: Claims, test: Test) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of what a test is of, and of what that is divided by."""
    if frame.empty:
        return frame, frame
    of = select(frame, {**test.where, **test.of}, claims.otherwise)
    other = test.over or test.less
    return of, select(frame, {**test.where, **other}, claims.otherwise) if other else of.iloc[:0]


def _named(stored: Stored, runs: pd.DataFrame) -> pd.DataFrame:
    """Name runs by what varies among them, but for settings that were selected for each, and by their layers if these
    vary in the report."""
    if runs.empty:
        return runs
    names = with_names(runs.drop(columns=[*tuned(runs)] if len(stored.trials) else []), stored.results)
    return runs.assign(problem=names["problem"], contender=names["contender"])


def _findings(stored: Stored, claims: Claims, test: Test, runs_of_claim: pd.DataFrame) -> list[Finding]:
    """Return what the data say of a test, on each problem that it is about."""
    if test.statistic in TIMES:
        return _findings_on_times(stored.timing, claims, test)
    of, over = _selected(stored.results, claims, test)
    of, over = (_that_say_something(part) for part in (of, over))
    missing = [] if claims.publication else _without_runs(stored, claims, test, of)
    if test.statistic in PROBED and test.moment == "start":
        of = _untrained(of)
    named = _named(stored, pd.concat([of, over]).loc[lambda both: ~both.index.duplicated()])
    if len(named):  # contenders as the claim's other tests have them, who differ in more than this one's
        named = named.assign(contender=runs_of_claim["contender"].reindex(named.index))
    of, over = (named.loc[part.index] for part in (of, over))
    if of.empty or (test.over is not None and over.empty):
        return missing or [Finding("–", subject_of(test), why=NO_RUNS)]
    findings = []
    for problem, runs in of.groupby("problem", sort=False):
        others = over[over["problem"] == problem] if len(over) else over
        parts = [part for part in (runs, others) if len(part)]
        evidence: Evidence | None = None
        if any(part["seed"].duplicated().any() for part in parts):
            why = "several settings meet its conditions"
        elif test.over is not None and others.empty:
            why = NOTHING_TO_DIVIDE_BY
        else:
            evidence, why = _evidence(stored, test, runs, others)
        names = " / ".join(str(part["contender"].iloc[0]) for part in parts)
        budgeted = test.statistic == "share_solved" or (test.statistic == "accuracy" and not runs["solved"].all())
        within = f"{runs['budget'].max():,.0f} {runs['currency'].iloc[0]}" if budgeted else ""
        findings.append(Finding(str(problem), names, evidence, why, tuple(pd.concat(parts)["run_id"]), within))
    return findings + missing


def _without_runs(stored: Stored, claims: Claims, test: Test, of: pd.DataFrame) -> list[Finding]:
    """Return a finding for each problem that a test is about, by its `where`, and that has no run of what it is of. Of
    a publication several values are those of its scales, of which one is run."""
    findings = []
    for values in product(*test.where.values()):
        where = dict(zip(test.where, values, strict=True))
        if len(select(of, where)):
            continue
        named = ", ".join(str(value) for value in values) or "–"
        unsolved = {key: value for key, value in test.of.items() if key != "solved"}
        others = _that_say_something(select(stored.results, {**where, **unsolved}, claims.otherwise))
        if "solved" in test.of and len(others):
            findings.append(Finding(named, subject_of(test), why=NONE_OF_ITS, runs=tuple(others["run_id"])))
        else:
            findings.append(Finding(named, subject_of(test), why=NO_RUNS))
    return findings


def _that_say_something(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on problems where any run says something of the architecture."""
    return runs[runs["problem"].isin(runs.loc[runs["status"].isin(DECIDED), "problem"])] if len(runs) else runs


def _untrained(runs: pd.DataFrame) -> pd.DataFrame:
    """Return of problems that differ in how networks are trained the one that has the most runs: before training these
    are the same networks."""
    if runs.empty:
        return runs
    settings = [column for column in runs if column.startswith(("cell.", "task."))]
    same = runs.groupby(settings, dropna=False, sort=False)["problem"]
    chosen = same.transform(lambda names: names.sort_values().mode().iloc[0])
    return runs[runs["problem"] == chosen]


def subject_of(test: Test) -> str:
    """Return what a test is of, as tables name it."""
    taken = f" / {_said(test.over)}" if test.over else f" − {_said(test.less)}" if test.less else ""
    return _said(test.of) + taken


def _said(conditions: dict[str, Any]) -> str:
    return ", ".join(
        str(value) if isinstance(value, str) else f"{key.rpartition('.')[2]} {value}"
        for key, value in conditions.items()
    )


def _evidence(stored: Stored, test: Test, runs: pd.DataFrame, others: pd.DataFrame) -> tuple[Evidence | None, str]:
    """Return what runs on a problem say, or why they say nothing."""
    if test.statistic == "share_solved":
        outcomes = next(iter(outcomes_of(runs).values()))
        return _at_each_look(
            outcomes, lambda at, level: share(int(outcomes.solved[at].sum()), int(at.sum()), level)
        )  # fmt: skip
    if test.statistic in ("sequences_to_solve", "accuracy"):
        low, high = _ends(runs, test)
        if not len(low):
            return None, "not known"
        outcomes = next(iter(outcomes_of(runs).values()))
        return _at_each_look(
            outcomes, lambda at, level: median(high[at], level, low[at]) if np.count_nonzero(at) > 1 else None
        )
    if test.statistic in COUNTED:
        column = {"parameters": "parameters", "flops": "flops_step"}[test.statistic]
        values = [part[column].dropna().astype(float).unique() for part in (runs, others)]
        if any(len(value) != 1 for value in values):
            return None, "not known, or not the same in all runs"
        return known(float(values[0][0] / values[1][0]), len(runs)), ""
    if test.statistic in RATIOS:
        of, over = (next(iter(outcomes_of(part).values())) for part in (runs, others))
        by = "loss" if test.statistic == "final_loss" else "needed"
        if by == "needed" and not (of.solved.any() or over.solved.any()):
            return None, NONE_SOLVED
        contrast, _ = contrast_of(of, over, by)
        if min(len(contrast.shown.a), len(contrast.shown.b)) < 2:
            return None, f"fewer than two {'pairs of one seed' if contrast.shown.paired else 'runs'}"
        return ratio(contrast), ""
    return _probed(stored, test, runs)


def _ends(runs: pd.DataFrame, test: Test) -> tuple[np.ndarray, np.ndarray]:
    """Return between which two values a number of each run lies, by ascending seed: the same two, but for what a run
    that did not solve its task would have needed to; nothing if some run has none."""
    of_seed = runs[runs["status"].isin(DECIDED)].drop_duplicates("seed").sort_values("seed")

    def column(name: str) -> np.ndarray:
        return (
            of_seed[name].to_numpy(dtype=float, na_value=np.nan) if name in of_seed else np.full(len(of_seed), np.nan)
        )

    if test.statistic == "accuracy":
        known = column("final_score.accuracy" if test.factor == 1 else f"at_{test.factor}x.accuracy")
        low = high = np.where((of_seed["status"] == "diverged") & np.isnan(known), 0.0, known)
    else:
        needed, batch = column("steps_to_solve"), column("training.batch_size")
        high = np.where(np.isnan(needed), np.inf, needed * batch)
        low = np.where(np.isnan(needed), column("steps") * batch, high)
    return (low, high) if not np.isnan(low).any() else (low[:0], high[:0])


def _probed(stored: Stored, test: Test, runs: pd.DataFrame) -> tuple[Evidence | None, str]:
    """Return what probes say: a number a run, of memory the mean over all steps since the cue."""
    readings = stored.readings
    if readings.empty:
        return None, "no looks inside"
    kind, part = {"gradient_decay": ("decay", "h"), "memory": ("memory", "state")}[test.statistic]
    of_runs = readings["run_id"].isin(runs["run_id"]) & (readings["moment"] == test.moment)
    shown = readings[of_runs & (readings["kind"] == kind) & (readings["part"] == part)]
    of_run = shown["value"].astype(float).groupby(shown["run_id"]).mean()
    if len(of_run) < 2:
        return None, "too few looks inside"
    # Looks are of all its runs, also where it is about those that solved their task.
    subject = stored.results.loc[runs.index, ["problem", "contender"]].drop_duplicates()
    whole = stored.results.merge(subject, on=["problem", "contender"])
    outcomes = next(iter(outcomes_of(whole).values()))
    of_seed = runs.drop_duplicates("seed").set_index("seed")["run_id"].map(of_run)
    values = of_seed.reindex(outcomes.seeds).to_numpy(dtype=float)
    known = ~np.isnan(values)
    return _at_each_look(
        outcomes, lambda at, level: median(values[at & known], level) if np.count_nonzero(at & known) > 1 else None
    )


def _at_each_look(
    outcomes: Outcomes, evidence: Callable[[np.ndarray, float], Evidence | None]
) -> tuple[Evidence | None, str]:
    """Return what runs say at all looks so far, or why they say nothing.

    Args:
        evidence: of the runs at some positions, at a level; None of too few.
    """
    if outcomes.planned == 1:
        return evidence(np.ones(len(outcomes.seeds), bool), ALPHA), ""
    so_far = range(1, outcomes.looks + 1) if outcomes.plan else [0]
    looks = [evidence(outcomes.by_look(k), ALPHA / outcomes.planned) for k in so_far]
    told = [each for each in looks if each is not None]
    return (at_looks(told, outcomes.planned), "") if told else (None, "before the first look")


def _findings_on_times(timing: pd.DataFrame, claims: Claims, test: Test) -> list[Finding]:
    subject = subject_of(test)
    none = [Finding("–", subject, why=NO_TIMES)]
    if test.statistic == "step_time":
        return _findings_on_step_time(*_selected(_steps(timing), claims, test), subject) or none
    times = times_of(timing, claims, test)
    if times.empty:
        return none
    problem = f"T = {', '.join(f'{length:,}' for length in sorted(times['time_steps'].unique()))}"
    if (times["value"] <= 0).any():
        return [Finding(problem, subject, why="a difference of times is not positive")]
    medians = times.groupby("time_steps")["value"].median()  # rounds are no replicates: lengths are what is sampled
    evidence = growth(medians.index.to_numpy(dtype=float), medians)
    return [Finding(problem, subject, evidence, "" if evidence else "fewer than three lengths")]


def times_of(timing: pd.DataFrame, claims: Claims, test: Test) -> pd.DataFrame:
    """Return the times whose growth is tested, a row per round and length: `time_steps`, `value` in ms, what is
    taken off."""
    of, less = _selected(_steps(timing), claims, test)
    on = ["sweep", "group", "round", "time_steps"]
    if of.empty or (test.less and less.empty):
        return pd.DataFrame(columns=[*on, "value"])
    times = of[on].assign(value=of["value"].astype(float))
    if not test.less:
        return times
    both = times.merge(less[on].assign(less=less["value"].astype(float)), on=on)
    return both.assign(value=both["value"] - both["less"])


def _steps(timing: pd.DataFrame) -> pd.DataFrame:
    return timing[(timing["quantity"] == "training_step") & (timing["form"] == "own")] if len(timing) else timing


def _findings_on_step_time(of: pd.DataFrame, over: pd.DataFrame, subject: str) -> list[Finding]:
    """Return for each group of cells timed side by side what the ratio in each round says."""
    if of.empty or over.empty:
        return []
    findings = []
    for (_, group), here in of.groupby(["sweep", "group"], sort=False):
        both = here.merge(over[over["group"] == group], on=["sweep", "group", "round"], suffixes=("", "_over"))
        ratios = both["value"].to_numpy(float) / both["value_over"].to_numpy(float)
        problem = f"{here['task'].iloc[0]}, T = {here['time_steps'].iloc[0]:,}, B = {here['batch_size'].iloc[0]}"
        evidence = median(ratios) if len(ratios) > 1 else None
        findings.append(Finding(problem, subject, evidence, "" if evidence else "too few rounds"))
    return findings
