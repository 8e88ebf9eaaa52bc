"""Runs on files: the best evaluation's weights are kept and scored on the test part once, and a run is known by the
content of its files, not by their place."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.execute.run import run
from bench.record.errors import ConfigError
from bench.record.frames import results_frame
from bench.record.layout import read_runs
from bench.spec.checks import from_plain
from bench.spec.config import Settings, to_plain
from bench.spec.identity import as_stored, difference, from_stored, run_id
from bench.train.loop import train
from bench.train.model import make_task
from bench.train.trainer import Trainer, evaluate
from bench.train.weights import load_model
from tests.bench.conftest import make_config
from tests.bench.runs import trainer_of
from tests.bench.test_resume import StopAfter

LONG = {"max_steps": 60, "learning_rate": 0.05, "evaluate_every": 5, "evaluation_size": 7}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(60, 5, 2))
    np.savez(tmp_path / "my.npz", inputs=inputs, targets=(inputs[:, 0, 0] > 0).astype(int))
    return tmp_path / "my.npz"


def config_of(data: Path, **training) -> Settings:
    plain = to_plain(make_config(data.parent / "results", training={**LONG, **training}))
    return from_plain(plain | {"task": {"_target_": "tasks.Classify", "name": "classify", "file": str(data)}})


def trained(config: Settings, **replaced):
    task = make_task(config.run)
    for name, value in replaced.items():
        setattr(task, name, value)
    trainer, seen = trainer_of(config, task), []
    return train(trainer, seen.append), seen, trainer


def test_the_weights_of_the_lowest_validation_loss_are_tested(data: Path):
    config = config_of(data)
    outcome, seen, trainer = trained(config)
    best = min(seen, key=lambda evaluation: evaluation.loss)
    assert 0 < best.step < outcome.steps == 60  # it overfits, or this says nothing
    assert outcome.final == best
    until, _, before = trained(config_of(data, max_steps=best.step))
    assert until.final.loss == best.loss
    for one, other in zip(trainer.model.parameters(), before.model.parameters(), strict=True):
        assert torch.equal(one, other)
    whole = evaluate(trainer.model, trainer.task, trainer.testing)
    assert (outcome.test_loss, outcome.test_score) == (pytest.approx(whole[0]), pytest.approx(whole[1]))


def test_the_test_part_changes_nothing_but_its_score(data: Path):
    """Not a step, not an evaluation, nor which weights are kept."""
    config = config_of(data)
    one, seen, _ = trained(config)
    task = make_task(config.run)
    hidden = task.testing.take(torch.arange(len(task.testing)))
    hidden.inputs[:] = 1e6 * torch.randn_like(hidden.inputs)
    other, again, _ = trained(config, test_part=lambda device: hidden)
    untimed = [[(each.step, each.loss, each.train_loss, each.grad_norm) for each in its[1:]] for its in (seen, again)]
    assert untimed[0] == untimed[1]
    assert one.final.step == other.final.step
    assert one.test_loss != other.test_loss


def test_patience(data: Path):
    outcome, seen, _ = trained(config_of(data, patience=2, max_steps=1000))
    losses = [evaluation.loss for evaluation in seen]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3
    assert outcome.steps == 5 * (best + 2) < 1000
    assert outcome.status == "unsolved"


def test_what_is_stored(data: Path):
    config = config_of(data)
    result = run(config)
    frame = results_frame(read_runs(config.sweep.folder)[0])
    row = frame.iloc[0]
    assert row["test_loss"] == result["test_loss"] != row["final_loss"]
    assert row["test_score.accuracy"] == result["test_score"]["accuracy"]
    assert row["best_step"] < row["steps"]
    assert '"test": 12' in row["data"]
    model = load_model(config.sweep.folder / "runs" / run_id(config.run))
    task = make_task(config.run)
    loss, _ = evaluate(model, task, task.test_part(torch.device("cpu")))
    assert loss == pytest.approx(row["test_loss"], rel=1e-6)


def test_a_resumed_run_ends_as_one_that_was_not_stopped(data: Path):
    whole = run(config_of(data))
    other = data.parent / "copy" / "elsewhere.npz"
    other.parent.mkdir()
    other.write_bytes(data.read_bytes())
    config = config_of(other)
    best = whole["best_step"]
    assert run(config, StopAfter(best + 3))["status"] == "interrupted"
    resumed = run(config)
    for name in ("run_id", "best_step", "final_loss", "test_loss", "test_score", "steps"):
        assert resumed[name] == whole[name]


def test_a_run_is_known_by_its_file_s_content(data: Path):
    config = config_of(data)
    moved = data.rename(data.parent / "moved.npz")
    again = config_of(moved)
    assert run_id(again.run) == run_id(config.run)
    assert difference(again, as_stored(config)) is None
    np.savez(moved, inputs=np.zeros((60, 5, 2)), targets=np.arange(60) % 2)
    changed = config_of(moved)
    assert run_id(changed.run) != run_id(config.run)
    assert "task.content" in str(difference(changed, as_stored(config)))


def test_a_stored_run_is_not_probed_on_other_data(data: Path):
    stored = as_stored(config_of(data))
    np.savez(data, inputs=np.zeros((60, 5, 2)), targets=np.arange(60) % 2)
    with pytest.raises(ConfigError, match="has changed"):
        make_task(from_stored(stored).run)


def test_a_file_that_is_not_there_is_told_before_anything_runs(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"task=classify: .*none\.csv: no such file"):
        config_of(tmp_path / "none.csv")


def test_a_loss_on_the_test_part_that_is_no_number_is_that_of_a_run_that_diverged(data: Path, monkeypatch):
    """And not the validation loss in its place."""
    monkeypatch.setattr(Trainer, "test", lambda _: (math.nan, {}))
    result = run(config_of(data))
    assert (result["status"], result["test_loss"], result["final_loss"]) == ("diverged", None, None)
    assert "on the test part" in result["error"]
