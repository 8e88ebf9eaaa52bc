"""Stored runs as tidy, typed tables, and the parquet files that users load with pandas."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype, is_string_dtype

from bench.record.asked import Asked, read_asked
from bench.record.columns import CURVE_TYPES, DIAGNOSTICS_TYPES, RESULT_TYPES, Column, columns, wrong_column
from bench.record.encoding import flat, settings_columns
from bench.record.errors import one_line, printable
from bench.record.fairness import selected_settings
from bench.record.files import Damaged, open_plain, write_atomic
from bench.record.layout import read_runs
from bench.record.parquet import read_table
from bench.record.records import Evaluation, Looks
from bench.record.store import StoredRun

TABLE_BYTES = 8 << 30
CATEGORIES = ("sweep", "cell", "task", "status", "problem", "contender", "metric", "quantity")
KINDS = {"boolean": is_bool_dtype, "Int64": is_integer_dtype, "Float64": is_float_dtype, "string": is_string_dtype}
OBJECTS = ("environment", "reference", "data")  # which are stored as JSON
_AXES = tuple(columns(Evaluation))  # all else of an evaluation becomes a row of its own


def results_frame(runs: list[StoredRun], asked: Asked | None = None) -> pd.DataFrame:
    """Return a row per run: `RESULT_TYPES`, then every cell, task and training setting, the classes of cell and task,
    then final scores.

    Args:
        runs: finished ones.
        asked: what the sweep was last asked to compare and select; where that says nothing, each run's configuration
            does.
    """
    asked = asked or Asked()
    looks = _looks_of(asked.looks)
    rows = [
        {**_result_row(run, asked.report or _report_of(run.config)), **looks(run), **settings_columns(run.config)}
        for run in runs
    ]
    return with_types(pd.DataFrame(rows, dtype=object), RESULT_TYPES)


def curves_frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Return a row per evaluation and metric: training loss, held-out loss, gradient norm, scores."""
    rows: dict[str, list[Any]] = {name: [] for name in (*_AXES, "metric", "value")}
    lengths = []
    for run in runs:
        before = len(rows["value"])
        for evaluation in run.metrics:
            fields = flat(evaluation)
            for metric, value in fields.items():
                if metric not in _AXES and isinstance(value, float):
                    for name in _AXES:
                        rows[name].append(fields[name])
                    rows["metric"].append(metric)
                    rows["value"].append(value)
        lengths.append(len(rows["value"]) - before)
    who = pd.DataFrame([_who(run) for run in runs], columns=[name for name in CURVE_TYPES if name not in rows])
    repeated = who.loc[who.index.repeat(lengths)].reset_index(drop=True)
    return with_types(pd.concat([repeated, pd.DataFrame(rows)], axis=1), CURVE_TYPES)


def diagnostics_frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Return a row per point of all diagnostics."""
    parts = [
        pd.DataFrame({**_who(run), **flat(reading), "y": reading.y or None}) for run in runs for reading in run.readings
    ]
    return with_types(pd.concat(parts, ignore_index=True), DIAGNOSTICS_TYPES) if parts else pd.DataFrame()


def write_frames(sweep: Path) -> list[str]:
    """Make results.parquet, results.csv, curves.parquet and, if there is anything for it, diagnostics.parquet from the
    runs of a sweep's folder.

    Returns:
        What is wrong with the runs that had to be left out.
    """
    runs, wrong = read_runs(sweep)
    results = results_frame(runs, read_asked(sweep))
    write_parquet(sweep / "results.parquet", results)
    write_atomic(sweep / "results.csv", lambda path: for_users(results).to_csv(path, index=False))
    write_parquet(sweep / "curves.parquet", curves_frame(runs))
    readings = diagnostics_frame(runs)
    if len(readings):
        write_parquet(sweep / "diagnostics.parquet", readings)
    else:
        (sweep / "diagnostics.parquet").unlink(missing_ok=True)
    return wrong


def write_parquet(path: Path, frame: pd.DataFrame, split: Sequence[str] = ()) -> None:
    """Write a frame atomically, with a checksum of its values by which damage is noticed.

    Args:
        split: columns of numbers to split into streams of bytes. Those that hardly repeat always are: they take less
            space than with a dictionary.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    seal = _digest(table.to_pandas()).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"sha256": seal})
    numbers = frame.select_dtypes("floating")
    streams = [name for name in numbers if name in split or frame[name].nunique() > len(frame) / 2]
    options: dict[str, Any] = {
        "use_dictionary": [name for name in table.column_names if name not in streams],
        "use_byte_stream_split": streams,
    }
    write_atomic(path, lambda temporary: pq.write_table(table, temporary, **options))


