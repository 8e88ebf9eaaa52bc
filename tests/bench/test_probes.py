"""Probes are made from weights, whenever that is, and find what they would have found at training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec import to_builtins

from bench.execute.probes import NoWeights, lacks_probes, probe_finished
from bench.execute.run import run
from bench.record.encoding import flat, read_as
from bench.record.errors import ConfigError
from bench.record.files import Damaged, digest, read_sealed, to_json, write_sealed
from bench.record.frames import diagnostics_frame, results_frame, write_frames
from bench.record.layout import read_runs
from bench.record.records import StoredProbes, StoredReading
from bench.record.store import RunFolder, StoredRun
from bench.session import session
from bench.spec.config import Settings
from bench.spec.identity import run_id
from tests.bench.broken import Minimal, Short
from tests.bench.conftest import make_config
from tests.bench.test_resume import CELLS, StopAfter, folder_of

KINDS = ["gradient_flow", "gates", "memory", "attention", "jacobian"]
LOOKS = {"kinds": KINDS, "sequences": 70}
MINE = {"_target_": "tests.bench.broken.Minimal", "name": "mine"}


def read(config: Settings) -> StoredRun:
    found = folder_of(config).read()
    assert found is not None
    return found


def found_in(config: Settings) -> tuple[list[StoredReading], Any]:
    return read(config).readings, read(config).result.lengthened


@pytest.mark.parametrize("cell", [*CELLS.values(), MINE], ids=[*CELLS, "mine"])
def test_afterwards_they_find_what_they_find_at_training(tmp_path: Path, cell: dict[str, Any]):
    asked = {"cell": cell, "diagnostics": LOOKS, "lengthen": [2, 4]}
    at_once = make_config(tmp_path / "at once", **asked)
    run(at_once)
    in_memory = make_config(tmp_path / "in memory", **asked, keep="nothing")
    run(in_memory)
    run(make_config(tmp_path, cell=cell))
    path = folder_of(make_config(tmp_path, cell=cell)).path / "result.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    run(make_config(tmp_path, cell=cell, lengthen=[4]))
    run(make_config(tmp_path, cell=cell, diagnostics={**LOOKS, "kinds": KINDS[:2]}))
    run(make_config(tmp_path, **asked))
    assert found_in(make_config(tmp_path, cell=cell)) == found_in(at_once) == found_in(in_memory)
    assert [at.factor for at in found_in(at_once)[1]] == [1, 2, 4]
    assert len({reading.moment for reading in found_in(at_once)[0]}) == (0 if cell.get("name") == "noisy" else 2)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not (folder_of(in_memory).path / "weights.pt").exists()


def test_step_sizes_are_found_again_where_the_optimisers_state_was_kept(tmp_path: Path, capfd):
    config = make_config(tmp_path, diagnostics={"kinds": ["updates"], "sequences": 8})
    run(config)
    before = found_in(config)
    assert {reading.moment for reading in before[0]} == {"start", "end"}
    (folder_of(config).path / "probe.json").write_text("{")
    run(config)
    assert found_in(config) == before
    assert capfd.readouterr().err.count("made again") == 1


def test_step_sizes_of_others_are_told_to_need_another_training(tmp_path: Path, capfd):
    with session():
        for seed in (0, 1):
            run(make_config(tmp_path, seed=seed))
            more = make_config(tmp_path, seed=seed, diagnostics={"kinds": ["gates", "updates"], "sequences": 8})
            run(more)
            assert not lacks_probes(read(more), more.execution)
    assert capfd.readouterr().err.count("no updates: step sizes need the optimiser's state") == 1
    with pytest.raises(ConfigError, match=r"step sizes need the optimiser's state.*another name="):
        run(make_config(tmp_path, diagnostics={"kinds": ["updates"]}))


def test_what_is_asked_for_is_no_part_of_a_runs_identity(tmp_path: Path):
    asked = make_config(tmp_path, diagnostics={**LOOKS, "every": 5}, lengthen=[2], keep="nothing")
    assert run_id(asked.run) == run_id(make_config(tmp_path).run)


def test_a_process_killed_while_probing_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, Any] = {"diagnostics": {**LOOKS, "every": 10}, "lengthen": [2]}
    whole, killed = make_config(tmp_path / "whole", **asked), make_config(tmp_path / "killed", **asked)
    run(whole)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt  # before the probes are written, and once more while they are

    for where in ("write_probes", "write"):
        with monkeypatch.context() as patch:
            if where == "write_probes":
                patch.setattr(RunFolder, where, die)
            else:
                patch.setattr("bench.record.store.write_sealed", die)
            with pytest.raises(KeyboardInterrupt):
                run(killed)
        if where == "write_probes":
            assert folder_of(killed).read_result() is not None  # what was trained is stored
            assert lacks_probes(read(killed), killed.execution)
    assert run(killed)["lengthened"] == run(whole)["lengthened"] is not None
    assert found_in(killed) == found_in(whole)


def test_a_process_killed_before_the_result_makes_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With keep=nothing the probes come first."""
    asked: dict[str, Any] = {"diagnostics": LOOKS, "lengthen": [2], "keep": "nothing"}
    whole, killed = make_config(tmp_path / "whole", **asked), make_config(tmp_path / "killed", **asked)
    run(whole)
    run(killed, StopAfter(12))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    assert folder_of(killed).read_result() is None
    run(killed)
    assert found_in(killed) == found_in(whole)


