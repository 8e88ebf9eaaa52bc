"""Figures of claims: where each test's number lies, and where it would have to lie."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.claims import RATIOS, STATISTICS, Test
from reports.figures.panels import LONGEST_TICK, log_plain, log_round, log_ticks, name_ticks, new_figure
from reports.figures.style import PANEL, TEXT, WIDTH, palette
from reports.rows import grouped
from reports.statistics import Evidence
from reports.verdicts import OPEN, REFUTED, SUPPORTED, UNTESTABLE, Judgement

COLOURS = {SUPPORTED: "#0173b2", REFUTED: "#c44601", OPEN: "#666666", UNTESTABLE: "#666666"}
MARKERS = {SUPPORTED: "o", REFUTED: "X", OPEN: "s", UNTESTABLE: "s"}
SAID = {SUPPORTED: "supports", REFUTED: "refutes"}
FACTOR = 1.6  # beyond what is drawn, at least, on an axis of ratios
MARGIN = 0.06  # of a linear axis
ROW, LINE = 0.24, 0.13  # inches: a row whose name has one line, and each line more
SHARES = {"share_solved", "accuracy", "memory"}  # that lie between 0 and 1


def forest(judgements: list[Judgement]) -> Figure | None:
    """Draw estimates of a claim's tests with their 95 % intervals over the regions that support and refute the claim, a
    panel a statistic and rule; filled where the test is decided, an arrow head where the estimate is only a bound.
    None if no test has an estimate."""
    with_evidence = [row for row in judgements if row.finding.evidence is not None]
    if not with_evidence:
        return None
    panels = grouped(with_evidence, lambda row: (row.test.statistic, row.test.supported, row.test.refuted))
    heights = [0.8 + len(rows) * (ROW + LINE * max(_name(row).count("\n") for row in rows)) for rows in panels.values()]
    figure = new_figure(WIDTH, sum(heights))
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, rows in zip(grid[:, 0], panels.values(), strict=True):
        _panel(axes, rows)
    return figure


def power_laws(times: dict[str, pd.DataFrame], exponents: dict[str, float]) -> Figure:
    """Draw times of a training step over the length, both logarithmic: every round a point, the fitted power law a line
    with its exponent; dotted from its middle on, for the eye, growth in proportion to the length and to its square.

    Args:
        times: of each subject `time_steps` and `value` in ms, all positive.
        exponents: of each subject, as fitted.
    """
    figure = new_figure(WIDTH, 1.4 * PANEL)
    axes = figure.subplots()
    for colour, (subject, rows) in zip([look.colour for look in palette()], times.items(), strict=False):
        x, y = np.log(rows["time_steps"].to_numpy(float)), np.log(rows["value"].to_numpy(float))
        axes.plot(np.exp(x), np.exp(y), ls="", marker="o", ms=4, color=colour, alpha=0.4)
        ends = np.array([x.min(), x.max()])
        fitted = y.mean() + exponents[subject] * (ends - x.mean())
        axes.plot(np.exp(ends), np.exp(fitted), color=colour, lw=1.8)
        for power in (1, 2):
            axes.plot(
                np.exp([x.mean(), ends[1]]), np.exp([y.mean(), y.mean() + power * (ends[1] - x.mean())]),
                color=TEXT, lw=0.8, ls=(0, (1, 2)),
            )  # fmt: skip
            axes.annotate(
                "T" if power == 1 else "T²", (np.exp(ends[1]), np.exp(y.mean() + power * (ends[1] - x.mean()))),
                xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
        axes.annotate(
            f"{subject}: T^{exponents[subject]:.2f}", (np.exp(ends.mean()), np.exp(fitted.mean())),
            xytext=(-10, 6), textcoords="offset points", ha="right", fontsize=9, color=colour,
        )  # fmt: skip
    log_ticks(axes, pd.concat([rows["time_steps"] for rows in times.values()]))
    log_plain(axes)
    axes.set(xlabel="T, steps", ylabel="time of a training step, ms")
    return figure


def _panel(axes: Axes, rows: list[Judgement]) -> None:
    test = rows[0].test
    logarithmic = test.statistic in RATIOS
    evidence = [row.finding.evidence for row in rows if row.finding.evidence is not None]
    for place, (row, of_row) in enumerate(zip(rows, evidence, strict=True)):
        interval, colour = of_row.interval, COLOURS[row.verdict]
        bound = interval.bound if logarithmic else ""
        if math.isnan(interval.told if bound else interval.estimate):
            axes.text(0.01, place, "no estimate", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
            continue
        if not bound:
            axes.plot([interval.low, interval.high], [place, place], color=colour, lw=1.8)
        marker = {"≥": ">", "≤": "<"}.get(bound, MARKERS[row.verdict])
        filled = colour if row.verdict in SAID else "white"
        axes.plot(
            interval.told if bound else interval.estimate, place, ls="", marker=marker, ms=6, color=colour, mfc=filled
        )
    _set_range(axes, evidence, test, logarithmic)
    low, high = axes.get_xlim()
    refuted = [test.refuted] if test.refuted else [(low, test.supported[0]), (test.supported[1], high)]
    for (start, end), verdict in [(test.supported, SUPPORTED), *((region, REFUTED) for region in refuted)]:
        axes.axvspan(max(start, low), min(end, high), color=COLOURS[verdict], alpha=0.08, lw=0)
        axes.text(
            _middle(max(start, low), min(end, high), logarithmic), 1.01, SAID[verdict],
            transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8, color=COLOURS[verdict],
        )  # fmt: skip
    name_ticks(axes.yaxis, list(map(_name, rows)), fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    at = f", at {test.factor} times the length" if test.factor > 1 else ""
    label = f"{'ratio of ' if logarithmic else ''}{STATISTICS[test.statistic]}{at}"
    axes.set_xlabel(label, fontsize=9, color=TEXT)


def _name(row: Judgement) -> str:
    """Return a test's problem and subject, on as many lines as they need."""
    problem, subject = row.finding.problem, row.finding.subject
    if problem in ("–", subject):
        return subject
    if len(problem) + len(subject) + 2 <= LONGEST_TICK:
        return f"{problem}: {subject}"
    return f"{problem}:\n{subject}" if len(subject) <= LONGEST_TICK else f"{problem}:\n{subject}".replace(" / ", " /\n")


