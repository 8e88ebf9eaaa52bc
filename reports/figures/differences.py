"""Figures of differences between cells."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.comparisons import Comparison
from reports.figures.panels import (
    LONGEST_TICK,
    contenders,
    legend,
    log_plain,
    log_round,
    name_edge,
    name_lines,
    name_ticks,
    new_figure,
    order,
    panels_of,
    thousands,
)
from reports.figures.style import PANEL, TEXT, Look, contender_looks, looks_by_name
from reports.rows import grouped
from reports.statistics import performance_profile
from reports.summary import Summary
from reports.text import NONE, amount

LARGEST = 4.0  # the ratio at which colours end


def pairwise(comparisons: list[Comparison], summaries: list[Summary]) -> Figure:
    """Draw a matrix per problem: how many times as much the cell of the row needs as that of the column, bold and
    marked where the difference is established. Darker is further from one; which way the number says."""
    of_problem = grouped(comparisons, lambda row: row.problem)
    figure, panels = panels_of(order(of_problem), height=PANEL[1] * 1.05)
    limit = math.log(LARGEST)
    for problem, axes in panels.items():
        labels = [row.contender for row in summaries if row.problem == problem]
        shades = np.full((len(labels), len(labels)), np.nan)
        both = [*of_problem[problem], *(row.inverted for row in of_problem[problem])]
        for row in sorted(both, key=lambda row: (labels.index(row.second), labels.index(row.first))):
            i, j = labels.index(row.second), labels.index(row.first)
            told, bound = row.ratio.told, row.ratio.bound
            shades[i, j] = 0.0 if math.isnan(told) else np.clip(math.log(told), -limit, limit)
            axes.text(
                j, i, f"{_told(told, bound)}{mark(row)}", ha="center", va="center",
                fontsize=8, fontweight="bold" if row.differs else "normal",
                color="white" if abs(shades[i, j]) > 0.75 * limit else TEXT,
            )  # fmt: skip
        axes.imshow(shades, cmap="PuOr_r", norm=TwoSlopeNorm(0, -limit, limit), alpha=0.9)
        short = [label.replace(", ", "\n").replace("_", "\n") for label in labels]
        for axis in (axes.xaxis, axes.yaxis):
            name_ticks(axis, short, LONGEST_TICK // 2, fontsize=7)
        axes.grid(visible=False)
        axes.set_title(f"{problem}: {_quantity(of_problem[problem])}, row / column", fontsize=9)
    return figure


def against(comparisons: list[Comparison], looks_of: dict[str, Look]) -> Figure:
    """Draw each contender's ratio to its reference, a panel per problem: points with 95 % intervals on a logarithmic
    axis, filled where the difference is established, an arrow head where the ratio is a bound."""
    of_problem = grouped(comparisons, lambda row: row.problem)
    compared = {row.second for row in comparisons}
    names = [name for name in looks_of if name in compared]
    figure, panels = panels_of(order(of_problem), height=0.9 + 0.3 * len(names))
    for problem, axes in panels.items():
        for row in sorted(of_problem[problem], key=lambda row: names.index(row.second)):
            place, look = names.index(row.second), looks_of[row.second]
            if not row.ratio.bound:
                axes.plot([row.ratio.low, row.ratio.high], [place, place], color=look.colour, lw=1.8)
            marker = {"≥": ">", "≤": "<"}.get(row.ratio.bound, "o")
            filled = look.colour if row.differs else "white"
            axes.plot(row.ratio.told, place, ls="", marker=marker, ms=8, color=look.colour, mfc=filled)
        axes.axvline(1, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        name_ticks(axes.yaxis, [name.replace("_", " ") for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.8), max(high, 1.25))
        log_round(axes, lambda value: f"{value:g}×")
        axes.set_title(f"{problem}: {_quantity(of_problem[problem])}", fontsize=9)
    for axes in list(panels.values())[1::2]:
        axes.set_yticklabels([])
    return figure


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
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def cost_quality(summaries: list[Summary], milliseconds: dict[tuple[str, str], float]) -> Figure:
    """Draw what a step costs against how much solving takes, both logarithmic: a row of panels per problem, one each
    for parameters, FLOPs and milliseconds; the cells that no other beats in both joined (Pareto front). What was not
    solved in the median lies on the upper edge, hollow."""
    of_problem = grouped(summaries, lambda row: row.problem)
    costs: dict[str, Callable[[Summary], float | None]] = {
        "parameters": lambda row: row.parameters,
        "FLOPs of a step": lambda row: row.flops_step,
        "ms of a step": lambda row: milliseconds.get((row.problem, row.contender)),
    }
    figure = new_figure(PANEL[0] * 2, PANEL[1] * 0.9 * len(of_problem))
    grid = figure.subplots(len(of_problem), len(costs), squeeze=False, sharey="row")
    styles = looks_by_name({(row.cell, row.contender) for row in summaries})
    panels = {}
    for problem, axes_of in zip(order(of_problem), grid, strict=True):
        here = [row for row in of_problem[problem] if row.runs]
        edge = 1.4 * max(row.budget for row in here)
        lowest = min([edge / 2, *(row.median_needed for row in here)])
        for (name, cost_of), axes in zip(costs.items(), axes_of, strict=True):
            solved = []
            for row in here:
                cost, needed, look = cost_of(row), row.median_needed, styles[row.contender]
                if cost is None:
                    continue
                if math.isfinite(needed):
                    solved.append((float(cost), needed))
                axes.plot(
                    float(cost), needed if math.isfinite(needed) else edge, ls="", marker=look.marker, ms=8,
                    color=look.colour, mfc=look.colour if math.isfinite(needed) else "none", label=row.contender,
                )  # fmt: skip
            front = [p for p in sorted(solved) if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in solved)]
            if len(front) > 1:
                axes.step(*zip(*front, strict=True), where="post", color=TEXT, lw=0.8, ls=(0, (4, 2)), zorder=0)
            log_plain(axes)
            axes.set_ylim(lowest / 1.4, 1.3 * edge)
            axes.axhline(edge, color=TEXT, lw=0.8, ls=(0, (1, 2)))
            log_round(axes, lambda value: amount(value) if value >= 1e6 else thousands(value))
            axes.tick_params(axis="x", labelsize=8)
            axes.set_xlabel(name)
            panels[f"{problem}{name}"] = axes
        axes_of[0].set_ylabel(f"{here[0].currency} to solve")
        axes_of[0].set_title(problem, loc="left", fontsize=10)
        name_edge(axes_of[0], edge, 0.02)
    legend(figure, panels, styles)
    return figure


def profile(scores: dict[tuple[str, str], list[np.ndarray]]) -> Figure:
    """Draw performance profiles: the share of runs, over all problems, that solved theirs within a share of its budget.

    Args:
        scores: of each cell and contender, of each problem, the share of the budget that was left when a run was
            solved; below zero if it was not.
    """
    figure, panels = panels_of(["all problems together"], height=PANEL[1])
    axes = panels["all problems together"]
    styles = looks_by_name(scores)
    spent = np.linspace(0, 1, 101)
    for (_, contender), tasks in scores.items():
        share, low, high = performance_profile(tasks, 1 - spent)
        look = styles[contender]
        axes.fill_between(spent, low, high, color=look.colour, alpha=0.1, lw=0)
        axes.plot(spent, share, color=look.colour, ls=look.dash, label=contender)
    axes.set(xlabel="share of the budget", ylabel="share of runs solved", xlim=(0, 1), ylim=(-0.03, 1.03))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    name_lines(figure, panels, styles)
    return figure


def sensitivity(trials: pd.DataFrame, setting: str) -> Figure:
    """Draw the selection score over a setting, a panel per problem: means over selection seeds joined, runs as points,
    what was chosen with a ring."""
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
        axes.set(title=problem, xlabel=setting.rpartition(".")[2].replace("_", " "), ylabel="score, lower is better")
    name_lines(figure, panels, styles)
    return figure
