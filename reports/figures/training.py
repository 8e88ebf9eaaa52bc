"""Figures of what was learned: one function each; none of them reads or writes a file."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator

from bench.record.records import DECIDED
from reports.figures.panels import (
    BEHIND,
    MOST_CURVES,
    MOST_SMALL,
    MOST_STRIPS,
    MOST_TOGETHER,
    PERCENT,
    Powers,
    contenders,
    counted,
    draw_band,
    in_lines,
    log_powers,
    name_lines,
    name_small,
    order,
    panels_of,
    small_multiples,
    strips,
    thousands,
)
from reports.figures.style import BASELINE, Look, contender_looks
from reports.statistics import SolveCurve, solve_curve
from reports.text import amount

WITHOUT_MEMORY = "without memory"  # the name of the baseline
MOST_TICKS = 5  # intervals between numbers as wide as 10,000, in a panel
DECADES = 4  # below the loss without memory that are drawn: what a solved task's loss goes on to matters little
SPENT = {"steps": "training steps", "seconds": "seconds of training", "FLOPs": "FLOPs of training"}

Draw = Callable[[Axes, pd.DataFrame, Look, str, bool], None]  # a contender's rows, its look and label; in front or not


def learning_curves(curves: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw held-out loss against training steps: the median over seeds, the range of all seeds as a band, the analytic
    baseline as a line. A run that has ended keeps its last loss. With many contenders each has a panel; with very many,
    a strip that darkens from the baseline's shade as the median falls."""
    losses = curves[curves["metric"] == "loss"]

    def baseline(problem: str) -> float | None:
        known = results.loc[results["problem"] == problem, "baseline_loss"].dropna()
        return float(known.iloc[0]) if len(known) else None

    def bounds(problem: str) -> tuple[float, float]:
        values = losses.loc[losses["problem"] == problem, "value"].astype(float)
        return float(values[values > 0].min()), float(values.max())

    def by_step(runs: pd.DataFrame) -> pd.DataFrame:
        return (
            runs.pivot_table(index="step", columns=["sweep", "seed"], values="value").sort_index().ffill().astype(float)
        )

    def draw(axes: Axes, runs: pd.DataFrame, look: Look, label: str, front: bool) -> None:
        table = by_step(runs)
        if front:
            draw_band(axes, table, look, label, alpha=0.15)
        else:
            axes.plot(table.index, table.median(axis=1), color=BEHIND, lw=0.8, zorder=0)

    def finish(axes: Axes, problem: str) -> None:
        without = baseline(problem)
        if without is not None:
            axes.axhline(without, color=BASELINE.colour, lw=1, ls=BASELINE.dash, label=WITHOUT_MEMORY)
        log_powers(axes)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], (without or bounds(problem)[1]) / 10**DECADES))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))

    def shade(problem: str) -> Normalize:
        least, most = bounds(problem)
        without = baseline(problem)
        highest = most if without is None or without <= least else without  # no run may be below it
        return LogNorm(max(least, highest / 10**DECADES), highest)

    return _of_all(
        losses, results, draw, finish, lambda runs: by_step(runs).median(axis=1), shade, Powers(),
        "training steps", "held-out loss", {WITHOUT_MEMORY: BASELINE}, falling=True,
    )  # fmt: skip


