"""The files of a sweep: where each is, how it is written, and how it is read back. STORE.md documents the format.

<results_dir>/<sweep>/
  runs/<run_id>/config.yaml     the resolved configuration, for people
  runs/<run_id>/metrics.jsonl   a record an evaluation, appended
  runs/<run_id>/diagnostics.jsonl  what looks inside the model found, appended, if any were asked for
  runs/<run_id>/result.json     the outcome, configuration and checksums; its presence means finished
  runs/<run_id>/checkpoint.pt   only while unfinished
  results.parquet               a row a run        (made from runs/, see bench.frames)
  curves.parquet                a row an evaluation and metric
  diagnostics.parquet           a row a point of what looks inside found
  timing.parquet                a row a measurement of the timing study
  sweep.json, plan.json         the commands that were given, and the runs that they planned (see bench.asked)
  rules.yaml                    what is put to the test, and its rules, as they were before the runs
  claims/                       who works on what just now
  set_aside/                    folders of runs that were damaged, or that were asked for again
  report/                       README.md and figures
  tuning/                       Optuna's studies
  wandb/                        offline runs
"""

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.errors import ConfigError
from bench.files import (
    Damaged,
    digest,
    force_to_disk,
    naming,
    read_bytes,
    read_sealed,
    to_json,
    write_sealed,
    write_text_atomic,
)
from bench.records import (
    FORMAT,
    UNSEALED_FORMAT,
    check_config,
    check_result,
    parse_readings,
    parse_records,
    parse_yaml,
)

JSON_BYTES, CONFIG_BYTES, METRICS_BYTES = 8 << 20, 1 << 20, 1 << 30


@dataclass(frozen=True)
class StoredRun:
    """A finished run as read from its folder."""

    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]
    readings: list[dict[str, Any]]


