"""Diagnostics are stored with the run, survive an interruption, and do not touch the run itself."""

import json

import pandas as pd
import pytest

from bench.execute.run import run
from bench.record.encoding import read_lines
from bench.record.errors import ConfigError
from bench.record.files import Damaged
from bench.record.frames import diagnostics_frame, write_frames
from bench.record.records import StoredReading
from bench.spec.config import Diagnostics
from bench.spec.identity import run_id
from bench.track.tracker import Tracker
from bench.train.checkpoint import read_checkpoint, write_checkpoint
from reports.report import write_report
from tests.bench.conftest import make_config
from tests.bench.runs import folder_of

LOOKS = {"kinds": ["gradient_flow", "gates", "memory", "attention", "jacobian", "updates"], "sequences": 70}


def without_clocks(result):
    return {key: value for key, value in result.items() if "second" not in key and key not in ("step_ms", "run_id")}


def test_the_run_is_the_same_with_and_without(tmp_path):
    plain = make_config(tmp_path / "plain")
    looked = make_config(tmp_path / "looked", diagnostics={**LOOKS, "every": 5})
    one, two = run(plain), run(looked)
    assert run_id(plain.run) == run_id(looked.run)
    for result in (one, two):
        result.pop("config", None)
        result.pop("files", None)
        result.pop("sha256", None)
    assert without_clocks(one) == without_clocks(two)
    readings = folder_of(looked).read().readings
    moments = {(reading.moment, reading.step) for reading in readings}
    assert moments == {("start", 0), ("end", 20), *(("training", step) for step in (5, 10, 15, 20))}
    assert folder_of(plain).read().readings == []


def test_an_interrupted_run_has_the_same_looks(tmp_path):
    whole = make_config(tmp_path / "whole", diagnostics={**LOOKS, "every": 3}, checkpoint={"steps": 4})
    run(whole)
    parts = make_config(tmp_path / "parts", diagnostics={**LOOKS, "every": 3}, checkpoint={"steps": 4})
    calls = iter(range(10**6))
    assert run(parts, stopping=lambda: next(calls) == 6)["status"] == "interrupted"
    # A process that died after its last checkpoint leaves looks of after it, and half a line.
    path = folder_of(parts).path / "diagnostics.jsonl"
    last = json.loads(path.read_text().splitlines()[-1])
    later = [{**last, "step": 9}, {**last, "moment": "end"}]
    path.write_text(path.read_text() + "".join(json.dumps(line) + "\n" for line in later) + '{"step": 12, "mom')
    run(parts)
    assert folder_of(parts).read().readings == folder_of(whole).read().readings


