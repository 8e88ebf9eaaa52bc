"""Figures of what was learned: one function each; none of them reads or writes a file."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.record.records import DECIDED
from reports.figures.panels import contenders, draw_band, log_powers, name_lines, order, panels_of, thousands
from reports.figures.style import BASELINE, contender_looks
from reports.statistics import solve_curve
from reports.text import amount

WITHOUT_MEMORY = "without memory"  # the name of the baseline
MOST_TICKS = 5  # intervals between numbers as wide as 10,000, in a panel


def learning_curves(curves: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw held-out loss against training steps, a panel per problem: the median over seeds, the range
    of all seeds as a band, the analytic baseline as a line. A run that has ended keeps its last loss."""
    losses = curves[curves["metric"] == "loss"]
    figure, panels = panels_of(order(results["problem"]))
    styles = contender_looks(results)
    for problem, axes in panels.items():
        for contender, runs in contenders(losses[losses["problem"] == problem], styles):
            table = runs.pivot_table(index="step", columns=["sweep", "seed"], values="value").sort_index()
            table = table.ffill().astype(float)
            draw_band(axes, table, styles[contender], contender, alpha=0.15)
        baseline = results.loc[results["problem"] == problem, "baseline_loss"].dropna()
        if len(baseline):
            axes.axhline(float(baseline.iloc[0]), color=BASELINE.colour, lw=1, ls=BASELINE.dash, label=WITHOUT_MEMORY)
        log_powers(axes)
        axes.set(title=problem, xlabel="training steps", ylabel="held-out loss")
        axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    name_lines(figure, panels, styles | {WITHOUT_MEMORY: BASELINE})
    return figure


def solve_curves(results: pd.DataFrame) -> Figure:
    """Draw the share of runs solved by each step, a panel per problem: one minus the Kaplan–Meier
    estimate, with its pointwise 95 % interval as a band."""
    decided = results[results["status"].isin(DECIDED)]
    figure, panels = panels_of(order(decided["problem"]))
    styles = contender_looks(results)
    for problem, axes in panels.items():
        here = decided[decided["problem"] == problem]
        budget = float(here["budget"].max())
        everything = list(contenders(here, styles))
        for number, (contender, runs) in enumerate(everything):
            solved = runs["solved"].to_numpy(dtype=bool)
            times = runs["needed"].fillna(runs["spent"]).to_numpy(dtype=float)
            curve = solve_curve(times, solved)
            look = styles[contender]
            at = np.append(curve.times, budget)
            # Curves that coincide, at 0 above all, are set apart by a hair.
            lift = 0.012 * (number - (len(everything) - 1) / 2)
            share, low, high = (np.append(values, values[-1]) for values in (curve.share, curve.low, curve.high))
            axes.fill_between(at, low, high, step="post", color=look.colour, alpha=0.08, lw=0)
            axes.step(at, share + lift, where="post", color=look.colour, ls=look.dash, lw=1.8, label=contender)
            marks = np.interp(times[solved], at, share) + lift
            axes.plot(times[solved], marks, ls="", marker=look.marker, ms=5, color=look.colour)
        spent = {"steps": "training steps", "seconds": "seconds of training", "FLOPs": "FLOPs of training"}
        axes.set(title=problem, xlabel=spent[here["currency"].iloc[0]], ylabel="share of runs solved")
        axes.set_ylim(-0.06, 1.06)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value, 0)))
    name_lines(figure, panels, styles)
    return figure
