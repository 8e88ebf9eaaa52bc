"""What is shown while a sweep runs: read from the store, whoever runs it."""

import io
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench.execute import progress
from bench.record.fairness import NO_LIMIT
from bench.record.records import Evaluation, Result, Status
from bench.record.store import METRICS, RunFolder
from tests.bench.conftest import make_config

CONFIG = make_config()


def ended(key: str, status: Status = "unsolved", **known: Any) -> Result:
    known = {"steps": 20, "seconds": 1.0} | known
    return Result(run_id=key, status=status, solved=status == "solved", **known)


def begin(sweep: Path, key: str, steps: int) -> RunFolder:
    folder = RunFolder(sweep, key)
    folder.begin(asdict(CONFIG))
    for step in range(0, steps + 1, 10):
        known = {"loss": 0.5 / (step + 1), "score": {"accuracy": step / 100}}
        folder.append(METRICS, [Evaluation(step=step, samples=step, seconds=step / 5, **known)])
    return folder


def watched(sweep: Path, keys: Iterable[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, before: int = 0) -> str:
    """What is said of runs that are where they are now: of keys, or of keys with configurations."""
    pending = keys if isinstance(keys, dict) else dict.fromkeys(keys, CONFIG)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None, highlight=False)
    monkeypatch.setattr(progress, "console", console)
    plan: Any = SimpleNamespace(sweep=sweep, pending=pending, configs=range(len(pending) + before), lacking=frozenset())
    shown: list[Any] = []
    live = progress.Live
    monkeypatch.setattr(live, "update", lambda self, view, **_: shown.append(view))
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    watch = progress.SweepProgress(plan)
    while terminal and not shown:
        pass
    watch.stop()
    if not terminal:
        return console.file.getvalue()  # type: ignore[attr-defined]
    page = Console(file=io.StringIO(), width=100, color_system=None)
    page.print(shown[0])
    page.print("LAST", shown[-1])
    said = page.file.getvalue()  # type: ignore[attr-defined]
    return console.file.getvalue() + said  # type: ignore[attr-defined]


def test_a_terminal_shows_each_running_run_and_what_became_of_the_others(tmp_path: Path, monkeypatch):
    keys = [f"lstm-adding-s{seed}-0123456789" for seed in range(5)]
    begin(tmp_path, keys[0], 10)
    begin(tmp_path, keys[1], 0)
    for key, status in ((keys[2], "solved"), (keys[3], "failed")):
        reason = {"steps_to_solve": 10} if status == "solved" else {"error": "no such thing"}
        begin(tmp_path, key, 20).finish(asdict(CONFIG), ended(key, status, **reason))
    said = watched(tmp_path, keys, monkeypatch, terminal=True, before=3)
    first, last = said.split("LAST")
    assert "5/8" in first
    assert "1 solved, 0 unsolved, 1 failed, 3 finished before" in first
    rows = {line.split()[0]: line.split()[1:] for line in first.splitlines() if line.strip().startswith("lstm-adding")}
    assert rows["lstm-adding-s0"] == ["10", "20", "0.0455", "accuracy", "0.1", "0:02"]
    assert rows["lstm-adding-s1"] == ["0", "20", "0.5", "accuracy", "0"]  # nothing is known yet of how long it takes
    assert f"{keys[3]}: failed: no such thing" in said
    assert "lstm-adding-s0" not in last  # what is running is not left on the screen


def test_a_budget_of_seconds_is_one(tmp_path: Path, monkeypatch):
    config = CONFIG.with_run(training=replace(CONFIG.run.training, max_steps=NO_LIMIT, max_seconds=8.0))
    begin(tmp_path, "lstm-adding-s0-0123456789", 10)  # which takes 2 s
    first = watched(tmp_path, {"lstm-adding-s0-0123456789": config}, monkeypatch, terminal=True).split("LAST")[0]
    row = next(line.split() for line in first.splitlines() if line.strip().startswith("lstm-adding"))
    assert row == ["lstm-adding-s0", "10", "0.0455", "accuracy", "0.1", "0:06"]


def test_many_running_runs_are_counted(tmp_path: Path, monkeypatch):
    keys = [f"lstm-adding-s{seed}-0123456789" for seed in range(progress.MOST_ROWS + 5)]
    for key in keys:
        begin(tmp_path, key, 10)
    first = watched(tmp_path, keys, monkeypatch, terminal=True).split("LAST")[0]
    assert first.count("lstm-adding") == progress.MOST_ROWS
    assert "and 5 more" in first


