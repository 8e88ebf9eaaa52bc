"""Figures of differences between cells."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.typing import ColorType

from reports.comparisons import EQUIVALENT, Comparison
from reports.figures.panels import (
    BEHIND,
    LONGEST_TICK,
    MOST_CURVES,
    MOST_TOGETHER,
    PERCENT,
    contenders,
    counted,
    few_ticks,
    in_lines,
    legend,
    log_plain,
    log_round,
    name_edge,
    name_lines,
    name_points,
    name_small,
    name_ticks,
    new_figure,
    order,
    panels_of,
    short_amount,
    small_multiples,
    strips,
)
from reports.figures.style import PANEL, TEXT, WIDTH, Look, contender_looks, looks_by_name
from reports.rows import grouped
from reports.statistics import MARGIN, performance_profile
from reports.summary import REFERENCE_CELL, Summary
from reports.text import NONE

LARGEST = 4.0  # the ratio at which colours end
LEAST_SPAN = 2.0  # the ratio of a cost axis' ends, at least: costs that are nearly equal lie close together
OPEN_SHADE = "#ececec"
ALIKE = 1.2  # a cost of which the largest is less than this over the least tells contenders hardly apart
FRONT, BEYOND_FRONT = "#0173b2", "#8c8c8c"
SCORE_ROW = 0.19  # inches
MOST_SCORES = 10  # in a row, that have room for their numbers
CHOSEN = "#cc8000"
FURTHEST = 50.0  # from one, that an axis of ratios shows


def pairwise(comparisons: list[Comparison], summaries: list[Summary]) -> Figure:
    """Draw a triangle per problem: how many times as much the cell of the row needs as that of the column. Established
    differences are coloured, what is equivalent white, what is open grey and hatched."""
    of_problem = grouped(comparisons, lambda row: row.problem)
    problems = order(of_problem)
    labels_of = {name: [row.contender for row in summaries if row.problem == name and row.runs] for name in problems}
    rows_of = {problem: _row_names(labels) for problem, labels in labels_of.items()}
    heights = [0.65 + sum(max(0.36, 0.15 * (name.count("\n") + 1)) for name in rows_of[p]) for p in problems]
    figure = new_figure(WIDTH, sum(heights) + 0.4)
    grid = figure.subplots(len(problems), 1, squeeze=False, height_ratios=heights)[:, 0]
    limit = math.log(LARGEST)
    shade = ScalarMappable(TwoSlopeNorm(0, -limit, limit), "PuOr_r")
    for problem, axes in zip(problems, grid, strict=True):
        labels = labels_of[problem]
        for row in of_problem[problem]:
            lower = row if labels.index(row.second) > labels.index(row.first) else row.inverted
            i, j = labels.index(lower.second) - 1, labels.index(lower.first)
            told, bound = lower.ratio.told, lower.ratio.bound
            value = 0.0 if math.isnan(told) else float(np.clip(math.log(told), -limit, limit))
            looks: dict[str, Any] = {"facecolor": OPEN_SHADE, "hatch": "////", "edgecolor": "white", "lw": 0}
            if lower.differs or lower.verdict == EQUIVALENT:
                looks = {
                    "facecolor": shade.to_rgba(np.array(value)) if lower.differs else "white",
                    "edgecolor": "#bbbbbb",
                    "lw": 1,
                }
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **looks))
            axes.text(
                j, i, f"{_told(told, bound)}{mark(lower)}", ha="center", va="center", fontsize=8,
                fontweight="bold" if lower.differs else "normal",
                color="white" if _is_dark(looks["facecolor"]) else TEXT,
                bbox=None if lower.differs else {"facecolor": looks["facecolor"], "lw": 0, "pad": 1.5},
            )  # fmt: skip
        axes.set(xlim=(-0.5, len(labels) - 1.5), ylim=(len(labels) - 1.5, -0.5))
        short = [label.replace(", ", "\n").replace("_", "\n") for label in labels]
        name_ticks(axes.xaxis, short[:-1], LONGEST_TICK // 2, fontsize=7.5)
        name_ticks(axes.yaxis, rows_of[problem], LONGEST_TICK // 2, fontsize=7.5)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title(in_lines(f"{problem}: {_quantity(of_problem[problem])}, row / column"), fontsize=9)
    equivalent = any(row.verdict == EQUIVALENT for row in comparisons)
    is_open = any(not row.differs and row.verdict != EQUIVALENT for row in comparisons)
    said = [*(["white: equivalent"] if equivalent else []), *(["hatched: open"] if is_open else [])]
    if not any(row.differs for row in comparisons):
        figure.supxlabel("; ".join([*said, "no difference is established"]), fontsize=8)
        return figure
    bar = figure.colorbar(shade, ax=list(grid), location="bottom", shrink=0.6, aspect=40, pad=0.02)
    bar.set_ticks([math.log(value) for value in (0.25, 0.5, 1, 2, 4)], labels=["≤¼×", "½×", "1×", "2×", "≥4×"])
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label("; ".join(["coloured: established (* primary, † exploratory)", *said]), fontsize=8)
    return figure


def _row_names(labels: list[str]) -> list[str]:
    """Return the names of all but the first contender, a line for each part of long ones."""
    return [label if len(label) <= LONGEST_TICK // 2 else label.replace(", ", "\n") for label in labels[1:]]


def _is_dark(colour: ColorType) -> bool:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def against(comparisons: list[Comparison], looks_of: dict[str, Look]) -> Figure:
    """Draw each contender's ratio to its reference, a panel per problem: points with 95 % intervals on a logarithmic
    axis, filled where the difference is established, an arrow head where the ratio is a bound; very many from the least
    ratio to the largest."""
    of_problem = grouped(comparisons, lambda row: row.problem)
    compared = {row.second for row in comparisons}
    figure, panels = panels_of(order(of_problem), height=0.75 + 0.2 * len(compared))
    ends = [end for row in comparisons for end in (row.ratio.low, row.ratio.high, row.ratio.told)]
    near = [end for end in ends if 1 / FURTHEST <= end <= FURTHEST]
    low, high = min([0.75, *near]) / 1.1, max([1.33, *near]) * 1.1
    for problem, axes in panels.items():
        axes.axvspan(1 / MARGIN, MARGIN, color="#f0f0f0", lw=0, zorder=0)
        rows = {row.second: row for row in of_problem[problem]}
        names = [name for name in looks_of if name in compared]
        if len(names) > MOST_CURVES:
            names = sorted(rows, key=lambda name: np.nan_to_num(rows[name].ratio.told, nan=np.inf))
        for row in sorted(rows.values(), key=lambda row: names.index(row.second)):
            place, look = names.index(row.second), looks_of[row.second]
            colour = look.colour if row.differs else "#777777"
            if math.isnan(row.ratio.told):
                axes.text(0.01, place, "no estimate", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
                continue
            if not row.ratio.bound:
                axes.plot([row.ratio.low, row.ratio.high], [place, place], color=colour, lw=1.8)
            marker = {"≥": ">", "≤": "<"}.get(row.ratio.bound, "o")
            told = float(np.clip(row.ratio.told, low, high))
            axes.plot(told, place, ls="", marker=marker, ms=6, color=colour, mfc=colour if row.differs else "white")
        axes.axvline(1, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        name_ticks(axes.yaxis, names, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(low, high)
        log_round(axes, lambda value: f"{value:g}×")
        references = _all_equal(row.first for row in of_problem[problem])
        over = references or "the reference"
        axes.set_title(in_lines(f"{problem}: {_quantity(of_problem[problem])} over {over}"), fontsize=9)
    marks = [
        Line2D([], [], color=TEXT, lw=1.8, marker="o", ms=6, label="established, 95 % interval"),
        Line2D([], [], color="#777777", lw=1.8, marker="o", ms=6, mfc="white", label="open or equivalent"),
        *(
            Line2D([], [], color=TEXT, ls="", marker=marker, ms=6, label=label)
            for bound, marker, label in (("≥", ">", "at least"), ("≤", "<", "at most"))
            if any(row.ratio.bound == bound for row in comparisons)
        ),
        Patch(facecolor="#f0f0f0", label=f"within {MARGIN:g}×"),
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), columnspacing=1.2, handletextpad=0.5)
    return figure


def _all_equal(names: Iterable[str]) -> str:
    distinct = set(names)
    return distinct.pop() if len(distinct) == 1 else ""


def _quantity(comparisons: list[Comparison]) -> str:
    """Return what most comparisons on a problem are of."""
    counts = Counter(row.quantity for row in comparisons)
    most = min(counts, key=lambda quantity: (-counts[quantity], quantity))
    return "final loss" if most == "loss" else f"{most} to solve"


def mark(comparison: Comparison) -> str:
    """Return what marks an established difference: a star if it is of a primary comparison, else a dagger."""
    return ("*" if comparison.primary else "†") if comparison.differs else ""


def _told(ratio: float, bound: str) -> str:
    return NONE if math.isnan(ratio) else f"{bound}{_short(ratio)}"


def _short(value: float) -> str:
    if value < 0.01:
        return f"{value:.1g}"  # not 0.00
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def cost_quality(summaries: list[Summary], milliseconds: dict[tuple[str, str], float]) -> Figure:
    """Draw what a step costs against how much solving takes, with its interval, both logarithmic: a row of panels per
    problem that some run solved, one each for the costs that are known; the cells that no other beats in both joined
    (Pareto front). What was not solved in the median lies on the upper edge, hollow. With very many contenders each
    panel is as wide as the figure, only the front has a colour, and names stand where there is room."""
    of_problem = grouped((row for row in summaries if row.runs), lambda row: row.problem)
    of_problem = {name: rows for name, rows in of_problem.items() if any(row.solved for row in rows)}
    costs: dict[str, Callable[[Summary], float | None]] = {
        "parameters": lambda row: row.parameters,
        "FLOPs of a step": lambda row: row.flops_step,
        "ms of a step": lambda row: milliseconds.get((row.problem, row.contender)),
    }
    known = [name for name, cost in costs.items() if any(cost(row) for rows in of_problem.values() for row in rows)]
    if max(map(len, of_problem.values())) > MOST_CURVES:
        return _costs_of_many(of_problem, {name: costs[name] for name in known})
    figure = new_figure(WIDTH, 0.5 + 0.9 * PANEL * len(of_problem))
    grid = figure.subplots(len(of_problem), len(known), squeeze=False, sharey="row")
    styles = looks_by_name({(row.cell, row.contender) for row in summaries})
    panels = {}
    for problem, axes_of in zip(order(of_problem), grid, strict=True):
        here = of_problem[problem]
        for name, axes in zip(known, axes_of, strict=True):
            edge = _draw_costs(axes, here, costs[name], styles)
            axes.set_xlabel(name)
            panels[f"{problem}{name}"] = axes
        axes_of[0].set_ylabel(f"{here[0].currency} to solve")
        axes_of[0].set_title(in_lines(problem))
        name_edge(axes_of[0], edge, 0.02)
    legend(figure, panels, styles)
    return figure


def _costs_of_many(
    of_problem: dict[str, list[Summary]], costs: dict[str, Callable[[Summary], float | None]]
) -> Figure:  # fmt: skip
    """Draw a panel for each problem and each cost that tells its contenders apart, or the last one if none does."""
    known = {
        (problem, name): [cost for row in of_problem[problem] if (cost := cost_of(row))]
        for problem in order(of_problem)
        for name, cost_of in costs.items()
    }
    kept = [key for key, values in known.items() if values and max(values) > ALIKE * min(values)] or [*known][-1:]
    titles = {f"{problem}, by {name}": (problem, name) for problem, name in kept}
    figure, panels = panels_of(list(titles), height=1.4 * PANEL)
    marked = {}
    for title, axes in panels.items():
        problem, name = titles[title]
        here, cost_of = of_problem[problem], costs[name]
        places = {row.contender: (float(cost), row.median_needed) for row in here if (cost := cost_of(row))}
        front = {name for name, place in places.items() if place in _front(list(places.values()))}
        styles = {name: Look(FRONT if name in front else BEYOND_FRONT, "-", "o") for name in places}
        edge = _draw_costs(axes, here, cost_of, styles)
        axes.set(title=title, xlabel=name, ylabel=f"{here[0].currency} to solve")
        name_edge(axes, edge, 0.01)
        points = {name: (cost, min(needed, edge)) for name, (cost, needed) in places.items()}
        marked[title] = points, [*front, *(row.contender for row in here if row.cell == REFERENCE_CELL)]
    figure.draw_without_rendering()
    for title, (points, first) in marked.items():
        name_points(panels[title], points, first)
    return figure


def _front(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the solved places that no other beats in both, from the cheapest on."""
    solved = sorted(place for place in places if math.isfinite(place[1]))
    return [p for p in solved if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in solved)]


