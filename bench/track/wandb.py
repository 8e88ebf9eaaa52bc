"""Weights & Biases, the one place that touches it. Whatever fails in it is said once and fails nothing else."""

import functools
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.record.encoding import fields_of, flat
from bench.record.errors import one_line
from bench.record.records import FAILED, Evaluation, Result, StoredReading
from bench.record.tracked import CURVES, MOMENTS, step_time_name
from bench.session import happened, say_once
from bench.spec.config import Settings

UNREACHABLE = "wandb-unreachable"
# What evaluations hold and what W&B calls it; a slash makes a section of its panels.
NAMES = {"train_loss": "train/loss", "grad_norm": "train/grad_norm"}
# What W&B would take from the environment for every run of a process, where each is to have its own.
IDENTITY = (
    "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_STORAGE_ID", "WANDB_RUN_DIR", "WANDB_RESUME_FROM", "WANDB_FORK_FROM",
)  # fmt: skip
INIT_SECONDS, FINISH_SECONDS = 20, 30  # how long a network that does not answer may hold up a run


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Make a tracker's method that fails say so once, and silence the tracker from then on."""

    @functools.wraps(method)
    def guarded(self: "Tracker", *arguments: Any) -> None:
        if self.run is None:
            return
        try:
            method(self, *arguments)
        except Exception as error:
            self.run = None
            _warn(error)

    return guarded


class Tracker:
    """Sends a run's evaluations and outcome to its W&B run, if it has one."""

    def __init__(self, wandb_run: Any = None) -> None:
        self.run = wandb_run

    @_harmless
    def log(self, evaluation: Evaluation) -> None:
        """Send one evaluation; its step is the axis."""
        values = {_name(key): value for key, value in flat(evaluation).items() if value is not None}
        self.run.log(values | {"solved": int(evaluation.solved)}, step=evaluation.step)

    @_harmless
    def finish(self, result: Result, readings: list[StoredReading]) -> None:
        """Send the outcome and all diagnostics; nothing follows."""
        for row in _curves(readings):
            self.run.log(row)
        left_out = {name for name, (_, _, about) in fields_of(Result).items() if not about.get("tracked", True)}
        summary = {_name(key): value for key, value in flat(result).items() if key not in left_out}
        self.run.summary.update(summary | {"solved": int(result.solved)} | _scalars(readings))
        self.run.finish(exit_code=1 if result.status in FAILED else 0)

    @_harmless
    def pause(self) -> None:
        """Say that nothing follows for now: the run was stopped, to be resumed."""
        self.run.finish(exit_code=1)


def open_tracker(config: Settings, run_id: str, attempt: str, sweep: Path, evaluations: list[Evaluation]) -> Tracker:
    """Start tracking a run: grouped by sweep, job type "run" (or "selection", of a seed by which settings are
    selected), named by its run_id.

    Args:
        config: `tracking.mode` decides whether, and whether over the network.
        run_id: the run's name.
        attempt: names this beginning of the run; resumed, it is the same W&B run.
        sweep: its folder; W&B writes below its `wandb/`.
        evaluations: those of before the run was resumed. Offline, where a run that stopped cannot be
            continued, they are told again in place of what was; online W&B leaves out those that it has.
    """
    if config.execution.tracking.mode == "disabled":
        return Tracker()
    tags = [config.run.cell["name"], config.run.task["name"], *config.execution.tracking.tags]
    selecting = config.run.seed in config.sweep.tuning.selection_seeds
    known = run_id.rpartition("-")[2]
    try:
        for unfinished in (sweep / "wandb").glob(f"offline-run-*-{known}-*"):
            shutil.rmtree(unfinished)
        wandb_run = _start(
            config, sweep, job_type="selection" if selecting else "run", name=run_id, id=f"{known}-{attempt}",
            resume="allow", tags=tags, config=run_settings(config),
        )  # fmt: skip
        _define_metrics(wandb_run)
    except Exception as error:
        _warn(error)
        return Tracker()
    tracker = Tracker(wandb_run)
    for evaluation in evaluations:
        tracker.log(evaluation)
    return tracker


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


def _name(key: str) -> str:
    """Return W&B's name of a value: it takes dots for nesting, and makes sections of slashes."""
    return NAMES.get(key, key.replace(".", "/", 1))


def run_settings(config: Settings) -> dict[str, Any]:
    """Return what W&B shows as a run's configuration: what the run is, and nothing that is as ever."""
    groups = {
        name: {key: value for key, value in settings.items() if key != "_target_" and value is not None}
        for name, settings in (
            ("cell", config.run.cell),
            ("task", config.run.task),
            ("training", asdict(config.run.training)),
        )
    }
    return {"seed": config.run.seed, "device": config.execution.device, "dtype": config.run.dtype, **groups}


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


def track_report(config: Settings, sweep: Path, headline: Any, step_times: dict[tuple[str, str], float]) -> None:
    """Store a sweep's report in a run of its own, job type "sweep": the headline table, the figures as
    media, the times that were measured side by side, and the whole report folder as an artifact.

    Args:
        config: any configuration of the sweep.
        sweep: its folder, with `report/` in it.
        headline: the headline table, a DataFrame.
        step_times: milliseconds of a training step by problem and contender.
    """
    if config.execution.tracking.mode == "disabled":
        return
    try:
        import wandb

        run = _start(
            config, sweep, job_type="sweep", name=f"{config.sweep.name}-report", tags=config.execution.tracking.tags
        )
        figures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((sweep / "report").glob("*.png"))}
        tables = {"headline": wandb.Table(dataframe=headline.astype(str))} if len(headline) else {}
        run.log({**tables, **figures, **{step_time_name(*key): value for key, value in step_times.items()}})
        artifact = wandb.Artifact(f"{config.sweep.name}-report", type="report")
        artifact.add_dir(str(sweep / "report"))
        run.log_artifact(artifact)
        run.finish()
    except Exception as error:
        _warn(error)


def _start(origin: Settings, sweep: Path, **options: Any) -> Any:
    """Start a W&B run; offline if it was to be online and W&B cannot be had."""
    os.environ.setdefault("WANDB_SILENT", "true")
    for variable in IDENTITY:
        os.environ.pop(variable, None)
    logging.raiseExceptions = False  # W&B's own log that cannot be written: a full disk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wandb
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
    import wandb

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


def _warn(error: Exception) -> None:
    say_once("tracking-off", f"tracking failed and is off; results are stored all the same ({one_line(error)})")
