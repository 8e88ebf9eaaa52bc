"""A run that was stopped anywhere goes on as if nothing had happened: to the last bit, but for times."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.execute.run import run
from bench.record.files import Damaged
from bench.spec.config import Checkpoint
from bench.train.checkpoint import Schedule, read_checkpoint, write_checkpoint
from bench.train.loop import train
from tests.bench.conftest import make_config
from tests.bench.runs import CELLS, StopAfter, folder_of, stored, trainer_of


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, tensors to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


NOISY = {"_target_": "tests.bench.broken.Noisy", "name": "noisy"}


@pytest.mark.parametrize("cell", [*CELLS.values(), NOISY], ids=[*CELLS, "noisy"])
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_a_run_stopped_again_and_again_ends_as_one_that_was_not(tmp_path: Path, cell: dict[str, Any], optimizer: str):
    options = {"momentum": 0.9} if optimizer == "SGD" else None
    changes = {"cell": cell, "training": {"optimizer": optimizer, "optimizer_options": options}}
    whole, parts = make_config(tmp_path / "whole", **changes), make_config(tmp_path / "parts", **changes)
    run(whole)
    for steps in (1, 3, 6, 5):  # stops at 1, 4, an evaluation, 15
        assert run(parts, StopAfter(steps))["status"] == "interrupted"
        assert not folder_of(parts).read_result()
        assert folder_of(parts).checkpoint.exists()
    assert run(parts)["status"] == "unsolved"
    assert not folder_of(parts).checkpoint.exists()
    assert stored(parts) == stored(whole)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_optimiser_and_streams_are_equal_bit_by_bit(tmp_path: Path, dtype: str):
    config = make_config(dtype=dtype, task={"length": 12})

    whole = trainer_of(config)
    train(whole, lambda _: None)
    first = trainer_of(config)
    train(first, lambda _: None, lambda trainer: trainer.step < 13)
    write_checkpoint(tmp_path / "checkpoint.pt", first.state_dict())
    second = trainer_of(config)
    second.load_state_dict(read_checkpoint(tmp_path / "checkpoint.pt"))
    assert second.seconds >= first.seconds > 0
    train(second, lambda _: None)
    one, other = whole.state_dict(), second.state_dict()
    assert same(other["model"], one["model"])
    assert same(other["optimizer"], one["optimizer"])
    assert same(other["random"], one["random"])
    assert whole.latest.loss == second.latest.loss


def test_a_solved_row_is_remembered(tmp_path: Path):
    """Stopped between the first and the last of the solved evaluations, it is solved from the first on."""
    easy = {"solved_mse": 1e9}  # solved from the start
    config = make_config(tmp_path, task=easy)
    assert run(config, StopAfter(5))["status"] == "interrupted"
    result = run(config)
    assert (result["status"], result["steps_to_solve"], result["steps"]) == ("solved", 0, 20)


def test_time_spent_before_counts(tmp_path: Path):
    config = make_config(tmp_path)
    run(config, StopAfter(12))
    state = read_checkpoint(folder_of(config).checkpoint)
    state["trainer"]["seconds"] = 1000.0
    write_checkpoint(folder_of(config).checkpoint, state)
    assert 1000 < run(config)["seconds"] < 1100


def test_evaluations_after_the_checkpoint_are_not_doubled(tmp_path: Path):
    """Killed after more evaluations than the checkpoint knows of, in the middle of a line."""
    whole, killed = make_config(tmp_path / "whole"), make_config(tmp_path / "killed")
    run(whole)
    run(killed, StopAfter(12))
    metrics = folder_of(killed).path / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 20, "samples": 80, "seconds": 0.1}\n{"step": 30, "sam')
    run(killed)
    assert stored(killed) == stored(whole)


@pytest.mark.parametrize("name", ["checkpoint.pt", "metrics.jsonl", "config.yaml"])
@pytest.mark.parametrize("damage", ["empty", "half", "garbage", "flipped", "gone", "folder"])
def test_an_unfinished_run_with_damaged_files_ends_as_one_without(tmp_path: Path, capfd, name: str, damage: str):
    whole, hurt = make_config(tmp_path / "whole"), make_config(tmp_path / "hurt")
    run(whole)
    run(hurt, StopAfter(12))
    path = folder_of(hurt).path / name
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(
            {"empty": b"", "half": content[:middle], "garbage": b"\x80\x04junk", "flipped": flipped}[damage]
        )
    assert run(hurt)["status"] == "unsolved"
    assert stored(hurt) == stored(whole)
    said = capfd.readouterr().err
    assert "Traceback" not in said
    if name == "metrics.jsonl" or (name == "checkpoint.pt" and damage != "gone"):
        assert "set aside" in said
        assert len(list((tmp_path / "hurt" / "scratch" / "set_aside").iterdir())) == 1


def test_a_checkpoint_of_another_run_or_another_cell_is_not_used(tmp_path: Path, capfd):
    one, other = make_config(tmp_path), make_config(tmp_path, seed=1)
    run(one, StopAfter(12))
    run(other, StopAfter(12))
    state = read_checkpoint(folder_of(other).checkpoint)
    write_checkpoint(folder_of(one).checkpoint, state)
    assert run(one)["status"] == "unsolved"
    assert "is not this run's" in capfd.readouterr().err
    state["trainer"]["model"].pop("cell.bias")
    write_checkpoint(folder_of(other).checkpoint, state)
    assert run(other)["status"] == "unsolved"
    assert "does not fit this cell" in capfd.readouterr().err


def test_a_checkpoint_that_memory_does_not_suffice_for_is_kept(tmp_path: Path, monkeypatch):
    config = make_config(tmp_path)
    run(config, StopAfter(12))
    load = torch.load

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MemoryError, match=r"checkpoint\.pt: memory does not suffice"):
        run(config)
    monkeypatch.setattr(torch, "load", load)
    assert run(config)["status"] == "unsolved"
    assert not (tmp_path / "scratch" / "set_aside").exists()


def test_a_checkpoint_executes_nothing(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({"trainer": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(Damaged):
        read_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "executed").exists()


def test_every_flipped_byte_of_a_checkpoint_is_noticed_or_changes_nothing(tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    state = {"tensor": torch.arange(20.0), "number": 0.1, "text": "x"}
    write_checkpoint(path, state)
    content = path.read_bytes()
    noticed = 0
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0x10]) + content[i + 1 :])
        try:
            found = read_checkpoint(path)
        except Damaged:
            noticed += 1
            continue
        assert same(found, state)
    assert noticed > len(content) / 4


class TestSchedule:
    def test_by_steps(self):
        schedule = Schedule(Checkpoint(seconds=None, steps=7))
        assert [step for step in range(1, 30) if schedule.is_due(step)] == [7, 14, 21, 28]

    def test_by_seconds_and_never_more_than_a_hundredth_of_the_time(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr("bench.train.checkpoint.perf_counter", lambda: now[0])
        schedule = Schedule(Checkpoint(seconds=2))
        saved = []
        for step in range(1, 1000):
            now[0] += 1.0
            if schedule.is_due(step):
                saved.append(now[0])
                now[0] += 0.1  # dear: a hundredth of ten seconds
                schedule.wrote(0.1)
        assert saved[0] == 2
        assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(saved))

    def test_none_saves_nothing_until_stopped(self, tmp_path: Path):
        config = make_config(tmp_path, checkpoint={"seconds": None})
        seen = []
        run(config, lambda: bool(seen.append(folder_of(config).checkpoint.exists())))
        assert len(seen) == 20
        assert not any(seen)


def test_records_are_appended_and_never_rewritten(tmp_path: Path):
    """The file that a record is in only ever grows, and stays the same file."""
    config = make_config(tmp_path, checkpoint={"steps": 3})
    path, seen = folder_of(config).path / "metrics.jsonl", []

    def look() -> bool:
        seen.append((path.stat().st_ino, path.read_bytes()))
        return False

    run(config, look)
    assert len({inode for inode, _ in seen}) == 1
    assert all(later.startswith(earlier) for (_, earlier), (_, later) in itertools.pairwise(seen))
    assert json.loads(path.read_bytes().splitlines()[-1])["step"] == 20
