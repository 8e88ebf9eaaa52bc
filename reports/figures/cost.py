"""Figures of times and costs."""

import contextlib
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.figures.panels import (
    MOST_CURVES,
    SEVERAL,
    log_plain,
    log_ticks,
    name_lines,
    name_ticks,
    new_figure,
    panels_of,
)
from reports.figures.style import PANEL, TEXT, WIDTH, Look, looks
from reports.rows import grouped
from reports.statistics import Interval
from reports.summary import REFERENCE_CELL
from reports.timings import TimedCase

LONGEST_BAR = 40  # letters of the name of a bar
BAR = 0.22  # inches


def timing_bars(timings: list[TimedCase]) -> Figure:
    """Draw the time of a training step, a panel per timed group and a bar per cell: median and interval
    over rounds, and beside it the ratio to the LSTM and the share of the GEMM rate; very many from the fastest on.
    Bars are named by their backends too, unless all have the same one, which is then named once."""
    groups = _timed_groups(timings)
    heights = [0.6 + BAR * len(cases) for cases in groups.values()]
    backends = {case.backend for case in timings}
    figure = new_figure(WIDTH, sum(heights) + 0.4)
    grid = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)
    styles = looks(case.cell for case in timings)
    for (label, of_group), axes in zip(groups.items(), grid[:, 0], strict=True):
        cases = sorted(of_group, key=lambda case: list(styles).index(case.cell))
        if len(cases) > MOST_CURVES:
            cases.sort(key=lambda case: case.training_step.estimate)
        for place, case in enumerate(cases):
            time = case.training_step
            axes.barh(place, time.estimate, color=styles[case.cell].colour, alpha=0.85, height=0.65)
            reach = [[time.estimate - time.low], [time.high - time.estimate]]
            axes.errorbar(time.estimate, place, xerr=reach, color=TEXT, capsize=2, lw=1)
            note = [] if case.ratio is None else [f"{case.ratio.estimate:.2f}×"]
            note += [] if case.share is None else [f"{case.share.estimate:.0%}"]
            axes.annotate(
                " · ".join(note), (time.high, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
            )
        name_ticks(axes.yaxis, names_of(cases, len(backends) > 1), LONGEST_BAR)
        axes.set_ylim(len(cases) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        highest = max(case.training_step.high for case in cases)
        axes.set(title=label, xlim=(0, 1.35 * highest))
    said = [f"time over {REFERENCE_CELL}'s"] if any(case.ratio is not None for case in timings) else []
    said += ["share of the GEMM rate"] if any(case.share is not None for case in timings) else []
    numbers = f"\nnumbers: {' · '.join(said)}" if said else ""
    of = f" ({backends.pop()})" if len(backends) == 1 else ""
    figure.supxlabel(f"training step{of}, ms, with interval{numbers}", fontsize=9)
    return figure


def over_length(timings: list[TimedCase]) -> dict[tuple[str, int, int], list[TimedCase]]:
    """Return the cases of each task, batch and hidden size that was timed at several lengths."""
    points = grouped(timings, lambda case: (case.task, case.batch_size, case.point_size))
    return {key: points[key] for key in sorted(points) if len({case.time_steps for case in points[key]}) >= SEVERAL}


def scaling(timings: list[TimedCase]) -> Figure | None:
    """Draw time and memory of a training step against sequence length, all logarithmic, two panels per batch and
    hidden size; None unless some cell was timed at several lengths."""
    groups = {f"{task}: B={batch} H={hidden}": cases for (task, batch, hidden), cases in over_length(timings).items()}
    if not groups:
        return None
    figure = new_figure(WIDTH, 2 * PANEL + 0.5)
    grid = figure.subplots(2, len(groups), squeeze=False)
    styles = looks(case.cell for case in timings)
    panels: dict[str, Axes] = {}
    for (label, cases), (upper, lower) in zip(groups.items(), grid.T, strict=True):
        _lines(upper, cases, lambda case: case.time_steps, lambda case: case.training_step, styles)
        _lines(lower, cases, lambda case: case.time_steps, lambda case: case.peak_memory, styles)
        for axes, what in ((upper, "training step, ms"), (lower, "memory, MiB")):
            log_ticks(axes, [case.time_steps for case in cases])
            log_plain(axes)
            axes.set(xlabel="sequence length T, steps", ylabel=what)
        upper.set_title(label)
        panels |= {f"{label}, time": upper, f"{label}, memory": lower}
    name_lines(figure, panels, styles)
    return figure


def share_of_peak(timings: list[TimedCase]) -> Figure | None:
    """Draw the share of the GEMM rate against hidden size, a panel per length and batch: the form in use of each cell,
    and thin the fastest one in torch; None unless some cell was timed at several sizes."""
    with_share = [case for case in timings if case.share is not None]
    points = grouped(with_share, lambda case: (case.task, case.time_steps, case.batch_size))
    groups = {
        f"{task}: T={steps} B={batch}": points[task, steps, batch]
        for task, steps, batch in sorted(points)
        if len({case.point_size for case in points[task, steps, batch]}) >= SEVERAL
    }
    if not groups or all(case.form != "own" for case in timings):
        return None
    figure, panels = panels_of(list(groups), height=1.3 * PANEL)
    styles = looks(case.cell for case in timings)
    for label, axes in panels.items():
        own = [case for case in groups[label] if case.form == "own"]
        _lines(axes, own, lambda case: case.hidden_size, lambda case: case.share, styles)
        in_torch = [case for case in groups[label] if case.form == "other" and case.backend in ("torch", "loop")]
        for cell, forms in sorted(grouped(in_torch, lambda case: case.cell).items()):
            best: dict[int, float] = {}
            for case in sorted(forms, key=lambda case: case.hidden_size):
                if case.share is not None:
                    best[case.hidden_size] = max(case.share.estimate, best.get(case.hidden_size, 0.0))
            axes.plot(list(best), list(best.values()), color=styles[cell].colour, ls=styles[cell].dash, lw=0.9)
        axes.axhline(1, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        log_ticks(axes, [case.hidden_size for case in groups[label]])
        axes.set(title=label, xlabel="hidden size H", ylabel="share of the GEMM rate", ylim=(0, None))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    name_lines(figure, panels, styles)
    return figure


def _lines(
    axes: Axes,
    cases: list[TimedCase],
    x: Callable[[TimedCase], float],
    y: Callable[[TimedCase], Interval | float | None],
    styles: dict[str, Look],
) -> None:
    """Draw a line per cell, with its intervals if `y` has them."""
    ordered = sorted(cases, key=lambda case: (list(styles).index(case.cell), x(case)))
    for (cell, label), mine in grouped(ordered, lambda case: (case.cell, case.label)).items():
        bounds = [(v.estimate, v.low, v.high) if isinstance(v, Interval) else (v, v, v) for v in map(y, mine)]
        middle, low, high = np.array(bounds, dtype=float).T
        look = styles[cell]
        axes.errorbar(
            [x(case) for case in mine], middle, yerr=[middle - low, high - middle], color=look.colour, ls=look.dash,
            marker=look.marker, ms=5, capsize=2, label=label,
        )  # fmt: skip


def _timed_groups(timings: list[TimedCase]) -> dict[str, list[TimedCase]]:
    several, devices, threads = (
        len({getattr(case, name) for case in timings}) > 1 for name in ("sweep", "device", "threads")
    )

    def label(case: TimedCase) -> str:
        parts = [f"{case.sweep}"] if several else []
        parts.append(f"{case.task}: T={case.time_steps} B={case.batch_size} H={case.point_size}")
        parts += [f"device {case.device}"] if devices else []
        parts += [f"threads {case.threads}"] if threads else []
        return ", ".join(parts)

    ordered = sorted(
        timings,
        key=lambda case: (
            case.sweep, case.task, case.time_steps, case.batch_size, case.point_size, case.device, case.threads,
        ),
    )  # fmt: skip
    return grouped(ordered, label)


def names_of(cases: list[TimedCase], with_backends: bool = False) -> list[str]:
    """Name cases of a point by cell, backend and the settings that set equal ones apart, or by number if none do."""
    by = [f" ({case.backend})" if with_backends else "" for case in cases]
    names = [f"{case.label}{backend}" for case, backend in zip(cases, by, strict=True)]
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        same = [i for i, each in enumerate(names) if each == name]
        keys = [key for key in cases[same[0]].settings if len({str(cases[i].settings.get(key)) for i in same}) > 1]
        for number, i in enumerate(same, start=1):
            told = ", ".join(_said(key, cases[i].settings[key]) for key in keys if cases[i].settings[key] is not None)
            names[i] = f"{cases[i].label}, {told or number}{by[i]}"
    return [name if names.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(names)]


def _said(key: str, value: object) -> str:
    """Return how a name has a setting: words speak for themselves."""
    with contextlib.suppress(ValueError, TypeError):
        return f"{key.rpartition('.')[2]} {float(value):g}"  # type: ignore[arg-type]
    return str(value)
