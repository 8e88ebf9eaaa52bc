"""What was put to the test: the verdict on each claim, and what it is made of; or beside, what a paper printed."""

import math
from typing import Any

import pandas as pd

from reports import text
from reports.claims import RATIOS, STATISTICS, Claim, Claims, Test, as_printed
from reports.claims.publications import CONFIRMED, DISTANCES, Publication, Setting, digits
from reports.conditions import select
from reports.figures import claims as figures
from reports.figures import probes as figures_of_probes
from reports.figures import training as figures_of_training
from reports.sections.content import Content, names_a_file, paragraphs, wording
from reports.sections.differences import about_seeds
from reports.statistics import Evidence, Region
from reports.verdicts import (
    COUNTED,
    NOT_RUN,
    OPEN,
    PROBED,
    REFUTED,
    SUPPORTED,
    UNTESTABLE,
    Judgement,
    is_elsewhere,
    runs_of,
    subject_of,
    times_of,
    verdict_of,
)

MOST_PANELS = 6  # of solve curves
AGREEMENT = {SUPPORTED: "agrees", REFUTED: "disagrees", OPEN: "cannot tell", UNTESTABLE: UNTESTABLE}
ELSEWHERE = ", elsewhere"  # at another delay or length than printed


def verdicts(content: Content) -> str:
    """Report the verdict on each claim in a table."""
    claims = content.stored.claims
    assert claims is not None
    rows = []
    for claim in claims.claims:
        verdicts = [row.verdict for row in content.judgements[claim.name]]
        counts = [str(verdicts.count(verdict)) for verdict in (SUPPORTED, REFUTED)]
        counts += [str(sum(verdict in (OPEN, UNTESTABLE) for verdict in verdicts)), str(verdicts.count(NOT_RUN))]
        rows.append(
            {
                "claim": claim.claim,
                "verdict": _whole_verdict(claim, content.judgements[claim.name]),
                "tests supported, refuted, open, not run": ", ".join(counts),
                "source": claim.source,
            }
        )
    return paragraphs("## Verdicts", text.table(rows), _about(claims, content.judgements), about_seeds(content))


def _about(claims: Claims, judgements: dict[str, list[Judgement]]) -> str:
    estimated = sum(any(row.test.statistic not in COUNTED for row in rows) for rows in judgements.values())
    fixed = {
        None: "It is not known when the rules were fixed.",
        0: "The rules were fixed before the first run (`rules.yaml`).",
    }.get(
        claims.finished_before,
        f"The rules were fixed after {claims.finished_before} runs had finished, with their results known.",
    )
    return wording("verdicts", about=text.escape(claims.about), estimated=estimated, fixed=fixed)


def each(content: Content) -> str:
    """Report each claim: its rule, every test, a figure, and the command that runs what it needs."""
    claims = content.stored.claims
    assert claims is not None
    return paragraphs("## Claims", *(_section(content, claim) for claim in claims.claims))


def _section(content: Content, claim: Claim) -> str:
    judgements = content.judgements[claim.name]
    verdict = _whole_verdict(claim, judgements)
    parts = [
        f"### {text.escape(claim.claim)}",
        f"**{verdict[0].upper()}{verdict[1:]}.** Source: {text.escape(claim.source)}. {_rule(claim, len(judgements))}",
        text.table([_row(row) for row in judgements]),
    ]
    name = f"claim_{claim.name}"
    figure = figures.forest(judgements)
    if figure is not None and names_a_file(claim.name):
        caption = (
            "Each test's estimate with its 95 % interval, over the regions that support and refute the claim; filled "
            "marks are decided."
        )
        parts += [content.show(figure, name, caption=caption), _evidence_figure(content, claim, name)]
    return paragraphs(*parts, _probed(content, judgements), _command(content, claim))


def _probed(content: Content, judgements: list[Judgement]) -> str:
    """Say how many of the networks that were looked into after training had learned their task, if not all had."""
    results, found = content.stored.results, []
    for row in judgements:
        if row.test.statistic in PROBED and row.test.moment == "end" and row.finding.evidence is not None:
            solved = results.loc[results["run_id"].isin(row.finding.runs), "solved"].astype(bool)
            found.append((f"{row.finding.subject} on {row.finding.problem}", int(solved.sum()), len(solved)))
    if all(learned == number for _, learned, number in found):
        return ""
    said = "; ".join(f"{text.escape(name)}, {learned} of {number}" for name, learned, number in found)
    return f"Of the runs looked into after training, these had solved their task: {said}."


