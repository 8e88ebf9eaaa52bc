"""Runs at one seed share their data, whatever the cell; streams are independent of each other, at all seeds."""

import random

import numpy as np
import pytest
import torch

from bench.spec.neutral import FIRST_FILLED_SEED
from bench.train.loop import train
from bench.train.model import make_task
from bench.train.streams import make_streams
from tests.bench.conftest import make_config
from tests.bench.runs import trainer_of


def batches_seen(cell: dict, seed: int) -> list[torch.Tensor]:
    """The inputs that a run trains and evaluates on, in order."""
    config = make_config(cell=cell, seed=seed)
    task, seen = make_task(config.run), []
    draw = task.sample

    def recording(*arguments):
        batch = draw(*arguments)
        seen.append(batch.inputs)
        return batch

    task.sample = recording
    train(trainer_of(config, task), lambda _: None)
    return seen


def first_draws(seed: int) -> list[int]:
    """A first draw of each generator of a seed: training, evaluation, diagnostics, torch, numpy, Python."""
    streams = make_streams(seed, "cpu")
    streams.seed_globals()
    generators = (streams.training, streams.evaluation, streams.diagnostics, torch.default_generator)
    draws = [int(torch.randint(2**31, (1,), generator=generator)) for generator in generators]
    return [*draws, int(np.random.randint(2**31)), random.getrandbits(31)]


def test_cells_are_compared_in_pairs():
    lstm = batches_seen({}, seed=3)
    gru = batches_seen({"_target_": "cells.GRU", "name": "gru", "hidden_size": 9}, seed=3)
    assert len(lstm) == len(gru) == 21
    assert all(torch.equal(one, other) for one, other in zip(lstm, gru, strict=True))
    assert not torch.equal(lstm[1], batches_seen({}, seed=4)[1])


@pytest.mark.parametrize(
    ("seed", "draws"),
    [
        (0, [815707258, 488047535, 96926873, 1514685133, 76316334, 260433466]),
        (3, [193794128, 1580024299, 1835792557, 761372966, 748903767, 2013878069]),
        (1002, [1989521599, 2018794793, 814008945, 1131036750, 1005845343, 1176253897]),
        (19_999, [1794171841, 1693213883, 1552202789, 1027467398, 499298511, 2146162623]),
    ],
)
def test_streams_of_stored_results_stay_as_they_are(seed, draws):
    assert first_draws(seed) == draws


def test_no_two_streams_begin_from_the_same_32_bits():
    """What torch's generator for the CPU takes of its seed, where it is seeded by a number."""
    words = {
        int(child.generate_state(1, np.uint64)[0]) % 2**32
        for seed in range(FIRST_FILLED_SEED)
        for child in np.random.SeedSequence(seed).spawn(4)
    }
    assert len(words) == 4 * FIRST_FILLED_SEED


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((3395, "evaluation"), (35792, "training")),
        ((1810, "evaluation"), (23607, "torch")),
        ((12688, "evaluation"), (25317, "torch")),
    ],
)
def test_streams_whose_seeds_share_32_bits_differ(one, other):
    names = ["training", "evaluation", "diagnostics", "torch"]
    (seed, stream), (later, of_later) = one, other
    words = [
        int(np.random.SeedSequence(s).spawn(4)[[*names[3:], *names[:3]].index(name)].generate_state(1, np.uint64)[0])
        for s, name in (one, other)
    ]
    assert words[0] % 2**32 == words[1] % 2**32
    assert first_draws(seed)[names.index(stream)] != first_draws(later)[names.index(of_later)]


@pytest.mark.parametrize("seed", [FIRST_FILLED_SEED, 35792, 2**32, 2**63 - 1])
def test_later_streams_fill_the_whole_state(seed):
    """Held to numpy's Mersenne Twister from the same state."""
    streams = make_streams(seed, "cpu")
    streams.seed_globals()
    children = np.random.SeedSequence(seed).spawn(4)
    generators = (torch.default_generator, streams.training, streams.evaluation, streams.diagnostics)
    for child, generator in zip(children, generators, strict=True):
        key = child.generate_state(624)
        key[0] = 1 << 31
        twister = np.random.MT19937()
        twister.state = twister.state | {"state": {"key": key, "pos": 624}}
        expected = twister.random_raw(2000) % 2**16
        assert torch.randint(2**16, (2000,), generator=generator).tolist() == expected.tolist()
    draws = first_draws(seed)
    assert len(set(draws)) == len(draws)
    assert draws == first_draws(seed)
    assert not set(draws) & set(first_draws(seed - 1))
