"""Axes side by side, their names and their ticks: what all figures are made of."""

import math
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import (
    FixedLocator,
    Formatter,
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from reports.figures.style import PANEL, TEXT, WIDTH, Look, drawable
from reports.naming import natural
from reports.text import amount

MOST_TOGETHER = 6  # contenders in a panel; of more, each has a small one with the others behind it in grey
SMALL_COLUMNS, SMALL_HEIGHT = 3, 1.25  # of small panels; inches
LONGEST_SMALL = 32  # letters of a line above one
MOST_SMALL = 36  # panels
MOST_CURVES = 12  # contenders that have a panel each; of more, each has a strip
MOST_STRIPS = 100
STRIP_HEIGHT = 0.17  # inches
STRIP_POINTS = 400  # along a strip
BEHIND = "#c9c9c9"
LEAST_APART = 0.3  # of a narrow axis, between two numbers
NARROW = 3.0  # inches: beside a narrower panel there is no room for names
SEVERAL = 3  # points, at least, for a line over them
MOST_NAMES = 12  # of lines beside a panel
LONGEST_NAME = 24  # of a line beside a panel, in letters
NAME_HEIGHT = 11  # points
LONGEST_TITLE = 75  # letters of a line above a panel
LONGEST_TICK = 40  # letters of a name beside an axis, which takes its room from the panel
POINT = 5  # points, the size of a mark
# Of a name beside a point: offset in points, and which side of it is there.
PLACES: dict[tuple[float, float], dict[str, Any]] = {
    (4, 0): {"ha": "left", "va": "center"},
    (-4, 0): {"ha": "right", "va": "center"},
    (0, 4): {"ha": "center", "va": "bottom"},
    (0, -4): {"ha": "center", "va": "top"},
}
PERCENT = FuncFormatter(lambda value, _: f"{value:.0%}")
RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")


def panels_of(titles: list[str], height: float = PANEL, columns: int = 1) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with axes for each title, one below the other or, of small ones, in columns; height in inches."""
    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = new_figure(WIDTH, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    flat = list(grid.flat)
    for axes in flat[len(titles) :]:
        axes.remove()
    return figure, dict(zip(titles, flat, strict=False))


def small_multiples(names_of: dict[str, list[str]], draw: Callable[[Axes, str, str, bool], None]) -> Figure:
    """Return a figure with a small panel for each contender on each problem, the other contenders behind it in grey.

    Args:
        names_of: the contenders of each problem, which has a title.
        draw: given axes, problem, contender, and whether it stands in front.
    """
    rows = {problem: math.ceil(len(names) / SMALL_COLUMNS) for problem, names in names_of.items()}
    heights = [0.35 + SMALL_HEIGHT * number for number in rows.values()]
    figure = new_figure(WIDTH, sum(heights))
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)
    for part, (problem, names) in zip(parts[:, 0], names_of.items(), strict=True):
        part.suptitle(problem, x=0.01, ha="left", fontsize=10, fontweight="bold")
        grid = part.subplots(rows[problem], SMALL_COLUMNS, sharex=True, sharey=True, squeeze=False)
        flat = list(grid.flat)
        for axes, name in zip(flat, names, strict=False):
            for other in names:
                if other != name:
                    draw(axes, problem, other, False)
            draw(axes, problem, name, True)
        for axes in flat[len(names) :]:
            axes.remove()
        for column in range(SMALL_COLUMNS):  # the lowest panel of each column has the numbers
            lowest = [row for row in range(rows[problem]) if row * SMALL_COLUMNS + column < len(names)]
            if lowest:
                grid[lowest[-1], column].tick_params(axis="x", labelbottom=True)
    return figure


def strips(
    curves_of: dict[str, dict[str, "pd.Series[float]"]], norms: dict[str, Normalize],
    xlabel: str, said: str, say: Formatter, falling: bool = False,
) -> Figure:  # fmt: skip
    """Return a figure with a strip for each contender on each problem, the darkest on top: what it has reached at each
    place is a shade, whose scale stands beside the problem's strips.

    Args:
        curves_of: of each problem, by its title, each contender's curve: values by the place from which they hold.
        norms: of each problem, from the values to the shades.
        said: what the shades are of.
        say: the numbers on the scale.
        falling: whether low values are the dark ones.
    """
    heights = [0.75 + STRIP_HEIGHT * len(curves) for curves in curves_of.values()]
    figure = new_figure(WIDTH, sum(heights))
    grid = figure.subplots(len(curves_of), 1, squeeze=False, height_ratios=heights)[:, 0]
    for (title, curves), axes in zip(curves_of.items(), grid, strict=True):
        end = max(float(curve.index.max()) for curve in curves.values())
        at = np.linspace(0, end, STRIP_POINTS)
        values = {name: curve.to_numpy(float)[_latest(curve, at)] for name, curve in curves.items()}
        names = sorted(values, key=lambda name: float(np.mean(norms[title](values[name]))), reverse=not falling)
        image = axes.imshow(
            np.stack([values[name] for name in names]), cmap="Blues_r" if falling else "Blues", norm=norms[title],
            aspect="auto", interpolation="nearest", extent=(0, end, len(names) - 0.5, -0.5),
        )  # fmt: skip
        for place in range(1, len(names)):
            axes.axhline(place - 0.5, color="white", lw=1.5)
        name_ticks(axes.yaxis, names, fontsize=7.5)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set(title=title, xlabel=xlabel)
        axes.xaxis.set_major_locator(MaxNLocator(SEVERAL + 1))
        axes.xaxis.set_major_formatter(PERCENT if end <= 1 else FuncFormatter(lambda value, _: amount(value, 0)))
        scale = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, format=say)
        scale.set_label(said, fontsize=8)
        scale.ax.tick_params(labelsize=7.5)
        scale.minorticks_off()
        scale.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _latest(curve: "pd.Series[float]", at: np.ndarray) -> np.ndarray:
    """Return the position in a curve of the last value at each place; before the first, that one's."""
    return np.maximum(np.searchsorted(curve.index.to_numpy(float), at, side="right") - 1, 0)


def name_small(axes: Axes, name: str, look: Look) -> None:
    """Name a small panel after what stands in front in it."""
    axes.set_title(drawable(name, LONGEST_SMALL), fontsize=7.5, fontweight="normal", color=look.colour, pad=2)
    axes.tick_params(labelsize=7.5)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches; one that is not pyplot's, and so needs no backend and no closing."""
    return Figure(figsize=(width, height), layout="constrained")


def name_lines(figure: Figure, panels: dict[str, Axes], styles: dict[str, Look]) -> None:
    """Name the lines of each panel where they end, in order of height, each name joined to its line by a piece of it;
    above all panels instead, in one legend, where names are too many or too long to stand beside a panel."""
    lines = {title: _labelled(axes) for title, axes in panels.items()}
    narrow = any(axes.get_window_extent().width / figure.dpi < NARROW for axes in panels.values())
    if narrow or any(
        len(named) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in named) for named in lines.values()
    ):
        legend(figure, panels, styles)
        return
    for title, axes in panels.items():
        ends = {name: _end(axes, line) for name, line in lines[title].items()}
        gap = NAME_HEIGHT / (axes.get_window_extent().height * 72 / figure.dpi)
        places = apart({name: y for name, (_, y) in ends.items()}, gap)
        for name, place in places.items():
            (x, y), look = ends[name], styles[_key(name, styles)]
            own: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "color": look.colour}
            axes.plot([x, 1], [y, y], lw=0.6, alpha=0.5, **own)
            axes.plot([1, 1.03, 1.12], [y, place, place], ls=look.dash, lw=1.4, **own)
            axes.plot([1.12], [place], ls="", marker=look.marker, ms=5, **own)
            axes.annotate(
                name, (1.12, place), xycoords="axes fraction", xytext=(5, 0), textcoords="offset points",
                va="center", fontsize=8, color=TEXT,
            )  # fmt: skip


