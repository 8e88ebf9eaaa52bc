"""The training loop: it stops when it should, and for the reason it gives."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from msgspec import structs

from bench.execute.run import run as run_and_store
from bench.record.frames import results_frame
from bench.record.layout import read_runs
from bench.record.records import Evaluation
from bench.train.loop import Outcome, train
from bench.train.model import Model, make_model, make_task
from bench.train.streams import make_streams
from bench.train.trainer import Trainer
from tests.bench.conftest import make_config
from tests.bench.runs import trainer_of


def run(on_evaluation=lambda _: None, solved=None, **changes) -> tuple[Outcome, Model]:
    """Train a small configuration; `solved` replaces the task's criterion."""
    config = make_config(**changes)
    task = make_task(config.run)
    if solved is not None:
        task.solved = solved
    trainer = trainer_of(config, task)
    return train(trainer, on_evaluation), trainer.model


def test_it_is_a_plain_adam_loop():
    """Held to a loop written here, to the last bit."""
    config = make_config()
    _, model = run()
    task, streams = make_task(config.run), make_streams(0, "cpu")
    streams.seed_globals()
    expected = make_model(config.run, task)
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.005, fused=True)
    for _ in range(20):
        batch = task.sample(4, streams.training)
        prediction = expected.readout(expected.cell(batch.inputs)[0])[-1, :, 0]
        optimizer.zero_grad()
        ((prediction - batch.targets) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimizer.step()
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)


def test_evaluations_come_at_the_interval_and_at_the_end():
    seen: list[Evaluation] = []
    outcome, _ = run(seen.append, training={"max_steps": 25})
    assert [evaluation.step for evaluation in seen] == [0, 10, 20, 25]
    assert [evaluation.samples for evaluation in seen] == [0, 40, 80, 100]
    assert math.isnan(seen[0].train_loss)
    assert all(earlier.seconds <= later.seconds for earlier, later in itertools.pairwise(seen))
    assert (outcome.status, outcome.steps, outcome.final) == ("unsolved", 25, seen[-1])
    assert outcome.solved_at is None


def test_solved_needs_a_row_of_evaluations_and_counts_from_its_first():
    answers = iter([False, True, False, True, True, True])
    outcome, _ = run(solved=lambda _: next(answers), training={"max_steps": 1000})
    assert outcome.status == "solved"
    assert outcome.solved_at.step == 30
    assert outcome.steps == 50


def test_a_row_cut_short_by_the_budget_is_not_solved():
    answers = iter([False, True, True])
    outcome, _ = run(solved=lambda _: next(answers), training={"max_steps": 20})
    assert outcome.status == "unsolved"


def test_early_evaluations_tell_when_a_row_began_and_do_not_shorten_it():
    seen: list[Evaluation] = []
    training = {"early_evaluations": True, "max_steps": 1000}
    outcome, _ = run(seen.append, solved=lambda _: bool(seen) and seen[-1].step >= 2, training=training)
    assert [evaluation.step for evaluation in seen] == [0, 1, 2, 3, 5, 8, 10, 20, 30]
    assert (outcome.status, outcome.solved_at.step, outcome.steps) == ("solved", 3, 30)


