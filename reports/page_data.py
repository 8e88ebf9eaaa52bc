"""What the page explores, as JSON: contenders, learning curves, and every run with its settings and command."""

import json
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from bench.record.asked import widest
from reports.figures.style import Look, contender_looks
from reports.frontier import is_frontier, problems_without_length
from reports.load import Stored
from reports.naming import SETTINGS

MOST_RUNS = 1000  # that a page holds
MOST_POINTS = 120  # of a curve
DIGITS = 3
DASHES = {"-": "", "--": "7 3", "-.": "7 3 2 3", ":": "2 3"}
OUTCOME = (
    "error", "steps_to_solve", "steps", "test_loss", "best_step", "final_loss", "baseline_loss", "seconds", "step_ms",
    "parameters", "backend", "device",
)  # fmt: skip


def page_data(stored: Stored | None) -> str:
    """Return what the page's script reads, such that it can stand within a page: none of it ends an element."""
    data: dict[str, Any] = {
        "looks": {},
        "contenders": {},
        "problems": {},
        "sweeps": [],
        "baselines": {},
        "curves": {},
        "runs": [],
    }
    if stored is not None and len(stored.results):
        runs = stored.results
        styles = contender_looks(runs)
        data = {
            "looks": {name: {"colour": look.colour, "dash": _dash(look)} for name, look in styles.items()},
            "contenders": _named(runs, "contender", {"cell": "own_contender", "sweep": "sweep"}),
            "problems": _named(runs.assign(axis=_problem_axis(stored)), "problem", {"problem": "axis"}),
            "sweeps": stored.sweeps,
            "baselines": _baselines(runs),
            "curves": _curves(stored, list(styles)),
            "runs": _runs(stored),
        }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _problem_axis(stored: Stored) -> "pd.Series[Any]":
    """Return each run's problem in the page's filter: without the length, where each seed has a length of its own."""
    return problems_without_length(stored.results) if is_frontier(stored) else stored.results["own_problem"]