def _draw_costs(
    axes: Axes, here: list[Summary], cost_of: Callable[[Summary], float | None], styles: dict[str, Look]
) -> float:  # fmt: skip
    """Draw the contenders on a problem and their front, and return the edge on which what was not solved lies."""
    edge = 1.4 * max(row.budget for row in here)
    lows = [row.needed.low if row.needed else math.inf for row in here]
    lowest = min([edge / 2, *(low for low in lows if low > 0)])
    places = []
    for row in here:
        cost, needed = cost_of(row), row.median_needed
        if cost is None:
            continue
        look = styles[row.contender]
        places.append((float(cost), needed))
        if row.needed is not None and math.isfinite(row.needed.low):
            axes.plot([cost, cost], [row.needed.low, min(row.needed.high, edge)], color=look.colour, lw=1.2, alpha=0.7)
        axes.plot(
            float(cost), needed if math.isfinite(needed) else edge, ls="", marker=look.marker, ms=6,
            color=look.colour, mfc=look.colour if math.isfinite(needed) else "white", label=row.contender,
        )  # fmt: skip
    front = _front(places)
    if len(front) > 1:
        axes.step(*zip(*front, strict=True), where="post", color=TEXT, lw=0.8, ls=(0, (4, 2)), zorder=0)
    log_plain(axes)
    axes.set_ylim(lowest / 1.4, edge * (edge / lowest) ** 0.25)
    axes.axhline(edge, color=TEXT, lw=0.8, ls=(0, (1, 2)))
    _few_numbers(axes, [cost for cost, _ in places])
    return edge


