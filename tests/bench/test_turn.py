"""Workers take a sweep's runs in order, each those that nobody is at, and say what could not be stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bench.execute import turn as module
from bench.execute.launchers import MOST_WORKERS, room
from bench.execute.turn import Turn, write_planned
from bench.spec.config import from_plain, to_plain
from tests.bench.conftest import make_config

NAMES = ("a", "b", "c", "d")


class Told:
    """A worker that does what it is told, and knows what it was asked."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self) -> "Told":
        return self

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, settings: dict[str, Any]) -> dict[str, Any]:
        name = NAMES[settings["seed"]]
        self.asked.append(name)
        return self.answers.get(name, {"status": "solved"})


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    configs = {name: make_config(tmp_path, seed=seed) for seed, name in enumerate(NAMES)}
    return write_planned(tmp_path, {name: to_plain(config) for name, config in configs.items()})


def take(monkeypatch: pytest.MonkeyPatch, turn: Turn, **answers: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    worker = Told(**answers)
    monkeypatch.setattr(module, "Worker", worker)
    unstored = turn()
    return worker.asked, unstored


def finish(sweep: Path, name: str) -> None:
    (sweep / "runs" / name).mkdir(parents=True)
    (sweep / "runs" / name / "result.json").touch()


def test_specifications_are_those_that_were_planned(tmp_path: Path, planned: Path):
    written = json.loads(planned.read_text())
    assert len(written["settings"]) == 1  # the seed is the only difference
    assert [run[0] for run in written["runs"]] == [*NAMES]
    for run_id, number, seed in written["runs"]:
        settings = from_plain({**written["settings"][number], "seed": seed})
        assert settings == make_config(tmp_path, seed=NAMES.index(run_id))
    again = {name: to_plain(make_config(tmp_path, seed=seed)) for seed, name in enumerate(NAMES)}
    assert write_planned(tmp_path, again) == planned
    other = {**again, "e": to_plain(make_config(tmp_path, cell={"hidden_size": 5}))}
    assert write_planned(tmp_path, other) != planned


def test_all_without_a_result_are_taken_in_order(tmp_path: Path, planned: Path, monkeypatch):
    finish(tmp_path, "b")
    assert take(monkeypatch, Turn(planned)) == (["a", "c", "d"], {})


def test_what_is_named_is_taken_even_if_it_has_a_result(tmp_path: Path, planned: Path, monkeypatch):
    finish(tmp_path, "b")
    assert take(monkeypatch, Turn(planned, frozenset("bd"))) == (["b", "d"], {})


def test_what_somebody_is_at_is_left_to_them(tmp_path: Path, planned: Path, monkeypatch):
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "a").touch()
    assert take(monkeypatch, Turn(planned), c={"status": "leased"}) == (["b", "c", "d"], {})


def test_what_cannot_be_stored_is_told_and_the_others_are_taken(planned: Path, monkeypatch):
    asked, unstored = take(monkeypatch, Turn(planned), b={"status": "unstored", "error": "disk full"})
    assert asked == [*NAMES]
    assert unstored == {"b": "disk full"}


def test_no_more_are_taken_once_the_command_stops(planned: Path, monkeypatch):
    assert take(monkeypatch, Turn(planned), b={"status": "interrupted"})[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        ({"_target_": "x.BasicLauncher"}, 1),
        ({"_target_": "x.JoblibLauncher", "n_jobs": 3}, 3),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -1}, 8),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -3}, 6),
        ({"_target_": "x.SlurmLauncher", "array_parallelism": 20}, 20),
        ({"_target_": "x.OtherLauncher"}, MOST_WORKERS),
    ],
)
def test_there_are_as_many_workers_as_a_launcher_runs_at_once(monkeypatch, settings: dict[str, Any], workers: int):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert room(OmegaConf.create(settings)) == workers