class TestDamage:
    @pytest.mark.parametrize(
        "hurt",
        [
            lambda path: path.write_text(path.read_text().replace("0.", "1.", 1)),
            lambda path: path.write_text(""),
            lambda path: write_sealed(path, {**read_sealed(path, 1 << 20, 0), "weights": "0" * 64}),
            lambda path: write_sealed(path, {**read_sealed(path, 1 << 20, 0), "lengthened": {"2": {"factor": 3}}}),
            lambda path: write_sealed(path, {**read_sealed(path, 1 << 20, 0), "diagnostics": {"gates": []}}),
            lambda path: (path.unlink(), path.mkdir()),
        ],
    )
    def test_probes_are_made_again(self, tmp_path: Path, capfd, hurt: Callable[[Path], object]):
        config = make_config(tmp_path, diagnostics=LOOKS, lengthen=[2])
        run(config)
        before, path = found_in(config), folder_of(config).path / "probe.json"
        hurt(path)
        assert found_in(config) == ([], None)
        runs, wrong = read_runs(tmp_path / "scratch")
        assert len(runs) == len(wrong) == 1
        assert "probe.json: " in wrong[0]
        if path.is_dir():  # never removed, as nothing of the user's is
            with pytest.raises(OSError, match="directory"):
                run(config)
            return
        capfd.readouterr()
        assert run(config)["lengthened"] == to_builtins(before[1])
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert said.endswith("; made again\n")
        assert found_in(config) == before

    def test_weights_are_told_in_a_line(self, tmp_path: Path, capfd):
        config = make_config(tmp_path)
        run(config)
        before = read(config)
        (folder_of(config).path / "weights.pt").write_bytes(b"PK")
        assert run(make_config(tmp_path, lengthen=[2]))["lengthened"] is None
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert "weights.pt: its checksum does not match; its probes cannot be made; remove" in said
        assert read(config) == before
        reason = probe_finished(tmp_path / "scratch", run_id(config.run), config.execution.diagnostics, [2])
        assert reason == "its weights are damaged"


@pytest.mark.parametrize(
    ("trained", "asked", "says"),
    [
        (
            {"keep": "nothing"},
            {"lengthen": [2]},
            "has no weights, from which evaluations at 1, 2 times the length could be",
        ),
        (
            {"keep": "nothing"},
            {"diagnostics": LOOKS},
            "has no weights, from which gradient_flow, gates, .* another name=",
        ),
        (
            {},
            {"diagnostics": {**LOOKS, "every": 10}},
            "trained without these diagnostics every 10 steps.*another name=",
        ),
        (
            {"diagnostics": LOOKS},
            {"diagnostics": {**LOOKS, "sequences": 8}},
            "made with diagnostics.sequences=70, and 8",
        ),
    ],
)
def test_what_needs_another_training_is_refused_in_a_line(tmp_path: Path, trained, asked, says: str):
    run(make_config(tmp_path, **trained))
    config = make_config(tmp_path, **asked)
    for refuse in (lambda: lacks_probes(read(config), config.execution), lambda: run(config)):
        with pytest.raises(ConfigError, match=says) as caught:
            refuse()
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, NoWeights) == ("keep" in trained)


def test_a_run_that_came_to_nothing_lacks_none(tmp_path: Path):
    config = make_config(tmp_path, cell={"_target_": "tests.bench.broken.Exploding", "name": "bad"}, lengthen=[2])
    run(config)
    assert not lacks_probes(read(config), config.execution)


def test_a_length_that_fails_is_a_line_and_not_tried_again(tmp_path: Path, capfd):
    config = make_config(tmp_path, cell={"_target_": "tests.bench.broken.Short", "name": "short"}, lengthen=[2, 3])
    assert [at["factor"] for at in run(config)["lengthened"]] == [1, 2]
    assert capfd.readouterr().err.count("no evaluation at 3 times the length: RuntimeError: too long") == 1
    assert run(config)["status"] == "unsolved"
    assert capfd.readouterr().err == ""


