"""What a run leaves behind, and the tables made of it."""

import errno
import importlib.metadata
import json
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import bench
from bench.execute.run import run, store_failure
from bench.record import fields
from bench.record.asked import read_asked, record_asked
from bench.record.columns import RESULT_TYPES
from bench.record.encoding import fields_of, flat, read_lines
from bench.record.errors import ConfigError
from bench.record.files import Damaged, read_bytes, read_sealed, write_sealed
from bench.record.frames import read_parquet, write_frames
from bench.record.layout import FILES, FOLDERS, check_layout, read_runs
from bench.record.records import FORMAT, Evaluation, Result, StoredResult
from bench.record.store import RunFolder
from bench.spec.config import Settings
from bench.spec.identity import run_id
from bench.train import process
from reports.listing import show_run
from reports.report import write_report
from tests.bench.conftest import make_config

FILES_OF_A_RUN = ["config.yaml", "metrics.jsonl", "result.json", "weights.pt"]


def test_a_run_leaves_the_documented_files(tmp_path: Path):
    result = run(make_config(tmp_path))
    folder = tmp_path / "scratch" / "runs" / result["run_id"]
    assert sorted(path.name for path in folder.iterdir()) == FILES_OF_A_RUN
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["cell"]["name"] == "lstm"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 10, 20]
    assert records[0]["train_loss"] is None  # JSON has no NaN
    stored = json.loads((folder / "result.json").read_text())
    assert stored["format"] == FORMAT
    assert stored["status"] == "unsolved"
    assert stored["final_loss"] == records[-1]["loss"]
    assert stored["environment"]["version_torch"] == importlib.metadata.version("torch")


def test_a_checkout_is_used_without_being_installed(monkeypatch: pytest.MonkeyPatch):
    def version(name: str) -> str:
        if name == "recurrent-bench":
            raise importlib.metadata.PackageNotFoundError(name)
        return importlib.metadata.version(name)

    monkeypatch.setattr(process, "version", version)
    assert process.environment.__wrapped__("cpu")["version_recurrent-bench"] == bench.__version__


def test_a_finished_run_is_not_run_again(tmp_path: Path):
    first = run(make_config(tmp_path))
    path = tmp_path / "scratch" / "runs" / first["run_id"] / "result.json"
    before = path.stat().st_mtime_ns
    assert run(make_config(tmp_path))["seconds"] == first["seconds"]
    assert path.stat().st_mtime_ns == before


def test_the_same_configuration_gives_the_same_result(tmp_path: Path):
    one, other = run(make_config(tmp_path / "a")), run(make_config(tmp_path / "b"))
    times = {"seconds", "step_ms", "seconds_to_solve"}
    assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in other.items() if k not in times}


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("Exploding", "failed", "RuntimeError: this cell | always"),
        ("Hungry", "out_of_memory", "memory"),
        ("Diverging", "diverged", "step 4"),
    ],
)
def test_what_goes_wrong_is_an_outcome(tmp_path: Path, target: str, status: str, reason: str):
    result = run(make_config(tmp_path, cell={"_target_": f"tests.bench.broken.{target}", "name": "bad"}))
    assert result["status"] == status
    assert reason in result["error"]
    assert "\n" not in result["error"]
    assert not result["solved"]
    if status == "diverged":
        assert result["final_loss"] is None
    else:
        assert "broken.py" in result["traceback"]
    assert write_frames(tmp_path / "scratch") == []
    frame = pd.read_parquet(tmp_path / "scratch" / "results.parquet")
    assert frame["status"].tolist() == [status]
    assert bool(frame["steps_to_solve"].isna()[0])


