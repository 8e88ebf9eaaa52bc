"""A sweep of contenders of different kinds, from the command line to the report."""

import re
from pathlib import Path

import pandas as pd

from tests.end_to_end.forks import Forks

SWEEP = (
    "-m", "name=s", "seed=0,1", "task.length=5", "cell.hidden_size=4", "tracking=none", "training.batch_size=4",
    "training.max_steps=4", "training.evaluate_every=2", "timing.rounds=1", "timing.inference_steps=1",
    "diagnostics.kinds=[memory]", "diagnostics.sequences=128", "+launch=serial",
)  # fmt: skip


def test_stacks_and_a_transformer_beside_a_cell(forks: Forks, tmp_path: Path):
    done = forks.run(tmp_path, *SWEEP, "cell=lstm,transformer", "match=hidden")
    done = forks.run(tmp_path, *SWEEP, "cell=lstm", "cell.layers=2", "cell.bidirectional=true")
    assert done.stderr.count("no memory: it reads sequences in both directions") == 1  # of two runs, before and after
    report = (tmp_path / "results/s/report/README.md").read_text()
    (without,) = re.findall(r"No time of one step: (.*?)\.", report)
    assert without == "lstm, layers 2 (it reads sequences in both directions)"
    assert "lstm, layers 2, bidirectional True, memory: it reads sequences in both directions (2 runs)" in report
    assert "transformer, memory: its state grows with the sequence" in report
    runs = pd.read_parquet(tmp_path / "results/s/results.parquet")
    assert len(runs) == 6
    assert set(runs["cell.layers"].dropna()) == {2}
    times = pd.read_parquet(tmp_path / "results/s/timing.parquet")
    stepped = times[times["quantity"] == "inference_step"]
    assert set(stepped["cell"]) == {"lstm", "transformer"}
    assert not (stepped["cell.bidirectional"] == True).any()  # noqa: E712


def test_what_would_see_the_future_is_refused_in_a_line(forks: Forks, tmp_path: Path):
    done = forks.run(tmp_path, "cell=gru", "task=parity", "cell.bidirectional=true", code=2)
    assert done.stderr.startswith("error: cell.bidirectional: parity asks for answers while a sequence is read")
    assert done.stderr.count("\n") == 1