def _rule(claim: Claim, tests: int) -> str:
    """Say in words what supports and what refutes the claim, which so many tests are made of, a problem each."""
    said = dict.fromkeys(
        f"{'ratio of ' if test.statistic in RATIOS else ''}{_what(test)} ({_regions(test)})" for test in claim.tests
    )
    if tests == 1:
        return f"Test: {next(iter(said))}."
    needs = {"all": "all of its tests are supported", "any": "any of its tests is supported"}[claim.needs]
    otherwise = {"all": "refuted if one is refuted", "any": "refuted if all are refuted"}[claim.needs]
    return f"The claim is supported if {needs}, {otherwise}. Tests: {'; '.join(said)}."


def _what(test: Test) -> str:
    """Name the number that a test is about."""
    return STATISTICS[test.statistic] + (f" at {test.factor} times the length" if test.factor > 1 else "")


def _regions(test: Test) -> str:
    """Return e.g. "supports below 1.0×, refutes above 0.9×"."""
    if test.refuted is None:
        low, high = (_value(bound, test.statistic) for bound in test.supported)
        return f"supports between {low} and {high}, refutes outside"

    def said(region: Region) -> str:
        above = math.isfinite(region[0])
        return f"{'above' if above else 'below'} {_value(region[0] if above else region[1], test.statistic)}"

    return f"supports {said(test.supported)}, refutes {said(test.refuted)}"


def _value(value: float, statistic: str) -> str:
    if statistic in ("share_solved", "accuracy"):
        return f"{value:.0%}"
    return (
        f"{value:g}×" if statistic in RATIOS else f"{value:,.0f}" if statistic == "sequences_to_solve" else f"{value:g}"
    )


def _row(row: Judgement) -> dict[str, str]:
    finding, evidence, statistic = row.finding, row.finding.evidence, row.test.statistic
    return {
        "problem": finding.problem,
        "cell": finding.subject,
        "quantity": _what(row.test),
        "estimate": _estimate(evidence, statistic) if evidence else finding.why or text.NONE,
        "n": str(evidence.n) if evidence else text.NONE,
        "p": text.p_number(row.p) if finding.estimates else text.NONE,
        "corrected": text.p_number(row.p_corrected) if finding.estimates else text.NONE,
        "verdict": _verdict(row),
    }


def _verdict(row: Judgement) -> str:
    """Return a test's verdict, with the budget where it is that runs did not solve the task: with more they might."""
    if row.verdict not in (SUPPORTED, REFUTED) or not row.finding.within or not row.finding.evidence:
        return row.verdict
    low, high = row.test.supported
    wants_few = high < 1 and low <= 0
    few = wants_few == (row.verdict == SUPPORTED)
    return f"{row.verdict} within {row.finding.within}" if few else row.verdict


def _whole_verdict(claim: Claim, judgements: list[Judgement]) -> str:
    """Return a claim's verdict, with the budget where it would be another one without those tests' that have it, and
    with what speaks against it."""
    verdict = verdict_of(claim, [row.verdict for row in judgements])
    budgeted = [_verdict(row) != row.verdict for row in judgements]
    without = verdict_of(claim, [OPEN if b else row.verdict for b, row in zip(budgeted, judgements, strict=True)])
    if verdict not in (SUPPORTED, REFUTED) or without == verdict:
        return verdict + _despite(claim, verdict, judgements)
    within = {row.finding.within for b, row in zip(budgeted, judgements, strict=True) if b and row.verdict == verdict}
    amounts, units = zip(*(each.rsplit(" ", 1) for each in sorted(within)), strict=True)
    said = f"{' and '.join(amounts)} {units[0]}" if len({*units}) == 1 else " and ".join(sorted(within))
    return f"{verdict} within {said}{_despite(claim, verdict, judgements)}"


def _despite(claim: Claim, verdict: str, judgements: list[Judgement]) -> str:
    """Name the problems on which the opposite holds of a claim that needs one test only: it holds for some tasks."""
    if claim.needs == "all" or verdict != SUPPORTED:
        return ""
    refuted = dict.fromkeys(row.finding.problem for row in judgements if row.verdict == REFUTED)
    return f" (not on {', '.join(refuted)})" if refuted else ""