def name_edge(axes: Axes, edge: float, at: float, name: str = "not solved") -> None:
    """Say above the upper edge what lies on it; `at`: how far to the right, as a share of the width."""
    axes.annotate(
        name, (at, edge), xycoords=("axes fraction", "data"), xytext=(0, 6), textcoords="offset points",
        fontsize=8,
    )  # fmt: skip


def name_points(axes: Axes, points: dict[str, tuple[float, float]], first: list[str]) -> None:
    """Name points where there is room beside them: some first, then others from the loneliest on. The figure's layout
    and ranges are settled before."""
    inside, size = axes.get_window_extent(), POINT * axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    taken = [text.get_window_extent() for text in axes.texts]
    places = axes.transData.transform(list(points.values()))
    taken += [Bbox.from_bounds(x - size / 2, y - size / 2, size, size) for x, y in places]
    between = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(between, np.inf)
    lonely = [list(points)[i] for i in np.argsort(-between.min(axis=1), kind="stable")]
    for name in dict.fromkeys([*first, *lonely]):
        for (dx, dy), sides in PLACES.items():
            text = axes.annotate(
                drawable(name, LONGEST_NAME), points[name], xytext=(dx, dy), textcoords="offset points", fontsize=7,
                color=TEXT, path_effects=[withStroke(linewidth=2, foreground="white")], **sides,
            )  # fmt: skip
            box = text.get_window_extent()
            if inside.contains(*box.min) and inside.contains(*box.max) and not any(map(box.overlaps, taken)):
                taken.append(box)
                break
            text.remove()


