"""The timing study of a plan: which cells must be measured together, and where the measurements are kept."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from json import loads
from pathlib import Path

import pandas as pd

from bench.cost.timing import LEAST_ROUNDS, case_key, group_key, measure
from bench.execute.plan import Plan
from bench.execute.progress import counting, tell
from bench.record.columns import TIMING_TYPES
from bench.record.frames import read_readable, with_types, write_parquet
from bench.record.records import FAILED
from bench.record.store import RunFolder
from bench.spec.config import Settings
from bench.spec.targets import load_target
from bench.train.model import make_model, make_task
from cells import Cell


def time_cells(plan: Plan, wait_for_quiet: Callable[[Path], None] = lambda _: None) -> bool:
    """Time the plan's cells and keep the measurements in timing.parquet.

    A group of cells is measured together or not at all: if any of them lacks measurements, all of it is
    measured again, with the cells that were there before.

    Args:
        plan: whose cells.
        wait_for_quiet: called with the sweep's folder before anything is measured.

    Returns:
        Whether anything was measured.
    """
    path = plan.sweep / "timing.parquet"
    stored = read_readable(path, TIMING_TYPES, lambda damage: tell(f"{damage}; the cells are timed again"))
    planned = _timeable(plan)
    forms = [form for config in planned for form in _other_forms(config)]
    todo = _unmeasured([*planned, *forms], stored)
    if not todo:
        return False
    wait_for_quiet(plan.sweep)
    failures: list[str] = []

    def on_failure(config: Settings, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        failures.append(f"not timed: {config.run}: {reason}")

    with counting("Timing", sum(configs[0].sweep.timing.rounds for configs in todo.values())) as advance:
        for group, configs in todo.items():
            before = stored[(stored["group"] == group) & (stored["form"] == "other")]["case"]
            others = {*before, *map(case_key, forms)} - set(map(case_key, planned))
            rows = measure(configs, advance, on_failure, others)
            stored = pd.concat([stored[stored["group"] != group], pd.DataFrame(rows)], ignore_index=True)
            write_parquet(path, with_types(stored, TIMING_TYPES))
    for line in failures:
        tell(line)
    return True


def _timeable(plan: Plan) -> list[Settings]:
    """Return what is timed and not trained; if nothing is, the runs whose cells can be expected to run: all but
    those that failed in training."""
    if plan.timed:
        return list(plan.timed.values())
    return [config for key, config in plan.configs.items() if RunFolder(plan.sweep, key).status() not in FAILED]


def _other_forms(config: Settings) -> Iterator[Settings]:
    """Yield a configuration with every other implementation of its cell, if that is asked for."""
    if config.sweep.timing.backends == "own":
        return
    kind = load_target(config.run.cell["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, Cell)):
        return
    contender = make_model(config.run, make_task(config.run)).cell
    cell = next(each for each in contender.modules() if isinstance(each, Cell))
    for backend in cell.available_backends():
        if backend != cell.active_backend and cell.can_use(backend):
            yield config.with_run(cell={**config.run.cell, "backend": backend})
    if kind.torchrecurrent_layer is not None and cell is contender and find_spec("torchrecurrent"):
        published = {
            "_target_": "cells.TorchRecurrent",
            "layer": kind.torchrecurrent_layer,
            "backend": "torchrecurrent",
        }
        kept = {key: config.run.cell[key] for key in ("name", "hidden_size")}
        yield config.with_run(cell={**kept, **published})


def _unmeasured(configs: Iterable[Settings], stored: pd.DataFrame) -> dict[str, list[Settings]]:
    """Return the groups in which some case lacks rounds that are asked for, each with all its cases, old and new."""
    groups: dict[str, dict[str, Settings]] = defaultdict(dict)
    for config in configs:
        groups[group_key(config)][case_key(config)] = config
    todo = {}
    for group, cases in groups.items():
        some = next(iter(cases.values()))
        rounds = stored[stored["group"] == group].groupby("case")["round"].max() + 1
        # A case that takes long may stop after its third round, where that is allowed.
        wanted = (
            some.sweep.timing.rounds
            if some.sweep.timing.max_seconds is None
            else min(some.sweep.timing.rounds, LEAST_ROUNDS)
        )
        measured = set(rounds.index)
        if not set(cases) <= set(rounds.index[rounds >= wanted]):
            before = [some.with_run(cell=loads(case)["cell"]) for case in sorted(measured - set(cases))]
            todo[group] = [*cases.values(), *before]
    return todo