def _estimate(evidence: Evidence, statistic: str) -> str:
    if statistic == "share_solved":
        return f"{round(evidence.interval.estimate * evidence.n)}/{evidence.n} = {text.percent(evidence.interval)}"
    if statistic in RATIOS:
        exact = evidence.interval.low == evidence.interval.high
        return f"{evidence.interval.estimate:.3g}×" if exact else text.times(evidence.interval)
    if statistic == "sequences_to_solve":
        return text.spent(evidence.interval)
    if statistic == "accuracy":
        return text.percent(evidence.interval)
    return text.number(evidence.interval)


def _evidence_figure(content: Content, claim: Claim, name: str) -> str:
    """Show the runs themselves: who solved when, how far gradients reach, how long is remembered, how times grow."""
    statistics = {test.statistic for test in claim.tests}
    if statistics == {"time_growth"}:
        return _growth_figure(content, claim, f"{name}_runs")
    runs = runs_of(content.stored, claim)
    if runs.empty:
        return ""
    decided_by_solving = statistics & {"share_solved", "steps_to_solve"} and runs["problem"].nunique() <= MOST_PANELS
    if decided_by_solving and runs["solved"].any():
        figure = figures_of_training.solve_curves(runs, content.stored.results["cell"])
        unsolved = not runs.groupby("problem")["solved"].any().all()
        caption = "The runs behind the claim: share of runs solved by each training step, with 95 % intervals."
        caption += " Problems that no run solved are left out." if unsolved else ""
        return content.show(figure, f"{name}_runs", caption=caption)
    readings = content.stored.readings
    probes = {
        "gradient_decay": (
            ("gradient_flow", "h"),
            ("steps back from the answer", "norm of ∂L/∂h"),
            "Norm of the last answer's gradient, by steps back from the answer, of at least 10⁻²⁰: medians over seeds, "
            "and their range.",
        ),
        "memory": (
            ("memory", "state"),
            ("steps since it was shown", "share explained (R²)"),
            "Share of the cue that a linear readout recovers from the state, by steps since the cue: medians over "
            "seeds, and their range.",
        ),
    }
    if len(statistics) == 1 and statistics <= set(probes) and len(readings):
        (kind, part), labels, caption = probes[statistics.pop()]
        names = runs[["run_id", "problem", "contender"]]
        shown = readings[(readings["kind"] == kind) & (readings["part"] == part)]
        shown = shown.drop(columns=["problem", "contender"]).merge(names, on="run_id")
        if len(shown):
            log = kind == "gradient_flow"
            figure = figures_of_probes.lines(shown, runs, *labels, log=log, cells=content.stored.results["cell"])
            return content.show(figure, f"{name}_runs", caption=caption)
    return ""


def _growth_figure(content: Content, claim: Claim, name: str) -> str:
    assert content.stored.claims is not None
    times = {subject_of(test): times_of(content.stored.timing, content.stored.claims, test) for test in claim.tests}
    findings = [row.finding for row in content.judgements[claim.name]]
    fitted = {finding.subject: finding.evidence.interval.estimate for finding in findings if finding.evidence}
    if set(fitted) != set(times):
        return ""
    caption = "The times behind the claim: every round, and the power law fitted to the median of each length."
    return content.show(figures.power_laws(times, fitted), name, caption=caption)


def _command(content: Content, claim: Claim) -> str:
    whole = next((command for command in reversed(content.stored.commands) if "+sweep=" in command), None)
    if whole is None or not claim.part:
        return ""
    sweep = " ".join(word for word in whole.split() if word.startswith(("+sweep=", "scale=")))
    return f"Run this part alone: `python -m bench {sweep} part={claim.part}`"