class RunFolder:
    """One run's folder. Writing order makes `result.json` the last file to appear."""

    def __init__(self, sweep: Path, run_id: str) -> None:
        self._sweep = sweep
        self.path = sweep / "runs" / run_id
        self.checkpoint = self.path / "checkpoint.pt"
        self._metrics = self.path / "metrics.jsonl"
        self._readings = self.path / "diagnostics.jsonl"

    def read_result(self) -> dict[str, Any] | None:
        """Return the outcome of a finished run, None of any other, nothing but result.json looked at.

        Raises:
            Damaged: there is one, and it is not what was written.
        """
        path = self.path / "result.json"
        try:
            result = read_sealed(path, JSON_BYTES, UNSEALED_FORMAT)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Damaged(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error
        if isinstance(result.get("format"), int) and result["format"] > FORMAT:
            raise _newer(self._sweep, result["format"])
        check_result(result, path)
        return result

    def read(self) -> StoredRun | None:
        """Return a finished run, None if it is unfinished.

        Raises:
            Damaged: one of its files is missing or is not what was written.
        """
        result = self.read_result()
        if result is None:
            return None
        config_path = self.path / "config.yaml"
        config_text = _read(config_path, CONFIG_BYTES)
        metrics_text = _read(self._metrics, METRICS_BYTES)
        if result["format"] == UNSEALED_FORMAT:
            config = parse_yaml(config_text, config_path)
        else:
            config = result.pop("config")
            for path, text in ((config_path, config_text), (self._metrics, metrics_text)):
                if digest(text) != result["files"].get(path.name):
                    raise Damaged(f"{path}: its checksum does not match")
        check_config(config, config_path)
        readings = self._read_readings(result.get("files") or {})
        return StoredRun(config, parse_records(metrics_text, self._metrics), result, readings)

    def _read_readings(self, digests: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what looks inside found, if the result knows of any.

        Raises:
            Damaged: it is not what was written.
        """
        if self._readings.name not in digests:
            return []
        text = _read(self._readings, METRICS_BYTES)
        if digest(text) != digests[self._readings.name]:
            raise Damaged(f"{self._readings}: its checksum does not match")
        return parse_readings(text, self._readings)

    def status(self) -> str | None:
        """Return how the run ended; None if it did not, or if what is stored of it is damaged."""
        try:
            stored = self.read()
        except Damaged:
            return None
        return stored.result["status"] if stored else None

    def read_progress(self) -> dict[str, Any] | None:
        """Return the newest evaluation of an unfinished run, or None."""
        try:
            lines = read_bytes(self._metrics, METRICS_BYTES).splitlines()
            return parse_records(lines[-1], self._metrics)[0] if lines else None
        except (OSError, Damaged):
            return None

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder, empty but for the configuration. What a run that did not finish left there goes."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        self.path.mkdir(parents=True)
        self._write_config(config)
        self._metrics.touch()

    def resume(self, config: dict[str, Any], metrics: dict[str, Any]) -> list[dict[str, Any]]:
        """Go back to the evaluations that a checkpoint knows of, as `metrics_state` returned them.

        Returns:
            These evaluations.

        Raises:
            Damaged: they are not there.
        """
        text = _read(self._metrics, METRICS_BYTES)[: metrics["bytes"]]
        if len(text) != metrics["bytes"] or digest(text) != metrics["sha256"]:
            raise Damaged(f"{self._metrics}: lacks evaluations of before the checkpoint")
        records = parse_records(text, self._metrics)
        os.truncate(self._metrics, len(text))
        try:
            self._write_config(config)
        except IsADirectoryError as error:
            raise Damaged(f"{self.path / 'config.yaml'}: is no plain file") from error
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Append one evaluation."""
        with naming(self._metrics), self._metrics.open("a", encoding="utf-8") as lines:
            lines.write(to_json(record) + "\n")

    def append_readings(self, readings: list[dict[str, Any]]) -> None:
        """Append what a look inside found."""
        with naming(self._readings), self._readings.open("a", encoding="utf-8") as lines:
            lines.writelines(to_json(reading) + "\n" for reading in readings)

    def forget_readings(self, after: int) -> list[dict[str, Any]]:
        """Drop what looks after a step found, and what one at the end did: a run goes on from there.

        Returns:
            What is left.

        Raises:
            Damaged: what is stored is no readings.
        """
        if not self._readings.exists():
            return []
        whole = read_bytes(self._readings, METRICS_BYTES)
        text = whole[: whole.rfind(b"\n") + 1]  # a line that was being written when the process ended is none
        found = parse_readings(text, self._readings)
        kept = [reading for reading in found if reading["step"] <= after and reading["moment"] != "end"]
        write_text_atomic(self._readings, "".join(to_json(reading) + "\n" for reading in kept))
        return kept

    def metrics_state(self) -> dict[str, Any]:
        """Return by what a checkpoint recognises the evaluations of before it; they are on disk then."""
        with naming(self._metrics):
            force_to_disk(self._metrics)
        text = read_bytes(self._metrics, METRICS_BYTES)
        return {"bytes": len(text), "sha256": digest(text)}

    def finish(self, config: dict[str, Any], result: dict[str, Any]) -> None:
        """Write the outcome, which makes the run a finished one."""
        with naming(self._metrics):
            force_to_disk(self._metrics)
        names = ["config.yaml", "metrics.jsonl"]
        if self._readings.exists():
            with naming(self._readings):
                force_to_disk(self._readings)
            names.append(self._readings.name)
        files = {name: digest(read_bytes(self.path / name, METRICS_BYTES)) for name in names}
        write_sealed(self.path / "result.json", {"format": FORMAT, **result, "config": config, "files": files})
        self.checkpoint.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Move the folder out of the way, to set_aside/, and return where it is now."""
        target = self._sweep / "set_aside"
        target.mkdir(exist_ok=True)
        number = 1 + max(self._times_set_aside(), default=0)
        return self.path.rename(target / f"{self.path.name}.{number}")

    def was_set_aside(self) -> bool:
        """Tell whether this run was set aside before."""
        return bool(self._times_set_aside())

    def _times_set_aside(self) -> list[int]:
        names = [path.name.rpartition(".")[2] for path in (self._sweep / "set_aside").glob(f"{self.path.name}.*")]
        return [int(name) for name in names if name.isdecimal()]

    def _write_config(self, config: dict[str, Any]) -> None:
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        write_text_atomic(self.path / "config.yaml", text)


def read_runs(sweep: Path) -> tuple[list[StoredRun], list[str]]:
    """Return all finished runs of a sweep's folder, sorted by run_id, and what is wrong with those left out."""
    folder = sweep / "runs"
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return [], []
        return [], [f"{folder}: cannot be read ({os.strerror(error.errno or 0)})"]
    runs, wrong = [], []
    for name in names:
        try:
            run = RunFolder(sweep, name).read()
        except Damaged as error:
            wrong.append(str(error))
            continue
        if run is not None:
            runs.append(run)
    return runs, wrong


def unfinished_runs(sweep: Path) -> dict[str, list[Any]]:
    """Return cell, task and seed of the runs that were begun and have no result, by run_id."""
    found = {}
    for folder in sweep.glob("runs/*/"):
        path = folder / "config.yaml"
        if (folder / "result.json").exists():
            continue
        try:
            config = parse_yaml(_read(path, CONFIG_BYTES), path)
            check_config(config, path)
        except Damaged:
            continue  # it was just being begun, or is no run's folder
        found[folder.name] = [config["cell"]["name"], config["task"]["name"], config["seed"]]
    return found


def _read(path: Path, at_most: int) -> bytes:
    """Return a file's bytes.

    Raises:
        Damaged: it is not there, cannot be read, or is larger than any that was written.
    """
    try:
        return read_bytes(path, at_most)
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error


def _newer(sweep: Path, found: int) -> ConfigError:
    return ConfigError(f"{sweep}: has format {found}, written by a newer version; this one reads up to {FORMAT}")
