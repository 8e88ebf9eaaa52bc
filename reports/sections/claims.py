"""What was put to the test: the verdict on each claim, and what it is made of; or beside, what a paper printed."""

import math

import pandas as pd

from reports import text
from reports.claims import RATIOS, STATISTICS, Claim, Claims
from reports.figures import inside as figures_inside
from reports.figures import training as figures_training
from reports.figures import verdicts as figures
from reports.sections.content import Content, names_a_file, paragraphs, wording
from reports.statistics import Evidence
from reports.verdicts import NOT_RUN, OPEN, REFUTED, SUPPORTED, runs_of, subject_of, times_of, verdict_of

MOST_PANELS = 6  # of solve curves
ABOUT = ("source", "protocol", "differences")
DISTANCES = ("task.delay", "task.length")
AGREEMENT = {SUPPORTED: "agrees", REFUTED: "disagrees", OPEN: "cannot tell"}


def verdicts(content: Content) -> str:
    """Report the verdict on each claim in a table."""
    claims = content.stored.claims
    if claims is None or claims.publication:
        return ""
    rows = [
        {
            "claim": claim.claim,
            "verdict": verdict_of(claim, content.verdicts),
            "tests supported, refuted, open, not run": _counts(content.verdicts, claim),
            "said by": claim.source,
        }
        for claim in claims.claims
    ]
    return paragraphs("## Verdicts", text.table(rows), _about(claims, content.verdicts))


def _counts(tests: pd.DataFrame, claim: Claim) -> str:
    found = list(tests.loc[tests["claim"] == claim.name, "verdict"])
    return ", ".join(str(found.count(verdict)) for verdict in (SUPPORTED, REFUTED, OPEN, NOT_RUN))


def _about(claims: Claims, tests: pd.DataFrame) -> str:
    estimated = sum(evidence is not None and not evidence.fixed for evidence in tests["evidence"])
    fixed = {
        None: "When its rules were fixed is not known.",
        0: "Its rules were fixed before the first run (`rules.yaml`, beside them).",
    }.get(
        claims.finished_before,
        f"Its rules were fixed after {claims.finished_before} runs had finished, and so knowing some results.",
    )
    return wording("verdicts", about=text.escape(claims.about), estimated=estimated, fixed=fixed)


def each(content: Content) -> str:
    """Report each claim: its rule, every test, a figure, and the command that runs what it needs."""
    claims = content.stored.claims
    if claims is None or claims.publication:
        return ""
    return paragraphs("## Claims", *(_section(content, claim) for claim in claims.claims))


def _section(content: Content, claim: Claim) -> str:
    tests = content.verdicts[content.verdicts["claim"] == claim.name]
    parts = [
        f"### {text.escape(claim.claim)}",
        f"**{verdict_of(claim, tests).capitalize()}.** Said by {text.escape(claim.source)}. {_rule(claim, tests)}",
        text.table([_row(row) for _, row in tests.iterrows()]),
    ]
    name = f"claim_{claim.name}"
    figure = figures.forest(tests)
    if figure is not None and names_a_file(claim.name):
        parts.append(content.show(figure, name, caption="claim"))
        parts.append(_evidence_figure(content, claim, name))
    parts.append(_command(content, claim))
    return paragraphs(*parts)


def _rule(claim: Claim, tests: pd.DataFrame) -> str:
    """Say in words what supports and what refutes the claim."""
    said = dict.fromkeys(
        f"{'ratio of ' if row['statistic'] in RATIOS else ''}{STATISTICS[row['statistic']]} {_region(row)}"
        for _, row in tests.iterrows()
    )
    needs = {"all": "all of its tests are", "any": "any of its tests is"}[claim.needs]
    otherwise = {"all": "refuted if one is refuted", "any": "refuted if all are refuted"}[claim.needs]
    return f"It is supported if {needs}, {otherwise}. Tests: {'; '.join(said)}."


def _region(row: pd.Series) -> str:
    """Return e.g. "supports below 1.0×, refutes above 0.9×"."""
    supported, refuted, statistic = row["supported_if"], row["refuted_if"], str(row["statistic"])
    if refuted is None:
        low, high = (_value(bound, statistic) for bound in supported)
        return f"supports between {low} and {high}, refutes outside"

    def said(region: tuple[float, float]) -> str:
        above = math.isfinite(region[0])
        return f"{'above' if above else 'below'} {_value(region[0] if above else region[1], statistic)}"

    return f"supports {said(supported)}, refutes {said(refuted)}"


def _value(value: float, statistic: str) -> str:
    return f"{value:.0%}" if statistic == "share_solved" else f"{value:g}×" if statistic in RATIOS else f"{value:g}"


