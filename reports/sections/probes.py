"""What goes on inside models, for those who have not read the papers: a figure and a sentence for each probe."""

import pandas as pd

from reports import text
from reports.figures import probes as figures
from reports.sections.content import Content, paragraphs, wording
from reports.statistics import Interval

MOST_PANELS = 8


def gradient_flow(content: Content) -> str:
    """Show how much of the last answer's gradient arrives how far back, and at what rate it decays."""
    norms = _of(content, "gradient_flow", "h")
    if norms.empty:
        return ""
    results = content.stored.results
    figure = figures.lines(norms, results, "steps back from the answer", "norm of ∂L/∂h", log=True)
    section = content.show(figure, "gradient_flow", "## Gradient flow")
    rows = []
    for problem, contender in _subjects(content, norms):
        row = {"problem": problem, "cell": contender}
        for moment, when in figures.WHEN.items():
            for kind, part, name in (("decay", "h", "h"), ("decay", "c", "c"), ("at_rest", "h", "linearised")):
                row[f"{name}, {when}"] = _median(content, problem, contender, kind, part, moment)
        rows.append(row)
    return paragraphs(section, text.table(rows), wording("decay"))


def gates(content: Content) -> str:
    """Show how open gates are, and when."""
    histograms = _of(content, "gate_histogram")
    if histograms.empty:
        return ""
    section = content.show(figures.gate_histograms(_fewer(histograms)), "gate_histograms", "## Gates")
    rows = []
    saturation = _of(content, "gate_saturation")
    parts_of = dict(list(saturation.groupby(["problem", "contender", "part"], sort=False)))
    for subject in _subjects(content, saturation):
        for (problem, contender, gate), part in parts_of.items():
            if (problem, contender) == subject:
                row = {"problem": problem, "cell": contender, "gate": gate}
                for moment, when in figures.WHEN.items():
                    for side, name in ((0.0, "closed"), (1.0, "open")):
                        values = part[(part["moment"] == moment) & (part["x"] == side)]["value"]
                        row[f"{name}, {when}"] = f"{values.median():.0%}" if len(values) else text.NONE
                rows.append(row)
    table = f"{text.table(rows)}\n\nShare of values below 0.1 (*closed*) and above 0.9 (*open*), medians over seeds."
    keeping = _of(content, "gate_map")
    keeping = keeping[keeping["part"].isin(["f", "z", "layer1.f", "layer1.z"])]
    if keeping.empty or not (keeping["moment"] == "end").any():
        return paragraphs(section, table)
    chart = figures.maps(_fewer(keeping), "step", "unit", label="value of the gate")
    return paragraphs(section, table, content.show(chart, "gate_maps"))


def memory(content: Content) -> str:
    """Show for how long what was shown can be read from the state."""
    shares = _of(content, "memory")
    if shares.empty:
        return ""
    figure = figures.lines(
        shares, content.stored.results, "steps since it was shown", "share explained (R²)", log=False
    )
    return content.show(figure, "memory", "## Memory in the state")


def attention(content: Content) -> str:
    """Show what attention looks back at."""
    weights = _of(content, "attention")
    if weights.empty or not (weights["moment"] == "end").any():
        return ""
    figure = figures.maps(_fewer(weights), "step that looks back", "step it looks at", label="weight")
    return content.show(figure, "attention", "## Attention")


def jacobian(content: Content) -> str:
    """Show the eigenvalues of the recurrent Jacobian."""
    eigenvalues = _of(content, "jacobian")
    if eigenvalues.empty:
        return ""
    return content.show(figures.eigenvalues(_fewer(eigenvalues)), "jacobian", "## Recurrent Jacobian")


def updates(content: Content) -> str:
    """Show how far a step moves the parameters."""
    sizes = _of(content, "updates", "all")
    if sizes.empty:
        return ""
    section = "## Step sizes"
    if (sizes["moment"] == "training").any():
        caption = (
            "Size of the optimiser's next step as a share of the parameters' norm, over training: medians over seeds."
        )
        section = content.show(figures.step_sizes(sizes, content.stored.results), "step_sizes", section, caption)
    rows = []
    for problem, contender in _subjects(content, sizes):
        of_moments = {
            when: _median(content, problem, contender, "updates", "all", moment)
            for moment, when in figures.WHEN.items()
        }
        rows.append({"problem": problem, "cell": contender, **of_moments})
    return paragraphs(section, text.table(rows), wording("updates"))


def _subjects(content: Content, readings: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the problems and contenders of readings, in the order of the report's other tables."""
    there = set(zip(readings["problem"], readings["contender"], strict=True))
    named = [(row.problem, row.contender) for row in content.summaries]
    return [subject for subject in named if subject in there]


def _of(content: Content, kind: str, part: str | None = None) -> pd.DataFrame:
    readings = content.stored.readings
    if readings.empty:
        return readings
    of_kind = readings[readings["kind"] == kind]
    # Of a stack, its first layer: what arrives there has come through all others too.
    return of_kind if part is None else of_kind[of_kind["part"].isin([part, f"layer1.{part}"])]


def _fewer(readings: pd.DataFrame) -> pd.DataFrame:
    """Return the readings of as many problems as a figure has panels for, with a panel each contender; at least one."""
    each = ["contender", "part"] if (readings["kind"] == "gate_map").any() else ["contender"]  # parts have panels too
    problems = list(dict.fromkeys(readings["problem"]))[: max(1, MOST_PANELS // len(readings[each].drop_duplicates()))]
    return readings[readings["problem"].isin(problems)]


def _median(content: Content, problem: str, contender: str, kind: str, part: str, moment: str) -> str:
    """Return the median over seeds of a single number, and the range of all."""
    readings = _of(content, kind, part)
    here = (readings["problem"] == problem) & (readings["contender"] == contender) & (readings["moment"] == moment)
    values = readings[here]["value"].astype(float)
    if values.empty:
        return text.NONE
    return text.number(Interval(values.median(), values.min(), values.max(), 0.0))
