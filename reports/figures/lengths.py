"""Figures over the distance to remember."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.record.records import DECIDED
from reports.figures.panels import contenders, log_plain, log_ticks, name_edge, name_lines, order, panels_of
from reports.figures.style import TEXT, contender_looks

MOST_APART = 0.025  # between two contenders at the same length, in its logarithm
SPREAD = 0.3  # of the distance to the next length, taken by all contenders together


def over(results: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """Return the runs of each problem but for one setting of the task (`column`), where that setting varies for a
    contender and some runs were solved."""
    decided = results[results["status"].isin(DECIDED) & results[column].notna()]
    name = column.removeprefix("task.")
    panel = decided["problem"].str.replace(rf", {name} [^,]+", "", regex=True)
    of_panel = {title: decided[panel == title] for title in order(panel)}
    values = {title: runs.groupby("contender", sort=False)[column].nunique().max() for title, runs in of_panel.items()}
    return {title: runs for title, runs in of_panel.items() if values[title] > 1 and runs["solved"].any()}


def reach(results: pd.DataFrame, column: str) -> Figure:
    """Draw what solving took against a task's length or delay (`column`), both logarithmic, a panel for each of `over`:
    every run a point, medians joined; what was not solved lies on the upper edge, runs hollow."""
    of_panel = over(results, column)
    name = column.removeprefix("task.")
    figure, panels = panels_of(list(of_panel))
    styles = contender_looks(results)
    for title, axes in panels.items():
        here = of_panel[title]
        gaps = np.diff(np.log(np.unique(here[column].to_numpy(dtype=float))))
        apart = min(MOST_APART, SPREAD * float(gaps.min()) / len(styles))
        edge = 1.5 * float(here["spent"].max())
        for number, (contender, look) in enumerate(styles.items()):
            runs = here[here["contender"] == contender]
            if runs.empty:
                continue
            spread = math.exp(apart * (number - (len(styles) - 1) / 2))  # so that equal points do not hide each other
            at = runs[column].to_numpy(dtype=float)
            needed = runs["needed"].fillna(math.inf).to_numpy(dtype=float)
            solved = np.isfinite(needed)
            dots: dict[str, Any] = {"ls": "", "marker": look.marker, "ms": 5, "color": look.colour}
            axes.plot(at[solved] * spread, needed[solved], alpha=0.5, **dots)
            axes.plot(at[~solved] * spread, np.full((~solved).sum(), edge), mfc="none", **dots)
            medians = pd.Series(needed).groupby(at).median().clip(upper=edge)
            axes.plot(medians.index * spread, medians, color=look.colour, ls=look.dash, label=contender)
        log_ticks(axes, here[column])
        log_plain(axes)
        axes.set(title=title, xlabel=f"{name}, steps", ylabel=f"{here['currency'].iloc[0]} to solve")
        axes.set_ylim(top=edge * (edge / axes.get_ylim()[0]) ** 0.12)
        axes.axhline(edge, color=TEXT, lw=0.8, ls=(0, (1, 2)))
        name_edge(axes, edge, 0.01)
    name_lines(figure, panels, styles)
    return figure


def lengthened(results: pd.DataFrame, column: str) -> Figure:
    """Draw accuracy at longer distances than trained for, a panel per problem: medians over the seeds that solved the
    task as lines, with their range, over the factor.

    Args:
        results: a row per run.
        column: the score's name, as in "at_2x.accuracy".
    """
    factors = factors_of(results, column)
    here = results[results["solved"] & results[f"at_{factors[0]}x.{column}"].notna()]
    figure, panels = panels_of(order(here["problem"]))
    styles = contender_looks(results)
    for problem, axes in panels.items():
        for contender, runs in contenders(here[here["problem"] == problem], styles):
            table = runs[[f"at_{factor}x.{column}" for factor in factors]].astype(float)
            look = styles[contender]
            axes.fill_between(factors, table.min(), table.max(), color=look.colour, alpha=0.1, lw=0)
            axes.plot(
                factors, table.median(), color=look.colour, ls=look.dash, marker=look.marker, ms=5, label=contender
            )
        log_ticks(axes, factors)
        axes.set(title=problem, xlabel="times the length trained for", ylabel=column, ylim=(-0.05, 1.05))
    name_lines(figure, panels, styles)
    return figure


def factors_of(results: pd.DataFrame, column: str) -> list[int]:
    """Return by which factors lengths were multiplied to evaluate trained models."""
    matches = (re.fullmatch(rf"at_(\d+)x\.{re.escape(column)}", str(name)) for name in results)
    return sorted(int(match[1]) for match in matches if match and results[match[0]].notna().any())
