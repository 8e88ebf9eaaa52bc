"""A run from Python is the command's."""

import json
from pathlib import Path

import pytest

import bench
from bench.record.errors import ConfigError
from reports import load

TINY = (
    "cell=gru", "cell.hidden_size=4", "task=adding", "task.length=5", "training.batch_size=4", "training.max_steps=4",
    "training.evaluate_every=2", "tracking=none",
)  # fmt: skip


def test_it_returns_what_is_stored_and_pandas_reads_it(tmp_path: Path):
    result = bench.run(*TINY, f"results_dir={tmp_path}", "seed=3")
    stored = json.loads((Path(result["folder"]) / "result.json").read_text())
    del stored["sha256"]
    assert {key: result[key] for key in stored} == stored
    assert (result["status"], result["steps"]) == ("unsolved", 4)
    again = bench.run(*TINY, f"results_dir={tmp_path}", "seed=3")
    assert again["seconds"] == result["seconds"]  # and was not run again
    runs, curves, timing = load(tmp_path / "scratch")
    assert list(runs["seed"]) == [3]
    assert set(curves["step"]) == {0, 1, 2, 4}
    assert timing.empty


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["cell=grru"], "Did you mean 'gru'"),
        (["cell.hidden_size=0"], "at least 1"),
        (["+sweep=smoke"], "a sweep is for the command line"),
        (["cell=gru,lstm"], "several values make a sweep"),
        (["train=false"], "this trains"),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(tmp_path: Path, overrides: list[str], says: str):
    with pytest.raises(ConfigError, match=says) as raised:
        bench.run(f"results_dir={tmp_path}", *overrides)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
