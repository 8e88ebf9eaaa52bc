"""Reading stored sweeps into frames."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench.record.asked import Asked, read_asked
from bench.record.columns import CURVE_TYPES, DIAGNOSTICS_TYPES, RESULT_TYPES, TIMING_TYPES, Column
from bench.record.errors import ConfigError, one_line
from bench.record.files import Damaged
from bench.record.frames import curves_frame, diagnostics_frame, for_users, read_readable, results_frame
from bench.record.layout import read_runs, unfinished_runs
from bench.record.records import DECIDED, Looks
from bench.record.rules import RULES_FILE
from reports.claims import Claims, read_claims
from reports.naming import with_names
from reports.selection import split_trials, tuned
from reports.spending import add_spending


class LoadError(ValueError):
    """A folder that holds no results. The message is one line."""


@dataclass(frozen=True)
class Stored:
    """The stored tables of one or several sweeps.

    Attributes:
        results: a row per reported run. Besides the stored columns, `problem` names task and conditions and
            `contender` the cell, each with the settings that vary, e.g. "copy, delay 20" and "gru, hidden_size
            128"; the columns of `reports.spending` give the run's budget and what it spent.
        trials: a row per run that selected settings, with those columns and the ones of `reports.selection`;
            empty without tuning.
        curves: a row per evaluation and metric of a reported run, with `problem` and `contender`.
        timing: a row per measurement; empty if nothing was timed.
        readings: a row per point that a diagnostic of a reported run measured, with `problem` and `contender`.
        commands: the commands that made the sweeps, in order.
        wrong: a line per damaged file, which is left out.
        claims: the claims of the first sweep that tests any.
        missing: cell, task and seed of runs that were planned or begun and have no outcome.
        repeats: how many runs were left out because they repeat another one, e.g. with other diagnostics.
        looks: the planned looks of the first sweep that has any.
        added: the number of seeds before each addition of seeds that followed outcomes.
        asked: names of the sweeps, in the order of the arguments.
    """

    results: pd.DataFrame
    trials: pd.DataFrame
    curves: pd.DataFrame
    timing: pd.DataFrame
    readings: pd.DataFrame
    commands: list[str]
    wrong: list[str]
    claims: Claims | None = None
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)
    repeats: int = 0
    looks: Looks | None = None
    added: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield results, curves and timing, as `for_users`: `runs, curves, timing = load("results/quick")`."""
        yield from map(for_users, (self.results, self.curves, self.timing))

    @property
    def sweeps(self) -> list[str]:
        names = [frame["sweep"] for frame in (self.results, self.trials, self.timing) if len(frame)]
        known = dict.fromkeys(pd.concat(names)) if names else {}
        return [*(name for name in self.asked if name in known), *(name for name in known if name not in self.asked)]


def load(*folders: Path | str) -> Stored:
    """Return the tables of stored sweeps: `runs, curves, timing = load("results/quick")`.

    Args:
        folders: one or several sweeps' folders. Runs are read from `runs/`; where it is missing, from results.parquet
            and curves.parquet.

    Raises:
        LoadError: a folder without results.
    """
    labels = _labels([Path(folder) for folder in folders])
    parts = [load_one(folder, label) for folder, label in labels.items()]

    def merged(frames: list[pd.DataFrame]) -> pd.DataFrame:
        frames = [frame for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    results, trials = merged([part.results for part in parts]), pd.DataFrame()
    curves = merged([part.curves for part in parts])
    readings = merged([part.readings for part in parts])
    repeats = 0
    if len(results):
        results, repeats = count_once(with_names(results), set(readings["run_id"]) if len(readings) else set())
        results, trials = split_trials(add_spending(results))
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
        merged([part.missing for part in parts]),
        repeats,
        next((part.looks for part in parts if part.looks is not None), None),
        [seeds for part in parts for seeds in part.added],
        list(labels.values()),
    )


def _labels(folders: list[Path]) -> dict[Path, str]:
    """Return what each folder's sweep is called: its name, or its path if two have the same name."""
    unique = list(dict.fromkeys(folders))
    names = [folder.resolve().name for folder in unique]
    return {folder: name if names.count(name) == 1 else str(folder) for folder, name in zip(unique, names, strict=True)}


def load_one(folder: Path, label: str) -> Stored:
    """Return what is stored in a sweep's folder as it is there, but for the label: no problems and contenders.

    Raises:
        LoadError: a folder without results.
    """
    if not folder.is_dir():
        raise LoadError(f"{folder}: no such folder")
    (runs, wrong), asked = read_runs(folder), read_asked(folder)

    def stored(name: str, types: dict[str, Column]) -> pd.DataFrame:
        return read_readable(folder / name, types, lambda damage: wrong.append(str(damage)))

    if runs:
        try:
            results = results_frame(runs, asked)
            curves, readings = curves_frame(runs), diagnostics_frame(runs)
        except Exception as error:  # files from elsewhere may hold what no table does
            raise LoadError(f"{folder}: its runs make no table ({one_line(error)})") from error
    else:
        results = stored("results.parquet", RESULT_TYPES)
        curves = stored("curves.parquet", CURVE_TYPES)
        readings = stored("diagnostics.parquet", DIAGNOSTICS_TYPES)
    timing = stored("timing.parquet", TIMING_TYPES)
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
    missing = _missing(folder, asked, results)
    return Stored(
        results, pd.DataFrame(), curves, timing, readings, asked.commands, wrong, claims, missing,
        looks=asked.looks, added=asked.added,
    )  # fmt: skip


def _missing(folder: Path, asked: Asked, results: pd.DataFrame) -> pd.DataFrame:
    """Return cell, task and seed of a sweep's runs that were planned or begun and have no outcome, a row each."""
    about = {**unfinished_runs(folder), **asked.runs}
    finished = set(results["run_id"]) if len(results) else set()
    rows = [about[key] for key in sorted(set(about) - finished)]
    return pd.DataFrame(rows, columns=["cell", "task", "seed"])


def count_once(results: pd.DataFrame, probed: Collection[str]) -> tuple[pd.DataFrame, int]:
    """Keep one of the runs that repeat each other: same problem, contender, selected settings and seed.

    They differ in what does not change training, such as diagnostics or the lengths evaluated in the end, and count
    once in every statistic. A run that says something of the architecture is kept before one that failed, one that
    was probed before one that was not; what another has at greater lengths is added to it.

    Args:
        results: named runs.
        probed: run_ids with readings.

    Returns:
        The results without repeats, and how many these were.
    """
    subject = ["sweep", "problem", "contender", "seed", *sorted(tuned(results))]
    if not results.duplicated(subject).any():
        return results, 0
    ranked = results.assign(
        _failed=~results["status"].isin(DECIDED), _unprobed=~results["run_id"].isin(list(probed))
    ).sort_values(["_failed", "_unprobed", "run_id"], kind="stable")
    kept = ranked.drop_duplicates(subject).drop(columns=["_failed", "_unprobed"]).sort_index()
    lengthened = [column for column in results if column.startswith("at_")]
    if lengthened:
        # Of one training, told by its loss to the last bit: another machine's may have ended elsewhere.
        alike = [*subject, "final_loss"]
        longer = ranked.groupby(alike, dropna=False, sort=False)[lengthened].first()
        rows = pd.MultiIndex.from_frame(kept[alike])
        kept[lengthened] = longer.reindex(rows).to_numpy()
    return kept, len(results) - len(kept)
