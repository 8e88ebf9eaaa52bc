"""Stored runs as tidy, typed tables, and the parquet files that users load with pandas."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bench.files import write_atomic
from bench.store import StoredRun, read_runs

# Columns of results.parquet, in order; settings (`task.delay`, …) and final scores come after them.
RESULT_TYPES = {
    "sweep": "string",
    "run_id": "string",
    "cell": "string",
    "task": "string",
    "seed": "Int64",
    "status": "string",
    "solved": "boolean",
    "steps_to_solve": "Int64",
    "seconds_to_solve": "Float64",
    "steps": "Int64",
    "samples": "Int64",
    "final_loss": "Float64",
    "baseline_loss": "Float64",
    "parameters": "Int64",
    "cell_parameters": "Int64",
    "hidden_size": "Int64",
    "learning_rate": "Float64",
    "backend": "string",
    "device": "string",
    "dtype": "string",
    "threads": "Int64",
    "allocator": "string",
    "seconds": "Float64",
    "step_ms": "Float64",
    "error": "string",
    "environment": "string",  # JSON: what it ran on
}
CURVE_TYPES = {
    "sweep": "string",
    "run_id": "string",
    "cell": "string",
    "task": "string",
    "seed": "Int64",
    "step": "Int64",
    "samples": "Int64",
    "seconds": "Float64",
    "metric": "string",
    "value": "Float64",
}
# Columns of timing.parquet; settings come after them.
TIMING_COLUMNS = (
    "sweep",
    "case",
    "group",
    "form",
    "cell",
    "task",
    "backend",
    "device",
    "dtype",
    "threads",
    "time_steps",
    "batch_size",
    "input_size",
    "hidden_size",
    "quantity",
    "round",
    "value",
    "unit",
    "environment",
)


def results_frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Return a row a run: `RESULT_TYPES`, then every cell, task and training setting, then final scores."""
    rows = [{**_result_row(run), **settings_columns(run.config)} for run in runs]
    return _typed(pd.DataFrame(rows), RESULT_TYPES)


def curves_frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Return a row an evaluation and metric: training loss, held-out loss, gradient norm, scores."""
    rows = [
        {**_who(run), **{key: record[key] for key in ("step", "samples", "seconds")}, "metric": metric, "value": value}
        for run in runs
        for record in run.metrics
        for metric, value in record.items()
        if metric not in ("step", "samples", "seconds", "solved") and value is not None
    ]
    return _typed(pd.DataFrame(rows), CURVE_TYPES)


def write_frames(sweep: Path) -> pd.DataFrame:
    """Make results.parquet and curves.parquet from the runs of a sweep's folder; returns the results."""
    runs = read_runs(sweep)
    results = results_frame(runs)
    write_parquet(sweep / "results.parquet", results)
    write_parquet(sweep / "curves.parquet", curves_frame(runs))
    return results


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame atomically."""
    write_atomic(path, lambda temporary: frame.to_parquet(temporary, index=False))


def _who(run: StoredRun) -> dict[str, Any]:
    config = run.config
    return {
        "sweep": config["name"],
        "run_id": run.result["run_id"],
        "cell": config["cell"]["name"],
        "task": config["task"]["name"],
        "seed": config["seed"],
    }


def _result_row(run: StoredRun) -> dict[str, Any]:
    config, result = run.config, run.result
    scores = {key: value for key, value in result.items() if key.startswith("final_score.")}
    return {
        **_who(run),
        **{key: result.get(key) for key in RESULT_TYPES if key in result},
        "hidden_size": config["cell"].get("hidden_size"),
        "learning_rate": config["training"]["learning_rate"],
        "device": config["device"],
        "dtype": config["dtype"],
        "environment": json.dumps(result.get("environment", {})),
        **scores,
    }


def settings_columns(config: dict[str, Any], groups: Iterable[str] = ("cell", "task", "training")) -> dict[str, Any]:
    """Return a configuration's settings as columns `group.key`; a list or mapping becomes its text."""
    return {
        f"{group}.{key}": value if value is None or isinstance(value, int | float | str) else str(value)
        for group in groups
        for key, value in config[group].items()
        if key not in ("name", "_target_")
    }


def _typed(frame: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """Return the frame with all columns of `types` first, in those types, and the rest after them."""
    others = [column for column in frame.columns if column not in types]
    frame = frame.reindex(columns=[*types, *others])
    return frame.astype(types).convert_dtypes()
