"""What a run leaves behind, and the tables made of it."""

import importlib.metadata
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import bench
from bench import process
from bench.errors import ConfigError
from bench.files import read_sealed, write_sealed
from bench.frames import RESULT_TYPES, write_frames
from bench.identity import run_id
from bench.records import FORMAT
from bench.runner import run
from bench.store import RunFolder, read_commands, read_runs, record_command
from tests.bench.conftest import make_config


def test_a_run_leaves_the_documented_files(tmp_path: Path):
    result = run(make_config(tmp_path))
    folder = tmp_path / "scratch" / "runs" / result["run_id"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "metrics.jsonl", "result.json"]
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
        record_command(tmp_path, command)
    assert read_commands(tmp_path) == ["a", "b"]


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
        record_command(sweep, "a")


def test_a_retry_that_was_stopped_is_taken_up_again(tmp_path: Path):
    """`retry` sets results aside before their runs begin: the same command must still know them."""
    bad = {"_target_": "tests.bench.broken.Exploding", "name": "bad"}
    config = make_config(tmp_path, cell=bad)
    run(config)
    retry = make_config(tmp_path, cell=bad, retry="failed")
    RunFolder(tmp_path / "scratch", run_id(retry)).set_aside()
    assert run(make_config(tmp_path, retry="failed", seed=1))["status"] == "skipped"
    assert run(retry)["status"] == "failed"


def test_the_processor_is_named_with_its_generation(monkeypatch: pytest.MonkeyPatch):
    core = "processor\t: {}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
    monkeypatch.setattr(Path, "read_text", lambda self: core.format(0) + core.format(1))
    assert process._cpu_name().startswith("AMD EPYC, family 25 model 17 (")
    monkeypatch.setattr(Path, "read_text", lambda self: "processor\t: 0\nCPU implementer\t: 0x41\n")
    monkeypatch.setattr(process.platform, "processor", lambda: "aarch64")
    assert process._cpu_name().startswith("aarch64 (")