def _row(row: pd.Series) -> dict[str, str]:
    evidence: Evidence | None = row["evidence"]
    shown = {
        "on": str(row["problem"]),
        "of": str(row["subject"]),
        "what": STATISTICS[row["statistic"]],
        "estimate": row["why"] or text.NONE,
        "n": text.NONE,
        "p": text.NONE,
        "corrected": text.NONE,
        "verdict": str(row["verdict"]),
    }
    if evidence is None:
        return shown
    shown |= {"estimate": _estimate(evidence, str(row["statistic"])), "n": str(evidence.n)}
    if not evidence.fixed:
        shown |= {"p": _p(row["p"]), "corrected": _p(row["p_corrected"])}
    return shown


def _p(p: float) -> str:
    return text.p_value(p).removeprefix("p").removeprefix("=")


def _estimate(evidence: Evidence, statistic: str) -> str:
    if statistic == "share_solved":
        return f"{round(evidence.interval.estimate * evidence.n)}/{evidence.n} = {text.percent(evidence.interval)}"
    if statistic in RATIOS:
        exact = evidence.interval.low == evidence.interval.high
        return f"{evidence.interval.estimate:.3g}×" if exact else text.times(evidence.interval, evidence.bound)
    return text.number(evidence.interval)


def _evidence_figure(content: Content, claim: Claim, name: str) -> str:
    """Show the runs themselves: who solved when, how far gradients reach, how long is remembered, how times grow."""
    statistics = {test.statistic for test in claim.tests}
    if statistics == {"time_growth"}:
        return _growth_figure(content, claim, f"{name}_runs")
    runs = runs_of(content.stored, claim)
    if runs.empty:
        return ""
    if statistics & {"share_solved", "steps_to_solve"} and runs["problem"].nunique() <= MOST_PANELS:
        return content.show(figures_training.solve_curves(runs), f"{name}_runs", caption="claim_solved")
    readings = content.stored.readings
    looks = {
        "gradient_decay": (
            ("gradient_flow", "h"), ("steps back from the answer", "norm of ∂L/∂h"),
        ),
        "memory": (
            ("memory", "state"), ("steps since it was shown", "share explained (R²)"),
        ),
    }  # fmt: skip
    if len(statistics) == 1 and statistics <= set(looks) and len(readings):
        statistic = statistics.pop()
        (kind, part), labels = looks[statistic]
        names = runs[["run_id", "problem", "contender"]]
        found = readings[(readings["kind"] == kind) & (readings["part"] == part)]
        found = found.drop(columns=["problem", "contender"]).merge(names, on="run_id")
        if len(found):
            figure = figures_inside.lines(found, runs, *labels, log=kind == "gradient_flow")
            return content.show(figure, f"{name}_runs", caption=f"claim_{statistic}")
    return ""


def _growth_figure(content: Content, claim: Claim, name: str) -> str:
    assert content.stored.claims is not None
    times = {subject_of(test): times_of(content.stored.timing, content.stored.claims, test) for test in claim.tests}
    tests = content.verdicts[content.verdicts["claim"] == claim.name]
    fitted = {row["subject"]: row["evidence"].interval.estimate for _, row in tests.iterrows() if row["evidence"]}
    if set(fitted) != set(times):
        return ""
    return content.show(figures.power_laws(times, fitted), name, caption="claim_growth")


def _command(content: Content, claim: Claim) -> str:
    whole = next((command for command in reversed(content.stored.commands) if "+sweep=" in command), None)
    if whole is None or not claim.part:
        return ""
    sweep = next(word for word in whole.split() if word.startswith("+sweep="))
    return f"Its runs: `python -m bench {sweep} part={claim.part}`"


def beside_publication(content: Content) -> str:
    """Report what a publication printed beside what runs here found, and whether they agree."""
    claims = content.stored.claims
    if claims is None or not claims.publication:
        return ""
    rows = []
    for claim in claims.claims:
        runs = runs_of(content.stored, claim)
        for _, row in content.verdicts[content.verdicts["claim"] == claim.name].iterrows():
            if row["evidence"] is None:
                continue
            shown = _row(row)
            rows.append(
                {
                    "finding": claim.claim,
                    "printed": claim.in_print,
                    "here on": _at_distance(str(shown["on"]), runs),
                    "here": f"{STATISTICS[row['statistic']]} {shown['estimate']}",
                    "verdict": AGREEMENT[row["verdict"]],
                }
            )
    about = claims.publication
    parts = [
        f"## Beside {text.escape(about.get('name', ''))}",
        text.table(rows) if rows else "None of the runs that its findings speak of is here.",
        wording("agreement"),
        *(
            f"{key.capitalize()}: {text.escape(about[key])}"
            for key in ("source", "protocol", "differences")
            if key in about
        ),
    ]
    return paragraphs(*parts)


def _at_distance(problem: str, runs: pd.DataFrame) -> str:
    """Name a problem with the distance at which it was run, if its name does not say so."""
    here = runs[runs["problem"] == problem] if len(runs) else runs
    for column in (column for column in DISTANCES if column in here):
        found = here[column].dropna().unique()
        if len(found) == 1 and column.removeprefix("task.") not in problem:
            return f"{problem}, {column.removeprefix('task.')} {found[0]:,}"
    return problem
