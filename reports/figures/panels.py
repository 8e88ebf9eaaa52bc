"""Axes side by side, their legend and their ticks: what all figures are made of."""

import math
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.load import natural
from reports.style import PANEL, Look

COLUMNS = 2  # of panels side by side: more are unreadable on a telephone
SEVERAL = 3  # points, at least, for a line over them


def panels_of(titles: list[str], height: float = PANEL[1]) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with axes for each title, two side by side; height in inches."""
    columns = min(COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(PANEL[0] * columns, height * rows), squeeze=False, layout="constrained"
    )
    flat = list(grid.flat)
    for axes in flat[len(titles) :]:
        axes.set_visible(False)
    return figure, dict(zip(titles, flat, strict=False))


def legend(figure: Figure, panels: dict[str, Axes], styles: dict[str, Look]) -> None:
    """Put one legend above all panels, entries in the order of the cells."""
    entries: dict[str, Any] = {}
    for axes in panels.values():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    # Styles are those of contenders, or of cells, whose names have neither commas nor spaces.
    key_of = {label: label if label in styles else label.split(",")[0].split(" ")[0] for label in entries}
    labels = sorted(entries, key=lambda label: list(styles).index(key_of[label]))
    shown = [styles[key_of[label]] for label in labels]
    handles = [Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=5) for look in shown]
    figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), handlelength=3)


def contenders(frame: pd.DataFrame, styles: dict[str, Look]) -> Iterable[tuple[str, pd.DataFrame]]:
    """Return each contender and its rows, in the order of the styles."""
    groups = {str(contender): runs for contender, runs in frame.groupby("contender")}
    return [(name, groups[name]) for name in styles if name in groups]


def order(values: pd.Series) -> list[str]:
    """Return the distinct values, numbers in them counting as numbers."""
    return sorted({str(value) for value in values}, key=natural)


def log_plain(axes: Axes) -> None:
    """Scale the vertical axis logarithmically with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_minor_formatter(NullFormatter())


def log_ticks(axes: Axes, which: str, values: pd.Series) -> None:
    """Scale an axis logarithmically with ticks at the values that occur."""
    ticks = sorted(set(values.astype(float)))
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks(ticks)
    axis.set_major_formatter(FuncFormatter(thousands))
    axis.set_minor_formatter(NullFormatter())


def thousands(value: float, _: object = None) -> str:
    """Return a tick with separators."""
    return f"{value:,.12g}"
