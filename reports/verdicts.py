"""Claims and frames in, verdicts out: what the data say of each test of each claim, by the rules fixed for it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.record.records import DECIDED
from reports.claims import RATIOS, Claim, Claims, Test
from reports.comparisons import contrast_of, outcomes_of
from reports.conditions import select
from reports.load import Stored
from reports.naming import with_names
from reports.statistics import ALPHA, Evidence, growth, holm, known, median, p_of_verdicts, ratio, share

SUPPORTED, REFUTED, OPEN, NOT_RUN = "supported", "refuted", "not decidable", "not run"
UNTESTABLE = "not testable by this rule"  # by any number of such runs
NO_RUNS, NOTHING_TO_DIVIDE_BY, NO_TIMES = "no such runs", "no such runs of what it is divided by", "no such times"
NONE_SOLVED = "no run of either was solved"
TIMES = ("step_time", "time_growth")


@dataclass(frozen=True)
class Finding:
    """What the data say of a test on a problem, before it is judged.

    Attributes:
        subject: what the test is of, e.g. "gru / lstm".
        evidence: None if there is none, and `why` there is not.
    """

    problem: str
    subject: str
    evidence: Evidence | None = None
    why: str = ""

    @property
    def estimates(self) -> bool:
        """Whether something is estimated, and not just known."""
        return self.evidence is not None and not self.evidence.fixed


@dataclass(frozen=True)
class Judgement:
    """The verdict on a test on a problem.

    Attributes:
        p: the smaller one of those of its two verdicts; 1 without evidence.
        p_corrected: over all tests of the report.
        verdict: SUPPORTED, REFUTED, OPEN, UNTESTABLE or NOT_RUN.
    """

    test: Test
    finding: Finding
    p: float
    p_corrected: float
    verdict: str


def judge(stored: Stored) -> dict[str, list[Judgement]]:
    """Judge every test of the claims that a sweep keeps, and return the judgements of each claim, by its name.

    The p-value of a test is the smaller one of its two verdicts, each two-sided. P-values are corrected over all tests
    of the report that estimate something (Holm 1979), so that any false verdict among them is as rare as one in twenty;
    those of a publication are not, since nothing new is claimed there.
    """
    if stored.claims is None:
        return {}
    claims = stored.claims
    tested = [
        (claim.name, test, finding)
        for claim in claims.claims
        for runs in [runs_of(stored, claim)]
        for test in claim.tests
        for finding in _findings(stored, claims, test, runs)
    ]
    p_of_both = [
        p_of_verdicts(finding.evidence, test.supported, test.refuted) if finding.evidence else (1.0, 1.0)
        for _, test, finding in tested
    ]
    corrected = [min(both) for both in p_of_both]
    estimated = [i for i, (*_, finding) in enumerate(tested) if finding.estimates]
    if estimated and not claims.publication:
        for i, p in zip(estimated, holm([corrected[i] for i in estimated]), strict=True):
            corrected[i] = float(p)
    judged: dict[str, list[Judgement]] = {claim.name: [] for claim in claims.claims}
    for (name, test, finding), (supports, refutes), p in zip(tested, p_of_both, corrected, strict=True):
        verdict = NOT_RUN if finding.why in (NO_RUNS, NOTHING_TO_DIVIDE_BY, NO_TIMES) else OPEN
        if finding.why == NONE_SOLVED or (finding.evidence is not None and not finding.evidence.testable):
            verdict = UNTESTABLE
        elif finding.evidence is not None and p <= ALPHA:
            verdict = SUPPORTED if supports <= refutes else REFUTED
        judged[name].append(Judgement(test, finding, min(supports, refutes), p, verdict))
    return judged


def verdict_of(claim: Claim, verdicts: Collection[str]) -> str:
    """Return a claim's verdict from those of its tests: with `needs: all`, supported if all of them are and refuted if
    one is; with `any`, supported if one is and refuted if all are. It is not run if none of them is, and not testable
    if none of those that are is."""
    if set(verdicts) <= {NOT_RUN}:
        return NOT_RUN
    if set(verdicts) <= {NOT_RUN, UNTESTABLE}:
        return UNTESTABLE
    one, every = (REFUTED, SUPPORTED) if claim.needs == "all" else (SUPPORTED, REFUTED)
    if one in verdicts:
        return one
    return every if set(verdicts) == {every} else OPEN


def runs_of(stored: Stored, claim: Claim) -> pd.DataFrame:
    """Return the runs that a claim is judged by, named by what varies among them."""
    assert stored.claims is not None
    parts = [_selected(stored.results, stored.claims, test) for test in claim.tests if test.statistic not in TIMES]
    runs = pd.concat([part for pair in parts for part in pair]) if parts else stored.results.iloc[:0]
    return _named(runs[~runs.index.duplicated()].sort_index())


def _selected(frame: pd.DataFrame, claims: Claims, test: Test) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of what a test is of, and of what that is divided by."""
    if frame.empty:
        return frame, frame
    of = select(frame, {**test.where, **test.of}, claims.otherwise)
    other = test.over or test.less
    return of, select(frame, {**test.where, **other}, claims.otherwise) if other else of.iloc[:0]


