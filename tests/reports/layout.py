"""What is wrong with how a figure is laid out: text over text, or text outside of what is drawn."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

TOUCH = 1.0  # pixels that boxes, which are wider than their letters, may have in common
LEAST_POINTS = 7  # of a letter


def faults(figure: Figure) -> list[str]:
    """Return each pair of texts that overlap, and each text that is cut off, too small, or over a neighbour's axes."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    boxes = [(text, text.get_window_extent(renderer)) for text in _texts(figure)]
    found = [
        f"{_said(one)} over {_said(other)}" for (one, a), (other, b) in combinations(boxes, 2) if _common(a, b) > 0
    ]
    for text, box in boxes:
        if text.get_fontsize() < LEAST_POINTS:
            found.append(f"{_said(text)} is of {text.get_fontsize()} points")
        for axes in figure.axes:
            if axes.get_visible() and text.axes is not axes and _common(box, axes.get_window_extent(renderer)) > 0:
                found.append(f"{_said(text)} reaches into the panel {axes.get_title()!r}")
    return found


def _texts(figure: Figure) -> list[Text]:
    """Return the texts that are seen."""
    hidden = {id(text) for axes in figure.axes if not axes.get_visible() for text in axes.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    unseen = {id(text) for axes in figure.axes for text in _unseen_ticks(axes)}
    return [text for text in texts if id(text) not in hidden | unseen]


def _unseen_ticks(axes: Axes) -> list[Text]:
    """Return labels of ticks that lie outside of the axis' range, which matplotlib keeps and does not draw."""
    unseen = []
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        low, high = min(low, high), max(low, high)
        shown = {id(tick) for tick in axis._update_ticks()}  # type: ignore[attr-defined]
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            inside = low - 1e-9 * abs(high - low) <= tick.get_loc() <= high + 1e-9 * abs(high - low)
            if not inside or id(tick) not in shown or not axis.get_visible():
                unseen += [tick.label1, tick.label2]
    return unseen


def _common(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes have in common, less what may touch."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0) - TOUCH
    height = min(one.y1, other.y1) - max(one.y0, other.y0) - TOUCH
    return max(width, 0) * max(height, 0)


def _said(text: Text) -> str:
    return repr(text.get_text().replace("\n", " "))
