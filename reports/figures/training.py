"""Figures of what was learned: one function each; none of them reads or writes a file."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.record.records import DECIDED
from reports.figures.panels import (
    BEHIND,
    MOST_SMALL,
    MOST_TOGETHER,
    contenders,
    counted,
    draw_band,
    log_powers,
    name_lines,
    name_small,
    order,
    panels_of,
    small_multiples,
    thousands,
)
from reports.figures.style import BASELINE, Look, contender_looks
from reports.statistics import solve_curve
from reports.text import amount

WITHOUT_MEMORY = "without memory"  # the name of the baseline
MOST_TICKS = 5  # intervals between numbers as wide as 10,000, in a panel
DECADES = 4  # below the highest loss that are drawn: what a solved task's loss goes on to matters little
SPENT = {"steps": "training steps", "seconds": "seconds of training", "FLOPs": "FLOPs of training"}

Draw = Callable[[Axes, pd.DataFrame, Look, str, bool], None]  # a contender's rows, its look and label; in front or not


def learning_curves(curves: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw held-out loss against training steps: the median over seeds, the range of all seeds as a band, the analytic
    baseline as a line. A run that has ended keeps its last loss. With many contenders each has a panel."""
    losses = curves[curves["metric"] == "loss"]

    def draw(axes: Axes, runs: pd.DataFrame, look: Look, label: str, front: bool) -> None:
        table = runs.pivot_table(index="step", columns=["sweep", "seed"], values="value").sort_index()
        table = table.ffill().astype(float)
        if front:
            draw_band(axes, table, look, label, alpha=0.15)
        else:
            axes.plot(table.index, table.median(axis=1), color=BEHIND, lw=0.8, zorder=0)

    def finish(axes: Axes, problem: str) -> None:
        baseline = results.loc[results["problem"] == problem, "baseline_loss"].dropna()
        if len(baseline):
            axes.axhline(float(baseline.iloc[0]), color=BASELINE.colour, lw=1, ls=BASELINE.dash, label=WITHOUT_MEMORY)
        log_powers(axes)
        highest = float(losses.loc[losses["problem"] == problem, "value"].astype(float).max())
        axes.set_ylim(bottom=max(axes.get_ylim()[0], highest / 10**DECADES))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))

    return _of_all(losses, results, draw, finish, "training steps", "held-out loss", {WITHOUT_MEMORY: BASELINE})


def solve_curves(results: pd.DataFrame) -> Figure:
    """Draw the share of runs solved by each step: one minus the Kaplan–Meier estimate, with its pointwise 95 % interval
    as a band. Problems that no run solved are left out."""
    decided = results[results["status"].isin(DECIDED)]
    decided = decided[decided.groupby("problem")["solved"].transform("any").astype(bool)]

    def draw(axes: Axes, runs: pd.DataFrame, look: Look, label: str, front: bool) -> None:
        solved = runs["solved"].to_numpy(dtype=bool)
        times = runs["needed"].fillna(runs["spent"]).to_numpy(dtype=float)
        curve = solve_curve(times, solved)
        at = np.append(curve.times, float(decided.loc[decided["problem"] == runs["problem"].iloc[0], "budget"].max()))
        share, low, high = (np.append(values, values[-1]) for values in (curve.share, curve.low, curve.high))
        if not front:
            axes.step(at, share, where="post", color=BEHIND, lw=0.8, zorder=0)
            return
        axes.fill_between(at, low, high, step="post", color=look.colour, alpha=0.1, lw=0)
        axes.step(at, share, where="post", color=look.colour, ls=look.dash, lw=1.8, label=label)
        marks = np.interp(times[solved], at, share)
        axes.plot(times[solved], marks, ls="", marker=look.marker, ms=4, color=look.colour)

    def finish(axes: Axes, problem: str) -> None:
        axes.set_ylim(-0.05, 1.05)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.yaxis.set_ticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value, 0)))

    currency = SPENT[str(decided["currency"].iloc[0])]
    return _of_all(decided, results, draw, finish, currency, "share of runs solved", {})


def _of_all(
    frame: pd.DataFrame, results: pd.DataFrame, draw: Draw, finish: Callable[[Axes, str], None],
    xlabel: str, ylabel: str, others: dict[str, Look],
) -> Figure:  # fmt: skip
    """Draw the contenders on each problem in one panel, or where they are many in a small one each."""
    styles = contender_looks(results)
    of = {problem: dict(contenders(frame[frame["problem"] == problem], styles)) for problem in order(frame["problem"])}
    runs_of = {problem: results[results["problem"] == problem] for problem in of}
    if max(map(len, of.values())) <= MOST_TOGETHER:
        titles = {problem: counted(problem, runs_of[problem]) for problem in of}
        figure, panels = panels_of(list(titles.values()))
        for problem, title in titles.items():
            axes = panels[title]
            for contender, runs in of[problem].items():
                draw(axes, runs, styles[contender], contender, True)
            finish(axes, problem)
            axes.set(title=title, ylabel=ylabel)
            axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
        list(panels.values())[-1].set_xlabel(xlabel)
        name_lines(figure, panels, styles | others)
        return figure

    kept = list(of)[-max(1, MOST_SMALL // max(map(len, of.values()))) :]
    names_of = {f"{counted(problem, runs_of[problem])}: {ylabel} by {xlabel}": problem for problem in kept}

    def draw_small(axes: Axes, title: str, contender: str, front: bool) -> None:
        problem = names_of[title]
        draw(axes, of[problem][contender], styles[contender], contender, front)
        if front:
            finish(axes, problem)
            axes.xaxis.set_major_locator(MaxNLocator(2))
            solved = runs_of[problem][runs_of[problem]["contender"] == contender]["solved"]
            name_small(axes, f"{contender}\n{int(solved.sum())}/{len(solved)} solved", styles[contender])

    return small_multiples({title: list(of[problem]) for title, problem in names_of.items()}, draw_small)
