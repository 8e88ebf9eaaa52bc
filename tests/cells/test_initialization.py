"""How weights and the biases of gates start, against what the papers say."""

import math

import pytest
import torch

from cells import GRU, LSTM, RNN, AblatedLSTM, PeepholeLSTM


@pytest.mark.parametrize("kind", [RNN, LSTM, PeepholeLSTM, GRU])
def test_identity(kind):
    cell = kind(30, 20, initialization="identity")
    for block in cell.weight_hh.split(20):
        assert torch.equal(block, torch.eye(20))
    assert cell.weight_ih.std().item() == pytest.approx(0.001, rel=0.1)


def test_an_irnn_keeps_a_positive_state_for_ever():
    cell = RNN(2, 8, nonlinearity="relu", initialization="identity")
    h = torch.rand(3, 8)
    outputs, _ = cell(torch.zeros(500, 3, 2), h)
    assert torch.equal(outputs[-1], h)


@pytest.mark.parametrize(("kind", "keeps", "inputs"), [(LSTM, 1, 0), (PeepholeLSTM, 1, 0), (GRU, 1, None)])
def test_chrono(kind, keeps, inputs):
    """The gate that keeps forgets at rates 1/k, k uniform in [1, T−1]; an input gate lets in what is forgotten."""
    size, longest = 4000, 50
    cell = kind(1, size, forget_bias="chrono", longest_memory=longest)
    biases = cell.bias.detach().split(size)
    times = biases[keeps].double().exp()
    assert times.min() >= 1
    assert times.max() <= longest - 1
    # Uniform: mean and spread, five standard errors.
    assert abs(times.mean() - longest / 2) < 5 * (longest - 2) / math.sqrt(12 * size)
    assert times.std().item() == pytest.approx((longest - 2) / math.sqrt(12), rel=0.05)
    if inputs is not None:
        assert torch.equal(biases[inputs], -biases[keeps])
    # Forget gate σ(log k) = k/(k+1): a memory of about k steps.
    torch.testing.assert_close(biases[keeps].double().sigmoid(), times / (times + 1))


def test_chrono_of_ablated_cells():
    coupled = AblatedLSTM(1, 100, coupled_gates=True, forget_bias="chrono", longest_memory=20)
    assert (coupled.bias[:100] <= 0).all()
    AblatedLSTM(1, 4, forget_gate=False, input_gate=False, forget_bias="chrono", longest_memory=20)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_forget_biases(kind):
    assert torch.equal(kind(2, 6, forget_bias=3.0).bias[6:12], torch.full((6,), 3.0))
    assert kind(2, 6, forget_bias=None).bias.abs().max() <= 1 / math.sqrt(6)
    with pytest.raises(ValueError, match="longest_memory"):
        kind(2, 6, forget_bias="chrono")
    with pytest.raises(ValueError, match="forget_bias"):
        kind(2, 6, forget_bias="chronos")
    for number in (math.nan, math.inf, True):
        with pytest.raises(ValueError, match="forget_bias"):
            kind(2, 6, forget_bias=number)
    for number in (math.nan, 2, 9.5, True):
        with pytest.raises(ValueError, match="longest_memory"):
            kind(2, 6, forget_bias="chrono", longest_memory=number)


def test_what_is_drawn_beside_the_gates_biases_stays_the_same():
    """Initialisations are compared in pairs: all else is equal."""
    cells = []
    for options in ({"forget_bias": 0.0}, {"forget_bias": 3.0}, {"forget_bias": "chrono", "longest_memory": 9}):
        torch.manual_seed(3)
        cells.append(LSTM(2, 6, **options))
    for cell in cells[1:]:
        assert torch.equal(cell.weight_hh, cells[0].weight_hh)
        assert torch.equal(cell.bias[12:], cells[0].bias[12:])
