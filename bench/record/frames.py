"""Stored runs as tidy, typed tables, and the parquet files that users load with pandas."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.record.asked import read_asked
from bench.record.errors import one_line, printable
from bench.record.fairness import selected_settings
from bench.record.files import Damaged, open_plain, write_atomic
from bench.record.parquet import read_table
from bench.record.records import DECIDED, NAME, STATUSES
from bench.record.store import StoredRun, read_runs

# Columns of results.parquet, in order; settings (`task.delay`, …) and final scores come after them.
RESULT_TYPES = {
    "sweep": "string",
    "run_id": "string",
    "cell": "string",
    "task": "string",
    "seed": "Int64",
    "selection": "boolean",  # whether it selects settings, and is not reported
    "tuned": "string",  # the settings that are selected, separated by commas; "" if none
    "reference": "string",  # JSON: by which columns' values those are known that all others are compared with
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
    "flops_step": "Float64",  # of a training step
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
DIAGNOSTICS_TYPES = {
    **dict(list(CURVE_TYPES.items())[:6]),
    "moment": "string",  # start, training or end
    "kind": "string",
    "part": "string",
    "x": "Float64",
    "y": "Float64",
    "value": "Float64",
}
# Columns of timing.parquet; settings come after them.
TIMING_TYPES = {
    "sweep": "string",
    "case": "string",
    "group": "string",
    "form": "string",
    "cell": "string",
    "task": "string",
    "backend": "string",
    "device": "string",
    "dtype": "string",
    "threads": "Int64",
    "time_steps": "Int64",
    "batch_size": "Int64",
    "input_size": "Int64",
    "hidden_size": "Int64",
    "quantity": "string",
    "round": "Int64",
    "value": "Float64",
    "unit": "string",
    "environment": "string",
    "gemm_size": "Int64",
}
TIMING_COLUMNS = tuple(TIMING_TYPES)
# Columns of results.parquet that may be empty in some rows; reports rely on what else is in the types above.
OPTIONAL = {"steps_to_solve", "seconds_to_solve", "steps", "samples", "final_loss", "baseline_loss", "parameters"}
OPTIONAL |= {"cell_parameters", "hidden_size", "learning_rate", "backend", "threads", "allocator"}
OPTIONAL |= {"seconds", "step_ms", "error"}
LATER = {"selection", "tuned", "reference", "flops_step", "gemm_size"}  # columns that older tables lack
OPTIONAL |= LATER
NAMES = {
    "cell",
    "task",
    "run_id",
    "metric",
    "moment",
    "kind",
    "part",
    "quantity",
    "form",
    "backend",
    "device",
    "dtype",
    "allocator",
}
TABLE_BYTES = 8 << 30


def results_frame(runs: list[StoredRun], report: dict[str, Any] | None = None) -> pd.DataFrame:
    """Return a row a run: `RESULT_TYPES`, then every cell, task and training setting, the classes of cell and task,
    then final scores.

    Args:
        runs: finished ones.
        report: what the sweep was last asked to compare and select, of `Asked`; None: what each run's configuration
            says of it.
    """
    rows = [{**_result_row(run, report or _report_of(run.config)), **settings_columns(run.config)} for run in runs]
    return with_types(pd.DataFrame(rows), RESULT_TYPES)


def curves_frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Return a row an evaluation and metric: training loss, held-out loss, gradient norm, scores."""
    columns: dict[str, list[Any]] = {name: [] for name in ("step", "samples", "seconds", "metric", "value")}
    lengths = []
    for run in runs:
        before = len(columns["value"])
        for record in run.metrics:
            for metric, value in record.items():
                if metric not in ("step", "samples", "seconds", "solved") and value is not None:
                    for name in ("step", "samples", "seconds"):
                        columns[name].append(record[name])
                    columns["metric"].append(metric)
                    columns["value"].append(value)
        lengths.append(len(columns["value"]) - before)
    who = pd.DataFrame([_who(run) for run in runs], columns=list(CURVE_TYPES)[:5])
    repeated = who.loc[who.index.repeat(lengths)].reset_index(drop=True)
    return with_types(pd.concat([repeated, pd.DataFrame(columns)], axis=1), CURVE_TYPES)


