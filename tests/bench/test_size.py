"""A large store can be read and reported on in a small part of a machine's memory, and asked for again."""

import os
from pathlib import Path

import pandas as pd

from tests.bench.stores import AGAIN, CELLS, EVALUATIONS, make_store, measure

RUNS = int(os.environ.get("STORE_RUNS", "500"))  # `python -m tests.bench.stores 10000` prints seconds, too


def test_a_store_of_many_runs(tmp_path: Path):
    sweep = make_store(tmp_path, RUNS)
    _, gib, said = measure("reports", str(sweep))
    assert gib < 1
    assert said.splitlines()[0] == str(sweep / "report" / "README.md")
    assert (
        f"{RUNS:,} runs: 4 cells on 1 task, {RUNS // len(CELLS)} seeds each." in Path(said.splitlines()[0]).read_text()
    )
    some = 40  # the plan of all would take longer than all the rest
    _, _, said = measure("bench", *AGAIN, f"seed=range(0,{some})", f"results_dir={tmp_path}")
    assert f"runs   {some * len(CELLS)}, of which {some * len(CELLS)} are finished" in said
    results, curves = (pd.read_parquet(sweep / f"{name}.parquet") for name in ("results", "curves"))
    assert (len(results), results["run_id"].nunique()) == (RUNS, RUNS)
    assert (curves.groupby(["run_id", "metric"]).size() >= EVALUATIONS).all()
    assert curves["run_id"].nunique() == RUNS
