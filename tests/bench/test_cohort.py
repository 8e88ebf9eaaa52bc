"""Runs that differ in the seed alone train side by side, each to the last bit as alone."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.execute.cohort import MOST, run_cohort
from bench.execute.run import run
from bench.spec.config import Settings
from bench.spec.identity import run_id
from bench.train.adam import FusedAdam
from bench.train.steps import Steps
from bench.train.trainer import Trainer
from cells import LSTM
from tests.bench.conftest import make_config
from tests.bench.runs import CELLS, StopAfter, stored, trainer_of

TRUNCATED = {"_target_": "cells.TruncatedLSTM1997", "name": "truncated_lstm_1997"}


def left_by(trainer: Trainer) -> list[torch.Tensor]:
    """All that training has changed: parameters, the optimiser's state, and the states of the generators."""
    random = trainer.streams.state_dict()
    of_optimizer = [value for state in trainer.optimizer.state_dict()["state"].values() for value in state.values()]
    return [*trainer.model.state_dict().values(), *of_optimizer, random["training"], random["torch"]]


def assert_left_alike(trainers: list[Trainer], others: list[Trainer]) -> None:
    for one, other in zip(trainers, others, strict=True):
        for mine, theirs in zip(left_by(one), left_by(other), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [*CELLS.values(), TRUNCATED], ids=[*CELLS, "truncated_lstm_1997"])
def test_steps_side_by_side_are_those_taken_alone(cell: dict[str, Any], dtype: str):
    """Whatever the company, and whatever step each is at: alone, three, five, two."""
    changes = {"cell": {**cell, "hidden_size": 5}, "dtype": dtype, "task": {"length": 7}}
    configs = [make_config(seed=seed, **changes) for seed in range(5)]
    together, alone = ([trainer_of(config) for config in configs] for _ in range(2))
    steps = Steps()
    for members in ([0], [0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 3]):
        assert steps.take([together[member] for member in members]) == [None] * len(members)
        for member in members:
            assert Steps().take([alone[member]]) == [None]
    for one, other in zip(together, alone, strict=True):
        assert one.kernel is not None
        assert (one.step, one.recent) == (other.step, other.recent)
    assert_left_alike(together, alone)


def test_each_has_the_learning_rate_of_the_step_that_it_is_at():
    several, single = (
        [trainer_of(make_config(seed=seed, training={"warmup": 3, "decay": "cosine"})) for seed in (0, 1)]
        for _ in range(2)
    )
    steps = Steps()
    for members in ([0], [0, 1], [0, 1]):
        assert steps.take([several[member] for member in members]) == [None] * len(members)
        for member in members:
            assert Steps().take([single[member]]) == [None]
    assert_left_alike(several, single)


ADAMW = {"optimizer": "AdamW", "optimizer_options": {"amsgrad": True, "weight_decay": 0.1, "betas": [0.8, 0.99]}}
OPTIONS = [{"clip_norm": None}, {"clip_norm": 1e-3}, {"optimizer": "SGD"}, {"warmup": 3, "decay": "linear"}, ADAMW]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_kernel_for_many_does_what_autograd_does_for_one(options: dict[str, Any]):
    """To the last bit, other optimisers and clipping as well."""
    assert_as_autograd(*(make_config(seed=seed, training=options) for seed in (0, 1)))


TARGETS = {  # by the task's class: of the last step, of the last few, of all
    "Adding": {"length": 9},
    "LongLag": {"symbols": 7},
    "CopyMemory": {"symbols": 4, "span": 3, "delay": 5},
    "Parity": {"length": 9},
}