def test_what_failed_says_why_and_is_tried_again_by_probes(tmp_path: Path, monkeypatch, capfd):
    """Memory may suffice then, or the device be another."""
    config = make_config(tmp_path, cell={"_target_": "tests.bench.broken.Short", "name": "short"}, lengthen=[2, 3])
    run(config)
    assert read(config).probes.failed == {"3": "RuntimeError: too long"}
    again = tmp_path / "scratch", run_id(config.run), config.execution.diagnostics, [2, 3]
    capfd.readouterr()
    assert probe_finished(*again) is None
    assert "no evaluation at 3 times the length: RuntimeError: too long" in capfd.readouterr().err
    monkeypatch.setattr(Short, "longest", 18)
    assert probe_finished(*again) is None
    assert read(config).probes.failed == {}
    assert [at.factor for at in found_in(config)[1]] == [1, 2, 3]


def test_a_class_that_has_changed_since_is_not_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = make_config(tmp_path, cell=MINE)
    name = run(config)["run_id"]
    monkeypatch.setattr(Minimal, "version", 2, raising=False)
    with pytest.raises(ConfigError, match="mine: is of version 2 now, and the run was trained with version 1"):
        probe_finished(tmp_path / "scratch", name, config.execution.diagnostics, [2])


def test_a_changed_default_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(make_config(tmp_path / "before", cell=MINE, lengthen=[2]))
    run(config := make_config(tmp_path, cell=MINE))
    monkeypatch.setattr(Minimal.__init__, "__defaults__", (3.0,))
    assert probe_finished(tmp_path / "scratch", run_id(config.run), config.execution.diagnostics, [2]) is None
    assert found_in(config) == found_in(make_config(tmp_path / "before", cell=MINE))


def test_results_of_versions_without_probes_are_read_as_before(tmp_path: Path):
    """`lengthened` was in result.json, and all diagnostics in diagnostics.jsonl."""
    config = make_config(tmp_path, diagnostics={**LOOKS, "every": 10}, lengthen=[2])
    run(config)
    new, folder = read(config), folder_of(config).path
    tables = results_frame([new]), diagnostics_frame([new])
    old = read_sealed(folder / "result.json", 1 << 20, 1)
    lines = "".join(to_json(flat(reading)) + "\n" for reading in new.readings).encode()
    (folder / "diagnostics.jsonl").write_bytes(lines)
    del old["files"]["weights.pt"]
    old["files"]["diagnostics.jsonl"] = digest(lines)
    write_sealed(folder / "result.json", {**old, "lengthened": to_builtins(new.result.lengthened)})
    (folder / "weights.pt").unlink()
    (folder / "probe.json").unlink()
    assert read(config).readings == new.readings
    assert read(config).result.lengthened == new.result.lengthened
    pd.testing.assert_frame_equal(results_frame([read(config)]), tables[0])
    pd.testing.assert_frame_equal(diagnostics_frame([read(config)]), tables[1])
    assert "at_2x.loss" in tables[0]
    assert not lacks_probes(read(config), make_config(tmp_path, diagnostics=LOOKS, lengthen=[2]).execution)
    with pytest.raises(NoWeights):
        lacks_probes(read(config), make_config(tmp_path, lengthen=[4]).execution)


def test_tables_have_what_was_found_later(tmp_path: Path):
    run(config := make_config(tmp_path))
    write_frames(tmp_path / "scratch")
    assert "at_2x.loss" not in pd.read_parquet(tmp_path / "scratch" / "results.parquet")
    run(make_config(tmp_path, diagnostics=LOOKS, lengthen=[2]))
    write_frames(tmp_path / "scratch")
    results = pd.read_parquet(tmp_path / "scratch" / "results.parquet")
    assert results["at_2x.loss"].tolist() == [found_in(config)[1][1].loss]
    assert set(pd.read_parquet(tmp_path / "scratch" / "diagnostics.parquet")["moment"]) == {"start", "end"}


def test_probes_that_are_none_are_refused():
    reading = {"step": 0, "moment": "end", "kind": "k", "part": "p", "x": [1.0], "y": [], "value": [2.0]}
    at = {"factor": 2, "loss": 0.1, "score": {"mse": 0.1}, "solved": False}
    stored = {
        "run_id": "name", "diagnostics": {"gates": {"sequences": 8, "readings": [reading]}},
        "lengthened": {"2": at, "4": None},
    }  # fmt: skip
    path = Path("name", "probe.json")
    good = read_as(StoredProbes, stored, path)
    assert (good.lengthened[2].loss, good.lengthened[4]) == (0.1, None)
    assert read_as(StoredProbes, json.loads(json.dumps(flat(good))), path) == good
    for wrong in (
        {"run_id": "<b>"}, {"weights": "x"}, {"diagnostics": None}, {"diagnostics": {"<b>": {"sequences": 1}}},
        {"diagnostics": {"gates": {"sequences": 8, "readings": [{**reading, "moment": "later"}]}}},
        {"lengthened": []}, {"lengthened": {"2": {**at, "loss": "x"}}}, {"lengthened": {"-1": None}},
        {"lengthened": {"3": at}},
    ):  # fmt: skip
        with pytest.raises(Damaged, match="is not what was written"):
            read_as(StoredProbes, {**stored, **wrong}, path)
