"""Every file operation of a run fails once, in every way; and files of a finished run are damaged, byte by byte."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.execute.run import run
from bench.record import files
from bench.record.asked import read_asked, record_asked, widest
from bench.record.columns import CURVE_TYPES, RESULT_TYPES
from bench.record.files import Damaged
from bench.record.frames import curves_frame, read_parquet, write_frames, write_parquet
from bench.record.layout import read_runs
from bench.record.store import RunFolder
from tests.bench.conftest import make_config
from tests.bench.test_resume import folder_of, stored
from tests.python import python

HERE = Path(__file__).parent
STRIDE = int(os.environ.get("FAULTS_STRIDE", "47"))  # 1: every case, minutes


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="needs gcc and LD_PRELOAD")
def test_after_any_fault_the_store_is_whole_and_the_run_can_be_finished(tmp_path: Path):
    library = tmp_path / "faults.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faults.c", "-ldl"], check=True)
    done = python("-m", "tests.bench.faults", tmp_path, library, 0, STRIDE, LD_PRELOAD=str(library))
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) > 1000 / STRIDE
    told = 0
    for case in cases:
        assert "raised" not in case, case
        assert case["wrong"] == [], case
        assert case["intact"], case
        assert (case["status"], case["same"]) == ("unsolved", True), case
        assert case["left"] == ["config.yaml", "metrics.jsonl", "probe.json", "result.json", "weights.pt"], case
        told_of = ("error: /", "no checkpoint: /", "/")
        assert all(line.startswith(told_of) for line in case["told"].splitlines()), case
        assert len(case["told"].splitlines()) <= 2, case
        told += bool(case["told"])
    assert told > len(cases) / 3


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch, step: str):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space") as caught:
        files.write_atomic(path, fail if step == "write" else lambda temporary: temporary.write_text("new"))
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "config.yaml"])
def test_every_flipped_byte_of_a_finished_run_is_noticed(tmp_path: Path, name: str):
    config = make_config(tmp_path)
    run(config)
    folder = folder_of(config)
    path, good = folder.path / name, folder.read()
    content, told = path.read_bytes(), set()
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 8)]) + content[i + 1 :])
        try:
            found = folder.read()
        except Damaged as error:
            told.add(str(error))
        else:
            assert found == good  # white space may look different and mean the same
    assert told
    assert all("\n" not in reason and str(tmp_path) in reason for reason in told)
    for length in range(0, len(content) - 1, 7):  # without its last newline a file says the same
        path.write_bytes(content[:length])
        with pytest.raises(Damaged):
            folder.read()


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"status": "fine"}', "\x00\x01", "[" * 100_000, "NaN"])
@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "config.yaml"])
def test_a_damaged_run_is_set_aside_and_done_again(tmp_path: Path, capfd, name: str, damage: str):
    config, other = make_config(tmp_path), make_config(tmp_path, seed=1)
    run(config)
    run(other)
    before, untouched = stored(config), stored(other)
    (folder_of(config).path / name).write_text(damage)
    assert folder_of(config).status() is None
    runs, wrong = read_runs(tmp_path / "scratch")
    assert len(runs) == 1
    assert len(wrong) == 1
    run(config)
    assert stored(config) == before
    assert stored(other) == untouched
    said = capfd.readouterr().err
    assert "set aside" in said
    assert said.count("\n") == 1
    assert len(list((tmp_path / "scratch" / "set_aside").iterdir())) == 1


def test_a_run_of_another_name_is_not_taken_for_this_one(tmp_path: Path):
    one, other = make_config(tmp_path), make_config(tmp_path, seed=1)
    run(one)
    folder_of(one).path.rename(folder_of(other).path)
    assert folder_of(other).status() is None


def test_tables_notice_damage_and_nothing_else(tmp_path: Path):
    for seed in range(2):
        run(make_config(tmp_path, seed=seed))
    sweep = tmp_path / "scratch"
    write_frames(sweep)
    for name, types in (("results.parquet", RESULT_TYPES), ("curves.parquet", CURVE_TYPES)):
        path = sweep / name
        content, good, told = path.read_bytes(), read_parquet(path, types), set()
        pd.testing.assert_frame_equal(good, pd.read_parquet(path), check_dtype=False)
        for i in range(0, len(content), 211):
            path.write_bytes(content[:i] + bytes([content[i] ^ 0x20]) + content[i + 1 :])
            try:
                pd.testing.assert_frame_equal(read_parquet(path, types), good)
            except Damaged as error:
                told.add(str(error))
        assert told
        assert not any("\n" in reason for reason in told)


def test_tables_of_before_checksums_are_still_read(tmp_path: Path):
    run(make_config(tmp_path))
    runs, _ = read_runs(tmp_path / "scratch")
    frame = curves_frame(runs)
    frame.to_parquet(tmp_path / "curves.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "curves.parquet", CURVE_TYPES), frame)


def test_a_loss_that_is_huge_and_finite_is_no_damage(tmp_path: Path):
    """As a learning rate that is far too large makes it, in float64 the more."""
    run(make_config(tmp_path))
    frame = curves_frame(read_runs(tmp_path / "scratch")[0])
    frame.loc[0, "value"] = 1e300
    write_parquet(tmp_path / "curves.parquet", frame)
    assert read_parquet(tmp_path / "curves.parquet", CURVE_TYPES)["value"].max() == 1e300
    frame.loc[0, "value"] = float("inf")
    write_parquet(tmp_path / "curves.parquet", frame)
    with pytest.raises(Damaged, match="in column value"):
        read_parquet(tmp_path / "curves.parquet", CURVE_TYPES)


def test_a_setting_that_is_a_number_here_and_a_text_there_becomes_text(tmp_path: Path):
    frame = curves_frame([]).reindex(columns=list(CURVE_TYPES))
    assert len(frame) == 0
    run(make_config(tmp_path))
    run(make_config(tmp_path, cell={"_target_": "tests.bench.broken.Minimal", "name": "minimal", "scale": 2}))
    (stored_run, other), _ = read_runs(tmp_path / "scratch")
    from bench.record.frames import results_frame

    other.config["cell"]["hidden_size"], stored_run.config["cell"]["odd"] = 4, "wide"
    other.config["cell"]["odd"] = 3
    mixed = results_frame([stored_run, other])
    assert set(mixed["cell.odd"]) == {"wide", "3"}
    write_parquet(tmp_path / "mixed.parquet", mixed)
    assert set(read_parquet(tmp_path / "mixed.parquet", RESULT_TYPES)["cell.odd"]) == {"wide", "3"}


def test_a_damaged_list_of_commands_is_begun_anew(tmp_path: Path):
    record_asked(tmp_path, "a")
    path = tmp_path / "sweep.json"
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    assert read_asked(tmp_path).commands == []
    record_asked(tmp_path, "c")
    assert read_asked(tmp_path).commands == ["c"]


def test_what_is_no_folder_is_no_run(tmp_path: Path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "file").write_text("x")
    (runs / "link").symlink_to("/")
    (runs / "empty").mkdir()
    assert read_runs(tmp_path) == ([], [])
    assert RunFolder(tmp_path, "file").status() is None


def test_the_widest_command_is_the_one_to_narrow():
    whole, part = "python -m bench +sweep=quick", "python -m bench +sweep=quick part=noise cell=lstm"
    assert widest([whole, part]) == widest([part, whole]) == whole
    assert widest(["python train.py"]) is None
