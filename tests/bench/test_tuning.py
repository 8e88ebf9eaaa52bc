"""Settings are selected on seeds of their own, from what the store holds, in rounds."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.execute.run import run
from bench.execute.tuning import plan_round
from bench.record.errors import ConfigError
from bench.record.fairness import WORST, selection_score
from bench.record.frames import write_frames
from bench.spec.config import Tuning
from reports.load import load
from reports.report import write_report
from tests.bench.conftest import make_config

GRID = Tuning(selection_seeds=[100, 101], search={"training.learning_rate": [1e-9, 0.05]})
RATES = {"low": 1e-4, "high": 0.1, "log": True}
RANGE = Tuning(selection_seeds=[100], search={"training.learning_rate": RATES}, trials=4, at_once=2)
JOBS = [[f"cell={cell}", f"seed={seed}"] for cell in ("LSTM", "GRU") for seed in (0, 1)]


def composer(folder: Path, tuning: Tuning):
    """Makes configurations of overrides, as Hydra would."""

    def config_of(job: list[str]):
        values = dict(override.split("=") for override in job)
        cell = {"_target_": f"cells.{values['cell']}", "name": values["cell"].lower()}
        config = make_config(
            folder,
            cell=cell,
            seed=int(values["seed"]),
            training={"learning_rate": float(values.get("training.learning_rate", 0.005))},
        )
        return replace(config, sweep=replace(config.sweep, tuning=tuning))

    return config_of


def test_a_score_orders_runs_by_how_well_they_did():
    ranked = [
        selection_score("solved", 100, 1000, 0.01, 0.2),
        selection_score("solved", 900, 1000, 0.01, 0.2),
        selection_score("unsolved", None, 1000, 0.05, 0.2),
        selection_score("unsolved", None, 1000, 0.15, 0.2),
        selection_score("diverged", None, 1000, None, 0.2),
    ]
    assert ranked == sorted(ranked)
    assert ranked[0] == 0.1
    assert ranked[2] == pytest.approx(1.2)
    assert ranked[-1] == selection_score("failed", None, 1000, None, None) == WORST
    assert selection_score("unsolved", None, 1000, 0.2, 0.2) == 1.5
    assert 1.9 < selection_score("unsolved", None, 1000, 7.0, 0.2) < WORST


def test_a_grid_takes_two_rounds_and_reports_other_seeds(tmp_path):
    config_of = composer(tmp_path, GRID)
    first = plan_round(JOBS, GRID, config_of)
    assert not first.is_last
    assert len(first.jobs) == 2 * 2 * 2  # cells, learning rates, selection seeds
    assert first.total == 8 + 4
    assert {job[-1] for job in first.jobs} == {"seed=100", "seed=101"}
    for job in first.jobs:
        run(config_of(job))
    early = write_report([tmp_path / "scratch"]).path.read_text()
    assert "lstm on adding, gru on adding. The sweep's command continues." in early
    second = plan_round(JOBS, GRID, config_of)
    assert second.is_last
    assert len(second.jobs) == second.total == 12
    reported = [job for job in second.jobs if job not in first.jobs]
    assert [job[1] for job in reported] == ["seed=0", "seed=1"] * 2
    # A learning rate of nothing learns nothing: the other one is taken.
    assert {job[2] for job in reported} == {"training.learning_rate=0.05"}
    for job in reported:
        run(config_of(job))

    stored = load(tmp_path / "scratch")
    assert set(stored.results["seed"]) == {0, 1}
    assert set(stored.trials["seed"]) == {100, 101}
    assert set(stored.results["problem"]) == {"adding"}
    assert set(stored.results["training.learning_rate"]) == {0.05}
    assert stored.trials.groupby("contender")["chosen"].sum().to_dict() == {"lstm": 2, "gru": 2}
    report = write_report([tmp_path / "scratch"]).path.read_text()
    assert "## Selected settings" in report
    assert "on seeds 100, 101" in report
    assert (tmp_path / "scratch" / "report" / "sensitivity_learning_rate.png").exists()
    assert "4 runs: 2 cells" in report


def test_a_grid_of_hydras_own_sweeper_is_selected_from_too(tmp_path):
    """All seeds with all settings: those not chosen are not reported, whatever they are."""
    tuning = Tuning(selection_seeds=[0])
    for rate in (1e-9, 0.05):
        for seed in (0, 1, 2):
            config = make_config(tmp_path, seed=seed, training={"learning_rate": rate})
            run(replace(config, sweep=replace(config.sweep, tuning=tuning)))
    write_frames(tmp_path / "scratch")
    table = pd.read_parquet(tmp_path / "scratch" / "results.parquet")
    assert table["selection"].sum() == 2
    assert set(table["tuned"]) == {"training.learning_rate"}
    stored = load(tmp_path / "scratch")
    assert stored.results[["seed", "training.learning_rate"]].to_numpy().tolist() == [[1, 0.05], [2, 0.05]]


def test_optuna_asks_in_rounds_and_goes_on_where_it_was(tmp_path):
    pytest.importorskip("optuna")
    config_of = composer(tmp_path, RANGE)
    first = plan_round(JOBS, RANGE, config_of)
    assert len(first.jobs) == 2 * 2
    assert plan_round(JOBS, RANGE, config_of) == first  # nothing is known yet: nothing more is asked
    for job in first.jobs[:-1]:
        run(config_of(job))
    partly = plan_round(JOBS, RANGE, config_of)
    assert len(partly.jobs) == 4 + 2  # the first cell's next; the other waits for one run
    assert not partly.is_last
    rounds = 0
    while not (found := plan_round(JOBS, RANGE, config_of)).is_last:
        for job in found.jobs:
            run(config_of(job))
        rounds += 1
    assert rounds <= 3
    assert len(found.jobs) == found.total == 2 * 4 + 4
    rates = {float(job[1].partition("=")[2]) for job in found.jobs if job[-1] == "seed=100"}
    assert len(rates) == 8
    assert all(1e-4 <= rate <= 0.1 for rate in rates)
    assert len(list((tmp_path / "scratch" / "tuning").glob("*.log"))) == 2


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"training.learning_rate": 0.1}, "must be a list"),
        ({"training.learning_rate": []}, "must be a list"),
        ({"training.learning_rate": {"low": 1, "high": 0.1}}, "are not a range"),
        ({"training.learning_rate": {"low": 0, "high": 0.1, "log": True}}, "above 0"),
        ({"seed": [1, 2]}, "training and cell"),
    ],
)
def test_a_search_that_makes_no_sense_is_a_line(tmp_path, search, says):
    tuning = Tuning(selection_seeds=[100], search=search)
    with pytest.raises(ConfigError, match=says):
        plan_round(JOBS, tuning, composer(tmp_path, tuning))


def test_seeds_that_are_reported_select_nothing(tmp_path):
    tuning = replace(GRID, selection_seeds=[1, 2])
    with pytest.raises(ConfigError, match="seed 1 is reported too"):
        plan_round(JOBS, tuning, composer(tmp_path, tuning))
    given = [[*job, "training.learning_rate=0.1"] for job in JOBS]
    with pytest.raises(ConfigError, match=r"is selected by tuning.search"):
        plan_round(given, GRID, composer(tmp_path, GRID))
    with pytest.raises(ConfigError, match=r"set tuning.selection_seeds"):
        make_config(tmp_path, tuning={"search": GRID.search})
