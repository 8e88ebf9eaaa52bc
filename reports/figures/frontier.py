"""Figures of how far contenders reach."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.panels import log_plain, log_ticks, name_edge, name_lines, order, panels_of, thousands
from reports.figures.style import TEXT, Look, looks_by_name
from reports.frontier import Frontier
from reports.rows import grouped
from reports.statistics import Interval, Reach

BEYOND = 1.3  # times the longest length: where what is longer lies


def over_rates(rows: list[Frontier]) -> Figure:
    """Draw the length that half of the runs solve over the learning rate, both logarithmic, a panel per problem:
    estimates with intervals, what is beyond the lengths tried on the edges, hollow; larger, the rate chosen."""
    here = grouped(rows, lambda row: row.problem)
    figure, panels = panels_of(order(here), height=2.9)
    styles = looks_by_name({(row.cell, row.contender) for row in rows})
    for problem, axes in panels.items():
        mine = {row.contender: row for row in here[problem]}
        shown = [name for name in styles if name in mine]
        for number, name in enumerate(shown):
            _draw_line(axes, mine[name], styles[name], 1.06 ** (number - (len(shown) - 1) / 2))
        lengths = mine[shown[0]].best or next(iter(mine[shown[0]].reaches.values()))
        _frame(axes, lengths, mine[shown[0]].length)
        log_ticks(axes, {rate for row in mine.values() for rate in row.reaches})
        axes.set(title=problem, xlabel="learning rate", ylabel="T that half solve, steps")
    name_lines(figure, panels, styles)
    return figure


def at_best(rows: list[Frontier]) -> Figure:
    """Draw what is known of the length that half of the runs solve at the chosen learning rate: a line per contender
    from its lower to its upper bound, with its estimate, a panel per problem."""
    here = grouped([row for row in rows if row.best is not None], lambda row: row.problem)
    most = max(map(len, here.values()))
    figure, panels = panels_of(order(here), height=0.7 + 0.26 * most)
    styles = looks_by_name({(row.cell, row.contender) for row in rows})
    for problem, axes in panels.items():
        mine = sorted(here[problem], key=lambda row: row.best.median if row.best else 0.0)
        for place, row in enumerate(mine):
            assert row.best is not None
            known, look = _within(row.best), styles[row.contender]
            axes.plot([known.low, known.high], [place, place], color=look.colour, lw=2)
            fill = look.colour if row.best.interval().estimate not in (0, math.inf) else "none"
            axes.plot([known.estimate], [place], ls="", marker=look.marker, ms=6, color=look.colour, mfc=fill)
        lengths = next(row.best for row in mine if row.best).lengths
        axes.set_xscale("log")
        axes.xaxis.set_ticks(lengths, [thousands(length) for length in lengths])
        axes.minorticks_off()
        axes.set_xlim(lengths[0] / BEYOND**1.3, lengths[-1] * BEYOND**1.3)
        axes.yaxis.set_ticks(range(len(mine)), [row.contender for row in mine])
        axes.set_ylim(-0.6, len(mine) - 0.4)
        axes.set(title=problem, xlabel="T that half of the runs solve, steps")
    return figure


def _draw_line(axes: Axes, row: Frontier, look: Look, shift: float) -> None:
    rates = sorted(row.reaches)
    known = [_within(row.reaches[rate]) for rate in rates]
    at = [rate * shift for rate in rates]
    middle = [each.estimate for each in known]
    axes.plot(at, middle, color=look.colour, ls=look.dash, lw=1.4, label=row.contender)
    for x, rate, each in zip(at, rates, known, strict=True):
        axes.plot([x, x], [each.low, each.high], color=look.colour, lw=0.9, alpha=0.6)
        found = row.reaches[rate].interval().estimate
        dot: dict[str, Any] = {"marker": look.marker, "ms": 6.5 if rate == row.rate else 4.5, "color": look.colour}
        axes.plot([x], [each.estimate], ls="", mfc="white" if found in (0, math.inf) else look.colour, **dot)


def _within(known: Reach) -> Interval:
    """Return an interval as it is drawn: what is beyond the lengths tried on the edges."""
    interval, (low, high) = known.interval(), (known.lengths[0] / BEYOND, known.lengths[-1] * BEYOND)
    return Interval(*(min(max(value, low), high) for value in (interval.estimate, interval.low, interval.high)))


def _frame(axes: Axes, known: Reach, middle: int) -> None:
    shortest, longest = known.lengths[0], known.lengths[-1]
    log_plain(axes)
    axes.set_ylim(shortest / BEYOND**1.5, longest * BEYOND**2.5)
    for edge in (shortest / BEYOND**0.5, longest * BEYOND**0.5):
        axes.axhline(edge, color=TEXT, lw=0.8, ls=(0, (1, 2)))
    axes.axhline(middle, color=TEXT, lw=0.8, alpha=0.5)
    name_edge(axes, longest * BEYOND**0.6, 0.01, "beyond the lengths tried")
