"""What the terminal is told of what is stored."""

import json
from pathlib import Path

import pytest

from bench.record.frames import write_frames
from bench.record.records import STATUSES
from reports.listing import list_sweeps, show_run
from reports.load import LoadError, load
from tests.python import python
from tests.reports.conftest import write_run


def cells_of(line: str) -> list[str]:
    return [part.strip() for part in line.split("  ") if part.strip()]


def test_sweeps_are_listed_with_what_became_of_their_runs(tmp_path: Path):
    for seed in range(6):
        write_run(tmp_path / "one", "lstm", "adding", seed, 500 if seed else None)
    write_run(tmp_path / "one", "gru", "adding", 0, None, status="failed", error="no")
    (tmp_path / "one" / "runs" / "gru-adding-s1").mkdir()
    write_frames(tmp_path / "one")
    write_run(tmp_path / "two", "lstm", "copy", 0, None)  # not ended, so that there are no tables
    (tmp_path / "no sweep").mkdir()
    lines = list_sweeps(tmp_path).splitlines()
    assert cells_of(lines[0]) == ["sweep", "runs", "solved", "failed", "unfinished", "cells", "tasks", "seeds"]
    assert cells_of(lines[2]) == ["one", "8", "5", "1", "1", "gru, lstm", "adding", "0, 1, 2, 3 and 2 more"]
    assert cells_of(lines[3]) == ["two", "1"]
    assert len(lines) == 4


def test_a_run_is_shown_by_how_its_name_begins(tmp_path: Path):
    sweep = tmp_path / "one"
    for seed in (0, 1):
        write_run(sweep, "lstm", "adding", seed, 500)
    (sweep / "sweep.json").write_text(json.dumps({"commands": ["python -m bench +sweep=one"]}))
    said = show_run(tmp_path, "lstm-adding-s1")
    assert "500 steps" in said
    assert "task.length" in said
    assert "python -m bench +sweep=one cell=lstm task=adding seed=1" in said
    table = said.partition("\nstep ")[2]
    assert 5 < len(table.splitlines()) < 20  # of evaluations, as many as one reads
    assert "\n600 " in said  # the last one among them
    with pytest.raises(LoadError, match="2 runs begin so"):
        show_run(tmp_path, "lstm-adding")
    with pytest.raises(LoadError, match="Did you mean"):
        show_run(tmp_path, "lstm-addin-s1-64")


def test_an_unfinished_run_is_said_to_be(tmp_path: Path):
    write_run(tmp_path / "one", "lstm", "adding", 0, 500)
    next((tmp_path / "one" / "runs").glob("*/result.json")).unlink()
    assert "not finished, at step 600" in show_run(tmp_path, "lstm-adding-s0")


OPTIONAL = (
    "steps_to_solve", "seconds_to_solve", "steps", "samples", "seconds", "step_ms", "final_loss", "baseline_loss",
    "parameters", "cell_parameters", "backend", "error", "threads", "allocator", "environment",
)  # fmt: skip


@pytest.mark.parametrize("missing", ["absent", "null"])
@pytest.mark.parametrize("status", STATUSES)
def test_a_run_of_any_outcome_is_shown_and_listed(tmp_path: Path, status: str, missing: str):
    """As one that failed in its constructor, which stores a status and little else."""
    sweep = tmp_path / "one"
    write_run(sweep, "lstm", "adding", 0, 500 if status == "solved" else None, status=status)
    needed = {"solved": ("steps", "seconds", "steps_to_solve"), "unsolved": ("steps", "seconds"),
              "diverged": ("steps", "seconds")}.get(status, ())  # fmt: skip
    folder = next((sweep / "runs").iterdir())
    result = json.loads((folder / "result.json").read_text())
    for key in set(OPTIONAL) - set(needed):
        result = {k: v for k, v in result.items() if k != key} | ({key: None} if missing == "null" else {})
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text('{"step": 0, "samples": 0, "seconds": 0.0}\n')
    assert f"status               {status}" in show_run(tmp_path, "lstm-adding-s0")
    write_frames(sweep)
    assert cells_of(list_sweeps(tmp_path).splitlines()[2])[:2] == ["one", "1"]
    assert len(load(sweep).results) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "nowhere"], "no such folder"),
        (["list", "."], "has no sweep"),
        (["show", "x"], "no such run"),
        (["show"], "required: RUN_ID"),
        (["lst"], "did you mean python -m reports list?"),
        (["results", "--pdf"], "unrecognized arguments: --pdf"),
    ],
)
def test_mistakes_are_a_line(tmp_path: Path, words: list[str], says: str):
    done = python("-m", "reports", *words, code=2, cwd=tmp_path)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
