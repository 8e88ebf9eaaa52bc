"""Reports on data of one's own: contenders are compared by test loss, hyperparameters chosen without it."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.execute.run import run
from bench.spec.checks import from_plain
from bench.spec.config import to_plain
from reports import compare, load
from reports.listing import show_run
from reports.naming import problems_of
from reports.page_data import page_data, runs_table
from reports.report import write_report
from reports.selection import scores
from reports.summary import summarize_results
from tests.bench.conftest import make_config


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Two cells, two seeds each, on sequences whose class is the sign of their first value; a class is rare."""
    folder = tmp_path_factory.mktemp("data")
    inputs = np.random.default_rng(0).normal(size=(80, 5))
    np.savez(folder / "my.npz", inputs=inputs, targets=np.where(inputs[:, 0] > 0.8, "rare|class", "usual"))
    for cell in ("LSTM", "GRU"):
        for seed in (0, 1):
            plain = to_plain(make_config(folder / "results", seed=seed, name="mine"))
            own = {"_target_": f"cells.{cell}", "name": cell.lower(), "hidden_size": 4}
            task = {"_target_": "tasks.Classify", "name": "classify", "file": str(folder / "my.npz")}
            assert run(from_plain(plain | {"cell": own, "task": task}))["status"] == "unsolved"
    return folder / "results" / "mine"


def test_contenders_are_compared_by_test_loss(sweep):
    results = load(sweep).results
    (row,) = compare(results).to_dict("records")
    assert row["quantity"] == "loss"
    assert (results["test_loss"] != results["final_loss"]).all()
    losses = {cell: runs["test_loss"].to_numpy(float) for cell, runs in results.groupby("cell")}
    ratios = np.divide.outer(losses[row["second"]], losses[row["first"]])
    assert row["ratio"] == pytest.approx(np.median(ratios))
    swapped = results.assign(final_loss=results["final_loss"] * np.linspace(1, 9, len(results)))
    pd.testing.assert_frame_equal(compare(swapped), compare(results))
    for summary in summarize_results(results):
        assert summary.final_loss.estimate == pytest.approx(np.exp(np.log(losses[summary.contender]).mean()))


def test_hyperparameters_are_chosen_without_the_test_part(sweep):
    results = load(sweep).results
    assert scores(results.assign(test_loss=1e9)) == scores(results)
    assert scores(results.assign(final_loss=results["final_loss"] * 2)) != scores(results)


def test_files_name_problems(sweep):
    runs = load(sweep).results.drop(columns=["problem", "contender"])
    other = runs.assign(**{"task.file": "b.csv", "task.content": "0" * 16})
    assert set(problems_of(pd.concat([runs.assign(**{"task.file": "a.csv"}), other], ignore_index=True))) == {
        "classify, a.csv", "classify, b.csv",
    }  # fmt: skip
    changed = runs.assign(**{"task.content": "0" * 16})
    assert problems_of(pd.concat([runs, changed], ignore_index=True)).nunique() == 2


def test_the_report(sweep, tmp_path):
    text = write_report([sweep], tmp_path).path.read_text()
    assert "## Test scores" in text
    assert "48 for training, 16 for validation, 16 for test (sequences)" in text
    assert "A sequence has 5 steps of 1 feature" in text
    table = text.partition("## Test scores")[2]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line[:2] == "| "]
    by_name = {row[0]: row[1:] for row in rows}
    facts = json.loads(load(sweep).results["data"].iloc[0])
    assert by_name["majority"][0] == f"{facts['baseline/majority/loss']:.3g}"
    assert {"lstm", "gru", "linear on the last steps"} <= set(by_name)
    assert "rare\\|class" in table  # nothing of the data is markup
    assert " solved" not in text.partition("# Appendix")[0]
    assert "to solve" not in text
    assert "unsolved" not in text
    assert "| test loss |" in re.sub(" +", " ", text.partition("## All comparisons")[2])
    assert "The test part has only 16:** a single one moves a share such as accuracy by 6 %" in text


def test_no_run_is_called_unsolved_where_nothing_can_be_solved(sweep):
    stored = load(sweep)
    rows = runs_table(stored)
    assert {row["status"] for row in rows} == {"ended"}
    assert {row["test loss"] for row in rows} == {f"{loss:.4g}" for loss in stored.results["test_loss"]}
    assert not {"steps to solve", "final loss"} & set(rows[0])
    assert "unsolved" not in page_data(stored)
    shown = show_run(sweep.parent, rows[0]["run"])
    assert "unsolved" not in shown
    assert "test loss" in shown
