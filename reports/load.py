"""Reading stored sweeps into frames, and naming what is compared in them."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import ConfigError, one_line
from bench.files import Damaged, digest
from bench.frames import (
    CURVE_TYPES,
    DIAGNOSTICS_TYPES,
    RESULT_TYPES,
    TIMING_TYPES,
    curves_frame,
    diagnostics_frame,
    read_parquet,
    results_frame,
)
from bench.rules import RULES_FILE
from bench.store import read_commands, read_runs
from reports.claims import Claims, read_claims
from reports.selection import select, tuned
from reports.spending import BY_BUDGET, add_spending, has_other_budget


class LoadError(ValueError):
    """A folder that holds no results. The message is one line."""


# Settings of tasks that are no part of the problem, but of how it is gone about: they name contenders.
METHODS = ("task.strategy",)
# Settings of cells that may follow from the task, as a size that is matched there, and then name nothing.
OF_TASK = ("cell.hidden_size", "cell.longest_memory")
MOST_LETTERS = 100  # of a value within a name


@dataclass(frozen=True)
class Stored:
    """What one or several sweeps found.

    Attributes:
        results: a row a run that is reported, with more columns. `problem` names task and conditions, `contender`
            the cell; each tells just what varies, e.g. "copy, delay 20" and "gru, hidden_size 128". Those of
            `reports.spending` say what the run could spend and did.
        trials: a row a run by which settings were selected, with those columns and those of `reports.selection`;
            empty if none were.
        curves: a row an evaluation and metric of a reported run, with `problem` and `contender`.
        timing: a row a measurement; empty if nothing was timed.
        readings: a row a point of what looks inside reported runs found, with `problem` and `contender`.
        commands: that were given, in order.
        wrong: what is damaged, and so left out.
        claims: what the sweep puts to the test, of the first one that does.
    """

    results: pd.DataFrame
    trials: pd.DataFrame
    curves: pd.DataFrame
    timing: pd.DataFrame
    readings: pd.DataFrame
    commands: list[str]
    wrong: list[str]
    claims: Claims | None = None

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield results, curves and timing: `runs, curves, timing = load("results/quick")`."""
        yield from (self.results, self.curves, self.timing)

    @property
    def sweeps(self) -> list[str]:
        names = [frame["sweep"] for frame in (self.results, self.trials, self.timing) if len(frame)]
        return list(dict.fromkeys(pd.concat(names))) if names else []


