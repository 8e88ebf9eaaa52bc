"""What goes on inside models, for those who have not read the papers: a figure and a sentence for each kind of look."""

import pandas as pd

from reports import text
from reports.figures import inside as figures
from reports.sections.content import Content, figure_section
from reports.statistics import Interval
from reports.style import save

MOST_PANELS = 8


def gradient_flow(content: Content) -> str:
    """Show how much of the last answer's gradient arrives how far back, and at what rate it decays."""
    found = _of(content, "gradient_flow", "h")
    if found.empty:
        return ""
    results = content.stored.results
    figure = figures.lines(found, results, "steps back from the answer", "norm of ∂L/∂h", log=True)
    save(figure, content.folder, "gradient_flow")
    section = figure_section(
        "## Gradient flow",
        "gradient_flow",
        "How strongly the last answer's error is felt at earlier steps, which is what a network can learn a long "
        "dependency from: the norm of the gradient at the hidden state, so many steps back (median over seeds, and "
        "their range). A straight line down is a gradient that vanishes, by the same factor every step; a flat one "
        "reaches any distance.",
    )
    rows = []
    for problem, contender in _subjects(content, found):
        row = {"problem": problem, "cell": contender}
        for moment, when in figures.WHEN.items():
            for kind, part, name in (("decay", "h", "h"), ("decay", "c", "c"), ("at_rest", "h", "linearised")):
                row[f"{name}, {when}"] = _median(content, problem, contender, kind, part, moment)
        rows.append(row)
    note = (
        "Factors a step, medians over seeds with their range: *h* and *c* as fitted to the norms at the hidden and "
        "the cell state, *linearised* the spectral radius of the recurrence's Jacobian at zero state and input, which "
        "is what theory has for a network that is hardly driven (of a plain network, that of W_hh). Below 1 gradients "
        "vanish, above 1 they explode. Where what is fitted lies above what is linearised, states are driven to where "
        "the recurrence keeps more; a fit over short distances also sees the first few steps, where other directions "
        "than the slowest count."
    )
    return "\n\n".join([section, text.table(rows), note])


def gates(content: Content) -> str:
    """Show how open gates are, and when."""
    histograms = _of(content, "gate_histogram")
    if histograms.empty:
        return ""
    save(figures.gate_histograms(_fewer(histograms)), content.folder, "gate_histograms")
    section = figure_section(
        "## Gates",
        "gate_histograms",
        "How often gates have which value, over all units, steps and sequences: dotted before training, solid after. A "
        "gate near 0 is closed, near 1 open; a forget gate f (of a GRU: z) near 1 keeps what the unit remembers, an "
        "input gate i near 0 lets nothing new in.",
    )
    rows = []
    saturation = _of(content, "gate_saturation")
    parts_of = dict(list(saturation.groupby(["problem", "contender", "part"], sort=False)))
    for (problem, contender, gate), part in (
        (key, parts_of[key]) for subject in _subjects(content, saturation) for key in parts_of if key[:2] == subject
    ):
        row = {"problem": problem, "cell": contender, "gate": gate}
        for moment, when in figures.WHEN.items():
            for side, name in ((0.0, "closed"), (1.0, "open")):
                values = part[(part["moment"] == moment) & (part["x"] == side)]["value"]
                row[f"{name}, {when}"] = f"{values.median():.0%}" if len(values) else text.NONE
        rows.append(row)
    table = f"{text.table(rows)}\n\nShare of values below 0.1 (*closed*) and above 0.9 (*open*), medians over seeds."
    keeping = _of(content, "gate_map")
    keeping = keeping[keeping["part"].isin(["f", "z"])]
    parts = [section, table]
    if len(keeping) and (keeping["moment"] == "end").any():
        chart = figures.maps(_fewer(keeping), "step", "unit", label="value of the gate")
        save(chart, content.folder, "gate_maps")
        parts.append(
            figure_section(
                "",
                "gate_maps",
                "The gate that keeps (f, of a GRU z) of some units while one sequence goes by, after training, lowest "
                "seed: a bright row is a unit that remembers, a dark spot the moment at which it forgets; columns "
                "that stand out are steps at which the input made a difference to many units.",
            )
        )
    return "\n\n".join(parts)


