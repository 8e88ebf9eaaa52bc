"""The files of a sweep: where each is, how it is written, and how it is read back.

<results_dir>/<sweep>/
  runs/<run_id>/config.yaml     the resolved configuration
  runs/<run_id>/metrics.jsonl   a record an evaluation, appended
  runs/<run_id>/result.json     the outcome; its presence means finished
  results.parquet               a row a run        (made from runs/, see bench.frames)
  curves.parquet                a row an evaluation and metric
  timing.parquet                a row a measurement of the timing study
  sweep.json                    the commands that were given
  report/                       README.md and figures
  wandb/                        offline runs
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.files import write_text_atomic

FORMAT = 1
DECIDED = ("solved", "unsolved", "diverged")  # outcomes that say something of the architecture
FAILED = ("out_of_memory", "failed")
STATUSES = DECIDED + FAILED


@dataclass(frozen=True)
class StoredRun:
    """A finished run as read from its folder."""

    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]


class RunFolder:
    """One run's folder. Writing order makes `result.json` the last file to appear."""

    def __init__(self, sweep: Path, run_id: str) -> None:
        self.path = sweep / "runs" / run_id

    def is_finished(self) -> bool:
        """Tell whether a readable result is there; a damaged one counts as none, and its run is redone."""
        return self.read_result() is not None

    def read_result(self) -> dict[str, Any] | None:
        """Return the result, or None if there is none that can be read."""
        try:
            result = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) and result.get("status") in STATUSES else None

    def read_progress(self) -> dict[str, Any] | None:
        """Return the newest evaluation of an unfinished run, or None."""
        records = _read_lines(self.path / "metrics.jsonl")
        return records[-1] if records else None

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder, empty but for the configuration."""
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        write_text_atomic(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        (self.path / "metrics.jsonl").touch()

    def append(self, record: dict[str, Any]) -> None:
        """Append one evaluation."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(_to_json(record) + "\n")

    def finish(self, result: dict[str, Any]) -> None:
        """Write the outcome, which makes the run a finished one."""
        write_text_atomic(self.path / "result.json", _to_json({"format": FORMAT, **result}, indent=2) + "\n")

    def read(self) -> StoredRun | None:
        """Return the run, or None if it is unfinished or damaged."""
        result = self.read_result()
        try:
            config = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return None
        if result is None or not isinstance(config, dict):
            return None
        return StoredRun(config, _read_lines(self.path / "metrics.jsonl"), result)


def read_runs(sweep: Path) -> list[StoredRun]:
    """Return all finished runs of a sweep's folder, sorted by run_id."""
    folder = sweep / "runs"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    runs = (RunFolder(sweep, name).read() for name in names)
    return [run for run in runs if run is not None]


def record_command(sweep: Path, command: str) -> None:
    """Remember a command that was given for this sweep, once."""
    commands = read_commands(sweep)
    if command not in commands:
        text = _to_json({"format": FORMAT, "commands": [*commands, command]}, indent=2)
        write_text_atomic(sweep / "sweep.json", text + "\n")


def read_commands(sweep: Path) -> list[str]:
    """Return the commands given for this sweep, oldest first."""
    try:
        stored = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
        return [str(command) for command in stored["commands"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return a JSON-lines file's records, up to the first line that is not whole."""
    records = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _to_json(value: dict[str, Any], indent: int | None = None) -> str:
    """Return strict JSON, which has no NaN and no infinity: they become null."""

    def finite(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: finite(child) for key, child in item.items()}
        if isinstance(item, list | tuple):
            return [finite(child) for child in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=False)
