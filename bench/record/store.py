"""One run's folder: how its files are written, and how they are read back."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from msgspec import structs

from bench.record.encoding import check_config, flat, parse_yaml, read_lines, read_record
from bench.record.fence import Appended, Fence, LeaseLost, left_by_writers
from bench.record.files import (
    Damaged,
    digest,
    move,
    naming,
    read_bytes,
    to_json,
    write_sealed,
    write_text_atomic,
)
from bench.record.records import (
    FORMAT,
    UNSEALED_FORMAT,
    Evaluation,
    Probes,
    Result,
    StoredProbes,
    StoredReading,
    StoredResult,
)

JSON_BYTES, CONFIG_BYTES, METRICS_BYTES = 8 << 20, 1 << 20, 1 << 30
METRICS, READINGS = APPENDED = "metrics.jsonl", "diagnostics.jsonl"
WEIGHTS, PROBES = "weights.pt", "probe.json"
WEIGHTS_BYTES = 64 << 30
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's is five times as fast
Own = TypeVar("Own", StoredResult, StoredProbes)


@dataclass(frozen=True)
class StoredRun:
    """A finished run as read from its folder.

    Attributes:
        config, metrics: as `as_stored` made it; the evaluations.
        result: the outcome, without the configuration; `lengthened` has all evaluations at longer lengths.
        readings: all diagnostics, of whatever moment.
        probes: what was measured from the weights; None if nothing was, or if that is damaged.
        damage: how the file of the probes is damaged, in one line.
    """

    config: dict[str, Any]
    metrics: list[Evaluation]
    result: StoredResult
    readings: list[StoredReading]
    probes: Probes | None = None
    damage: str | None = None

    @property
    def weights(self) -> str | None:
        """The SHA-256 of the weights that were kept."""
        return (self.result.files or {}).get(WEIGHTS)


class RunFolder:
    """One run's folder. Writing order makes `result.json` the last file to appear, and a `Fence` has one process write
    at a time."""

    def __init__(self, sweep: Path, run_id: str) -> None:
        self._sweep = sweep
        self.path = sweep / "runs" / run_id
        self.checkpoint = self.path / "checkpoint.pt"
        self._fence = Fence(self.path)
        self._appended: dict[str, Appended] = {}
        self.write = self._fence.write  # has a file in this folder appear, as `write_atomic` does

    def read_result(self) -> StoredResult | None:
        """Return the outcome of a finished run, None of any other, nothing but result.json looked at.

        Raises:
            Damaged: there is one, and it is not what was written; or the folder is a link that leads nowhere.
        """
        result = self._read_own(StoredResult, "result.json", JSON_BYTES, UNSEALED_FORMAT)
        if result is None and self.path.is_symlink() and not self.path.exists():
            raise Damaged(f"{self.path}: is a link to a folder that is not there")
        return result

    def _read_own(self, kind: type[Own], name: str, limit: int, unsealed_format: int = 0) -> Own | None:
        """Return what this run keeps in a sealed file; None if there is none, Damaged if this run did not write it."""
        path = self.path / name
        try:
            record = read_record(kind, path, limit, unsealed_format)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Damaged(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error
        if record.run_id != self.path.name:
            raise Damaged(f"{path}: is another run's")
        return record

    def read(self) -> StoredRun | None:
        """Return a finished run, None if it is unfinished.

        Raises:
            Damaged: one of its files is missing or is not what was written.
        """
        result = self.read_result()
        if result is None:
            return None
        config_path, metrics_path, readings_path = (self.path / name for name in ("config.yaml", METRICS, READINGS))
        texts = {config_path: _read(config_path, CONFIG_BYTES), metrics_path: _read(metrics_path, METRICS_BYTES)}
        if result.files and READINGS in result.files:
            texts[readings_path] = _read(readings_path, METRICS_BYTES)
        for path, text in texts.items():
            if result.format != UNSEALED_FORMAT and digest(text) != (result.files or {}).get(path.name):
                raise Damaged(f"{path}: its checksum does not match")
        config = parse_yaml(texts[config_path], config_path) if result.config is None else result.config
        check_config(config, config_path)
        evaluations = read_lines(Evaluation, texts[metrics_path], metrics_path)
        readings = read_lines(StoredReading, texts.get(readings_path, b""), readings_path)
        lengthened = {at.factor: at for at in result.lengthened or ()}  # of versions that stored them there
        probes, damage = None, None
        try:
            probes = self._read_probes((result.files or {}).get(WEIGHTS))
        except Damaged as error:  # it can be made again, and the run is none the worse
            damage = str(error)
        if probes is not None:
            readings += probes.readings
            lengthened |= {factor: at for factor, at in probes.lengthened.items() if at is not None}
        result = structs.replace(result, lengthened=[lengthened[factor] for factor in sorted(lengthened)] or None)
        return StoredRun(config, evaluations, result, readings, probes, damage)

    def _read_probes(self, weights: str | None) -> Probes | None:
        """Return what was measured from the weights, of that checksum if they were kept; None if nothing was,
        Damaged if it is not what was written."""
        probes = self._read_own(StoredProbes, PROBES, METRICS_BYTES)
        if probes is not None and weights is not None and probes.weights != weights:
            raise Damaged(f"{self.path / PROBES}: was made from other weights than {WEIGHTS}")
        return probes

    def probes_written(self) -> int | None:
        """Return when probes were last written, in nanoseconds of the file system's clock; None if never."""
        with contextlib.suppress(OSError):
            return (self.path / PROBES).stat().st_mtime_ns
        return None

    def write_probes(self, probes: Probes) -> None:
        """Write what was measured from the weights, in place of what was there."""
        stored = StoredProbes(**structs.asdict(probes) | {"run_id": self.path.name})
        write_sealed(self.path / PROBES, flat(stored), self.write, indent=None)

    def read_weights(self, expected: str) -> bytes:
        """Return the content of `weights.pt`.

        Args:
            expected: its SHA-256.

        Raises:
            Damaged: it is not there, or not what was written.
        """
        path = self.path / WEIGHTS
        content = _read(path, WEIGHTS_BYTES)
        if digest(content) != expected:
            raise Damaged(f"{path}: its checksum does not match")
        return content

    def status(self) -> str | None:
        """Return how the run ended; None if it did not, or if what is stored of it is damaged."""
        try:
            stored = self.read()
        except Damaged:
            return None
        return stored.result.status if stored else None

    def read_begun(self) -> dict[str, Any] | None:
        """Return the configuration of a run that was begun and has no result, None of any other."""
        path = self.path / "config.yaml"
        if (self.path / "result.json").exists():
            return None
        try:
            config = parse_yaml(_read(path, CONFIG_BYTES), path)
            check_config(config, path)
        except Damaged:
            return None  # it was just being begun, or is no run's folder
        return config

    def read_progress(self) -> Evaluation | None:
        """Return the newest evaluation of an unfinished run, or None."""
        path = self.path / METRICS
        try:
            lines = read_bytes(path, METRICS_BYTES).splitlines()
            return read_lines(Evaluation, lines[-1], path)[0] if lines else None
        except (OSError, Damaged):
            return None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be the one process that writes in this folder, until another one enters it, or to the end of the block."""
        try:
            self._fence.enter()
            yield
        finally:
            self._fence.leave()

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder, empty but for the configuration. What a run that did not finish left there goes; a link is
        replaced by a folder, and what it leads to is left alone."""
        if self.path.is_symlink():
            self._fence.leave()
            self.path.unlink()
        if not self._fence.is_entered:
            self._fence.enter()
        for path in self.path.iterdir():
            if path != self._fence.own:
                self._fence.remove(path)
        self._write_config(config)
        self._appended = {METRICS: self._fence.append_to(self.path / METRICS)}  # there, if empty, when it is finished

    def resume(self, config: dict[str, Any], states: dict[str, Any]) -> tuple[list[Evaluation], list[StoredReading]]:
        """Go back to the evaluations and readings that a checkpoint knows of, as `appended_state` returned them.

        Returns:
            These evaluations, and these readings.

        Raises:
            Damaged: they are not there.
        """
        texts = {name: self._before(name, states[name]) for name in APPENDED if name in states}
        evaluations = read_lines(Evaluation, texts[METRICS], self.path / METRICS)
        readings = read_lines(StoredReading, texts.get(READINGS, b""), self.path / READINGS)
        try:
            self._write_config(config)
        except IsADirectoryError as error:
            raise Damaged(f"{self.path / 'config.yaml'}: is not a plain file") from error
        for name in (*APPENDED, WEIGHTS, PROBES):  # those of an end that was not reached
            if name not in texts:
                self._fence.remove(self.path / name)
        self._appended = {name: self._fence.append_to(self.path / name, text) for name, text in texts.items()}
        return evaluations, readings

    def _before(self, name: str, state: dict[str, Any]) -> bytes:
        """Return what was in a file when a checkpoint was written."""
        path = self.path / name
        text = _read(path, METRICS_BYTES)[: state["bytes"]]
        if len(text) != state["bytes"] or digest(text) != state["sha256"]:
            raise Damaged(f"{path}: is not what it was at the checkpoint")
        return text

    def append(self, name: str, records: Sequence[Evaluation] | Sequence[StoredReading]) -> None:
        """Append evaluations to METRICS, or diagnostics made while training to READINGS."""
        if name not in self._appended:
            self._appended[name] = self._fence.append_to(self.path / name)
        with self._fence.guarding(self.path / name):
            self._appended[name].append("".join(to_json(flat(each)) + "\n" for each in records).encode())

    def appended_state(self) -> dict[str, Any]:
        """Force to disk what was appended, and return each file's length and checksum, by which a checkpoint
        recognises it."""
        for name, file in self._appended.items():
            with self._fence.guarding(self.path / name):
                file.force_to_disk()
        return {name: file.state() for name, file in self._appended.items()}

    def finish(self, config: dict[str, Any], result: Result, weights: bytes | None = None) -> None:
        """Write the weights, if they are kept, and then the outcome, which makes the run a finished one."""
        files = {name: state["sha256"] for name, state in self.appended_state().items()}
        if weights is not None:
            self.write(self.path / WEIGHTS, lambda temporary: temporary.write_bytes(weights))
            files[WEIGHTS] = digest(weights)
        files["config.yaml"] = self._write_config(config, durable=True)
        stored = StoredResult(**structs.asdict(result) | {"format": FORMAT, "config": config, "files": files})
        write_sealed(self.path / "result.json", flat(stored), self.write)
        with contextlib.suppress(OSError, LeaseLost):  # the run is finished; `tidy` removes it then
            self._fence.remove(self.checkpoint)
        self._fence.leave()

    def tidy(self) -> None:
        """Remove what a process left in a finished run's folder that ended just after it had written the result."""
        with contextlib.suppress(OSError, LeaseLost):
            if self.checkpoint.exists() or left_by_writers(self.path):
                with self.entered():
                    self._fence.remove(self.checkpoint)

    def set_aside(self) -> Path:
        """Move the folder out of the way, to set_aside/, and return where it is now.

        Raises:
            LeaseLost: another process has begun the run anew; that is left where it is.
        """
        if not self._fence.is_entered:
            self._fence.enter()
        folder = self._sweep / "set_aside"
        folder.mkdir(exist_ok=True)
        number = 1 + max(self._times_set_aside(), default=0)
        own, target = self._fence.own.name, folder / f"{self.path.name}.{number}"
        with naming(self.path):
            move(self.path, target)
        if not (target / own).is_dir():
            move(target, self.path)
            raise LeaseLost
        shutil.rmtree(target / own, ignore_errors=True)
        self._fence.leave()
        return target

    def was_set_aside(self) -> bool:
        """Tell whether this run was set aside before."""
        return bool(self._times_set_aside())

    def _times_set_aside(self) -> list[int]:
        names = [path.name.rpartition(".")[2] for path in (self._sweep / "set_aside").glob(f"{self.path.name}.*")]
        return [int(name) for name in names if name.isdecimal()]

    def _write_config(self, config: dict[str, Any], durable: bool = False) -> str:
        """Write the configuration for people to read; returns its checksum. A run that a power failure ends writes it
        again, and waits for the disk when it is finished."""
        text = yaml.dump(config, Dumper=DUMPER, sort_keys=False, allow_unicode=True)
        write_text_atomic(self.path / "config.yaml", text, partial(self.write, durable=durable))
        return digest(text.encode())


def _read(path: Path, at_most: int) -> bytes:
    """Return a file's bytes; Damaged if it cannot be read, or is larger than any that was written."""
    try:
        return read_bytes(path, at_most)
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error