def memory(content: Content) -> str:
    """Show for how long what was shown can be read from the state."""
    found = _of(content, "memory")
    if found.empty:
        return ""
    figure = figures.lines(found, content.stored.results, "steps since it was shown", "share explained (R²)", log=False)
    save(figure, content.folder, "memory")
    return figure_section(
        "## Memory in the state",
        "memory",
        "How well what the task first gives to be remembered (the first symbol, the first marked value) can be read "
        "from the state by a linear decoder, so many steps later, on sequences that the decoder was not fitted to: 1 "
        "is all of it, 0 none (median over seeds, and their range). A cell whose line falls has forgotten, or keeps "
        "it in a form that is not linear; one that has learned to ignore what does not matter may let go of it after "
        "it was used.",
    )


def attention(content: Content) -> str:
    """Show what attention looks back at."""
    found = _of(content, "attention")
    if found.empty or not (found["moment"] == "end").any():
        return ""
    save(figures.maps(_fewer(found), "step that looks back", "step it looks at", label="weight"), content.folder,
         "attention")  # fmt: skip
    return figure_section(
        "## Attention",
        "attention",
        "Which earlier steps (upwards) each step (to the right) attends to in one sequence, after training, lowest "
        "seed. Bright rows are steps that all later ones look back at; an even shade is attention that chooses "
        "nothing.",
    )


def jacobian(content: Content) -> str:
    """Show the eigenvalues of the recurrent Jacobian."""
    found = _of(content, "jacobian")
    if found.empty:
        return ""
    save(figures.eigenvalues(_fewer(found)), content.folder, "jacobian")
    return figure_section(
        "## Recurrent Jacobian",
        "jacobian",
        "Eigenvalues of the map from one step's state to the next, in the middle of some sequences: each is a "
        "direction of the state and the factor by which it is multiplied at that step. On the circle a direction is "
        "kept, at the centre forgotten at once, beyond the circle it grows. Away from the real axis it turns, as in "
        "counting.",
    )


def updates(content: Content) -> str:
    """Show how far a step moves the parameters."""
    found = _of(content, "updates", "all")
    if found.empty:
        return ""
    parts = ["## Step sizes"]
    if (found["moment"] == "training").any():
        save(figures.step_sizes(found, content.stored.results), content.folder, "step_sizes")
        parts = [
            figure_section(
                "## Step sizes",
                "step_sizes",
                "How far the optimiser's next step would move the parameters, as a share of their norm, over training: "
                "medians over seeds.",
            )
        ]
    rows = [
        {
            "problem": problem,
            "cell": contender,
            **{
                when: _median(content, problem, contender, "updates", "all", moment)
                for moment, when in figures.WHEN.items()
            },
        }
        for problem, contender in _subjects(content, found)
    ]
    note = (
        "‖Δw‖ / ‖w‖ of the next step, all parameters together, medians over seeds with their range. About 0.001 is "
        "usual; at 0.1 a step changes what was learned, at 0.00001 nothing moves. diagnostics.parquet has each "
        "parameter's."
    )
    return "\n\n".join([*parts, text.table(rows), note])


def _subjects(content: Content, readings: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the problems and contenders of readings, in the order of the report's other tables."""
    there = set(zip(readings["problem"], readings["contender"], strict=True))
    named = zip(content.results["problem"], content.results["contender"], strict=True)
    return [(str(problem), str(contender)) for problem, contender in named if (problem, contender) in there]


def _of(content: Content, kind: str, part: str | None = None) -> pd.DataFrame:
    readings = content.stored.readings
    if readings.empty:
        return readings
    found = readings[readings["kind"] == kind]
    return found if part is None else found[found["part"] == part]


def _fewer(readings: pd.DataFrame) -> pd.DataFrame:
    """Return the readings of as many problems as a figure has panels for, with a panel each contender; at least one."""
    each = readings[["contender", "part"]].drop_duplicates() if _has_maps(readings) else readings[["contender"]]
    problems = list(dict.fromkeys(readings["problem"]))[: max(1, MOST_PANELS // len(each.drop_duplicates()))]
    return readings[readings["problem"].isin(problems)]


def _has_maps(readings: pd.DataFrame) -> bool:
    """Tell whether each part has a panel of its own."""
    return bool((readings["kind"] == "gate_map").any())


def _median(content: Content, problem: str, contender: str, kind: str, part: str, moment: str) -> str:
    """Return the median over seeds of a single number, and the range of all."""
    found = _of(content, kind, part)
    here = (found["problem"] == problem) & (found["contender"] == contender) & (found["moment"] == moment)
    values = found[here]["value"].astype(float)
    if values.empty:
        return text.NONE
    return text.number(Interval(values.median(), values.min(), values.max(), 0.0))
