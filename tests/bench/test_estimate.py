"""What a dry run says is what the budgets allow, and it leaves nothing behind."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.execute import estimate as module
from bench.execute.apart import Worker
from bench.execute.estimate import estimate
from bench.execute.plan import Plan
from bench.train.trainer import budgeted_steps
from tests.bench.conftest import make_config

WORKER = Worker()  # has no process as long as no class is a user's
SERIAL = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
PARALLEL = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": 2}


def plan_of(configs, tmp_path: Path) -> Plan:
    named = {str(number): config for number, config in enumerate(configs)}
    return Plan(tmp_path / "s", named, [], frozenset())


@pytest.fixture
def a_second_a_step(monkeypatch):
    monkeypatch.setattr(module, "cost_of", lambda config: (1.0, 2.0))


def test_time_is_that_of_all_budgets_over_the_runs_at_once(a_second_a_step, tmp_path: Path):
    configs = [make_config(tmp_path, seed=seed) for seed in range(3)]
    steps = budgeted_steps(configs[0].run.training)
    assert (steps, configs[0].run.training.evaluate_every) == (20, 10)
    said = estimate(plan_of(configs, tmp_path), SERIAL, WORKER)
    assert "at most 1:18 of training" in said  # three runs of 20 steps and 3 evaluations
    said = estimate(plan_of(configs, tmp_path), PARALLEL, WORKER)
    assert "at most 0:39 of training on this machine, 2 runs at once" in said
    short = [config.with_run(training=replace(config.run.training, max_seconds=4.0)) for config in configs]
    assert "at most 0:12 of training" in estimate(plan_of(short, tmp_path), SERIAL, WORKER)
    assert re.search(r"adding +lstm +3 +1,000 +1:18", said)


def test_what_is_finished_costs_nothing(a_second_a_step, tmp_path: Path):
    plan = plan_of([make_config(tmp_path, seed=seed) for seed in range(3)], tmp_path)
    said = estimate(replace(plan, finished=frozenset("01")), SERIAL, WORKER)
    assert "at most 0:26 of training" in said


def test_what_cannot_be_run_is_said(tmp_path: Path):
    config = make_config(tmp_path, cell={"_target_": "tests.bench.broken.Leaving", "name": "leaving"})
    broken = config.with_run(cell={**config.run.cell, "_target_": "tests.bench.broken.NoSuchCell"})
    with Worker() as worker:
        said = estimate(plan_of([broken], tmp_path), SERIAL, worker)
    assert "leaving on adding cannot be run" in said


def test_the_data_of_files_are_told(a_second_a_step, tmp_path: Path):
    rows = [f"s{i},{i},{t},{'xyz'[i % 3]}" for i in range(60) for t in range(2 + i % 2)]
    (tmp_path / "my.csv").write_text("\n".join(["sequence,a,b,target", *rows]))
    config = make_config(tmp_path)
    task = {"_target_": "tasks.Classify", "name": "classify", "file": str(tmp_path / "my.csv")}
    said = estimate(plan_of([config.with_run(task=task)], tmp_path), SERIAL, WORKER)
    facts = "36 training, 12 validation, 12 test sequences; 2 features, 3 classes, 2 to 3 steps"
    assert f"  data   classify: {facts}\n" in said
    assert "  data" not in estimate(plan_of([config], tmp_path), SERIAL, WORKER)