def _set_range(axes: Axes, evidence: list[Evidence], test: Test, logarithmic: bool) -> None:
    """Have an axis show all estimates, the ends of their intervals where they are near, and the rule's bounds."""
    ends = [bound for bound in (*test.supported, *(test.refuted or ())) if math.isfinite(bound)]
    for interval in (each.interval for each in evidence):
        if not logarithmic:
            ends += [interval.estimate, interval.low, interval.high]
        elif interval.bound:
            ends += [] if math.isnan(interval.told) else [interval.told]
        else:
            near = (interval.estimate / 20, interval.estimate * 20)
            ends += [interval.estimate, *(float(np.clip(end, *near)) for end in (interval.low, interval.high))]
    low, high = min(ends), max(ends)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(low / FACTOR, high * FACTOR)
        log_round(axes, lambda value: f"{value:g}×")
    elif test.statistic == "share_solved":
        axes.set_xlim(-MARGIN, 1 + MARGIN)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    else:
        reach = max(high - low, 0.1)
        low, high = low - 0.15 * reach, high + 0.15 * reach
        if test.statistic in SHARES:
            low, high = max(low, -MARGIN * reach), min(high, 1 + MARGIN * reach)
        if test.statistic == "accuracy":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
        axes.set_xlim(low, high)


def _middle(low: float, high: float, logarithmic: bool) -> float:
    return math.sqrt(low * high) if logarithmic else (low + high) / 2