def _named(runs: pd.DataFrame, column: str, axes: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return what each name in a column stands for on the axes of the page's filters."""
    return {
        str(row[column]): {axis: str(row[of]) for axis, of in axes.items()}
        for row in runs.drop_duplicates(column).to_dict("records")
    }


def runs_table(stored: Stored) -> list[dict[str, str]]:
    """Return the rows of the table whose rows open a run."""
    several, tested = stored.results["sweep"].nunique() > 1, bool(stored.results["test_loss"].notna().any())
    rows = []
    for run in stored.results.head(MOST_RUNS).to_dict("records"):
        rows.append(
            {
                "run": str(run["run_id"]),
                **({"sweep": str(run["sweep"])} if several else {}),
                "problem": str(run["own_problem"]),
                "cell": str(run["own_contender"]),
                "seed": str(run["seed"]),
                "status": _status(run),
                **({"test loss": _plain(run["test_loss"])} if tested else {}),
                **({} if tested else {"steps to solve": _plain(run["steps_to_solve"])}),
                **({} if tested else {"final loss": _plain(run["final_loss"])}),
            }
        )
    return rows


def _status(run: dict[Hashable, Any]) -> str:
    """Return how a run ended; where it was scored on a test part there is nothing to solve."""
    return "ended" if run["status"] == "unsolved" and _is_known(run["test_loss"]) else str(run["status"])


def commit_of(stored: Stored) -> str:
    """Return the commits that the runs were made with, if that is known."""
    known = [json.loads(text).get("git_commit") for text in dict.fromkeys(stored.results.get("environment", []))]
    return ", ".join(dict.fromkeys(str(commit) for commit in known if commit))


def _dash(look: Look) -> str:
    if isinstance(look.dash, str):
        return DASHES[look.dash]
    assert isinstance(look.dash, tuple)
    return " ".join(f"{2 * length:g}" for length in look.dash[1])


def _baselines(runs: pd.DataFrame) -> dict[str, float]:
    """Return of each problem the loss of an answer without memory, where that is known."""
    known = runs.dropna(subset="baseline_loss").drop_duplicates("own_problem")
    return {
        str(problem): float(f"{loss:.{DIGITS}g}")
        for problem, loss in zip(known["own_problem"], known["baseline_loss"], strict=True)
    }


def _curves(stored: Stored, names: list[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return of each problem and sweep the median and range of each contender's loss, in the order of `names`; a run
    that has ended keeps its last."""
    if stored.curves.empty:
        return {}
    losses = stored.curves[stored.curves["metric"] == "loss"].drop(columns="problem")
    problems = stored.results[["sweep", "run_id", "own_problem"]].rename(columns={"own_problem": "problem"})
    losses = losses.merge(problems, on=["sweep", "run_id"])
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for (problem, sweep, contender), runs in losses.groupby(["problem", "sweep", "contender"], sort=False):
        table = runs.pivot_table(index="step", columns="seed", values="value").sort_index().ffill()
        table = _fewer(table.astype(float))
        lines = {"middle": table.median(axis=1), "low": table.min(axis=1), "high": table.max(axis=1)}
        curves.setdefault(str(problem), {}).setdefault(str(sweep), []).append(
            {"name": str(contender), "step": list(map(int, table.index)), **{k: _short(v) for k, v in lines.items()}}
        )
    for each in (lines for sweeps in curves.values() for lines in sweeps.values()):
        each.sort(key=lambda line: names.index(line["name"]))
    return {
        problem: {sweep: curves[problem][sweep] for sweep in stored.sweeps if sweep in curves[problem]}
        for problem in dict.fromkeys(stored.results["own_problem"])
        if problem in curves
    }


def _runs(stored: Stored) -> list[dict[str, Any]]:
    command_of = {sweep: _command(stored, sweep) for sweep in stored.results["sweep"].unique()}
    losses = stored.curves[stored.curves["metric"] == "loss"] if len(stored.curves) else stored.curves
    of_run = dict(list(losses.groupby(["sweep", "run_id"]))) if len(losses) else {}
    runs = []
    for run in stored.results.head(MOST_RUNS).to_dict("records"):
        whole = command_of[run["sweep"]]
        narrowed = f"{whole} cell={run['cell']} task={run['task']} seed={run['seed']}" if whole else ""
        row = {
            "run": str(run["run_id"]),
            "outcome": {
                "status": _status(run),
                **{name.replace("_", " "): _plain(run.get(name)) for name in OUTCOME if _is_known(run.get(name))},
            },
            "settings": {
                name: _plain(value)
                for name, value in run.items()
                if str(name).startswith(SETTINGS[:3]) and "._" not in str(name) and _is_known(value)
            },
            "command": narrowed,
            "baseline": run["baseline_loss"] if _is_known(run["baseline_loss"]) else None,
        }
        if (key := (run["sweep"], run["run_id"])) in of_run:
            curve = _fewer(of_run[key].set_index("step")[["value"]].sort_index())
            row["loss"] = {"step": list(map(int, curve.index)), "middle": _short(curve["value"])}
        runs.append(row)
    return runs


def _command(stored: Stored, sweep: str) -> str:
    """Return the widest command that ran a sweep; of several sweeps only one that names it."""
    commands = stored.commands
    if stored.results["sweep"].nunique() > 1:
        commands = [each for each in commands if {f"+sweep={sweep}", f"name={sweep}"} & {*each.split()}]
    return widest(commands) or ""


def _fewer(table: pd.DataFrame) -> pd.DataFrame:
    kept = np.unique(np.linspace(0, len(table) - 1, MOST_POINTS).round().astype(int))
    return table.iloc[kept]


def _short(values: "pd.Series[Any]") -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.astype(float)]


def _is_known(value: Any) -> bool:
    return value is not None and not pd.isna(value)


def _plain(value: Any) -> str:
    if not _is_known(value):
        return "–"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