@pytest.mark.parametrize("size", [{"hidden_size": 1}, {"hidden_size": 17}, {"hidden_size": 64}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", TARGETS)
def test_gradients_in_one_call_are_autograds(task: str, dtype: str, size: dict[str, int]):
    settings = {"_target_": f"tasks.{task}", "name": task.lower(), **TARGETS[task]}
    configs = [make_config(seed=seed, dtype=dtype, cell=size, training={"batch_size": 7}) for seed in (0, 1)]
    configs = [each.with_run(task=settings) for each in configs]
    assert trainer_of(configs[0]).learn is not None
    assert_as_autograd(*configs)


def assert_as_autograd(*configs: Settings) -> None:
    several, single = ([trainer_of(config) for config in configs] for _ in range(2))
    for trainer in single:
        trainer.kernel = None
    steps = Steps()
    for _ in range(4):
        assert steps.take(several) == [None, None]
        for trainer in single:
            assert Steps().take([trainer]) == [None]
    assert_left_alike(several, single)


@pytest.mark.parametrize("options", [{}, {"warmup": 3}, ADAMW], ids=str)
def test_adam_over_lists_that_are_kept_does_what_torchs_does(monkeypatch, options: dict[str, Any]):
    kept, own = ([trainer_of(make_config(seed=seed, training=options)) for seed in (0, 1)] for _ in range(2))
    steps = Steps()
    for _ in range(5):
        assert steps.take(kept) == [None, None]
    monkeypatch.setattr(FusedAdam, "of", lambda _: None)
    for trainer in own:
        steps = Steps()
        for _ in range(5):
            assert steps.take([trainer]) == [None]
    for one, other in zip(kept, own, strict=True):
        assert one.optimizer.param_groups[0]["lr"] == other.optimizer.param_groups[0]["lr"]
    assert_left_alike(kept, own)


def test_parameters_that_miss_a_gradient_are_left_as_torch_leaves_them():
    """Adam's lists are kept, and a frozen part of a model is not moved by its moments."""
    frozen, own = (trainer_of(make_config()) for _ in range(2))
    for trainer in (frozen, own):
        assert Steps().take([trainer]) == [None]
    adam = FusedAdam.of([frozen.optimizer])
    assert adam is not None
    frozen.parameters[0].grad = None
    assert not adam.step(0.1)
    assert_left_alike([frozen], [own])


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="run by the test of Triton's interpreter")
@pytest.mark.parametrize("cell", ["peephole_lstm", "gru"])
def test_interpreted_steps_side_by_side_are_those_taken_alone_but_for_rounding(cell: str):
    pytest.importorskip("triton")
    changes = {"cell": {**CELLS[cell], "hidden_size": 5, "backend": "triton"}, "dtype": "float64"}
    configs = [make_config(seed=seed, **changes) for seed in range(2)]
    together, alone = ([trainer_of(config) for config in configs] for _ in range(2))
    steps = Steps()
    for _ in range(2):
        assert steps.take(together) == [None] * len(together)
        for trainer in alone:
            trainer.kernel = None
            assert Steps().take([trainer]) == [None]
    for one, other in zip(together, alone, strict=True):
        assert one.model.cell.active_backend == "triton"
        assert one.kernel is not None
        for mine, theirs in zip(one.parameters, other.parameters, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def check_alike(folder: Path, configs: list[Settings], **changes: Any) -> list[str]:
    """Compare with the same runs taken alone; returns how they ended."""
    statuses = []
    for config in configs:
        alone = make_config(folder, seed=config.run.seed, **changes)
        run(alone)
        assert stored(config) == stored(alone)
        statuses.append(stored(config)[0]["status"])
    return statuses


def test_a_cohort_leaves_what_its_runs_leave_alone(tmp_path: Path):
    configs = [make_config(tmp_path / "together", seed=seed) for seed in range(3)]
    answers = run_cohort(configs, 3, sole=True)
    assert [answer["run_id"] for answer in answers] == [run_id(config.run) for config in configs]
    assert check_alike(tmp_path / "alone", configs) == ["unsolved"] * 3


def test_where_one_ends_the_next_one_joins(tmp_path: Path):
    changes = {"task": {"solved_mse": 0.2}, "training": {"max_steps": 60, "solved_evaluations": 1}}
    configs = [make_config(tmp_path / "together", seed=seed, **changes) for seed in range(5)]
    assert len(run_cohort(configs, 2, sole=False)) == 5
    check_alike(tmp_path / "alone", configs, **changes)
    assert len({stored(config)[0]["steps"] for config in configs}) > 1  # else none joined in the middle


def test_a_cohort_stopped_again_and_again_goes_on_alone_or_in_another(tmp_path: Path):
    configs = [make_config(tmp_path / "together", seed=seed) for seed in range(4)]
    for members, calls in ((slice(0, 3), 9), (slice(1, 4), 25), (slice(0, 2), 5)):
        answers = run_cohort(configs[members], 4, sole=False, stopping=StopAfter(calls))
        assert {answer["status"] for answer in answers} == {"interrupted"}
    run(configs[0])
    run_cohort(configs[1:], 3, sole=False)
    check_alike(tmp_path / "alone", configs)


@pytest.mark.parametrize("where", ["sample", "loss", "score"])
def test_what_a_task_raises_for_one_seed_is_that_runs_outcome(tmp_path: Path, where: str):
    changes = {"task": {"_target_": "tests.bench.broken.FailsForSeedOne", "name": "fails", "where": where}}
    configs = [make_config(tmp_path / "together", seed=seed, **changes) for seed in range(3)]
    run_cohort(configs, 3, sole=True)
    assert check_alike(tmp_path / "alone", configs, **changes) == ["unsolved", "failed", "unsolved"]


def test_one_that_diverges_leaves_the_others_alone(tmp_path: Path):
    changes = {"task": {"_target_": "tests.bench.broken.FailsForSeedOne", "name": "fails", "where": "infinite"}}
    configs = [make_config(tmp_path / "together", seed=seed, **changes) for seed in range(3)]
    run_cohort(configs, 3, sole=True)
    assert check_alike(tmp_path / "alone", configs, **changes) == ["unsolved", "diverged", "unsolved"]


def test_a_task_that_draws_from_global_generators_draws_as_alone(tmp_path: Path):
    changes = {"task": {"_target_": "tests.bench.broken.DrawsGlobally", "name": "draws"}}
    configs = [make_config(tmp_path / "together", seed=seed, **changes) for seed in range(3)]
    run_cohort(configs, 3, sole=True)
    check_alike(tmp_path / "alone", configs, **changes)


def test_cells_without_a_kernel_go_alone(tmp_path: Path, monkeypatch):
    sizes = []
    take = Steps.take
    monkeypatch.setattr(Steps, "take", lambda self, trainers: sizes.append(len(trainers)) or take(self, trainers))
    changes = {"cell": {"_target_": "tests.bench.broken.Noisy", "name": "noisy"}}
    configs = [make_config(tmp_path / "together", seed=seed, **changes) for seed in range(3)]
    assert len(run_cohort(configs, 3, sole=True)) == 3
    assert {*sizes} == {1}
    check_alike(tmp_path / "alone", configs, **changes)


def test_memory_that_suffices_for_some_at_a_time_suffices(tmp_path: Path, monkeypatch):
    """More than two at once are too many for a step; any company is too much to begin one run."""
    from bench.train import steps

    take, sizes = steps.take_gradients, []

    def small(ready):
        sizes.append(len(ready))
        if len(ready) > 2:
            raise MemoryError
        return take(ready)

    monkeypatch.setattr(steps, "take_gradients", small)
    configs = [make_config(tmp_path / "together", seed=seed) for seed in range(5)]
    run_cohort(configs, 5, sole=True)
    assert sizes.count(5) == 1
    check_alike(tmp_path / "alone", configs)


def test_a_run_for_which_memory_does_not_suffice_in_company_is_taken_alone(tmp_path: Path, monkeypatch):
    take, crowd = Steps.take, itertools.count()

    def tight(self, trainers):
        found = take(self, trainers)
        if len(trainers) > 2 and next(crowd) == 3:
            return [MemoryError(), *found[1:]]
        return found

    monkeypatch.setattr(Steps, "take", tight)
    configs = [make_config(tmp_path / "together", seed=seed) for seed in range(3)]
    assert {answer["status"] for answer in run_cohort(configs, 3, sole=True)} == {"unsolved"}
    assert next(crowd) > 3
    check_alike(tmp_path / "alone", configs)


@pytest.mark.parametrize(("given", "most"), [("auto", MOST), ("3", 3), ("1", 1)])
def test_how_many_train_side_by_side_is_a_setting(tmp_path: Path, monkeypatch, given: str, most: int):
    sizes = []
    take = Steps.take
    monkeypatch.setattr(Steps, "take", lambda self, trainers: sizes.append(len(trainers)) or take(self, trainers))
    configs = [make_config(tmp_path, seed=seed, cohort=given, training={"max_steps": 2}) for seed in range(MOST + 2)]
    assert len(run_cohort(configs, MOST + 2, sole=True)) == MOST + 2
    assert max(sizes) == most


class Started(LSTM):
    """Begins in a state of its own."""

    def initial_state(self, inputs):
        return tuple(part + 1 for part in super().initial_state(inputs))


class Doubled(LSTM):
    """Does more than its equations."""

    def forward(self, inputs, state=None):
        outputs, state = super().forward(inputs, state)
        return 2 * outputs, state


class Slower(LSTM):
    """Has equations of its own, and nothing else."""

    def recur(self, gates_x, state):
        h, (_, c) = super().recur(gates_x, state)
        return h, (h, 0.5 * c)


def test_only_what_a_kernel_computes_is_left_to_it():
    assert Slower(2, 3).run_each is not None
    assert Started(2, 3).run_each is None
    assert Doubled(2, 3).run_each is None
    assert LSTM(2, 3, backend="loop").run_each is None
    hooked = LSTM(2, 3)
    hooked.register_forward_hook(lambda *_: None)
    assert hooked.run_each is None


def test_hooks_on_parameters_see_their_gradients():
    trainer = trainer_of(make_config())
    trainer.model.cell.weight_hh.register_hook(lambda gradient: gradient * 0)
    before = trainer.model.cell.weight_hh.detach().clone()
    Steps().take([trainer])
    assert torch.equal(trainer.model.cell.weight_hh, before)
