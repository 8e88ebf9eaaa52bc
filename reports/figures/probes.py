"""Figures of what probes read inside models."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from reports.figures.panels import contenders, draw_band, in_lines, log_powers, name_lines, order, panels_of
from reports.figures.style import GATES, PANEL, TEXT, WIDTH, contender_looks

LEAST_NORM = 1e-20  # that is drawn
WHEN = {"start": "before training", "end": "after training"}


def lines(
    readings: pd.DataFrame, results: pd.DataFrame, xlabel: str, ylabel: str, *, log: bool, cells: Iterable[str] = ()
) -> Figure:
    """Draw value over x, a row of two panels a problem, before and after training: medians over seeds and their range.

    Args:
        readings: of one kind and part.
        results: whose contenders they are of.
        cells: see `looks_by_name`.
    """
    problems = order(readings["problem"])
    moments = [moment for moment in WHEN if (readings["moment"] == moment).any()]
    titles = [f"{problem}: {WHEN[moment]}" for problem in problems for moment in moments]
    figure, panels = panels_of(titles, columns=len(moments))
    styles = contender_looks(results, cells)
    for problem in problems:
        row = [panels[f"{problem}: {WHEN[moment]}"] for moment in moments]
        for moment, axes in zip(moments, row, strict=True):
            here = readings[(readings["problem"] == problem) & (readings["moment"] == moment)]
            for contender, own in contenders(here, styles):
                table = own.pivot_table(index="x", columns=["sweep", "seed"], values="value").astype(float)
                if log:
                    table = table.clip(lower=LEAST_NORM)
                draw_band(axes, table, styles[contender], contender)
            title = in_lines(f"{problem}: {WHEN[moment]}", len(moments))
            axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
            if log:
                log_powers(axes)
            else:
                axes.set_ylim(-0.05, 1.05)
        if log:
            low = min(axes.get_ylim()[0] for axes in row)
            high = max(axes.get_ylim()[1] for axes in row)
            for axes in row:
                axes.set_ylim(low, high)
    name_lines(figure, panels, styles)
    return figure


def gate_histograms(readings: pd.DataFrame) -> Figure:
    """Draw how often each gate has which value, a panel per contender and problem: dotted before, solid after
    training."""
    names = _panel_names(readings)
    figure, panels = panels_of(_in_order(names, readings), height=0.95 * PANEL, columns=2)
    for title, axes in panels.items():
        here = readings[names == title]
        peaks = []
        for gate, of_gate in here.groupby("part", sort=True):
            colour = GATES.get(str(gate), TEXT)
            for moment, style in (("start", ":"), ("end", "-")):
                shares = of_gate[of_gate["moment"] == moment].groupby("x")["value"].mean()
                if len(shares):
                    axes.plot(shares.index, shares, color=colour, ls=style, lw=1.8)
                    if moment == "end":
                        peaks.append((float(shares.idxmax()), float(shares.max()), str(gate), colour))
        _label_peaks(axes, peaks)
        axes.set(title=title, xlabel="value of the gate", ylabel="share of all values", xlim=(0, 1))
        axes.title.set_fontsize(8.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    return figure


def _label_peaks(axes: Axes, peaks: list[tuple[float, float, str, str]]) -> None:
    """Name each curve at its highest point, those at much the same place side by side."""
    top = axes.get_ylim()[1]
    for i, (x, y, label, colour) in enumerate(peaks):
        near = sum(abs(x - x2) < 0.12 and abs(y - y2) < 0.2 * top for x2, y2, _, _ in peaks[:i])
        side = 1 if x < 0.5 else -1
        axes.annotate(
            label, (x, y), color=colour, fontsize=10, fontweight="bold", ha="left" if side > 0 else "right",
            va="bottom", xytext=(side * (4 + 11 * near), 1), textcoords="offset points",
        )  # fmt: skip


def maps(readings: pd.DataFrame, xlabel: str, ylabel: str, *, label: str) -> Figure:
    """Draw grids of numbers between 0 and 1 as images, a panel each contender, problem and part: of the lowest seed,
    after training."""
    seeds = readings.groupby(["problem", "contender"])["seed"].transform("min")
    readings = readings[(readings["seed"] == seeds) & (readings["moment"] == "end")]
    single = readings["part"].nunique() == 1
    names = _panel_names(readings) if single else readings["part"] + " of " + _panel_names(readings)
    figure, panels = panels_of(_in_order(names, readings), height=0.95 * PANEL, columns=2)
    image: Any = None
    for title, axes in panels.items():
        here = readings[names == title]
        table = here.pivot_table(index="y", columns="x", values="value").sort_index().astype(float)
        columns, rows = table.columns.to_numpy(dtype=float), table.index.to_numpy(dtype=float)
        image = axes.pcolormesh(
            columns, rows, table.to_numpy(), cmap="viridis", vmin=0, vmax=1, shading="nearest", rasterized=True
        )
        axes.set_facecolor("#f2f2f2")
        axes.grid(visible=False)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.title.set_fontsize(8.5)
    figure.colorbar(image, ax=list(panels.values()), label=label, shrink=0.8)
    return figure


def eigenvalues(readings: pd.DataFrame) -> Figure:
    """Draw eigenvalues in the complex plane with the unit circle, a panel per contender and problem: grey crosses
    before, dots after training, all seeds."""
    names = _panel_names(readings)
    figure, panels = panels_of(_in_order(names, readings), height=0.48 * WIDTH, columns=2)
    styles = contender_looks(readings)
    angle = np.linspace(0, 2 * math.pi, 200)
    for title, axes in panels.items():
        here = readings[names == title]
        colour = styles[here["contender"].iloc[0]].colour
        axes.plot(np.cos(angle), np.sin(angle), color=TEXT, lw=0.8)
        for moment, shade, marker in (("start", "#999999", "x"), ("end", colour, ".")):
            then = here[here["moment"] == moment]
            axes.plot(then["x"], then["y"], ls="", marker=marker, ms=4, color=shade, alpha=0.5, rasterized=True)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(title=title, xlabel="real part", ylabel="imaginary part")
        axes.title.set_fontsize(8.5)
    marks = [
        Line2D([], [], ls="", marker="x", color="#999999", label=WHEN["start"]),
        Line2D([], [], ls="", marker="o", ms=4, color=TEXT, label=WHEN["end"]),
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=2)
    return figure


def step_sizes(readings: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw update-to-weight ratios of all parameters together over training, a panel per problem: medians of seeds."""
    figure, panels = panels_of(order(readings["problem"]))
    styles = contender_looks(results)
    for problem, axes in panels.items():
        for contender, own in contenders(readings[readings["problem"] == problem], styles):
            medians = own.groupby("step")["value"].median()
            look = styles[contender]
            axes.plot(
                medians.index, medians, color=look.colour, ls=look.dash, marker=look.marker, ms=4, label=contender
            )
        log_powers(axes)
        axes.set(title=problem, xlabel="training steps", ylabel="‖Δw‖ / ‖w‖ of the next step")
    name_lines(figure, panels, styles)
    return figure


def _in_order(names: "pd.Series[str]", readings: pd.DataFrame) -> list[str]:
    """Return the panels' names, contenders as in legends, then problems."""
    ranks, problems = list(contender_looks(readings)), order(readings["problem"])
    panels = set(zip(readings["contender"], readings["problem"], names, strict=True))
    return [name for *_, name in sorted(panels, key=lambda p: (ranks.index(p[0]), problems.index(p[1]), p[2]))]


def _panel_names(readings: pd.DataFrame) -> "pd.Series[str]":
    if readings["problem"].nunique() == 1:
        return readings["contender"].astype(str)
    return readings["contender"].astype(str) + "\non " + readings["problem"].astype(str)