def beside_publication(content: Content) -> str:
    """Report what a publication printed beside what runs here found and whether they agree, what else it printed, in
    which settings its protocol differs, and who else tried."""
    claims = content.stored.claims
    if claims is None or not claims.publication:
        return ""
    registered = as_printed(claims)
    about = registered.publication
    assert about is not None
    findings = {claim.name: claim for claim in registered.findings}
    rows, shown = [], set()
    for claim in claims.claims:
        runs = runs_of(content.stored, claim)
        said = findings.get(claim.name, claim)
        withdrawn = claim.name in about.withdrawn
        for row in content.judgements[claim.name]:
            if row.finding.evidence is not None:
                estimate = _estimate(row.finding.evidence, row.test.statistic)
                mark = ELSEWHERE if is_elsewhere(content.stored, row, about, said.printed) else ""
                shown.add(claim.name)
                rows.append(
                    {
                        "finding": said.claim,
                        "printed": f"withdrawn: {about.withdrawn[claim.name]}" if withdrawn else str(said.printed),
                        "confirmed by": text.NONE if withdrawn else CONFIRMED[said.printed.confirmed],
                        "here on": _at_distance(row.finding.problem, runs),
                        "here": f"{_what(row.test)} {estimate}",
                        "verdict": text.NONE if withdrawn else AGREEMENT[row.verdict] + mark,
                    }
                )
    return paragraphs(
        f"## Beside {text.escape(about.name)}",
        text.table(rows) if rows else "None of the runs that its findings speak of is here.",
        wording("agreement"),
        _protocol(about, content.stored.results),
        _replications(about),
        _not_run([claim for claim in registered.findings if claim.name not in shown]),
        f"Source: {text.escape(about.source)}{f' Read: {text.escape(about.read)}' if about.read else ''}",
    )


def _protocol(about: Publication, results: pd.DataFrame) -> str:
    """Tabulate the printed settings that are others here, and name those that are the same."""
    rows, same = [], []
    for each in about.protocol:
        runs = _runs_like(results, each.where)
        here = (each.here or _here(each, runs)) if len(runs) else ""
        if not here:  # these runs have no such thing
            continue
        on = ", ".join(_condition(key, value) for key, value in each.where.items())
        if here == _listed(each.values) or set(here.split(", ")) == set(map(_plain, each.values)):
            same.append(f"{each.setting} {here}{f' ({on})' if on else ''}")
        else:
            rows.append({"setting": each.setting, "of": on or "all", "printed": _listed(each.values), "here": here})
    if not rows and not same:
        return ""
    alike = f"As printed: {text.escape('; '.join(same))}." if same else ""
    return paragraphs("### Differences of protocol", text.table(rows) if rows else "", alike)


def _runs_like(results: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    """Return the runs that a printed setting holds for, or else those of its task and cell at other distances."""
    if results.empty:
        return results
    runs = select(results, where)
    return runs if len(runs) else select(results, {key: where[key] for key in ("task", "cell") if key in where})


def _here(each: Setting, runs: pd.DataFrame) -> str:
    """Return the values that runs have in a setting, "none" where it is not set; nothing if no column is of it."""
    if each.setting not in runs:
        return ""
    return ", ".join(dict.fromkeys(_plain("none" if pd.isna(value) else value) for value in runs[each.setting]))


def _condition(column: str, values: object) -> str:
    """Name runs by what a column of theirs holds: "copy", "delay 500, 1000"."""
    return _listed(values) if column in ("task", "cell") else f"{column.rpartition('.')[2]} {_listed(values)}"


def _listed(values: object) -> str:
    return ", ".join(map(_plain, values if isinstance(values, list) else [values]))


def _plain(value: object) -> str:
    """Return a value as text in which 1 and 1.0 are one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return digits(value).replace(",", "") if number else str(value)  # type: ignore[arg-type]


def _replications(about: Publication) -> str:
    rows = [
        {"by": each.by, "of": each.of, "result": each.result, "agrees": "yes" if each.agrees else "no", "at": each.at}
        for each in about.replications
    ]
    return paragraphs("### Replications by others", text.table(rows)) if rows else ""


def _not_run(findings: list[Claim]) -> str:
    rows = [
        {
            "finding": claim.claim,
            "setting": claim.printed.setting or text.NONE,
            "printed": str(claim.printed),
            "in": claim.source,
            "confirmed by": CONFIRMED[claim.printed.confirmed],
        }
        for claim in findings
    ]
    return paragraphs("### Printed, and not run here", text.table(rows)) if rows else ""


def _at_distance(problem: str, runs: pd.DataFrame) -> str:
    """Name a problem with the distance at which it was run, if its name does not say so."""
    here = runs[runs["problem"] == problem] if len(runs) else runs
    for column in (column for column in DISTANCES if column in here):
        distances = here[column].dropna().unique()
        if len(distances) == 1 and column.removeprefix("task.") not in problem:
            return f"{problem}, {column.removeprefix('task.')} {distances[0]:,}"
    return problem