def test_results_parquet_is_tidy_and_typed(tmp_path: Path):
    for seed in range(2):
        run(make_config(tmp_path, seed=seed))
    run(make_config(tmp_path, cell={"_target_": "cells.GRU", "name": "gru"}, training={"learning_rate": 0.1}))
    write_frames(tmp_path / "scratch")
    frame = pd.read_parquet(tmp_path / "scratch" / "results.parquet")
    assert len(frame) == 3
    assert list(frame.columns[: len(RESULT_TYPES)]) == list(RESULT_TYPES)
    assert frame["seed"].dtype == "Int64"
    assert frame["solved"].dtype == "boolean"
    assert frame["final_loss"].dtype == "Float64"
    assert frame["task.length"].tolist() == [6, 6, 6]
    assert sorted(frame["training.learning_rate"]) == [0.005, 0.005, 0.1]
    assert frame["baseline_loss"].tolist() == pytest.approx([1 / 6 - 1 / 36] * 3)
    curves = pd.read_parquet(tmp_path / "scratch" / "curves.parquet")
    losses = curves[(curves["metric"] == "loss") & (curves["step"] == 20)].set_index("run_id")["value"]
    assert frame.set_index("run_id")["final_loss"].to_dict() == losses.to_dict()


def test_commands_are_remembered_once(tmp_path: Path):
    for command in ("a", "b", "a"):
        record_asked(tmp_path, command)
    assert read_asked(tmp_path).commands == ["a", "b"]


def test_a_store_of_before_checksums_is_still_read_and_one_of_later_is_refused(tmp_path: Path):
    config = make_config(tmp_path)
    run(config)
    sweep, path = tmp_path / "scratch", next(tmp_path.glob("scratch/runs/*/result.json"))
    result = read_sealed(path, 1 << 20, 1)
    old = {key: value for key, value in result.items() if key not in ("config", "files")}
    path.write_text(json.dumps(old | {"format": 1}))
    assert run(config)["seconds"] == result["seconds"]  # it is finished
    assert write_frames(sweep) == []
    write_sealed(path, result | {"format": FORMAT + 1})
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"has format {FORMAT + 1}, written by a newer version"):
        run(config)
    with pytest.raises(ConfigError, match="newer version"):
        read_runs(sweep)
    assert path.read_bytes() == before
    write_sealed(sweep / "sweep.json", {"format": FORMAT + 1, "commands": []})
    with pytest.raises(ConfigError, match="newer version"):
        record_asked(sweep, "a")


def test_the_documentation_lists_every_field_and_column():
    """`python -m bench.record.fields` writes it anew."""
    assert fields.STORE.read_text(encoding="utf-8").partition(fields.HEADING)[1:] == (
        fields.HEADING,
        fields.describe().removeprefix(fields.HEADING),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "20"), ("steps", 20.5), ("steps", True), ("steps", -1), ("samples", 2**63), ("seconds", None),
        ("final_loss", "low"), ("backend", "<b>"), ("error", 1), ("environment", {"a": [1]}),
        ("status", "done\n"), ("solved", True), ("final_score.mse", "good"), ("lengthened", [{"loss": 0.1}]),
        ("files", None), ("config", {"name": "x"}),
    ],
)  # fmt: skip
def test_a_result_with_a_wrong_field_is_damaged_in_a_line_that_names_it(tmp_path: Path, name: str, value: Any):
    config = make_config(tmp_path)
    run(config)
    folder = RunFolder(tmp_path / "scratch", run_id(config.run))
    path = folder.path / "result.json"
    write_sealed(path, read_sealed(path, 1 << 20, 1) | {name: value})
    with pytest.raises(Damaged) as damaged:
        folder.read()
    assert name.partition(".")[0] in str(damaged.value)
    assert "\n" not in str(damaged.value)


def test_what_a_users_task_computes_with_numpy_is_stored_as_plain_numbers():
    stored = flat(Result(run_id="a", status="failed", solved=False, baseline_loss=np.float64(0.5)))["baseline_loss"]
    assert (stored, type(stored)) == (0.5, float)


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1, "samples": 1, "seconds": 1e999}', '{"step": 1, "samples": 1, "seconds": NaN}',
        '{"step": 1, "samples": 1}',
        '{"step": 1, "samples": 1, "seconds": 1, "loss": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"step": 1, "samples": 1, "seconds": 1, "score.mse": "\\ud800"}', '{"step": ' + "1" * 5000 + "}", "[1]", "{",
    ],
)  # fmt: skip
def test_a_line_that_is_no_evaluation_is_damaged(tmp_path: Path, line: str):
    good = b'{"step": 1, "samples": 4, "seconds": 2, "loss": null, "score.mse": 1}\n'
    (found,) = read_lines(Evaluation, good, tmp_path)
    assert (found.step, found.loss, found.score) == (1, None, {"mse": 1.0})
    with pytest.raises(Damaged, match=f"^{re.escape(str(tmp_path))}: is not what was written .*$"):
        read_lines(Evaluation, good + line.encode(), tmp_path)