def _few_numbers(axes: Axes, values: list[float]) -> None:
    """Scale the horizontal axis logarithmically with two or three short numbers, over some values and never less than a
    factor of two."""
    axes.set_xscale("log")
    low, high = min(values, default=1), max(values, default=1)
    middle, reach = math.sqrt(low * high), max((high / low) ** 0.58, math.sqrt(LEAST_SPAN))
    low, high = middle / reach, middle * reach
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(few_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_amount(value)))


def profile(scores: dict[tuple[str, str], list[np.ndarray]]) -> Figure:
    """Draw performance profiles: the share of runs, over all problems, that solved theirs within a share of its budget.

    Args:
        scores: of each cell and contender, of each problem, the share of the budget that was left when a run was
            solved; below zero if it was not.
    """
    styles = looks_by_name(scores)
    spent = np.linspace(0, 1, 101)
    curves = {name: performance_profile(tasks, 1 - spent) for (_, name), tasks in scores.items()}
    title = f"{len(next(iter(scores.values())))} problems together"

    def draw(axes: Axes, contender: str, front: bool) -> None:
        share, low, high = curves[contender]
        look = styles[contender]
        if not front:
            axes.plot(spent, share, color=BEHIND, lw=0.8, zorder=0)
            return
        axes.fill_between(spent, low, high, color=look.colour, alpha=0.1, lw=0)
        axes.plot(spent, share, color=look.colour, ls=look.dash, label=contender)
        axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PERCENT)

    if len(curves) > MOST_CURVES:
        shares = {name: pd.Series(share, index=spent) for name, (share, _, _) in curves.items()}
        return strips({title: shares}, {title: Normalize(0, 1)}, "share of the budget", "share of runs solved", PERCENT)
    if len(curves) > MOST_TOGETHER:

        def draw_small(axes: Axes, _: str, contender: str, front: bool) -> None:
            draw(axes, contender, front)
            if front:
                name_small(axes, contender, styles[contender])

        return small_multiples({f"{title}: share of runs solved by share of the budget": list(curves)}, draw_small)
    figure, panels = panels_of([title])
    for contender in curves:
        draw(panels[title], contender, True)
    panels[title].set(xlabel="share of the budget", ylabel="share of runs solved", title=title)
    name_lines(figure, panels, styles)
    return figure


