"""The timing study of a plan: which cells must be measured together, and where the measurements are kept."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from json import loads
from pathlib import Path

import pandas as pd

from bench.config import Config
from bench.frames import TIMING_COLUMNS, write_parquet
from bench.plan import Plan
from bench.progress import console, counting
from bench.store import FAILED, RunFolder
from bench.timing import case_key, group_key, measure


def time_cells(plan: Plan) -> bool:
    """Time the plan's cells and keep the measurements in timing.parquet.

    A group of cells is measured together or not at all: if any of them lacks measurements, all of it is
    measured again, with the cells that were there before.

    Returns:
        Whether anything was measured.
    """
    path = plan.sweep / "timing.parquet"
    stored = _read(path)
    todo = _unmeasured(_timeable(plan), stored)
    if not todo:
        return False
    failures: list[str] = []

    def on_failure(config: Config, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        failures.append(f"not timed: {config.cell['name']} on {config.task['name']}: {reason}")

    with counting("Timing", sum(configs[0].timing.rounds for configs in todo.values())) as advance:
        for group, configs in todo.items():
            rows = measure(configs, advance, on_failure)
            stored = pd.concat([stored[stored["group"] != group], pd.DataFrame(rows)], ignore_index=True)
            write_parquet(path, stored.convert_dtypes())
    for line in failures:
        console.print(line, markup=False)
    return True


def _read(path: Path) -> pd.DataFrame:
    """Return the stored measurements; none if there are none, or none that can be read."""
    nothing = pd.DataFrame(columns=list(TIMING_COLUMNS))
    if not path.exists():
        return nothing
    try:
        stored = pd.read_parquet(path)
    except (OSError, ValueError):
        stored = nothing
    if not set(TIMING_COLUMNS) <= set(stored) or stored.empty:
        console.print(f"{path}: cannot be read; the cells are timed again", markup=False)
        return nothing
    return stored


def _timeable(plan: Plan) -> list[Config]:
    """Return the runs whose cells can be expected to run: all but those that failed in training."""
    if not plan.first.train:
        return list(plan.configs.values())
    results = {key: RunFolder(plan.sweep, key).read_result() for key in plan.configs}
    return [config for key, config in plan.configs.items() if (results[key] or {}).get("status") not in FAILED]


def _unmeasured(configs: Iterable[Config], stored: pd.DataFrame) -> dict[str, list[Config]]:
    """Return the groups in which some case lacks measurements, each with all its cases, old and new."""
    groups: dict[str, dict[str, Config]] = defaultdict(dict)
    for config in configs:
        groups[group_key(config)][case_key(config)] = config
    todo = {}
    for group, cases in groups.items():
        measured = set(stored.loc[stored["group"] == group, "case"])
        if not set(cases) <= measured:
            some = next(iter(cases.values()))
            before = [replace(some, cell=loads(case)["cell"]) for case in sorted(measured - set(cases))]
            todo[group] = [*cases.values(), *before]
    return todo
