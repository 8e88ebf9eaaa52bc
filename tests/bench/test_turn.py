"""Workers take a sweep's runs in order, each those that nobody is at, and say what could not be stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bench.execute import turn as module
from bench.execute.launchers import MOST_WORKERS, room
from bench.execute.turn import Turn, write_planned
from bench.spec.checks import from_plain
from bench.spec.config import to_plain
from tests.bench.conftest import make_config

NAMES = ("a", "b", "c", "d")


class Told:
    """A worker that does what it is told, and knows what it was asked."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.answers, self.asked, self.cohorts = answers, [], []

    def __call__(self, template: str | None) -> "Told":
        return self

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute_cohort(self, settings: Any, runs: dict[str, int], share: int, sole: bool, left: Any) -> dict[str, Any]:
        self.cohorts.append((share, sole))
        answers = {}
        for name in runs:
            self.asked.append(name)
            answer = answers[name] = self.answers.get(name, {"status": "solved"})
            if answer["status"] == "leased":
                del answers[name]
            if answer["status"] == "interrupted":
                break
        return answers


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    configs = {name: make_config(tmp_path, seed=seed) for seed, name in enumerate(NAMES)}
    return write_planned(tmp_path, {name: to_plain(config) for name, config in configs.items()})


def take(monkeypatch: pytest.MonkeyPatch, turn: Turn, **answers: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    worker, unstored = told(monkeypatch, turn, **answers)
    return worker.asked, unstored


def told(monkeypatch: pytest.MonkeyPatch, turn: Turn, **answers: dict[str, Any]) -> tuple[Told, dict[str, str]]:
    worker = Told(**answers)
    monkeypatch.setattr(module, "Worker", worker)
    return worker, turn()


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
    lease(tmp_path, "a")
    assert take(monkeypatch, Turn(planned)) == (["b", "c", "d"], {})


def lease(sweep: Path, name: str) -> None:
    (sweep / "leases").mkdir(exist_ok=True)
    (sweep / "leases" / name).touch()


def test_groups_that_nobody_is_at_come_first_each_for_one_worker(tmp_path: Path, monkeypatch):
    """Then the others are shared out: what is left of a group of four, of which somebody has one."""
    groups = {
        name + dtype: make_config(tmp_path, seed=seed, dtype=dtype)
        for dtype in ("float32", "float64")
        for seed, name in enumerate(NAMES)
    }
    planned = write_planned(tmp_path, {name: to_plain(config) for name, config in groups.items()})
    lease(tmp_path, "bfloat32")
    worker, _ = told(monkeypatch, Turn(planned, workers=2))
    assert worker.asked == [name + "float64" for name in NAMES] + [name + "float32" for name in "acd"]
    assert worker.cohorts == [(4, False), (2, False)]


def test_as_long_as_there_is_a_group_for_each_worker_it_is_taken_whole(tmp_path: Path, planned: Path, monkeypatch):
    assert told(monkeypatch, Turn(planned, workers=1))[0].cohorts == [(4, True)]
    assert told(monkeypatch, Turn(planned, workers=2))[0].cohorts == [(2, False)]


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
