"""What a run tells a tracking tool, whichever it is. Whatever fails in one is said once and fails nothing else."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from bench.record.encoding import fields_of, flat
from bench.record.errors import ConfigError, one_line
from bench.record.records import Evaluation, Result, StoredReading
from bench.session import say_once
from bench.spec.config import Settings, Tracking

# What evaluations hold and what trackers call it; a slash makes a section of their panels.
NAMES = {"train_loss": "train/loss", "grad_norm": "train/grad_norm"}


class TrackedRun(Protocol):
    """A run in a tracking tool. `bench.track.TOOL` has `open_run`, which returns one, and `store_report`."""

    def log(self, evaluation: Evaluation) -> None:
        """Show one evaluation, over its step."""

    def finish(self, result: Result, readings: list[StoredReading]) -> None:
        """Show the outcome; nothing follows."""

    def pause(self) -> None:
        """Show that nothing follows for now: the run was stopped, to be resumed."""


class Tracker:
    """Tells a run's evaluations and outcome to the tool that tracks it, if there is one, until that fails."""

    def __init__(self, run: TrackedRun | None = None) -> None:
        self.run = run

    def log(self, evaluation: Evaluation) -> None:
        self._tell("log", evaluation)

    def finish(self, result: Result, readings: list[StoredReading]) -> None:
        self._tell("finish", result, readings)

    def pause(self) -> None:
        self._tell("pause")

    def _tell(self, method: str, *arguments: Any) -> None:
        if self.run is None:
            return
        try:
            getattr(self.run, method)(*arguments)
        except Exception as error:
            self.run = None
            _warn(error)


def open_tracker(config: Settings, run_id: str, attempt: str, sweep: Path, evaluations: list[Evaluation]) -> Tracker:
    """Start tracking a run, named by its run_id.

    Args:
        config: `tracking` says by which tool, if any.
        run_id: the run's name.
        attempt: names this beginning of the run; resumed, it is the same run of the tool.
        sweep: its folder; tools write below folders of it that have their names.
        evaluations: those of before the run was resumed, which are told again in place of what was.
    """
    tracking = config.execution.tracking
    if tracking.mode == "disabled":
        return Tracker()
    try:
        run = import_module(f"bench.track.{tracking.tool}").open_run(config, run_id, attempt, sweep)
    except Exception as error:
        _warn(error)
        return Tracker()
    tracker = Tracker(run)
    for evaluation in evaluations:
        tracker.log(evaluation)
    return tracker


def track_report(config: Settings, sweep: Path, headline: Any, step_times: dict[tuple[str, str], float]) -> None:
    """Show a sweep's report in a run of its own: the headline table and the figures, or the whole folder.

    Args:
        config: any configuration of the sweep.
        sweep: its folder, with `report/` in it.
        headline: the headline table, a DataFrame.
        step_times: milliseconds of a training step by problem and contender.
    """
    tracking = config.execution.tracking
    if tracking.mode == "disabled":
        return
    try:
        import_module(f"bench.track.{tracking.tool}").store_report(config, sweep, headline, step_times)
    except Exception as error:
        _warn(error)


def check_installed(tracking: Tracking) -> None:
    """Raise ConfigError if runs are to be tracked by a tool that is not installed."""
    if tracking.mode != "disabled" and find_spec(tracking.tool) is None:
        tool = tracking.tool
        raise ConfigError(f"tracking={tool}: {tool} is not installed; pip install 'recurrent-bench[{tool}]'")


def run_settings(config: Settings) -> dict[str, Any]:
    """Return what is shown as a run's configuration: what the run is, and nothing that is as ever."""
    groups = {
        name: {key: value for key, value in settings.items() if key != "_target_" and value is not None}
        for name, settings in (
            ("cell", config.run.cell),
            ("task", config.run.task),
            ("training", asdict(config.run.training)),
        )
    }
    return {"seed": config.run.seed, "device": config.execution.device, "dtype": config.run.dtype, **groups}


def flat_settings(config: Settings) -> dict[str, Any]:
    """Return `run_settings` on one level, as cell.hidden_size."""
    levels = {name: value if isinstance(value, dict) else {"": value} for name, value in run_settings(config).items()}
    return {f"{name}.{key}".rstrip("."): value for name, values in levels.items() for key, value in values.items()}


def values_of(evaluation: Evaluation) -> dict[str, float]:
    """Return the numbers of an evaluation, by the names that trackers have for them."""
    values = {shown_as(key): value for key, value in flat(evaluation).items() if value is not None}
    return values | {"solved": int(evaluation.solved)}


def summary_of(result: Result) -> dict[str, Any]:
    """Return what is shown of an outcome, without what is unknown of it."""
    left_out = {name for name, (_, _, about) in fields_of(Result).items() if not about.get("tracked", True)}
    summary = {shown_as(key): value for key, value in flat(result).items() if key not in left_out}
    return {key: value for key, value in summary.items() if value is not None} | {"solved": int(result.solved)}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return those values that are numbers, under final/."""
    return {f"final/{key}": value for key, value in values.items() if isinstance(value, int | float)}


def shown_as(key: str) -> str:
    """Return a value's name in trackers, some of which take dots for nesting, and make sections of slashes."""
    return NAMES.get(key, key.replace(".", "/", 1))


def _warn(error: Exception) -> None:
    say_once("tracking-off", f"tracking failed and is off; results are stored all the same ({one_line(error)})")
