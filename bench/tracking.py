"""Weights & Biases, the one place that touches it. Whatever fails in it is said once and fails nothing else."""

import functools
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from bench.config import Config
from bench.errors import one_line
from bench.session import happened, note
from bench.store import FAILED

UNREACHABLE = "wandb-unreachable"
INIT_SECONDS, FINISH_SECONDS = 20, 30  # how long a network that does not answer may hold up a run


class Tracker(Protocol):
    """What a run reports its progress to."""

    def log(self, record: dict[str, Any]) -> None:
        """Take one evaluation; `record["step"]` is the axis."""

    def finish(self, result: dict[str, Any]) -> None:
        """Take the outcome; nothing follows."""

    def pause(self) -> None:
        """Know that nothing follows for now: the run was stopped, to be resumed."""


class NoTracker:
    """Takes everything and keeps nothing."""

    def log(self, record: dict[str, Any]) -> None: ...

    def finish(self, result: dict[str, Any]) -> None: ...

    def pause(self) -> None: ...


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Make a tracker's method that fails say so once, and silence the tracker from then on."""

    @functools.wraps(method)
    def guarded(self: "WandbTracker", *arguments: Any) -> None:
        if self.broken:
            return
        try:
            method(self, *arguments)
        except Exception as error:
            self.broken = True
            _warn(error)

    return guarded


class WandbTracker:
    """Sends evaluations and the outcome to one W&B run."""

    def __init__(self, wandb_run: Any) -> None:
        self.run = wandb_run
        self.broken = False

    @_harmless
    def log(self, record: dict[str, Any]) -> None:
        self.run.log({key: value for key, value in record.items() if value is not None}, step=record["step"])

    @_harmless
    def finish(self, result: dict[str, Any]) -> None:
        left_out = ("environment", "traceback", "run_id")
        self.run.summary.update({key: value for key, value in result.items() if key not in left_out})
        self.run.finish(exit_code=1 if result["status"] in FAILED else 0)

    @_harmless
    def pause(self) -> None:
        self.run.finish(exit_code=1)


def open_tracker(config: Config, run_id: str, attempt: str, sweep: Path, records: list[dict[str, Any]]) -> Tracker:
    """Start tracking a run: grouped by sweep, job type "run", named by its run_id.

    Args:
        config: `tracking.mode` decides whether, and whether over the network.
        run_id: the run's name.
        attempt: names this beginning of the run; resumed, it is the same W&B run.
        sweep: its folder; W&B writes below its `wandb/`.
        records: the evaluations of before the run was resumed. Offline, where a run that stopped cannot be
            continued, they are told again in place of what was; online W&B leaves out those that it has.
    """
    if config.tracking.mode == "disabled":
        return NoTracker()
    tags = [config.cell["name"], config.task["name"], *config.tracking.tags]
    left_out = ("tracking", "results_dir", "timing", "train", "checkpoint", "retry", "memory_gb", "gpus")
    settings = {key: value for key, value in asdict(config).items() if key not in left_out}
    known = run_id.rpartition("-")[2]
    try:
        for unfinished in (sweep / "wandb").glob(f"offline-run-*-{known}-*"):
            shutil.rmtree(unfinished)
        wandb_run = _start(
            config, sweep, job_type="run", name=run_id, id=f"{known}-{attempt}", resume="allow", tags=tags,
            config=settings,
        )  # fmt: skip
        wandb_run.define_metric("*", step_metric="step")
        wandb_run.define_metric("loss", summary="min,last")
    except Exception as error:
        _warn(error)
        return NoTracker()
    tracker = WandbTracker(wandb_run)
    for record in records:
        tracker.log(record)
    return tracker


def track_report(config: Config, sweep: Path, headline: Any) -> None:
    """Store a sweep's report in a run of its own, job type "sweep": the headline table, the figures as
    media, and the whole report folder as an artifact.

    Args:
        config: any configuration of the sweep.
        sweep: its folder, with `report/` in it.
        headline: the headline table, a DataFrame.
    """
    if config.tracking.mode == "disabled":
        return
    try:
        import wandb

        run = _start(config, sweep, job_type="sweep", name=f"{config.name}-report", tags=config.tracking.tags)
        figures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((sweep / "report").glob("*.png"))}
        tables = {"headline": wandb.Table(dataframe=headline.astype(str))} if len(headline) else {}
        run.log({**tables, **figures})
        artifact = wandb.Artifact(f"{config.name}-report", type="report")
        artifact.add_dir(str(sweep / "report"))
        run.log_artifact(artifact)
        run.finish()
    except Exception as error:
        _warn(error)


def _start(origin: Config, sweep: Path, **options: Any) -> Any:
    """Start a W&B run; offline if it was to be online and W&B cannot be had."""
    os.environ.setdefault("WANDB_SILENT", "true")
    logging.raiseExceptions = False  # W&B's own log that cannot be written: a full disk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wandb
    if origin.tracking.mode == "online" and not happened(UNREACHABLE):
        try:
            return wandb.init(mode="online", **_settings(origin, sweep), **options)
        except Exception as error:
            _say(UNREACHABLE, f"W&B cannot be reached, runs are kept offline for `wandb sync` ({one_line(error)})")
            if "id" in options:
                for begun in (sweep / "wandb").glob(f"run-*-{options['id']}"):
                    shutil.rmtree(begun, ignore_errors=True)
                options["id"] += "-offline"  # W&B takes the run that could not be started for one that is under way
    options.pop("resume", None)
    return wandb.init(mode="offline", **_settings(origin, sweep), **options)


def _settings(origin: Config, sweep: Path) -> dict[str, Any]:
    import wandb

    return {
        "project": origin.tracking.project,
        "entity": origin.tracking.entity,
        "dir": str(sweep),
        "group": origin.name,
        "reinit": "finish_previous",
        "settings": wandb.Settings(
            silent=True,
            console="off",
            symlink=False,  # `latest-run` beside the runs would be synced a second time
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
    }


def _warn(error: Exception) -> None:
    _say("tracking-off", f"tracking is off where it fails, results are stored all the same ({one_line(error)})")


def _say(event: str, message: str) -> None:
    """Say something the first time that it happens to any process of a command."""
    if not happened(event):
        print(message, file=sys.stderr, flush=True)
    note(event)