def sensitivity(trials: pd.DataFrame, setting: str) -> Figure:
    """Draw the selection score over a setting, a panel per problem: means over selection seeds joined, runs as points,
    what was chosen with a ring. Many contenders have a row of shaded means each."""
    if many_in_sensitivity(trials):
        return _sensitivities(trials, setting)
    figure, panels = panels_of(order(trials["problem"]))
    styles = contender_looks(trials)
    for problem, axes in panels.items():
        here = trials[trials["problem"] == problem]
        for contender, runs in contenders(here, styles):
            look = styles[contender]
            at = runs[setting].astype(float)
            axes.plot(at, runs["score"], ls="", marker=look.marker, ms=4, alpha=0.4, color=look.colour)
            means = runs.groupby(at)["score"].mean()
            axes.plot(means.index, means, color=look.colour, ls=look.dash, label=contender)
            chosen = runs[runs["chosen"]]
            axes.plot(
                chosen[setting].astype(float).iloc[:1], [chosen["score"].mean()], ls="", marker="o", ms=11,
                mfc="none", mec=look.colour,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(-0.05, 2.05)
        axes.axhline(1, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        ticks = sorted(set(here[setting].astype(float)))
        if len(ticks) <= 6:
            axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        named = setting.rpartition(".")[2].replace("_", " ")
        axes.set(title=counted(problem, here), xlabel=named, ylabel="score, lower is better")
    name_lines(figure, panels, styles)
    return figure


def many_in_sensitivity(trials: pd.DataFrame) -> bool:
    """Return whether there are too many contenders to draw `sensitivity` as lines."""
    return bool(trials.groupby("problem")["contender"].nunique().max() > MOST_TOGETHER)


def _sensitivities(trials: pd.DataFrame, setting: str) -> Figure:
    """Draw a table for each problem: a row a contender, a column a value of the setting, in each the mean score, the
    darker the lower; what was chosen is framed."""
    styles = contender_looks(trials)
    problems = order(trials["problem"])
    of_problem = {problem: dict(contenders(trials[trials["problem"] == problem], styles)) for problem in problems}
    heights = [0.6 + SCORE_ROW * len(names) for names in of_problem.values()]
    figure = new_figure(WIDTH, sum(heights) + 0.3)
    grid = figure.subplots(len(problems), 1, squeeze=False, height_ratios=heights)[:, 0]
    shade = ScalarMappable(Normalize(0, 2), "Blues_r")
    for (problem, runs_of), axes in zip(of_problem.items(), grid, strict=True):
        here = trials[trials["problem"] == problem]
        values = sorted(set(here[setting].astype(float)))
        for row, runs in enumerate(runs_of.values()):
            at = runs[setting].astype(float)
            for value, score in runs.groupby(at)["score"].mean().items():
                colour: Any = shade.to_rgba(np.array(score))
                place = values.index(float(str(value)))
                axes.add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", lw=1))
                if len(values) <= MOST_SCORES:
                    ink = "white" if _is_dark(colour) else TEXT
                    axes.text(place, row, f"{score:.2f}", ha="center", va="center", fontsize=7.5, color=ink)
            for value in sorted(set(at[runs["chosen"].astype(bool)]))[:1]:
                frame = Rectangle((values.index(value) - 0.46, row - 0.4), 0.92, 0.8, fill=False, ec=CHOSEN, lw=1.8)
                axes.add_patch(frame)
        name_ticks(axes.xaxis, [f"{value:g}" for value in values])
        name_ticks(axes.yaxis, list(runs_of), fontsize=7.5)
        axes.set(xlim=(-0.5, len(values) - 0.5), ylim=(len(runs_of) - 0.5, -0.5), title=counted(problem, here))
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    named = setting.rpartition(".")[2].replace("_", " ")
    figure.supxlabel(f"{named}; numbers: mean score, lower is better; framed: the choice", fontsize=9)
    return figure