def _named(runs: pd.DataFrame) -> pd.DataFrame:
    return with_names(runs) if len(runs) else runs


def _findings(stored: Stored, claims: Claims, test: Test, runs_of_claim: pd.DataFrame) -> list[Finding]:
    """Return what the data say of a test, on each problem that it is about."""
    if test.statistic in TIMES:
        return _findings_on_times(stored.timing, claims, test)
    of, over = _selected(stored.results, claims, test)
    of, over = (part[part["status"].isin(DECIDED)] if len(part) else part for part in (of, over))
    named = _named(pd.concat([of, over]).loc[lambda both: ~both.index.duplicated()])
    if len(named):  # contenders as the claim's other tests have them, who differ in more than this one's
        named = named.assign(contender=runs_of_claim["contender"].reindex(named.index))
    of, over = (named.loc[part.index] for part in (of, over))
    if of.empty or (test.over is not None and over.empty):
        return [Finding("–", subject_of(test), why=NO_RUNS)]
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
        findings.append(Finding(str(problem), names, evidence, why))
    return findings


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
        return share(int(runs["solved"].sum()), len(runs)), ""
    if test.statistic in ("parameters", "flops"):
        column = {"parameters": "parameters", "flops": "flops_step"}[test.statistic]
        values = [part[column].dropna().astype(float).unique() for part in (runs, others)]
        if any(len(value) != 1 for value in values):
            return None, "not known, or not the same in all runs"
        return known(float(values[0][0] / values[1][0]), len(runs)), ""
    if test.statistic in RATIOS:
        of, over = (next(iter(outcomes_of(part).values())) for part in (runs, others))
        by = "loss" if test.statistic == "final_loss" else ""
        if not by and not (of.solved.any() or over.solved.any()):
            return None, NONE_SOLVED
        contrast, _ = contrast_of(of, over, by)
        if min(len(contrast.a), len(contrast.b)) < 2:
            return None, f"fewer than two {'pairs of one seed' if contrast.paired else 'runs'}"
        return ratio(contrast), ""
    return _probed(stored.readings, test, runs)


def _probed(readings: pd.DataFrame, test: Test, runs: pd.DataFrame) -> tuple[Evidence | None, str]:
    """Return what probes say: a number a run, of memory the mean over all steps since the cue."""
    if readings.empty:
        return None, "no looks inside"
    kind, part = {"gradient_decay": ("decay", "h"), "memory": ("memory", "state")}[test.statistic]
    of_runs = readings["run_id"].isin(runs["run_id"]) & (readings["moment"] == test.moment)
    shown = readings[of_runs & (readings["kind"] == kind) & (readings["part"] == part)]
    values = shown["value"].astype(float).groupby(shown["run_id"]).mean().to_numpy()
    if len(values) < 2:
        return None, "too few looks inside"
    return median(values), ""


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
    evidence = growth(times["time_steps"].astype(float), times["value"])
    return [Finding(problem, subject, evidence, "" if evidence else "fewer than three lengths")]


def times_of(timing: pd.DataFrame, claims: Claims, test: Test) -> pd.DataFrame:
    """Return the times whose growth is tested, a row a round and length: `time_steps`, `value` in ms, what is taken off
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
