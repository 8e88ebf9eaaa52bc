"""Figures of differences between cells."""

import math

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.comparisons import inverted
from reports.figures.panels import (
    LONGEST_TICK,
    contenders,
    legend,
    log_plain,
    log_round,
    name_lines,
    name_ticks,
    new_figure,
    order,
    panels_of,
    thousands,
)
from reports.figures.style import PANEL, TEXT, Look, contender_looks, looks
from reports.statistics import performance_profile
from reports.text import amount

LARGEST = 4.0  # the ratio at which colours end


def pairwise(comparisons: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw a matrix per problem: how many times as much the cell of the row needs as that of the column, bold with a
    star where the difference is established. Darker is further from one; which way the number says."""
    problems = order(comparisons["problem"])
    names = results.groupby("problem", sort=False)
    figure, panels = panels_of(problems, height=PANEL[1] * 1.05)
    ranks = list(looks(results["cell"]))
    for problem, axes in panels.items():
        here = names.get_group(problem).sort_values("cell", key=lambda cells: cells.map(ranks.index), kind="stable")
        labels = list(dict.fromkeys(here["contender"]))
        places = {label: place for place, label in enumerate(labels)}
        shades = np.full((len(labels), len(labels)), np.nan)
        compared = [row for _, row in comparisons[comparisons["problem"] == problem].iterrows()]
        both = [*compared, *map(inverted, compared)]
        for (i, j), found in sorted(
            (((places[row["second"]], places[row["first"]]), row) for row in both), key=lambda item: item[0]
        ):
            shades[i, j] = np.clip(math.log(found["ratio"].estimate), -math.log(LARGEST), math.log(LARGEST))
            said = f"{found['bound']}{_short(found['ratio'].estimate)}{'*' if found['differs'] else ''}"
            dark = abs(shades[i, j]) > 0.75 * math.log(LARGEST)
            weight = "bold" if found["differs"] else "normal"
            axes.text(
                j, i, said, ha="center", va="center", fontsize=8, fontweight=weight, color="white" if dark else TEXT
            )
        limit = math.log(LARGEST)
        axes.imshow(shades, cmap="PuOr_r", norm=TwoSlopeNorm(0, -limit, limit), alpha=0.9)
        short = [label.replace(", ", "\n").replace("_", "\n") for label in labels]
        for axis in (axes.xaxis, axes.yaxis):
            name_ticks(axis, short, LONGEST_TICK // 2, fontsize=7)
        axes.grid(visible=False)
        quantity = here_quantity(comparisons, problem)
        axes.set_title(f"{problem}: {quantity}, row / column", fontsize=9)
    return figure


def against(comparisons: pd.DataFrame, looks_of: dict[str, Look]) -> Figure:
    """Draw each contender's ratio to its reference, a panel per problem: points with 95 % intervals on a logarithmic
    axis, filled where the difference is established, an arrow head where the ratio is a bound."""
    problems = order(comparisons["problem"])
    names = [name for name in looks_of if name in set(comparisons["second"])]
    figure, panels = panels_of(problems, height=0.9 + 0.3 * len(names))
    for problem, axes in panels.items():
        here = comparisons[comparisons["problem"] == problem].set_index("second")
        for place, name in enumerate(names):
            if name not in here.index:
                continue
            found, look = here.loc[name], looks_of[name]
            ratio, bound = found["ratio"], found["bound"]
            filled = look.colour if found["differs"] else "white"
            if not bound and math.isfinite(ratio.high) and ratio.low > 0:
                axes.plot([ratio.low, ratio.high], [place, place], color=look.colour, lw=1.8)
            marker = {"≥": ">", "≤": "<"}.get(bound, "o")
            axes.plot(ratio.estimate, place, ls="", marker=marker, ms=8, color=look.colour, mfc=filled)
        axes.axvline(1, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        name_ticks(axes.yaxis, [name.replace("_", " ") for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.8), max(high, 1.25))
        log_round(axes, lambda value: f"{value:g}×")
        axes.set_title(f"{problem}: {here_quantity(comparisons, problem)}", fontsize=9)
    for axes in list(panels.values())[1::2]:
        axes.set_yticklabels([])
    return figure


def here_quantity(comparisons: pd.DataFrame, problem: str) -> str:
    """Return what most comparisons on a problem are of."""
    found = comparisons.loc[comparisons["problem"] == problem, "quantity"].mode().iloc[0]
    return "final loss" if found == "loss" else f"{found} to solve"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def cost_quality(summary: pd.DataFrame, milliseconds: dict[tuple[str, str], float]) -> Figure:
    """Draw what a step costs against how much solving takes, both logarithmic: a row of panels per problem, one each
    for parameters, FLOPs and milliseconds; the cells that no other beats in both joined (Pareto front). What was not
    solved in the median lies on the upper edge, hollow."""
    problems = order(summary["problem"])
    costs = ["parameters", "FLOPs of a step", "ms of a step"]
    figure = new_figure(PANEL[0] * 2, PANEL[1] * 0.9 * len(problems))
    grid = figure.subplots(len(problems), 3, squeeze=False, sharey="row")
    styles = contender_looks(summary)
    panels = {}
    for problem, row in zip(problems, grid, strict=True):
        here = summary[(summary["problem"] == problem) & (summary["runs"] > 0)]
        edge = 1.4 * float(here["budget"].max())
        lowest = min([edge / 2, *(interval.estimate for interval in here["needed"])])
        for name, axes in zip(costs, row, strict=True):
            points = []
            for _, each in here.iterrows():
                cost = {
                    "parameters": each["parameters"],
                    "FLOPs of a step": each["flops_step"],
                    "ms of a step": milliseconds.get((problem, each["contender"])),
                }[name]
                if cost is None or pd.isna(cost):
                    continue
                look, needed = styles[each["contender"]], each["needed"].estimate
                solved = math.isfinite(needed)
                axes.plot(
                    float(cost), needed if solved else edge, ls="", marker=look.marker, ms=8, color=look.colour,
                    mfc=look.colour if solved else "none", label=each["contender"],
                )  # fmt: skip
                if solved:
                    points.append((float(cost), needed))
            front = [p for p in sorted(points) if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)]
            if len(front) > 1:
                axes.step(*zip(*front, strict=True), where="post", color=TEXT, lw=0.8, ls=(0, (4, 2)), zorder=0)
            log_plain(axes)
            axes.set_ylim(lowest / 1.4, 1.3 * edge)
            axes.axhline(edge, color=TEXT, lw=0.8, ls=(0, (1, 2)))
            log_round(axes, lambda value: amount(value) if value >= 1e6 else thousands(value))
            axes.tick_params(axis="x", labelsize=8)
            axes.set_xlabel(name)
            panels[f"{problem}{name}"] = axes
        row[0].set_ylabel(f"{here['currency'].iloc[0]} to solve")
        row[0].set_title(problem, loc="left", fontsize=10)
        row[0].annotate(
            "not solved", (0.02, edge), xycoords=("axes fraction", "data"), xytext=(0, -11),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
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
    styles = contender_looks(pd.DataFrame(scores.keys(), columns=["cell", "contender"]))
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