def test_elsewhere_a_finished_run_is_a_line(tmp_path: Path, monkeypatch):
    keys = [f"lstm-adding-s{seed}-0123456789" for seed in range(2)]
    begin(tmp_path, keys[0], 10)
    begin(tmp_path, keys[1], 20).finish(asdict(CONFIG), ended(keys[1]))
    said = watched(tmp_path, keys, monkeypatch, terminal=False)
    assert said.splitlines()[0].startswith(f"[1/2] {keys[1]}: unsolved after 20 steps")
    assert len(said.splitlines()) == 1


def test_a_run_that_is_tested_says_so():
    key = "lstm-classify-s0-0123456789"
    assert progress.describe(ended(key)) == f"{key}: unsolved after 20 steps, 1.0 s"
    assert progress.describe(ended(key, test_loss=0.25)) == f"{key}: test loss 0.25 after 20 steps, 1.0 s"


@pytest.mark.parametrize(
    ("to_do", "took", "running", "left"),
    [
        ({"a": 3, "b": 2}, {}, [], (0, 5)),  # nothing is known
        ({"a": 2, "b": 2}, {"a": [30.0]}, [], (60, 2)),  # two more like it, and two that are not
        ({"a": 1, "b": 1}, {"a": [30.0, 20.0], "b": [1.0]}, [], (25 + 1, 0)),
        # What is finished says more than what has begun.
        ({"a": 2, "b": 2}, {"a": [30.0]}, [("a", 10.0, 0.1)], (20 + 30, 2)),
        # At its first evaluation a run says nothing.
        ({"a": 3, "b": 2}, {}, [("a", 10.0, 0.5), ("b", 1.0, 0.0)], (10 + 2 * 20, 2)),
        # Longer than the one before: about to end.
        ({"a": 2, "b": 2}, {"a": [30.0]}, [("a", 40.0, 0.9)], (30, 2)),
    ],
)
def test_what_is_left_goes_by_runs_of_the_same_kind(to_do, took, running, left):
    assert progress.run_seconds_left(to_do, took, running) == pytest.approx(left)


def test_runs_of_which_nothing_is_known_are_said_not_to_be_counted(tmp_path: Path, monkeypatch):
    long = CONFIG.with_run(training=replace(CONFIG.run.training, max_steps=2000))
    keys = [f"lstm-adding-s{seed}-0123456789" for seed in range(5)]
    begin(tmp_path, keys[0], 20).finish(asdict(CONFIG), ended(keys[0]))
    pending = dict.fromkeys(keys[:2], CONFIG) | dict.fromkeys(keys[2:], long)
    look = progress.SweepProgress._look
    monkeypatch.setattr(progress.SweepProgress, "_look", lambda self: look(self) if hasattr(self, "_stop") else {})
    assert watched(tmp_path, pending, monkeypatch, terminal=False).rstrip().endswith(" left for 1 of 4 runs")


def test_time_left_counts_runs_side_by_side_and_not_what_was_done_before(tmp_path: Path, monkeypatch):
    keys = [f"lstm-adding-s{seed}-0123456789" for seed in range(4)]
    clock = iter([100.0, *[104.0] * 9])
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    begin(tmp_path, keys[0], 10)  # at 2 s, by an earlier command
    look = progress.SweepProgress._look

    def look_and_finish(self: progress.SweepProgress) -> Any:
        seen = look(self)
        for key, seconds in ((keys[0], 6.0), (keys[1], 4.0)):
            begin(tmp_path, key, 20).finish(asdict(CONFIG), ended(key, seconds=seconds))
        return seen

    monkeypatch.setattr(progress.SweepProgress, "_look", look_and_finish)
    said = watched(tmp_path, keys, monkeypatch, terminal=False)
    # 8 s of runs in 4 s are two at once. Left are two runs of 5 s, as the mean of those finished.
    assert said.splitlines()[-1].endswith("about 0:05 left"), said


def test_a_record_that_is_none_is_not_shown(tmp_path: Path, monkeypatch):
    keys = [f"lstm-adding-s{seed}-0123456789" for seed in range(2)]
    begin(tmp_path, keys[0], 10)
    for wrong in ('{"step": "many"}', "[]", '{"step": 1, "samples": 1}'):
        begin(tmp_path, keys[1], 0)
        (tmp_path / "runs" / keys[1] / "metrics.jsonl").write_text(wrong + "\n")
        first = watched(tmp_path, keys, monkeypatch, terminal=True).split("LAST")[0]
        assert "lstm-adding-s0" in first
        assert "lstm-adding-s1" not in first
