"""The looks of figures: one colour, dash and marker per cell, and files that depend on the data alone."""

import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from PIL import Image

from bench.record.errors import printable
from bench.record.files import write_atomic
from reports.naming import KNOWN, cells_in_order

# Known cells keep their look in every report; others take what is left, in alphabetical order.
# The known cells' after Okabe & Ito (2008), all dark enough to be read on white (contrast of 3 and more) and told apart
# by the colour-blind; where printed without colours, dashes and markers do it.
_COLOURS = [
    "#0173b2", "#cc8000", "#029e73", "#c44601", "#bd6fb0", "#5a3212", "#e83e8c", "#404040", "#6d7a00", "#27348b",
]  # fmt: skip
_DASHES = [
    "-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)), (0, (6, 2, 2, 2)), (0, (8, 2)),
    (0, (2, 3)),
]  # fmt: skip
_MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*", "<", ">"]
WIDTH = 6.4  # inches, of every figure: on a telephone, 390 pixels wide, its letters of 8 points are 7 pixels high
COLUMN = 3.25  # inches, of a figure in a paper of two columns
PANEL = 2.3  # inches, the height of a panel
MARGIN = 0.02  # inches, around a printed figure
MOST_COLOURS = 256  # of a bitmap
TEXT = "#222222"
MOST_LETTERS, MOST_LINES = 100, 6  # of a text in a figure
# Gates keep their colour in every figure.
GATES = {"i": _COLOURS[0], "f": _COLOURS[3], "o": _COLOURS[2], "r": _COLOURS[0], "z": _COLOURS[3]}


@dataclass(frozen=True)
class Look:
    """How one cell is drawn."""

    colour: str
    dash: object
    marker: str


BASELINE = Look(TEXT, (0, (1, 2)), "")  # what cells are held to


def looks(cells: Iterable[str]) -> dict[str, Look]:
    """Return the look of each cell, in the order in which tables and legends list them."""
    free = iter(range(len(KNOWN), 10**6))
    index = {cell: KNOWN.index(cell) if cell in KNOWN else next(free) for cell in cells_in_order(cells)}
    return {cell: _look(i) for cell, i in index.items()}


def palette() -> list[Look]:
    """Return the looks there are before colours come again."""
    return [_look(i) for i in range(len(_COLOURS))]


def contender_looks(frame: pd.DataFrame, cells: Iterable[str] = ()) -> dict[str, Look]:
    """Return the look of each contender of a frame; see `looks_by_name`."""
    names = {(str(cell), str(name)) for cell, name in zip(frame["cell"], frame["contender"], strict=True)}
    return looks_by_name(names, cells)


def looks_by_name(contenders: Collection[tuple[str, str]], cells: Iterable[str] = ()) -> dict[str, Look]:
    """Return the look of each contender, in order: that of its cell, unless cells have several.

    Args:
        contenders: cell and name of each.
        cells: of the whole report, where a figure shows some of them only: a cell looks the same in all its figures.
    """
    of_cells = looks({*cells, *(cell for cell, _ in contenders)})
    order = list(of_cells)
    named = sorted((order.index(cell), name) for cell, name in contenders)
    if len(named) == len({cell for cell, _ in contenders}):
        return {name: of_cells[order[i]] for i, name in named}
    return {name: _look(i) for i, (_, name) in enumerate(named)}


def _look(i: int) -> Look:
    # After ten, colours come again, with other dashes and marks.
    turn = i + i // len(_COLOURS)
    return Look(_COLOURS[i % len(_COLOURS)], _DASHES[turn % len(_DASHES)], _MARKERS[turn % len(_MARKERS)])


@contextmanager
def theme() -> Iterator[None]:
    """Apply the project's theme, over matplotlib's defaults whatever the user's are, to figures made and saved within;
    afterwards settings are as before."""
    defaults: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    with matplotlib.rc_context():
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # some of its own settings
            matplotlib.rcParams.update(defaults | THEME)
        yield


FONT = "DejaVu Sans"  # matplotlib brings it along, and these
PRINTED = ["STIXGeneral", FONT]
THEME = {
    # Dictionaries of settings; seaborn's own way to apply them would change the caller's too.
    **sns.axes_style("ticks"),
    **sns.plotting_context("notebook"),
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.sans-serif": [FONT],
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.title_fontsize": 8.5,
    "pdf.fonttype": 42,  # fonts that journals take
    "savefig.dpi": 144,
    "text.color": TEXT,
    "text.parse_math": False,  # names are shown as they are
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG, without dates or versions: code-hosting sites and package indexes show it alike. With its
    colours in a palette it takes a third of the bytes."""
    make_drawable(figure)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None}, bbox_inches="tight")
    image = Image.open(drawn).convert("RGB").quantize(MOST_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    write_atomic(folder / f"{name}.png", lambda path: image.save(path, "PNG", optimize=True))


def save_pdf(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PDF for a paper, as `set_for_print` sets it, without dates or versions."""
    set_for_print(figure)
    metadata = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    write_atomic(
        folder / f"{name}.pdf",
        lambda path: figure.savefig(path, format="pdf", metadata=metadata, bbox_inches="tight", pad_inches=MARGIN),
    )


def set_for_print(figure: Figure) -> None:
    """Set a figure in a serif font, and as wide as a column if its panels stand one below the other and its texts fit,
    else as wide as two. Letters have one size either way."""
    for text in figure.findobj(Text):
        text.set_fontfamily(PRINTED)  # type: ignore[attr-defined]
    grids = [axes.get_gridspec() for axes in figure.axes]
    if any(grid is not None and grid.ncols > 1 for grid in grids):
        return
    width, height = figure.get_size_inches()
    figure.set_size_inches(COLUMN, height)
    figure.draw_without_rendering()
    if figure.get_tightbbox().width + 2 * MARGIN > COLUMN + 0.01 or any(map(_ticks_collide, figure.axes)):
        figure.set_size_inches(width, height)


def _ticks_collide(axes: Axes) -> bool:
    """Tell whether numbers below a panel lie over each other."""
    labels = [label for label in axes.get_xticklabels() if label.get_visible() and label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    return any(one.x1 > other.x0 for one, other in pairwise(boxes))


def make_drawable(figure: Figure) -> None:
    """Replace what the font has no letters for in a figure's texts."""
    for text in figure.findobj(Text):
        if (drawn := drawable(text.get_text())) != text.get_text():  # type: ignore[attr-defined]
            text.set_text(drawn)  # type: ignore[attr-defined]


def drawable(text: str, letters: int = MOST_LETTERS) -> str:
    """Return a text that a figure can hold: of so many letters a line at most, the middle left out of longer ones, with
    a box in the place of what its font has no letter for."""
    return "\n".join(_drawable_line(line, letters) for line in text.split("\n")[:MOST_LINES])


def _drawable_line(line: str, letters: int) -> str:
    line = printable(line)
    if len(line) > letters:
        line = f"{line[: letters // 2 - 1]}…{line[-(letters // 2) :]}"
    return "".join(letter if ord(letter) in _letters() else "□" for letter in line)


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the font has, both regular and bold."""
    fonts = (get_font(findfont(FontProperties(family=FONT, weight=weight))) for weight in ("normal", "bold"))
    return frozenset.intersection(*(frozenset(font.get_charmap()) for font in fonts))
