"""Frames → figures. Each function draws one; none of them reads or writes a file."""

import math
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.store import DECIDED
from reports.load import natural
from reports.statistics import Interval, solve_curve
from reports.style import PANEL, TEXT, Look, looks

COLUMNS = 2  # of panels side by side: more are unreadable on a telephone
SEVERAL = 3  # points, at least, for a line over them


def learning_curves(curves: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw held-out loss against training steps, a panel per problem: the median over seeds, the range
    of all seeds as a band, the analytic baseline as a line. A run that has ended keeps its last loss."""
    losses = curves[curves["metric"] == "loss"]
    figure, panels = _panels(_order(results["problem"]))
    styles = looks(results["cell"])
    for problem, axes in panels.items():
        for cell, contender, runs in _contenders(losses[losses["problem"] == problem], styles):
            table = runs.pivot_table(index="step", columns=["sweep", "seed"], values="value").sort_index()
            table = table.ffill().astype(float)
            look = styles[cell]
            axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=look.colour, alpha=0.15, lw=0)
            axes.plot(table.index, table.median(axis=1), color=look.colour, ls=look.dash, lw=1.8, label=contender)
        baseline = results.loc[results["problem"] == problem, "baseline_loss"].dropna()
        if len(baseline):
            axes.axhline(float(baseline.iloc[0]), color=TEXT, lw=1, ls=(0, (1, 2)))
            axes.annotate(
                "baseline: no memory",
                (1, float(baseline.iloc[0])),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )
        axes.set_yscale("log")
        axes.set(title=problem, xlabel="training steps", ylabel="held-out loss")
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    _legend(figure, panels, styles)
    return figure


def solve_curves(results: pd.DataFrame) -> Figure:
    """Draw the share of runs solved by each step, a panel per problem: one minus the Kaplan–Meier
    estimate, with its pointwise 95 % interval as a band."""
    decided = results[results["status"].isin(DECIDED)]
    figure, panels = _panels(_order(decided["problem"]))
    styles = looks(results["cell"])
    for problem, axes in panels.items():
        here = decided[decided["problem"] == problem]
        budget = float(here["training.max_steps"].max()) if "training.max_steps" in here else float(here["steps"].max())
        everything = list(_contenders(here, styles))
        for number, (cell, contender, runs) in enumerate(everything):
            solved = runs["solved"].to_numpy(dtype=bool)
            # A run that diverged is never solved, however early it ended.
            ended = np.where(runs["status"] == "diverged", budget, runs["steps"].to_numpy(dtype=float))
            times = np.where(solved, runs["steps_to_solve"].astype("Float64").fillna(0).to_numpy(dtype=float), ended)
            curve = solve_curve(times, solved)
            look = styles[cell]
            at = np.append(curve.times, budget)
            # Curves that coincide, at 0 above all, are set apart by a hair.
            lift = 0.012 * (number - (len(everything) - 1) / 2)
            share, low, high = (np.append(values, values[-1]) for values in (curve.share, curve.low, curve.high))
            axes.fill_between(at, low, high, step="post", color=look.colour, alpha=0.08, lw=0)
            axes.step(at, share + lift, where="post", color=look.colour, ls=look.dash, lw=1.8, label=contender)
            axes.plot(
                times[solved],
                np.interp(times[solved], at, share) + lift,
                ls="",
                marker=look.marker,
                ms=5,
                color=look.colour,
            )
        axes.set(title=problem, xlabel="training steps", ylabel="share of runs solved", ylim=(-0.06, 1.06))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    _legend(figure, panels, styles)
    return figure


def timing_bars(timings: pd.DataFrame) -> Figure:
    """Draw the time of a training step, a panel per timed group and a bar per cell: median and interval
    over rounds, and beside it the ratio to the LSTM and the share of the GEMM rate."""
    groups = _timed_groups(timings)
    figure, panels = _panels(list(groups), height=2.6)
    styles = looks(timings["cell"])
    order = list(styles)
    for label, axes in panels.items():
        rows = groups[label].sort_values("cell", key=lambda cells: cells.map(order.index), kind="stable")
        names = _bar_names(rows)
        highest = max(interval.high for interval in rows["training_step"])
        for name, (_, row) in zip(names, rows.iterrows(), strict=True):
            time = row["training_step"]
            axes.barh(name, time.estimate, color=styles[row["cell"]].colour, alpha=0.85, height=0.65)
            reach = [[time.estimate - time.low], [time.high - time.estimate]]
            axes.errorbar(time.estimate, name, xerr=reach, color=TEXT, capsize=3, lw=1)
            note = [] if row["ratio"] is None else [f"{row['ratio'].estimate:.2f}×"]
            note += [] if row["share"] is None else [f"{row['share'].estimate:.0%} of GEMM"]
            axes.annotate(
                " · ".join(note), (time.high, name), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
            )
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(title=label, xlabel="training step, ms", xlim=(0, 1.8 * highest))
    return figure


def scaling(timings: pd.DataFrame) -> Figure | None:
    """Draw time and memory of a training step against sequence length, all logarithmic, two panels per batch and
    hidden size; None unless some cell was timed at several lengths."""
    groups = {
        f"{task}: B={batch} H={hidden}": rows
        for (task, batch, hidden), rows in timings.groupby(["task", "batch_size", "hidden_size"], sort=True)
        if rows["time_steps"].nunique() >= SEVERAL
    }
    if not groups:
        return None
    figure, grid = plt.subplots(
        2, len(groups), figsize=(max(1.5, len(groups)) * PANEL[0], 2 * PANEL[1]), squeeze=False, layout="constrained"
    )
    styles = looks(timings["cell"])
    panels = {}
    for (label, rows), (upper, lower) in zip(groups.items(), grid.T, strict=True):
        _lines(upper, rows, "time_steps", "training_step", styles)
        _lines(lower, rows, "time_steps", "peak_memory", styles)
        for axes, what in ((upper, "training step, ms"), (lower, "memory, MiB")):
            _log_ticks(axes, "x", rows["time_steps"])
            _log_plain(axes)
            axes.set(xlabel="sequence length T, steps", ylabel=what)
        upper.set_title(label)
        panels[label] = upper
    _legend(figure, panels, styles)
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
        if rows["hidden_size"].nunique() >= SEVERAL
    }
    if own.empty or not groups:
        return None
    figure, panels = _panels(list(groups), height=1.4 * PANEL[1])
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
        _log_ticks(axes, "x", rows["hidden_size"])
        axes.set(title=label, xlabel="hidden size H", ylabel="share of the GEMM rate", ylim=(0, None))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    _legend(figure, panels, styles)
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


def reach(results: pd.DataFrame, column: str) -> Figure:
    """Draw steps to solve against a task's length or delay (`column`), both logarithmic, a panel for each
    problem but for that setting: every run a point, medians joined; runs that were not solved lie on
    the upper edge, hollow."""
    decided = results[results["status"].isin(DECIDED) & results[column].notna()]
    name = column.removeprefix("task.")
    panel = decided["problem"].str.replace(rf", {name} [^,]+", "", regex=True)
    figure, panels = _panels(_order(panel))
    styles = looks(results["cell"])
    for title, axes in panels.items():
        here = decided[panel == title]
        edge = 1.5 * float(here["training.max_steps"].max())
        for number, (cell, look) in enumerate(styles.items()):
            runs = here[here["cell"] == cell]
            if runs.empty:
                continue
            spread = 1.04 ** (number - (len(styles) - 1) / 2)  # so that equal points do not hide each other
            at = runs[column].to_numpy(dtype=float)
            steps = runs["steps_to_solve"].astype("Float64").fillna(math.inf).to_numpy(dtype=float)
            solved = np.isfinite(steps)
            dots: dict[str, Any] = {"ls": "", "marker": look.marker, "ms": 5, "color": look.colour}
            axes.plot(at[solved] * spread, steps[solved], alpha=0.5, **dots)
            axes.plot(at[~solved] * spread, np.full((~solved).sum(), edge), mfc="none", **dots)
            medians = pd.Series(steps).groupby(at).median()
            medians = medians[np.isfinite(medians)]
            axes.plot(medians.index * spread, medians, color=look.colour, ls=look.dash, label=cell)
        _log_ticks(axes, "x", here[column])
        _log_plain(axes)
        axes.set(title=title, xlabel=f"{name}, steps", ylabel="training steps to solve")
        axes.set_ylim(top=1.3 * edge)
        axes.axhline(edge, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        axes.annotate(
            "not solved",
            (0.01, edge),
            xycoords=("axes fraction", "data"),
            xytext=(0, -11),
            textcoords="offset points",
            fontsize=8,
        )
    _legend(figure, panels, styles)
    return figure


def _panels(titles: list[str], height: float = PANEL[1]) -> tuple[Figure, dict[str, Axes]]:
    columns = min(COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(PANEL[0] * columns, height * rows), squeeze=False, layout="constrained"
    )
    flat = list(grid.flat)
    for axes in flat[len(titles) :]:
        axes.set_visible(False)
    return figure, dict(zip(titles, flat, strict=False))


def _legend(figure: Figure, panels: dict[str, Axes], styles: dict[str, Look]) -> None:
    """Put one legend above all panels, entries in the order of the cells."""
    entries: dict[str, Any] = {}
    for axes in panels.values():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    cell_of = {label: label.split(",")[0].split(" ")[0] for label in entries}  # names of cells have neither
    labels = sorted(entries, key=lambda label: list(styles).index(cell_of[label]))
    shown = [styles[cell_of[label]] for label in labels]
    handles = [Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=5) for look in shown]
    figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), handlelength=3)


def _contenders(frame: pd.DataFrame, styles: dict[str, Look]) -> Iterable[tuple[str, str, pd.DataFrame]]:
    order = list(styles)
    groups = [(str(cell), str(contender), runs) for (cell, contender), runs in frame.groupby(["cell", "contender"])]
    return sorted(groups, key=lambda group: (order.index(group[0]), group[1]))


def _timed_groups(timings: pd.DataFrame) -> dict[str, pd.DataFrame]:
    several = timings["sweep"].nunique() > 1
    keys = ["sweep", "task", "time_steps", "batch_size", "hidden_size", "device", "threads"]
    shown = [key for key in ("device", "threads") if timings[key].nunique() > 1]
    groups = {}
    for values, rows in timings.groupby(keys, dropna=False):
        named = dict(zip(keys, values, strict=True))
        label = f"{named['task']}: T={named['time_steps']} B={named['batch_size']} H={named['hidden_size']}"
        label = ", ".join([label, *(f"{key} {named[key]}" for key in shown)])
        groups[f"{named['sweep']}, {label}" if several else label] = rows
    return groups


def _bar_names(rows: pd.DataFrame) -> list[str]:
    """Name bars by cell and backend; a number sets equal ones apart."""
    names = [f"{row['label']}\n({row['backend']})" for _, row in rows.iterrows()]
    return [name if names.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(names)]


def _order(values: pd.Series) -> list[str]:
    return sorted({str(value) for value in values}, key=natural)


def _log_plain(axes: Axes) -> None:
    """Scale the vertical axis logarithmically with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _log_ticks(axes: Axes, which: str, values: pd.Series) -> None:
    """Scale an axis logarithmically with ticks at the values that occur."""
    ticks = sorted(set(values.astype(float)))
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks(ticks)
    axis.set_major_formatter(FuncFormatter(_thousands))
    axis.set_minor_formatter(NullFormatter())


def _thousands(value: float, _: object = None) -> str:
    return f"{value:,.12g}"
