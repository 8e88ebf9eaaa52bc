"""Figures of times and costs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.figures.panels import SEVERAL, log_plain, log_ticks, name_lines, name_ticks, new_figure, panels_of
from reports.figures.style import PANEL, TEXT, Look, looks
from reports.statistics import Interval

LONGEST_BAR = 28  # letters of a line of the name of a bar, which has numbers on its other side


def timing_bars(timings: pd.DataFrame) -> Figure:
    """Draw the time of a training step, a panel per timed group and a bar per cell: median and interval
    over rounds, and beside it the ratio to the LSTM and the share of the GEMM rate."""
    groups = _timed_groups(timings)
    figure, panels = panels_of(list(groups), height=2.6)
    styles = looks(timings["cell"])
    order = list(styles)
    for label, axes in panels.items():
        rows = groups[label].sort_values("cell", key=lambda cells: cells.map(order.index), kind="stable")
        names = _bar_names(rows)
        highest = max(interval.high for interval in rows["training_step"])
        for place, (_, row) in enumerate(rows.iterrows()):
            time = row["training_step"]
            axes.barh(place, time.estimate, color=styles[row["cell"]].colour, alpha=0.85, height=0.65)
            reach = [[time.estimate - time.low], [time.high - time.estimate]]
            axes.errorbar(time.estimate, place, xerr=reach, color=TEXT, capsize=3, lw=1)
            note = [] if row["ratio"] is None else [f"{row['ratio'].estimate:.2f}×"]
            note += [] if row["share"] is None else [f"{row['share'].estimate:.0%} of GEMM"]
            axes.annotate(
                " · ".join(note), (time.high, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
            )
        name_ticks(axes.yaxis, names, LONGEST_BAR)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(title=label, xlabel="training step, ms", xlim=(0, 1.8 * highest))
    return figure


def scaling(timings: pd.DataFrame) -> Figure | None:
    """Draw time and memory of a training step against sequence length, all logarithmic, two panels per batch and
    hidden size; None unless some cell was timed at several lengths."""
    groups = {
        f"{task}: B={batch} H={hidden}": rows
        for (task, batch, hidden), rows in timings.groupby(["task", "batch_size", "point_size"], sort=True)
        if rows["time_steps"].nunique() >= SEVERAL
    }
    if not groups:
        return None
    figure = new_figure(max(1.5, len(groups)) * PANEL[0], 2 * PANEL[1])
    grid = figure.subplots(2, len(groups), squeeze=False)
    styles = looks(timings["cell"])
    panels: dict[str, Axes] = {}
    for (label, rows), (upper, lower) in zip(groups.items(), grid.T, strict=True):
        _lines(upper, rows, "time_steps", "training_step", styles)
        _lines(lower, rows, "time_steps", "peak_memory", styles)
        for axes, what in ((upper, "training step, ms"), (lower, "memory, MiB")):
            log_ticks(axes, "x", rows["time_steps"])
            log_plain(axes)
            axes.set(xlabel="sequence length T, steps", ylabel=what)
        upper.set_title(label)
        panels |= {f"{label}, time": upper, f"{label}, memory": lower}
    name_lines(figure, panels, styles)
    return figure


def share_of_peak(timings: pd.DataFrame) -> Figure | None:
    """Draw the share of the GEMM rate against hidden size, a panel per length and batch: the form in use of each cell,
    and thin the fastest one in torch; None unless some cell was timed at several sizes."""
    own = timings[timings["form"] == "own"]
    groups = {
        f"{task}: T={steps} B={batch}": rows
        for (task, steps, batch), rows in timings[timings["share"].notna()].groupby(
            ["task", "time_steps", "batch_size"], sort=True
        )
        if rows["point_size"].nunique() >= SEVERAL
    }
    if own.empty or not groups:
        return None
    figure, panels = panels_of(list(groups), height=1.4 * PANEL[1])
    styles = looks(timings["cell"])
    for label, axes in panels.items():
        rows = groups[label]
        _lines(axes, rows[rows["form"] == "own"], "hidden_size", "share", styles)
        in_torch = rows[(rows["form"] == "other") & rows["backend"].isin(["torch", "loop"])]
        for cell, forms in in_torch.groupby("cell"):
            best = (
                forms.assign(share=[share.estimate for share in forms["share"]]).groupby("hidden_size")["share"].max()
            )
            axes.plot(best.index, best, color=styles[str(cell)].colour, ls=styles[str(cell)].dash, lw=0.9)
        axes.axhline(1, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        log_ticks(axes, "x", rows["hidden_size"])
        axes.set(title=label, xlabel="hidden size H", ylabel="share of the GEMM rate", ylim=(0, None))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    name_lines(figure, panels, styles)
    return figure


def _lines(axes: Axes, rows: pd.DataFrame, x: str, y: str, styles: dict[str, Look]) -> None:
    """Draw a line per cell, with its intervals if `y` has them."""
    for cell, look in styles.items():
        mine = rows[rows["cell"] == cell].sort_values(x)
        for label, part in mine.groupby("label", sort=False):
            values = list(part[y])
            bounds = [(v.estimate, v.low, v.high) if isinstance(v, Interval) else (v, v, v) for v in values]
            middle, low, high = (np.array(column, dtype=float) for column in zip(*bounds, strict=True))
            axes.errorbar(
                part[x],
                middle,
                yerr=[middle - low, high - middle],
                color=look.colour,
                ls=look.dash,
                marker=look.marker,
                ms=5,
                capsize=2,
                label=str(label),
            )


def _timed_groups(timings: pd.DataFrame) -> dict[str, pd.DataFrame]:
    several = timings["sweep"].nunique() > 1
    keys = ["sweep", "task", "time_steps", "batch_size", "point_size", "device", "threads"]
    shown = [key for key in ("device", "threads") if timings[key].nunique() > 1]
    groups = {}
    for values, rows in timings.groupby(keys, dropna=False):
        named = dict(zip(keys, values, strict=True))
        label = f"{named['task']}: T={named['time_steps']} B={named['batch_size']} H={named['point_size']}"
        label = ", ".join([label, *(f"{key} {named[key]}" for key in shown)])
        groups[f"{named['sweep']}, {label}" if several else label] = rows
    return groups


def _bar_names(rows: pd.DataFrame) -> list[str]:
    """Name bars by cell and backend; a number sets equal ones apart."""
    names = [f"{row['label']}\n({row['backend']})" for _, row in rows.iterrows()]
    return [name if names.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(names)]
