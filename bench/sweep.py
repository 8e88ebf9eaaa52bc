"""A sweep from end to end, as a Hydra callback: plan before; timing, tables and report after."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bench.errors import ConfigError
from bench.frames import write_frames
from bench.plan import Plan, make_plan
from bench.process import command_line, prepare_kernels
from bench.progress import SweepProgress, console, describe, planning
from bench.store import FAILED, RunFolder, record_command
from bench.study import time_cells
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
        self.plan = make_plan(config, planning)
        _check_writable(self.plan.sweep)
        record_command(self.plan.sweep, command_line())
        print(_announce(self.plan), flush=True)
        if reason := prepare_kernels(self.plan.first.device):
            print(f"warning: no native kernels ({reason}); cells use their next backend", file=sys.stderr)
        if not self.plan.pending or not self.plan.first.train:
            raise SystemExit(_conclude(self.plan))
        self.progress = SweepProgress(self.plan)

    @_ends_the_program
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self.progress.stop()
        if code := _conclude(self.plan):
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


def _conclude(plan: Plan) -> int:
    """Time the cells, gather the tables, write the report and say where it is.

    Returns:
        The exit code: 1 if any planned run failed or has no result, else 0.
    """
    from reports.report import write_report

    # A single run has nothing beside it to be compared with.
    timed = (len(plan.configs) > 1 or not plan.first.train) and plan.first.timing.enabled and time_cells(plan)
    if plan.first.train:
        write_frames(plan.sweep)
    report = write_report([plan.sweep])
    if plan.pending or timed:
        track_report(plan.first, plan.sweep, report.headline)
    failures = _tell_failures(plan)
    print(report.path)
    return int(failures > 0)


def _tell_failures(plan: Plan) -> int:
    """Say which planned runs failed, and which have no result at all; return how many these are."""
    failures = 0
    for key in plan.configs if plan.first.train else ():
        result = RunFolder(plan.sweep, key).read_result()
        if result is not None and result["status"] not in FAILED:
            continue
        failures += 1
        if result is None:
            console.print(f"no result: {key}; the same command runs it again", markup=False)
            continue
        folder = plan.sweep / "runs" / key
        console.print(
            f"{describe(result)} (traceback: {folder}/result.json; delete that folder to run it again)", markup=False
        )
    return failures