def load(*folders: Path | str) -> Stored:
    """Read sweeps' folders. The runs themselves are read where they are there, and results.parquet and
    curves.parquet where only those are.

    Raises:
        LoadError: a folder without results.
    """
    labels = _labels([Path(folder) for folder in folders])
    parts = [_load_one(folder, label) for folder, label in labels.items()]

    def merged(frames: list[pd.DataFrame]) -> pd.DataFrame:
        frames = [frame for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    results, trials = merged([part.results for part in parts]), pd.DataFrame()
    curves = merged([part.curves for part in parts])
    readings = merged([part.readings for part in parts])
    if len(results):
        results = results.assign(problem=problems_of(results), contender=contenders_of(results))
        results, trials = select(add_spending(results))
        # A curve's run is what the results say of it: two tables from elsewhere may not agree.
        names = results[["sweep", "run_id", "cell", "task", "seed", "problem", "contender"]]
        curves, readings = (
            frame.drop(columns=["cell", "task", "seed"]).merge(names, on=["sweep", "run_id"]) if len(frame) else frame
            for frame in (curves, readings)
        )
    else:
        curves = readings = pd.DataFrame()  # of runs that nothing is known of
    commands = dict.fromkeys(command for part in parts for command in part.commands)
    return Stored(
        results,
        trials,
        curves,
        merged([part.timing for part in parts]),
        readings,
        list(commands),
        [reason for part in parts for reason in part.wrong],
        next((part.claims for part in parts if part.claims is not None), None),
    )


def _labels(folders: list[Path]) -> dict[Path, str]:
    """Return what each folder's sweep is called: its name, or its path if two have the same name."""
    unique = list(dict.fromkeys(folders))
    names = [folder.resolve().name for folder in unique]
    return {folder: name if names.count(name) == 1 else str(folder) for folder, name in zip(unique, names, strict=True)}


def _load_one(folder: Path, label: str) -> Stored:
    if not folder.is_dir():
        raise LoadError(f"{folder}: no such folder")
    runs, wrong = read_runs(folder)
    if runs:
        try:
            results, curves, readings = results_frame(runs), curves_frame(runs), diagnostics_frame(runs)
        except Exception as error:  # files from elsewhere may hold what no table does
            raise LoadError(f"{folder}: its runs make no table ({one_line(error)})") from error
    else:
        results = _read_parquet(folder / "results.parquet", RESULT_TYPES, wrong)
        curves = _read_parquet(folder / "curves.parquet", CURVE_TYPES, wrong)
        readings = _read_parquet(folder / "diagnostics.parquet", DIAGNOSTICS_TYPES, wrong)
    timing = _read_parquet(folder / "timing.parquet", TIMING_TYPES, wrong)
    if results.empty and timing.empty:
        reason = f" ({wrong[0]})" if wrong else "; is it a sweep's folder?"
        raise LoadError(f"{folder}: no finished runs and no times{reason}")
    results, curves, timing, readings = (
        frame.assign(sweep=label) if len(frame) else frame for frame in (results, curves, timing, readings)
    )
    wrong = [reason.replace(f"{folder}/", "") for reason in wrong]  # as the same files say elsewhere
    claims = None
    try:
        claims = read_claims(folder / RULES_FILE)
    except FileNotFoundError:
        pass
    except (ConfigError, OSError, Damaged) as error:
        wrong.append(one_line(error))
    return Stored(results, pd.DataFrame(), curves, timing, readings, read_commands(folder), wrong, claims)


def _read_parquet(path: Path, types: dict[str, str], wrong: list[str]) -> pd.DataFrame:
    """Return a stored table; an empty one if there is none, or none that can be read, which is added to `wrong`."""
    try:
        return read_parquet(path, types)
    except FileNotFoundError:
        return pd.DataFrame()
    except Damaged as error:
        wrong.append(str(error))
        return pd.DataFrame()


def natural(name: str) -> list[object]:
    """Return a sort key in which the numbers in a name count as numbers: "length 50" before "length 100"."""
    # Texts and numbers alternate, beginning with a text, so that keys compare like with like.
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def varying(frame: pd.DataFrame, prefixes: Sequence[str]) -> list[str]:
    """Return the columns with one of the prefixes (or equal to one) that take more than one value."""
    columns = [column for column in frame.columns if column.startswith(tuple(prefixes))]
    return [column for column in columns if frame[column].nunique(dropna=False) > 1]


def problems_of(results: pd.DataFrame) -> "pd.Series[str]":
    """Name each run's problem: its task, and those task and training settings that vary within the task. Settings that
    are selected are no part of it, nor is a number of steps that follows from a budget of another kind."""
    names = pd.Series("", index=results.index)
    for task, runs in results.groupby("task"):
        left_out = tuned(runs) | (BY_BUDGET if has_other_budget(runs) else set())
        left_out |= set(METHODS)
        columns = [c for c in varying(runs, ["task.", "training.", "device", "dtype"]) if c not in left_out]
        names.loc[runs.index] = _describe(runs, str(task), columns)
    return names


def contenders_of(results: pd.DataFrame) -> "pd.Series[str]":
    """Name each run's contender: its cell, and what varies between runs of that cell; the layer of a cell
    that is a layer of some package; and the sweep, if several."""
    names = pd.Series("", index=results.index)
    several = results["sweep"].nunique() > 1
    for cell, runs in results.groupby("cell"):
        layers = [column for column in ("cell.layer",) if column in runs and runs[column].notna().any()]
        varied = [column for column in varying(runs, ["cell.", *METHODS]) if column not in tuned(runs)]
        varied = [column for column in varied if not _follows_from_task(runs, column)]
        columns = list(dict.fromkeys([*layers, *varied, *(["sweep"] if several else [])]))
        names.loc[runs.index] = _describe(runs, str(cell), columns)
    return names


def _follows_from_task(runs: pd.DataFrame, column: str) -> bool:
    """Tell whether a setting of a cell has one value at each task, and so tells nothing apart there."""
    if column not in OF_TASK:
        return False
    settings = [column for column in runs if column.startswith("task.")]
    values = runs.groupby(["sweep", "task", *settings], dropna=False)[column].nunique()
    return bool((values <= 1).all())


def _short(value: str) -> str:
    """Return a value as names have it: of a long one its beginning, and what tells it from others that begin so."""
    return value if len(value) <= MOST_LETTERS else f"{value[:MOST_LETTERS]}… {digest(value.encode())[:8]}"


def _describe(runs: pd.DataFrame, name: str, columns: list[str]) -> list[str]:
    """Return a name for each run: `name`, and what its columns hold; words speak for themselves, and what is not
    set is not spoken of."""

    def said(column: str, item: Any) -> str | None:
        if item is None or pd.isna(item):
            return None
        key = column.rpartition(".")[2]
        with contextlib.suppress(ValueError):  # a column that also has words holds its numbers as texts
            item = float(item) if isinstance(item, str) else item
        number = f"{item:g}" if isinstance(item, float) else _short(str(item))
        return number if isinstance(item, str) and column != "sweep" else f"{key} {number}"

    return [
        ", ".join([name, *filter(None, (said(column, row[column]) for column in columns))])
        for _, row in runs.iterrows()
    ]