def test_early_evaluations_change_nothing_else():
    _, early = run(training={"early_evaluations": True})
    _, without = run()
    for one, other in zip(early.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_sample_budget_ends_a_run():
    assert run(training={"max_samples": 50})[0].steps == 12


def test_the_time_budget_ends_a_run_with_an_evaluation():
    seen: list[Evaluation] = []
    outcome, _ = run(seen.append, training={"max_seconds": 1e-9, "max_steps": 1000})
    assert outcome.status == "unsolved"
    assert outcome.steps == 1
    assert [evaluation.step for evaluation in seen] == [0, 1]


def test_divergence_is_named_with_its_step():
    outcome, _ = run(cell={"_target_": "tests.bench.broken.Diverging", "name": "bad"})
    assert outcome.status == "diverged"
    assert outcome.steps == 4
    assert "step 4" in outcome.error


def test_a_loss_that_is_no_number_before_the_first_step_is_divergence():
    seen: list[Evaluation] = []
    outcome, _ = run(seen.append, cell={"_target_": "tests.bench.broken.NaNFromTheStart", "name": "bad"})
    assert (outcome.status, outcome.steps, outcome.error) == ("diverged", 0, "held-out loss nan at step 0")
    assert seen == [outcome.final]


def test_a_run_that_diverged_before_the_first_step_is_stored(tmp_path):
    config = make_config(tmp_path, cell={"_target_": "tests.bench.broken.NaNFromTheStart", "name": "bad"})
    result = run_and_store(config)
    assert (result["status"], result["steps"], result["samples"], result["step_ms"]) == ("diverged", 0, 0, None)
    stored, wrong = read_runs(tmp_path / "scratch")
    assert (len(stored), wrong) == (1, [])
    assert len(stored[0].metrics) == 1
    row = results_frame(stored).iloc[0]
    assert (row["status"], row["steps"], row["error"]) == ("diverged", 0, "held-out loss nan at step 0")
    assert run_and_store(config)["steps"] == 0


def test_a_run_resumed_from_a_loss_that_is_no_number_ends_there():
    config = make_config()
    trainer = trainer_of(config)
    trainer.evaluate()
    trainer.latest = structs.replace(trainer.latest, loss=math.inf)
    seen: list[Evaluation] = []
    outcome = train(trainer, seen.append)
    assert (outcome.status, outcome.steps, outcome.error, seen) == ("diverged", 0, "held-out loss inf at step 0", [])


def test_gradients_are_clipped_by_their_common_norm():
    """With plain SGD a step is exactly as long as learning rate times clipped norm."""
    config = make_config(training={"optimizer": "SGD", "learning_rate": 1.0, "clip_norm": 1e-3, "max_steps": 1})
    trainer = trainer_of(config)
    model = trainer.model
    before = [parameter.detach().clone() for parameter in model.parameters()]
    train(trainer, lambda _: None)
    moved = math.sqrt(
        sum(float((p - b).detach().square().sum()) for p, b in zip(model.parameters(), before, strict=True))
    )
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_the_learning_rate_of_each_step_is_that_of_its_schedule():
    """With plain SGD and clipping, a step is exactly as long as its rate times the clipped norm."""
    training = {"optimizer": "SGD", "learning_rate": 1.0, "clip_norm": 1e-3, "max_steps": 4, "warmup": 2}
    config = make_config(training=training | {"decay": "linear"})
    trainer = trainer_of(config)
    model = trainer.model
    at = [torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()]

    def note(_: Trainer) -> bool:
        at.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        return True

    train(trainer, lambda _: None, note)
    moved = [float((after - before).norm()) for before, after in itertools.pairwise(at)]
    assert moved == pytest.approx([0.5e-3, 1e-3, 1e-3, 0.5e-3], rel=1e-3)


def test_no_clipping():
    config = make_config(training={"clip_norm": None})
    assert replace(config.run.training).clip_norm is None
    assert run(training={"clip_norm": None})[0].steps == 20


def test_an_lstm_learns_and_beats_the_baseline():
    """Real learning, on a task small enough for seconds."""
    outcome, _ = run(
        cell={"hidden_size": 32},
        task={"length": 10},
        training={"max_steps": 1500, "evaluate_every": 50, "evaluation_size": 128, "batch_size": 64},
    )
    assert outcome.status == "solved"
    assert outcome.final.loss < 0.01


def test_float64_trains_in_float64():
    _, model = run(dtype="float64")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_evaluations_cost_no_training_time(monkeypatch):
    """By a clock that ticks once a look, and on which an evaluation takes a thousand seconds."""
    now = [0.0]

    def look() -> float:
        now[0] += 1
        return now[0]

    def evaluate_slowly(_: Evaluation) -> None:
        now[0] += 1000

    monkeypatch.setattr("bench.train.steps.perf_counter", look)
    outcome, _ = run(evaluate_slowly)
    assert 0 < outcome.seconds < 100
    assert outcome.final.seconds <= outcome.seconds