def apart(heights: dict[str, float], gap: float) -> dict[str, float]:
    """Return heights between 0 and 1 that are at least a gap apart and in the order of those given, as near to them as
    that allows in the sum of squares; where there is no room for all, they go beyond 1."""
    names = sorted(heights, key=lambda name: heights[name])
    steps = gap * np.arange(len(names))
    free = isotonic_regression([heights[name] for name in names] - steps).x
    return dict(zip(names, np.clip(free, 0, max(0, 1 - steps[-1])) + steps, strict=True)) if names else {}


def _labelled(axes: Axes) -> dict[str, Line2D]:
    """Return the lines that have a name, by it; of lines with bars of errors, the line."""
    handles, names = axes.get_legend_handles_labels()
    lines: list[Any] = [handle[0] if isinstance(handle, tuple) else handle for handle in handles]
    return dict(zip(names, lines, strict=True))


def _end(axes: Axes, line: Line2D) -> tuple[float, float]:
    """Return where a line ends in fractions of its axes."""
    axes.autoscale_view()
    points = (axes.transData + axes.transAxes.inverted()).transform(np.column_stack(line.get_data()).astype(float))
    finite = points[np.isfinite(points).all(axis=1)]
    x, y = finite[-1] if len(finite) else (1.0, 0.0)
    return float(np.clip(x, 0, 1)), float(np.clip(y, 0, 1))


def legend(figure: Figure, panels: dict[str, Axes], styles: dict[str, Look]) -> None:
    """Put one legend above all panels, entries in the order of the cells."""
    lines = {name: line for axes in panels.values() for name, line in _labelled(axes).items()}
    labels = sorted(lines, key=lambda name: (list(styles).index(_key(name, styles)), name))
    handles = []
    for label in labels:
        look, joined = styles[_key(label, styles)], lines[label].get_linestyle() != "None"
        handles.append(
            Line2D([], [], color=look.colour, ls=look.dash if joined else "", marker=look.marker, ms=5 if joined else 8)
        )
    figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), handlelength=3)


def _key(name: str, styles: dict[str, Look]) -> str:
    """Return whose look a line has: a contender's, or a cell's, whose names have neither commas nor spaces."""
    return name if name in styles else name.split(",")[0].split(" ")[0]


