"""Missing values: each strategy against a plain program, errors against derivations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from tasks import Adding, AddingMissing
from tasks.missing import STRATEGIES


def sample(batch=300, seed=0, **options):
    return AddingMissing(9, **options).sample(batch, torch.Generator().manual_seed(seed))


def truth(batch=300, seed=0, missing=0.4):
    """The values, markers and what is missing: from the mask strategy, and what another strategy shows of them."""
    masked = sample(batch, seed, missing=missing, strategy="mask").inputs.numpy()
    return masked[..., 0], masked[..., 1], masked[..., 2].astype(bool)


def by_hand(values, markers, gone, strategy):
    steps = [t for t in range(len(values)) if not gone[t]]
    if strategy == "deletion":
        kept = [(values[t], markers[t]) for t in steps]
        return np.array([(0.0, 0.0)] * (len(values) - len(kept)) + kept)
    shown = np.where(gone, 0.0, values)
    if strategy == "forward_fill":
        last = 0.5
        for t in range(len(values)):
            last = last if gone[t] else values[t]
            shown[t] = last
    if strategy == "interpolation":
        shown = np.interp(np.arange(len(values)), steps, values[steps]) if steps else np.full(len(values), 0.5)
    return np.stack([shown, markers], axis=-1)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "mask"])
def test_every_strategy_is_what_a_plain_program_does(strategy):
    values, markers, gone = truth()
    found = sample(missing=0.4, strategy=strategy).inputs.numpy()
    for b in range(found.shape[1]):
        expected = by_hand(values[:, b], markers[:, b], gone[:, b], strategy)
        np.testing.assert_allclose(found[:, b], expected, atol=1e-6)


def test_all_strategies_meet_the_same_problem():
    targets = [sample(missing=0.3, strategy=strategy).targets for strategy in STRATEGIES]
    for other in targets[1:]:
        assert torch.equal(targets[0], other)
    whole = Adding(9).sample(300, torch.Generator().manual_seed(0))
    assert torch.equal(whole.targets, targets[0])
    assert torch.equal(sample(missing=0.0).inputs, whole.inputs)


def test_shares_and_the_unavoidable_error():
    """Whoever sees the mask can do no better than 1/2 for a missing value, and then errs by missing/6."""
    batch = AddingMissing(20, missing=0.3, strategy="mask").sample(40_000, torch.Generator().manual_seed(1))
    value, marker, gone = batch.inputs.unbind(dim=-1)
    assert gone.mean().item() == pytest.approx(0.3, abs=0.005)
    answer = ((value + 0.5 * gone) * marker).sum(dim=0)
    assert (answer - batch.targets).square().mean().item() == pytest.approx(0.3 / 6, rel=0.02)
    task = AddingMissing(20, missing=0.3)
    assert task.solved({"mse": 0.0599})
    assert not task.solved({"mse": 0.0601})


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("length", "missing", "correlation"), [(2, 0.3, 0.0), (5, 0.5, 0.0), (5, 0.5, 0.9), (6, 0.2, 0.7), (9, 0.9, 0.95)]
)
def test_the_baseline_is_the_variance_left_by_the_last_input(length, missing, correlation, strategy):
    """By Monte Carlo: answers are the mean targets of all sequences whose last inputs are alike."""
    task = AddingMissing(length, missing, strategy, correlation)
    batch = task.sample(300_000, torch.Generator().manual_seed(2))
    shown, targets = batch.inputs[-1], batch.targets.double()
    cell = (shown[:, 0] * 100).floor() + 1
    cell[shown[:, 0] == 0] = 0  # missing, or all are
    cell[shown[:, 0] == 0.5] = 200
    for feature in shown[:, 1:].unbind(-1):
        cell = 2 * cell + feature
    cells, of_each = cell.unique(return_inverse=True)
    means = torch.bincount(of_each, weights=targets) / torch.bincount(of_each)
    left = float((targets - means[of_each]).square().sum()) / (len(targets) - len(cells))
    assert task.baseline_loss == pytest.approx(left, rel=0.01)
    assert targets.mean().item() == pytest.approx(1.0, abs=0.005)


def test_the_baselines_of_strategies_are_in_the_order_of_what_they_show():
    of = {strategy: AddingMissing(10, 0.4, strategy).baseline_loss for strategy in STRATEGIES}
    assert of["deletion"] < of["zero"] == of["mask"] < of["forward_fill"] == of["interpolation"] < 1 / 6
    assert AddingMissing(10, 0.0).baseline_loss == pytest.approx(Adding(10).baseline_loss, rel=1e-12)


def test_smooth_values_are_uniform_and_correlated_as_they_should():
    batch = AddingMissing(30, missing=0.0, correlation=0.9).sample(20_000, torch.Generator().manual_seed(3))
    values = batch.inputs[..., 0].double()
    for quantile in (0.1, 0.5, 0.9):
        assert (values < quantile).double().mean().item() == pytest.approx(quantile, abs=0.01)
    z = norm.ppf(values[10:12].numpy().clip(1e-7, 1 - 1e-7))
    assert np.corrcoef(z)[0, 1] == pytest.approx(0.9, abs=0.01)
    expected = 6 / math.pi * math.asin(0.9 / 2)  # of the uniforms
    assert np.corrcoef(values[10:12].numpy())[0, 1] == pytest.approx(expected, abs=0.01)
    assert torch.allclose((batch.inputs[..., 0] * batch.inputs[..., 1]).sum(dim=0), batch.targets)
