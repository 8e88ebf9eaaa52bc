"""A sweep from end to end, as a Hydra callback: plan before; timing, tables and report after."""

import os
import sys
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from json import loads
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bench.config import Config
from bench.errors import ConfigError
from bench.frames import write_frames, write_parquet
from bench.plan import Plan, make_plan
from bench.process import command_line
from bench.progress import SweepProgress, console, counting, describe
from bench.store import RunFolder, record_command
from bench.timing import case_key, group_key, measure
from bench.tracking import track_report


def _ends_the_program(method: Callable[..., None]) -> Callable[..., None]:
    """Turn what a callback raises into an exit code: Hydra would warn about it and go on."""

    @wraps(method)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            method(*arguments, **options)
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        except Exception as error:
            traceback.print_exc()
            raise SystemExit(1) from error

    return guarded


class SweepCallback(Callback):
    """Called by Hydra around a sweep, and around a single run, which is a sweep of one."""

    @_ends_the_program
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.plan = make_plan(config)
        _check_writable(self.plan.sweep)
        record_command(self.plan.sweep, command_line())
        print(_announce(self.plan), flush=True)
        if not self.plan.pending or not self.plan.first.train:
            _conclude(self.plan)
            raise SystemExit(_exit_code(self.plan))
        self.progress = SweepProgress(self.plan)

    @_ends_the_program
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self.progress.stop()
        _conclude(self.plan)
        if code := _exit_code(self.plan):
            raise SystemExit(code)

    def __getstate__(self) -> dict[str, Any]:
        """Leave plan and display behind when a launcher sends this to a worker, which needs neither."""
        return {}

    on_run_start = on_multirun_start
    on_run_end = on_multirun_end


def _announce(plan: Plan) -> str:
    """Return the plan in words."""
    configs = plan.configs.values()
    cells = list(dict.fromkeys(config.cell["name"] for config in configs))
    tasks = list(dict.fromkeys(config.task["name"] for config in configs))
    seeds = sorted({config.seed for config in configs})
    lines = [
        f"sweep {plan.first.name} → {plan.sweep}",
        f"  cells  {', '.join(cells)}",
        f"  tasks  {', '.join(tasks)}",
        f"  seeds  {', '.join(map(str, seeds))}",
    ]
    if plan.first.train:
        lines.append(f"  runs   {len(plan.configs)}, of which {len(plan.finished)} are finished")
    else:
        lines.append("  runs   none: times only")
    return "\n".join(lines)


def _check_writable(sweep: Path) -> None:
    try:
        sweep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=sweep):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"results_dir: cannot write to {sweep} ({reason}); choose another with results_dir=…"
        ) from error


def _conclude(plan: Plan) -> None:
    """Time the cells, gather the tables, write the report and say where it is."""
    from reports.report import write_report

    before = _mtime(plan.sweep / "timing.parquet")
    # A single run has nothing beside it to be compared with.
    if plan.first.timing.enabled and (len(plan.configs) > 1 or not plan.first.train):
        run_timing(plan)
    write_frames(plan.sweep)
    report = write_report([plan.sweep])
    if plan.pending or _mtime(plan.sweep / "timing.parquet") != before:
        track_report(plan.first, plan.sweep, report.headline)
    _tell(plan)
    print(report.path)


def _mtime(path: Path) -> float | None:
    return path.stat().st_mtime if path.exists() else None


def _tell(plan: Plan) -> None:
    """Say which runs failed, and which have no result at all."""
    for key in plan.configs if plan.first.train else ():
        result = RunFolder(plan.sweep, key).read_result()
        if result is None:
            console.print(f"no result: {key}; the same command runs it again", markup=False)
        elif result["status"] in ("failed", "out_of_memory"):
            folder = plan.sweep / "runs" / key
            console.print(
                f"{describe(result)} (traceback: {folder}/result.json; delete that folder to run it again)",
                markup=False,
            )


def _exit_code(plan: Plan) -> int:
    """Return 1 if any planned run failed or has no result, else 0."""
    if not plan.first.train:
        return 0
    results = [RunFolder(plan.sweep, key).read_result() for key in plan.configs]
    return int(any(result is None or result["status"] in ("failed", "out_of_memory") for result in results))


def run_timing(plan: Plan) -> None:
    """Time the plan's cells and keep the measurements in timing.parquet.

    A group of cells is measured together or not at all: if any of its cases lacks measurements, all of
    it is measured again, with the cells that were there before.
    """
    path = plan.sweep / "timing.parquet"
    stored = pd.read_parquet(path) if path.exists() else pd.DataFrame({"group": [], "case": []})
    groups: dict[str, dict[str, Config]] = defaultdict(dict)
    for config in plan.configs.values():
        groups[group_key(config)][case_key(config)] = config
    todo = {}
    for group, cases in groups.items():
        measured = set(stored.loc[stored["group"] == group, "case"])
        if not set(cases) <= measured:
            any_config = next(iter(cases.values()))
            todo[group] = [*cases.values()] + [
                replace(any_config, cell=loads(case)["cell"]) for case in sorted(measured - set(cases))
            ]
    if not todo:
        return
    failures: list[str] = []

    def on_failure(config: Config, error: Exception) -> None:
        failures.append(f"not timed: {config.cell['name']} on {config.task['name']}: {type(error).__name__}: {error}")

    with counting("Timing", sum(configs[0].timing.rounds for configs in todo.values())) as advance:
        for group, configs in todo.items():
            rows = measure(configs, advance, on_failure)
            stored = pd.concat([stored[stored["group"] != group], pd.DataFrame(rows)], ignore_index=True)
            write_parquet(path, stored.convert_dtypes())
    for line in failures:
        console.print(line, markup=False)
