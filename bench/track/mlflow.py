"""MLflow: a database of runs, results/NAME/mlflow/mlflow.db, or the server that MLFLOW_TRACKING_URI names."""

import contextlib
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.record.records import FAILED, Evaluation, Result, StoredReading
from bench.spec.config import Settings
from bench.track.tracker import flat_settings, numbers, summary_of, values_of

URI = "MLFLOW_TRACKING_URI"
LOCK_SECONDS = 60  # how long a process waits for another one that writes


class _Run:
    """See `bench.track.tracker.TrackedRun`."""

    def __init__(self, client: Any, identifier: str) -> None:
        self._client, self._id = client, identifier

    def log(self, evaluation: Evaluation) -> None:
        self._log(values_of(evaluation), evaluation.step)

    def finish(self, result: Result, readings: list[StoredReading]) -> None:
        self._log(numbers(summary_of(result)), result.steps or 0)
        self._client.set_tag(self._id, "status", result.status)
        self._client.set_terminated(self._id, "FAILED" if result.status in FAILED else "FINISHED")

    def pause(self) -> None:
        self._client.set_terminated(self._id, "KILLED")

    def _log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])


def open_run(config: Settings, run_id: str, attempt: str, sweep: Path) -> _Run:
    """Create a run, tagged with its sweep, cell and task; one that was stopped is replaced, since it is told anew."""
    client, experiment = _experiment(config, sweep)
    for stopped in client.search_runs([experiment], f"tags.attempt = '{attempt}'"):
        client.delete_run(stopped.info.run_id)
    tags = {"attempt": attempt, "cell": config.run.cell["name"], "task": config.run.task["name"]}
    created = _create(client, experiment, config, run_id, tags)
    from mlflow.entities import Param

    settings = [Param(key, str(value)) for key, value in flat_settings(config).items()]
    client.log_batch(created, params=settings)
    return _Run(client, created)


def store_report(config: Settings, sweep: Path, headline: Any, step_times: dict[tuple[str, str], float]) -> None:
    """Store the report's folder as artifacts of a run NAME-report."""
    client, experiment = _experiment(config, sweep)
    created = _create(client, experiment, config, f"{config.sweep.name}-report", {})
    client.log_artifacts(created, str(sweep / "report"))
    client.set_terminated(created)


def _create(client: Any, experiment: str, config: Settings, name: str, tags: dict[str, str]) -> str:
    tags = {"sweep": config.sweep.name, **tags, **dict.fromkeys(config.execution.tracking.tags, "")}
    identifier: str = client.create_run(experiment, tags=tags, run_name=name).info.run_id
    return identifier


def _experiment(config: Settings, sweep: Path) -> tuple[Any, str]:
    """Return a client and the id of the experiment that the project is, made if there is none yet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the machine unasked
    with warnings.catch_warnings(action="ignore"):
        from mlflow.tracking import MlflowClient
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they tell how a database is made
    folder = (sweep / "mlflow").resolve()
    here = URI not in os.environ
    if here:
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock") if here else contextlib.nullcontext():  # one process makes the database
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db?timeout={LOCK_SECONDS}" if here else None)
        project = config.execution.tracking.project
        if known := client.get_experiment_by_name(project):
            return client, known.experiment_id
        return client, client.create_experiment(project, (folder / "artifacts").as_uri() if here else None)