def solve_curves(results: pd.DataFrame, cells: Iterable[str] = ()) -> Figure:
    """Draw the share of runs solved by each step: one minus the Kaplan–Meier estimate, with its pointwise 95 % interval
    as a band; with very many contenders the share alone, as a strip. Problems that no run solved are left out. `cells`:
    see `looks_by_name`."""
    decided = results[results["status"].isin(DECIDED)]
    decided = decided[decided.groupby("problem")["solved"].transform("any").astype(bool)]

    def estimate(runs: pd.DataFrame) -> tuple[SolveCurve, np.ndarray, np.ndarray]:
        solved = runs["solved"].to_numpy(dtype=bool)
        times = runs["needed"].fillna(runs["spent"]).to_numpy(dtype=float)
        return solve_curve(times, solved), times, solved

    def draw(axes: Axes, runs: pd.DataFrame, look: Look, label: str, front: bool) -> None:
        curve, times, solved = estimate(runs)
        at = np.append(curve.times, float(decided.loc[decided["problem"] == runs["problem"].iloc[0], "budget"].max()))
        share, low, high = (np.append(values, values[-1]) for values in (curve.share, curve.low, curve.high))
        if not front:
            axes.step(at, share, where="post", color=BEHIND, lw=0.8, zorder=0)
            return
        axes.fill_between(at, low, high, step="post", color=look.colour, alpha=0.1, lw=0)
        axes.step(at, share, where="post", color=look.colour, ls=look.dash, lw=1.8, label=label)
        marks = np.interp(times[solved], at, share)
        axes.plot(times[solved], marks, ls="", marker=look.marker, ms=4, color=look.colour)

    def finish(axes: Axes, problem: str) -> None:
        axes.set_ylim(-0.05, 1.05)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.yaxis.set_ticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value, 0)))

    def share(runs: pd.DataFrame) -> "pd.Series[float]":
        curve, _, _ = estimate(runs)
        return pd.Series(curve.share, index=curve.times)

    currency = SPENT[str(decided["currency"].iloc[0])]
    return _of_all(
        decided, results, draw, finish, share, lambda _: Normalize(0, 1), PERCENT, currency, "share of runs solved", {},
        cells=cells,
    )  # fmt: skip


def _of_all(
    frame: pd.DataFrame, results: pd.DataFrame, draw: Draw, finish: Callable[[Axes, str], None],
    curve: Callable[[pd.DataFrame], "pd.Series[float]"], shade: Callable[[str], Normalize], say: Formatter,
    xlabel: str, ylabel: str, others: dict[str, Look], falling: bool = False, cells: Iterable[str] = (),
) -> Figure:  # fmt: skip
    """Draw the contenders on each problem in one panel; many in a small one each; very many as strips."""
    styles = contender_looks(results, cells)
    of = {problem: dict(contenders(frame[frame["problem"] == problem], styles)) for problem in order(frame["problem"])}
    runs_of = {problem: results[results["problem"] == problem] for problem in of}
    most = max(map(len, of.values()))
    if most <= MOST_TOGETHER:
        titles = {problem: counted(problem, runs_of[problem]) for problem in of}
        figure, panels = panels_of(list(titles.values()))
        for problem, title in titles.items():
            axes = panels[title]
            for contender, runs in of[problem].items():
                draw(axes, runs, styles[contender], contender, True)
            finish(axes, problem)
            axes.set(title=title, ylabel=ylabel)
            axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
        list(panels.values())[-1].set_xlabel(xlabel)
        name_lines(figure, panels, styles | others)
        return figure

    def solved(problem: str, contender: str) -> str:
        runs = runs_of[problem][runs_of[problem]["contender"] == contender]["solved"]
        return f"{int(runs.sum())}/{len(runs)}"

    kept = list(of)[-max(1, (MOST_SMALL if most <= MOST_CURVES else MOST_STRIPS) // most) :]
    if most > MOST_CURVES:
        titled = {problem: counted(problem, runs_of[problem]) for problem in kept}
        return strips(
            {
                title: {f"{name} {solved(problem, name)}": curve(runs) for name, runs in of[problem].items()}
                for problem, title in titled.items()
            },
            {title: shade(problem) for problem, title in titled.items()},
            xlabel, ylabel, say, falling=falling,
        )  # fmt: skip

    names_of = {in_lines(f"{counted(problem, runs_of[problem])}: {ylabel} by {xlabel}"): problem for problem in kept}

    def draw_small(axes: Axes, title: str, contender: str, front: bool) -> None:
        problem = names_of[title]
        draw(axes, of[problem][contender], styles[contender], contender, front)
        if front:
            finish(axes, problem)
            axes.xaxis.set_major_locator(MaxNLocator(2))
            name_small(axes, f"{contender}\n{solved(problem, contender)} solved", styles[contender])

    return small_multiples({title: list(of[problem]) for title, problem in names_of.items()}, draw_small)
