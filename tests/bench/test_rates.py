"""Learning rates over the course of a run."""

import pytest
import torch
from torch.optim import lr_scheduler

from bench.spec.config import ConfigError, Training
from bench.train.rates import rate_at
from tests.bench.conftest import make_config


def by_torch(warmup: int, decay: str, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    falling = {
        "none": lambda: lr_scheduler.ConstantLR(optimizer, 1.0),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps - warmup),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup),
    }
    scheduler = falling[decay]()
    if warmup:
        rising = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1)
        scheduler = lr_scheduler.SequentialLR(optimizer, [rising, scheduler], [warmup])
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("decay", ["none", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 2, 5])
def test_rates_are_those_of_torch(warmup: int, decay: str):
    training = Training(learning_rate=0.1, warmup=warmup, decay=decay)
    assert [rate_at(training, step, 20) for step in range(1, 21)] == pytest.approx(by_torch(warmup, decay, 20))


def test_a_warmup_longer_than_the_budget_only_rises():
    training = Training(learning_rate=0.1, warmup=10, decay="cosine")
    assert [rate_at(training, step, 5) for step in range(1, 6)] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])


def test_a_budget_in_seconds_has_no_last_step():
    with pytest.raises(ConfigError, match=r"training\.decay=linear"):
        make_config(training={"decay": "linear", "max_seconds": 1.0})