def diagnostics_frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Return a row a point of all diagnostics."""
    parts = [
        pd.DataFrame(
            {
                **_who(run),
                **{key: reading[key] for key in ("step", "moment", "kind", "part")},
                **{key: reading[key] or None for key in ("x", "y", "value")},
            }
        )
        for run in runs
        for reading in run.readings
    ]
    return with_types(pd.concat(parts, ignore_index=True), DIAGNOSTICS_TYPES) if parts else pd.DataFrame()


def write_frames(sweep: Path) -> list[str]:
    """Make results.parquet, curves.parquet and, if there is anything for it, diagnostics.parquet from the runs of a
    sweep's folder.

    Returns:
        What is wrong with the runs that had to be left out.
    """
    runs, wrong = read_runs(sweep)
    write_parquet(sweep / "results.parquet", results_frame(runs, read_asked(sweep).report))
    write_parquet(sweep / "curves.parquet", curves_frame(runs))
    readings = diagnostics_frame(runs)
    if len(readings):
        write_parquet(sweep / "diagnostics.parquet", readings)
    else:
        (sweep / "diagnostics.parquet").unlink(missing_ok=True)
    return wrong


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame atomically, with a checksum of its values by which damage is noticed."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    seal = _digest(table.to_pandas()).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"sha256": seal})
    write_atomic(path, lambda temporary: pq.write_table(table, temporary))


def read_parquet(path: Path, types: dict[str, str]) -> pd.DataFrame:
    """Return a frame written by `write_parquet`, with at least the columns of `types`, in those types.

    Raises:
        FileNotFoundError: nothing there.
        MemoryError: memory does not suffice; nothing is wrong with the file.
        Damaged: it is not what was written, or lacks columns.
    """
    try:
        with open_plain(path, TABLE_BYTES) as file:
            table = read_table(file, os.fstat(file.fileno()).st_size, path)
        frame = table.to_pandas()
        seal = (table.schema.metadata or {}).get(b"sha256")
        if seal is not None and seal.decode() != _digest(frame):
            raise Damaged(f"{path}: its checksum does not match")
        missing = [column for column in types if column not in frame and column not in LATER]
        typed = None if missing else with_types(frame, types)
        wrong = None if typed is None else _wrong_column(typed, types)
    except (FileNotFoundError, Damaged, MemoryError):
        raise
    except Exception as error:  # whatever Arrow and pandas make of garbage
        raise Damaged(f"{path}: cannot be read ({one_line(error)})") from error
    if typed is None:
        raise Damaged(f"{path}: lacks the columns {', '.join(missing)}")
    if wrong is not None:
        raise Damaged(f"{path}: holds what no such table does, in column {printable(wrong)}")
    return typed


def _wrong_column(frame: pd.DataFrame, types: dict[str, str]) -> str | None:
    """Return a column with values that cannot be, in a table that anyone may have written."""
    optional = OPTIONAL if types is RESULT_TYPES else {"round", "y"} | LATER
    for name in types:
        if name not in optional and frame[name].isna().any():
            return name
    for name, column in frame.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if numeric and not np.isfinite(column.dropna().astype(float)).all():
            return str(name)
        if types.get(str(name)) == "Int64" and (column.dropna() < 0).any():
            return str(name)
    for name in sorted(NAMES & set(types)):
        if not frame[name].dropna().str.fullmatch(NAME).all():
            return name
    if "environment" in frame and not all(map(_is_environment, frame["environment"].unique())):
        return "environment"
    if "status" in frame:
        solved, decided = frame["status"] == "solved", frame["status"].isin(DECIDED)
        if not (frame["status"].isin(STATUSES).all() and (frame["solved"] == solved).all()):
            return "status"
        if frame.loc[solved, "steps_to_solve"].isna().any() or frame.loc[decided, ["steps", "seconds"]].isna().any(
            axis=None
        ):
            return "steps"
    return None


def _is_environment(text: str) -> bool:
    """Tell whether a text is what an environment is stored as: a JSON object of single values."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not any(isinstance(value, dict | list) for value in found.values())


def _digest(frame: pd.DataFrame) -> str:
    """Return a hash of a table's columns, by name and value."""
    known = hashlib.sha256(json.dumps([[str(name), str(dtype)] for name, dtype in frame.dtypes.items()]).encode())
    for name in frame:
        known.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().tobytes())
    return known.hexdigest()


def _who(run: StoredRun) -> dict[str, Any]:
    config = run.config
    return {
        "sweep": config["name"],
        "run_id": run.result["run_id"],
        "cell": config["cell"]["name"],
        "task": config["task"]["name"],
        "seed": config["seed"],
    }


def _report_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's own configuration says of how its sweep is reported."""
    return {**(config.get("tuning") or {}), "reference": config.get("reference")}


def _result_row(run: StoredRun, report: dict[str, Any]) -> dict[str, Any]:
    config, result = run.config, run.result
    scores = {key: value for key, value in result.items() if key.startswith("final_score.")}
    selection = report.get("selection_seeds") or []
    return {
        **_who(run),
        "selection": config["seed"] in selection,
        "tuned": ",".join(selected_settings(selection, report.get("search") or ())),
        "reference": json.dumps(report.get("reference") or {}),
        **{key: result.get(key) for key in RESULT_TYPES if key in result},
        "hidden_size": config["cell"].get("hidden_size"),
        "learning_rate": config["training"].get("learning_rate"),
        "device": config["device"],
        "dtype": config["dtype"],
        "environment": json.dumps(result.get("environment") or {}),
        **{f"{group}._target_": config[group].get("_target_") for group in ("cell", "task")},
        **{f"{group}._version": str((config.get("versions") or {}).get(group, 1)) for group in ("cell", "task")},
        **scores,
        **{
            f"at_{at['factor']}x.{name}": value
            for at in result.get("lengthened") or ()
            for name, value in (("loss", at["loss"]), *at["score"].items(), ("solved", at["solved"]))
        },
    }


def settings_columns(config: dict[str, Any], groups: Iterable[str] = ("cell", "task", "training")) -> dict[str, Any]:
    """Return a configuration's settings as columns `group.key`; a list or mapping becomes its text."""
    return {
        f"{group}.{key}": value if value is None or isinstance(value, int | float | str) else str(value)
        for group in groups
        for key, value in config[group].items()
        if key not in ("name", "_target_")
    }


def with_types(frame: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """Return the frame with all columns of `types` first, in those types, and the rest after them. A setting
    that is a number in some rows and a text in others becomes text."""
    others = [column for column in frame.columns if column not in types]
    frame = frame.reindex(columns=[*types, *others]).astype(types).convert_dtypes()
    mixed = [column for column in others if frame[column].dtype == object]
    return frame.assign(**{column: frame[column].map(str, na_action="ignore").astype("string") for column in mixed})