@pytest.mark.parametrize("damage", ["digit", "line gone", "line doubled", "lines exchanged", "half", "empty", "gone"])
def test_damage_in_an_unfinished_run_is_noticed(tmp_path, capfd, damage):
    whole, hurt = (make_config(tmp_path / name, diagnostics={**LOOKS, "every": 3}) for name in ("whole", "hurt"))
    run(whole)
    calls = iter(range(10**6))
    assert run(hurt, stopping=lambda: next(calls) == 6)["status"] == "interrupted"
    path = folder_of(hurt).path / "diagnostics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    digit = next(i for i, c in enumerate(lines[0]) if c in "12345678")
    changed = {
        "digit": [lines[0][:digit] + "9" + lines[0][digit + 1 :], *lines[1:]],
        "line gone": lines[1:],
        "line doubled": [*lines[:2], *lines[1:]],
        "lines exchanged": [lines[1], lines[0], *lines[2:]],
        "half": lines[: len(lines) // 2],
        "empty": [],
        "gone": [],
    }
    path.write_text("".join(changed[damage]))
    if damage == "gone":
        path.unlink()
    assert run(hurt)["status"] == "unsolved"
    assert "diagnostics.jsonl" in (said := capfd.readouterr().err)
    assert "set aside" in said
    assert said.count("\n") == 1
    assert folder_of(hurt).read().readings == folder_of(whole).read().readings


def test_a_checkpoint_of_before_checksums_of_readings_is_used(tmp_path, capfd):
    config = make_config(tmp_path, diagnostics=LOOKS)
    calls = iter(range(10**6))
    assert run(config, stopping=lambda: next(calls) == 6)["status"] == "interrupted"
    state = read_checkpoint(folder_of(config).checkpoint)
    state["run"]["metrics"] = state["run"].pop("appended")["metrics.jsonl"]
    del state["run"]["watched"]
    state["trainer"]["seconds"] = 1000.0
    write_checkpoint(folder_of(config).checkpoint, state)
    assert run(config)["seconds"] > 1000
    assert capfd.readouterr().err == ""


def test_diagnostics_while_training_begin_when_it_does(tmp_path, capfd):
    """A run that goes on with others than it began with would show half of them."""
    watched = {**LOOKS, "every": 5}
    run(make_config(tmp_path / "whole", diagnostics=watched))
    config = make_config(tmp_path, diagnostics=watched)
    calls = iter(range(10**6))
    assert run(make_config(tmp_path), stopping=lambda: next(calls) == 6)["status"] == "interrupted"
    run(config)
    assert "was made without these diagnostics while training; set aside" in capfd.readouterr().err
    assert folder_of(config).read().readings == folder_of(make_config(tmp_path / "whole")).read().readings


def test_a_run_begun_again_tells_its_own_looks_only(tmp_path, monkeypatch):
    """Its checkpoint is whole but of another model: it is set aside when the looks of before have been read."""
    config = make_config(tmp_path, diagnostics=LOOKS)
    calls = iter(range(10**6))
    assert run(config, stopping=lambda: next(calls) == 6)["status"] == "interrupted"
    state = read_checkpoint(folder_of(config).checkpoint)
    state["trainer"]["model"] = {}
    write_checkpoint(folder_of(config).checkpoint, state)
    told = []
    monkeypatch.setattr(Tracker, "finish", lambda self, result, readings: told.extend(readings))
    assert run(config)["status"] == "unsolved"
    assert told == folder_of(config).read().readings


def test_damage_is_noticed(tmp_path):
    config = make_config(tmp_path, diagnostics={**LOOKS, "every": 10})
    run(config)
    path = folder_of(config).path / "diagnostics.jsonl"
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(Damaged, match="checksum"):
        folder_of(config).read()
    path.unlink()
    with pytest.raises(Damaged, match="cannot be read"):
        folder_of(config).read()


@pytest.mark.parametrize(
    "changed", [{"x": [1.0]}, {"value": ["a"] * 3}, {"kind": "<b>"}, {"moment": "later"}, {"step": None}, {"y": None}]
)
def test_what_is_no_reading_is_refused(tmp_path, changed):
    good = {"step": 0, "moment": "start", "kind": "k", "part": "p", "x": [1, 2, 3], "y": [], "value": [1, 2, 3]}
    path = tmp_path / "diagnostics.jsonl"
    assert read_lines(StoredReading, json.dumps(good).encode(), path) == [StoredReading(**good | {"y": ()})]
    with pytest.raises(Damaged, match=f"is not what was written .*{next(iter(changed))}"):
        read_lines(StoredReading, json.dumps({**good, **changed}).encode(), path)


def test_a_report_shows_what_was_found(tmp_path):
    for cell in ("LSTM", "GRU", "RNN", "AttentionLSTM"):
        name = {"AttentionLSTM": "attention_lstm"}.get(cell, cell.lower())
        for seed in (0, 1):
            cell_options = {"_target_": f"cells.{cell}", "name": name}
            run(make_config(tmp_path, cell=cell_options, seed=seed, diagnostics={**LOOKS, "every": 10}))
    sweep = tmp_path / "scratch"
    write_frames(sweep)
    stored = pd.read_parquet(sweep / "diagnostics.parquet")
    assert set(stored["moment"]) == {"start", "training", "end"}
    report = write_report([sweep]).path
    text = report.read_text()
    for heading, figure in (
        ("## Gradient flow", "gradient_flow"),
        ("## Gates", "gate_histograms"),
        ("a step whose input mattered to many units", "gate_maps"),
        ("## Memory in the state", "memory"),
        ("## Attention", "attention"),
        ("## Recurrent Jacobian", "jacobian"),
        ("## Step sizes", "step_sizes"),
    ):
        assert heading in text
        assert (report.parent / f"{figure}.png").stat().st_size > 5000
    # The table alone makes the same sections.
    decay = stored[(stored["kind"] == "decay") & (stored["cell"] == "rnn") & (stored["moment"] == "start")]["value"]
    assert f"{decay.median():.2f}"[:3] in text


def test_nothing_is_stored_where_nothing_was_looked_at(tmp_path):
    run(make_config(tmp_path))
    write_frames(tmp_path / "scratch")
    assert not (tmp_path / "scratch" / "diagnostics.parquet").exists()
    assert diagnostics_frame([]).empty


def test_unknown_kinds_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"diagnostics.kinds=gate: .*gates"):
        make_config(tmp_path, diagnostics={"kinds": ["gate"]})
    assert Diagnostics().kinds == []