def draw_band(axes: Axes, table: pd.DataFrame, look: Look, label: str, alpha: float = 0.1) -> None:
    """Draw the median of each row of a table over its index as a line, and the range of its values as a band."""
    axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=look.colour, alpha=alpha, lw=0)
    axes.plot(table.index, table.median(axis=1), color=look.colour, ls=look.dash, lw=1.8, label=label)


def contenders(frame: pd.DataFrame, styles: dict[str, Look]) -> Iterable[tuple[str, pd.DataFrame]]:
    """Return each contender and its rows, in the order of the styles."""
    groups = {str(contender): runs for contender, runs in frame.groupby("contender")}
    return [(name, groups[name]) for name in styles if name in groups]


def counted(title: str, runs: pd.DataFrame) -> str:
    """Return a panel's title with how many runs each contender has there."""
    numbers = runs.groupby("contender").size()
    least, most = int(numbers.min()), int(numbers.max())
    return in_lines(f"{title} (n = {least if least == most else f'{least} to {most}'})")


def in_lines(title: str, columns: int = 1) -> str:
    """Return the title of a panel in one of so many columns, on as many lines as it needs."""
    return "\n".join(textwrap.wrap(title, LONGEST_TITLE // columns, break_on_hyphens=False))


def order(values: Iterable[object]) -> list[str]:
    """Return the distinct values, numbers in them counting as numbers."""
    return sorted({str(value) for value in values}, key=natural)


def log_plain(axes: Axes) -> None:
    """Scale the vertical axis logarithmically with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_minor_formatter(NullFormatter())


def log_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Scale the horizontal axis logarithmically with ticks at the values that occur."""
    axes.set_xscale("log")
    axes.xaxis.set_ticks(sorted({float(value) for value in values}))
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.xaxis.set_minor_formatter(NullFormatter())


def log_powers(axes: Axes) -> None:
    """Scale the vertical axis logarithmically with powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(Powers())
    axes.yaxis.set_minor_formatter(Powers(labelOnlyBase=False))


class Powers(LogFormatterSciNotation):
    """Says matplotlib's powers of ten in Unicode: no text of a figure is read as mathematics, since names are not.
    Short numbers between powers are said as they are."""

    def __call__(self, value: float, position: int | None = None) -> str:
        said = re.sub(r"\^\{(.*?)\}", lambda power: power[1].translate(RAISED), super().__call__(value, position))
        if r"\times" in said and 0.01 <= value < 1000:
            return f"{value:g}"
        return re.sub(r"\$|\\mathdefault|[{}]", "", said).replace(r"\times", "×")


def name_ticks(axis: Axis, names: list[str], letters: int = LONGEST_TICK, **style: Any) -> None:
    """Put a tick with a name, of so many letters a line at most, at 0, 1, 2, …"""
    axis.set_ticks(range(len(names)), [drawable(name, letters) for name in names], **style)


def log_round(axes: Axes, say: Callable[[float], str]) -> None:
    """Scale the horizontal axis, whose range is settled, logarithmically with round ticks, or where it is too short for
    these with some."""
    axes.set_xscale("log")
    ticks = round_ticks(*axes.get_xlim())
    axes.xaxis.set_major_locator(FixedLocator(ticks) if len(ticks) >= SEVERAL else MaxNLocator(SEVERAL))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two, both positive: at least three, if there are as many, of the roundest kind."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)]
    ticks: list[float] = []
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [digit * power for power in powers for digit in digits if low <= digit * power <= high]
        if len(ticks) >= SEVERAL:
            break
    return ticks


def few_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two, both positive, that stand far apart on a logarithmic axis."""
    kept: list[float] = []
    for tick in round_ticks(low, high):
        if not kept or math.log(tick / kept[-1]) > LEAST_APART * math.log(high / low):
            kept.append(tick)
    return kept


def short_amount(value: float) -> str:
    """Return a number of few letters, e.g. "20k" or "150M"."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.3g}{letter}"
    return f"{value:.3g}"


def thousands(value: float, _: object = None) -> str:
    """Return a tick with separators."""
    return f"{value:,.12g}"