def test_a_result_has_every_field_and_null_for_what_is_not_known(tmp_path: Path):
    named = {*fields_of(StoredResult), "sha256"} - {"final_score"}
    config, dead = make_config(tmp_path), make_config(tmp_path, seed=1)
    run(config)
    store_failure(dead, "its process died")
    for each in (config, dead):
        path = tmp_path / "scratch" / "runs" / run_id(each.run) / "result.json"
        found = {key for key in json.loads(path.read_text()) if not key.startswith("final_score.")}
        assert found == named
    said = show_run(tmp_path, run_id(dead.run))
    assert "failed: its process died" in said
    # As one of an earlier version, or from elsewhere.
    old = {key: value for key, value in json.loads(path.read_text()).items() if value is not None and key != "sha256"}
    write_sealed(path, old | {"environment": None})
    write_frames(tmp_path / "scratch")
    assert read_parquet(tmp_path / "scratch" / "results.parquet", RESULT_TYPES)["status"].tolist().count("failed") == 1
    assert show_run(tmp_path, run_id(dead.run)) == said


def test_a_run_whose_name_is_none_is_left_out(tmp_path: Path):
    run(config := make_config(tmp_path))
    path = tmp_path / "scratch" / "runs" / "<b>x"
    (tmp_path / "scratch" / "runs" / run_id(config.run)).rename(path)
    result = read_sealed(path / "result.json", 1 << 20, 1)
    write_sealed(path / "result.json", result | {"run_id": "<b>x"})
    assert read_runs(tmp_path / "scratch")[0] == []


def test_a_process_that_dies_after_its_result_does_not_fail_the_run(tmp_path: Path):
    config = make_config(tmp_path)
    result = run(config)
    assert store_failure(config, "its process died")["status"] == "unsolved"
    assert RunFolder(tmp_path / "scratch", run_id(config.run)).read_result().seconds == result["seconds"]


