"""Runs at one seed share their data, whatever the cell; streams are independent of each other."""

import torch

from bench.model import make_model, make_task
from bench.seeds import make_streams
from bench.training import Trainer, train
from tests.bench.conftest import make_config


def batches_seen(cell: dict, seed: int) -> list[torch.Tensor]:
    """The inputs that a run trains and evaluates on, in order."""
    config = make_config(cell=cell, seed=seed)
    task, streams, seen = make_task(config), make_streams(seed, "cpu"), []
    draw = task.sample

    def recording(*arguments):
        batch = draw(*arguments)
        seen.append(batch.inputs)
        return batch

    task.sample = recording
    train(Trainer(make_model(config, task), task, config.training, streams, torch.float32), lambda _: None)
    return seen


def test_cells_are_compared_in_pairs():
    lstm = batches_seen({}, seed=3)
    gru = batches_seen({"_target_": "cells.GRU", "name": "gru", "hidden_size": 9}, seed=3)
    assert len(lstm) == len(gru) == 21
    assert all(torch.equal(one, other) for one, other in zip(lstm, gru, strict=True))
    assert not torch.equal(lstm[1], batches_seen({}, seed=4)[1])


def test_streams_differ_from_each_other_and_between_seeds():
    draws = set()
    for seed in range(20):
        streams = make_streams(seed, "cpu")
        draws |= {streams.initialization}
        draws |= {int(torch.randint(2**62, (1,), generator=g)) for g in (streams.training, streams.evaluation)}
    assert len(draws) == 60
