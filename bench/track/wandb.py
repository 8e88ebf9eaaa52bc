"""Weights & Biases, the one place that touches it."""

import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.record.errors import one_line
from bench.record.records import FAILED, Evaluation, Result, StoredReading
from bench.record.tracked import CURVES, MOMENTS, step_time_name
from bench.session import happened, say_once
from bench.spec.config import Settings
from bench.track.tracker import run_settings, summary_of, values_of

os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing leaves the machine unasked, of offline runs neither
with warnings.catch_warnings(action="ignore"):
    import wandb

UNREACHABLE = "wandb-unreachable"
# What W&B would take from the environment for every run of a process, where each is to have its own.
IDENTITY = (
    "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_STORAGE_ID", "WANDB_RUN_DIR", "WANDB_RESUME_FROM", "WANDB_FORK_FROM",
)  # fmt: skip
# Of W&B Launch, a run needs one class of a submodule; all of it takes half a second to import.
LAUNCH = "wandb.sdk.launch"
INIT_SECONDS, FINISH_SECONDS = 20, 30  # how long a network that does not answer may hold up a run


class _Run:
    """See `bench.track.tracker.TrackedRun`."""

    def __init__(self, wandb_run: Any) -> None:
        self._run = wandb_run

    def log(self, evaluation: Evaluation) -> None:
        self._run.log(values_of(evaluation), step=evaluation.step)

    def finish(self, result: Result, readings: list[StoredReading]) -> None:
        for row in _curves(readings):
            self._run.log(row)
        self._run.summary.update(summary_of(result) | _scalars(readings))  # an unknown value would import pandas
        self._run.finish(exit_code=1 if result.status in FAILED else 0)

    def pause(self) -> None:
        self._run.finish(exit_code=1)


def open_run(config: Settings, run_id: str, attempt: str, sweep: Path) -> _Run:
    """Start a W&B run: grouped by sweep, job type "run" (or "selection", of a seed by which settings are selected).

    Offline, a run that stopped cannot be continued, and is told anew; online, W&B leaves out what it has.
    """
    tags = [config.run.cell["name"], config.run.task["name"], *config.execution.tracking.tags]
    selecting = config.run.seed in config.sweep.tuning.selection_seeds
    known = run_id.rpartition("-")[2]
    for unfinished in (sweep / "wandb").glob(f"offline-run-*-{known}-*"):
        shutil.rmtree(unfinished)
    wandb_run = _start(
        config, sweep, job_type="selection" if selecting else "run", name=run_id, id=f"{known}-{attempt}",
        resume="allow", tags=tags, config=run_settings(config),
    )  # fmt: skip
    _define_metrics(wandb_run)
    return _Run(wandb_run)


def _define_metrics(run: Any) -> None:
    """Say what is drawn over what, and what of it counts."""
    run.define_metric("step", hidden=True)
    run.define_metric("loss", step_metric="step", summary="min,last")
    run.define_metric("score/*", step_metric="step", summary="last")
    for name in ("train/*", "solved", "samples", "seconds"):
        run.define_metric(name, step_metric="step", summary="last")
    for kind, axis in CURVES.items():
        run.define_metric(axis, hidden=True, summary="none")
        run.define_metric(f"{kind}/*", step_metric=axis, summary="none")


def _curves(readings: list[StoredReading]) -> list[dict[str, float]]:
    """Return a row per distance of each kind that is a curve: its axis, and what each part had there."""
    rows: dict[tuple[str, float], dict[str, float]] = {}
    for reading in readings:
        kind, moment = reading.kind, MOMENTS.get(reading.moment)
        if kind not in CURVES or moment is None:
            continue
        for x, value in zip(reading.x, reading.value, strict=True):
            row = rows.setdefault((kind, x), {CURVES[kind]: x})
            row[f"{kind}/{reading.part}_{moment}"] = value
    return [rows[key] for key in sorted(rows)]


def _scalars(readings: list[StoredReading]) -> dict[str, float]:
    """Return the factor by which gradients shrink a step, before and after training."""
    return {
        f"decay/{reading.part}_{MOMENTS[reading.moment]}": reading.value[0]
        for reading in readings
        if reading.kind == "decay" and reading.moment in MOMENTS
    }


def store_report(config: Settings, sweep: Path, headline: Any, step_times: dict[tuple[str, str], float]) -> None:
    """Store a report in a run of job type "sweep": the headline table, the figures as media, the times that were
    measured side by side, and the whole folder as an artifact."""
    name, tags = f"{config.sweep.name}-report", config.execution.tracking.tags
    run = _start(config, sweep, job_type="sweep", name=name, tags=tags)
    figures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((sweep / "report").glob("*.png"))}
    tables = {"headline": wandb.Table(dataframe=headline.astype(str))} if len(headline) else {}
    run.log({**tables, **figures, **{step_time_name(*key): value for key, value in step_times.items()}})
    artifact = wandb.Artifact(name, type="report")
    artifact.add_dir(str(sweep / "report"))
    run.log_artifact(artifact)
    run.finish()


def _leave_out_launch() -> None:
    """Have the package of W&B Launch be empty, unless it is imported; submodules are imported as they are needed."""
    if LAUNCH not in sys.modules:
        sys.modules[LAUNCH] = ModuleType(LAUNCH)
        sys.modules[LAUNCH].__path__ = [str(Path(wandb.__file__).parent / "sdk" / "launch")]


def _start(origin: Settings, sweep: Path, **options: Any) -> Any:
    """Start a W&B run; offline if it was to be online and W&B cannot be had."""
    for variable in IDENTITY:
        os.environ.pop(variable, None)
    _leave_out_launch()
    logging.raiseExceptions = False  # W&B's own log that cannot be written: a full disk
    if origin.execution.tracking.mode == "online" and not happened(UNREACHABLE):
        try:
            return wandb.init(mode="online", **_settings(origin, sweep), **options)
        except Exception as error:
            say_once(UNREACHABLE, f"W&B cannot be reached, runs are kept offline for `wandb sync` ({one_line(error)})")
            if "id" in options:
                for begun in (sweep / "wandb").glob(f"run-*-{options['id']}"):
                    shutil.rmtree(begun, ignore_errors=True)
                options["id"] += "-offline"  # W&B takes the run that could not be started for one that is under way
    options.pop("resume", None)
    return wandb.init(mode="offline", **_settings(origin, sweep), **options)


def _settings(origin: Settings, sweep: Path) -> dict[str, Any]:
    return {
        "project": origin.execution.tracking.project,
        "entity": origin.execution.tracking.entity,
        "dir": str(sweep),
        "group": origin.sweep.name,
        "reinit": "create_new",  # runs may be under way side by side
        "settings": wandb.Settings(
            silent=True,
            console="off",
            symlink=False,  # `latest-run` beside the runs would be synced a second time
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_save_requirements=False,  # else metadata of all installed packages is read for each run, 0.06 s
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
    }