def read_parquet(path: Path, types: dict[str, Column]) -> pd.DataFrame:
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
        missing = [column for column in types if column not in frame and not types[column].may_be_missing]
        typed = None if missing else with_types(frame, types)
        wrong = None if typed is None else wrong_column(typed, types)
    except (FileNotFoundError, Damaged, MemoryError):
        raise
    except Exception as error:  # whatever Arrow and pandas make of garbage
        raise Damaged(f"{path}: cannot be read ({one_line(error)})") from error
    if typed is None:
        raise Damaged(f"{path}: lacks the columns {', '.join(missing)}")
    if wrong is not None:
        raise Damaged(f"{path}: holds unexpected values in column {printable(wrong)}")
    return typed


def read_readable(path: Path, types: dict[str, Column], on_damage: Callable[[Damaged], object]) -> pd.DataFrame:
    """Return a stored table; one without rows if there is none, or it cannot be read, of which `on_damage` is told."""
    try:
        return read_parquet(path, types)
    except FileNotFoundError:
        pass
    except Damaged as error:
        on_damage(error)
    return pd.DataFrame(columns=list(types))


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
        "run_id": run.result.run_id,
        "cell": config["cell"]["name"],
        "task": config["task"]["name"],
        "seed": config["seed"],
    }


def _report_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's own configuration says of how its sweep is reported."""
    return {**(config.get("tuning") or {}), "reference": config.get("reference")}


def _looks_of(looks: Looks | None) -> Callable[[StoredRun], dict[str, Any]]:
    """Return what gives a run's columns on the looks of its sweep."""
    if looks is None:
        return lambda run: {"looks": "", "look": None}
    at = {seed: k for k, seeds in enumerate(looks.seeds, start=1) for seed in seeds}
    counts = ",".join(map(str, looks.counts))
    return lambda run: {"looks": counts, "look": at.get(run.config["seed"])}


def _result_row(run: StoredRun, report: dict[str, Any]) -> dict[str, Any]:
    config, result = run.config, run.result
    selection = report.get("selection_seeds") or []
    return {
        **{name: value for name, value in flat(result).items() if name in RESULT_TYPES},
        **_who(run),
        "selection": config["seed"] in selection,
        "tuned": ",".join(selected_settings(selection, report.get("search") or ())),
        "reference": json.dumps(report.get("reference") or {}),
        "hidden_size": config["cell"].get("hidden_size"),
        "learning_rate": config["training"].get("learning_rate"),
        "horizon": config.get("horizon"),
        "device": config["device"],
        "dtype": config["dtype"],
        "environment": json.dumps(result.environment or {}),
        "unmeasured": "\n".join(f"{kind}: {why}" for kind, why in run.probes.failed.items()) if run.probes else "",
        "data": json.dumps(result.data) if result.data else None,
        **{f"{group}._target_": config[group].get("_target_") for group in ("cell", "task")},
        **{f"{group}._version": str((config.get("versions") or {}).get(group, 1)) for group in ("cell", "task")},
        **{f"final_score.{name}": value for name, value in result.final_score.items()},
        **{f"test_score.{name}": value for name, value in result.test_score.items()},
        **{
            f"at_{at.factor}x.{name}": value
            for at in result.lengthened or ()
            for name, value in (("loss", at.loss), *at.score.items(), ("solved", at.solved))
        },
    }


def with_types(frame: pd.DataFrame, types: dict[str, Column]) -> pd.DataFrame:
    """Return the frame with all columns of `types` first, in those types, and the rest after them, each in the type of
    its values: a number with a fraction in one row is one in all. A setting that is a number in some rows and a text in
    others becomes text."""
    others = [column for column in frame.columns if column not in types]
    dtypes = {name: column.dtype for name, column in types.items()}
    dtypes |= {column: dtype for column in others if (dtype := _dtype(frame[column])) != frame[column].dtype}
    mixed = [column for column in others if dtypes.get(column) == "string" and frame[column].dtype == object]
    frame = frame.assign(**{column: frame[column].map(str, na_action="ignore") for column in mixed})
    return frame.reindex(columns=[*types, *others]).astype(dtypes)


def for_users(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table as pandas users want it: what repeats as categories, and each JSON object as columns of its own,
    say `environment.torch`."""
    frame = frame.assign(**{name: frame[name].astype("category") for name in CATEGORIES if name in frame})
    for name in (name for name in OBJECTS if name in frame):
        objects = frame[name].map(lambda text: json.loads(text) if isinstance(text, str) else {})
        keys = dict.fromkeys(key for each in objects for key in each)
        columns = {f"{name}.{key}": pd.Series([each.get(key) for each in objects], frame.index, object) for key in keys}
        more = with_types(pd.DataFrame(columns, index=frame.index), {})
        frame = pd.concat([frame.drop(columns=name), more], axis=1)
    return frame


def _dtype(values: "pd.Series[Any]") -> str:
    """Return the type of a column's values; of numbers and texts together, text."""
    if values.dtype != object:
        return next((name for name, is_one in KINDS.items() if is_one(values.dtype)), str(values.dtype))
    kinds = {type(value) for value in values if not pd.isna(value)}
    if kinds <= {bool, np.bool_} and kinds:
        return "boolean"
    if kinds <= {int} and kinds:
        return "Int64"
    return "Float64" if kinds <= {int, float} and kinds else "string"