def test_the_processor_is_named_with_its_generation(monkeypatch: pytest.MonkeyPatch):
    core = "processor\t: {}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
    monkeypatch.setattr(Path, "read_text", lambda self: core.format(0) + core.format(1))
    assert process._cpu_name().startswith("AMD EPYC, family 25 model 17 (")
    monkeypatch.setattr(Path, "read_text", lambda self: "processor\t: 0\nCPU implementer\t: 0x41\n")
    monkeypatch.setattr(process.platform, "processor", lambda: "aarch64")
    assert process._cpu_name().startswith("aarch64 (")


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_what_is_in_the_place_of_another_is_told_before_anything_is_done(tmp_path: Path, name: str):
    check_layout(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name in FILES:
        path.mkdir()
    else:
        path.write_text("mine")
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: is .*; move it away$"):
        check_layout(tmp_path)


def test_a_disk_that_is_not_there_is_told(tmp_path: Path):
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    with pytest.raises(ConfigError, match="/runs: is not a folder"):
        check_layout(tmp_path)
    assert read_runs(tmp_path) == ([], [f"{tmp_path}/runs: cannot be read (No such file or directory)"])


def test_no_report_is_written_through_a_link(tmp_path: Path):
    run(make_config(tmp_path))
    sweep, other = tmp_path / "scratch", tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("mine")
    (sweep / "report").symlink_to(other)
    for refuse in (lambda: check_layout(sweep), lambda: write_report([sweep])):
        with pytest.raises(ConfigError, match=r"/report: is a link, .*--output$"):
            refuse()
    (sweep / "report").unlink()
    (sweep / "report").mkdir()
    (sweep / "report" / "README.md").symlink_to(other / "README.md")
    write_report([sweep])
    assert (other / "README.md").read_text() == "mine"
    assert not (sweep / "report" / "README.md").is_symlink()
    assert write_report([sweep], sweep / "report").path.is_file()
    named = tmp_path / "named"
    named.symlink_to(other)
    write_report([sweep], named)
    assert "lstm" in (other / "README.md").read_text()


class TestAFolderThatIsOnAnotherDisk:
    """A run's folder was moved, and a link left in its place."""

    @staticmethod
    def moved(config: Settings, to: Path) -> RunFolder:
        folder = RunFolder(config.sweep.folder, run_id(config.run))
        folder.path.rename(to)
        folder.path.symlink_to(to)
        return folder

    def test_a_finished_run_is_one_for_all_who_ask(self, tmp_path: Path):
        config = make_config(tmp_path)
        seconds = run(config)["seconds"]
        folder = self.moved(config, tmp_path / "disk")
        assert folder.status() == "unsolved"
        assert run(config)["seconds"] == seconds
        runs, wrong = read_runs(tmp_path / "scratch")
        assert ([each.result.seconds for each in runs], wrong) == ([seconds], [])

    def test_an_unfinished_run_goes_on_there(self, tmp_path: Path):
        config = make_config(tmp_path)
        assert run(config, lambda: True)["status"] == "interrupted"
        folder = self.moved(config, tmp_path / "disk")
        assert run(config)["status"] == "unsolved"
        assert folder.path.is_symlink()
        assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == FILES_OF_A_RUN

    def test_a_run_that_begins_anew_leaves_what_is_there_alone(self, tmp_path: Path):
        config, disk = make_config(tmp_path), tmp_path / "disk"
        run(config)
        folder = self.moved(config, disk)
        (disk / "result.json").unlink()
        (disk / "mine").write_text("mine")
        before = {path.name: path.read_bytes() for path in disk.iterdir()}
        assert run(config)["status"] == "unsolved"
        assert not folder.path.is_symlink()
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == before

    def test_a_damaged_run_is_set_aside_as_the_link_that_it_is(self, tmp_path: Path, capfd):
        config, disk = make_config(tmp_path), tmp_path / "disk"
        run(config)
        folder = self.moved(config, disk)
        (disk / "metrics.jsonl").write_text("")
        assert run(config)["status"] == "unsolved"
        assert "set aside" in capfd.readouterr().err
        assert not folder.path.is_symlink()
        assert (tmp_path / "scratch" / "set_aside" / f"{run_id(config.run)}.1").readlink() == disk
        assert sorted(path.name for path in disk.iterdir()) == FILES_OF_A_RUN

    def test_one_whose_disk_is_not_there_is_told_and_not_run_again(self, tmp_path: Path):
        config, disk = make_config(tmp_path), tmp_path / "disk"
        run(config)
        folder = self.moved(config, disk)
        disk.rename(tmp_path / "away")
        assert read_runs(tmp_path / "scratch") == ([], [f"{folder.path}: is a link to a folder that is not there"])
        with pytest.raises(FileExistsError):
            run(config)
        (tmp_path / "away").rename(disk)
        assert folder.status() == "unsolved"

    def test_all_runs_may_be_there(self, tmp_path: Path, monkeypatch):
        config = make_config(tmp_path)
        run(config)
        folder = RunFolder(tmp_path / "scratch", run_id(config.run))
        (folder.path / "metrics.jsonl").write_text("")
        monkeypatch.setattr(os, "rename", other_disk_of(os.rename))
        assert run(config)["status"] == "unsolved"
        assert folder.status() == "unsolved"
        (aside,) = (tmp_path / "scratch" / "set_aside").iterdir()
        assert sorted(path.name for path in aside.iterdir()) == FILES_OF_A_RUN


def other_disk_of(rename: Callable[..., None]) -> Callable[..., None]:
    """Return `os.rename` as it is where set_aside/ is on a disk of its own."""

    def renamed(source: Any, target: Any, **options: Any) -> None:
        if ("set_aside" in str(source)) != ("set_aside" in str(target)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **options)

    return renamed


def test_what_a_process_left_that_died_after_its_result_goes(tmp_path: Path):
    config = make_config(tmp_path)
    run(config)
    folder = RunFolder(tmp_path / "scratch", run_id(config.run))
    folder.checkpoint.write_text("old")
    (folder.path / ".writer-0123").mkdir()
    assert run(config)["status"] == "unsolved"
    assert sorted(path.name for path in folder.path.iterdir()) == FILES_OF_A_RUN


def test_reading_a_small_file_takes_little_memory(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert len(read_bytes(path, 1 << 30)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(Damaged, match="has 1,000 bytes"):
        read_bytes(path, 999)
