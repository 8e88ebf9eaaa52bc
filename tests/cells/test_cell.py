"""What all cells have in common: parameters, initialisation, refusals."""

import math

import pytest
import torch

from cells import GRU, LSTM, RNN, AttentionLSTM, PeepholeLSTM
from tests.cells.conftest import CELLS

COUNTS = {
    # hidden² and input·hidden per gate, one bias per gate, and what the cell has of its own
    RNN: lambda i, h: h * (i + h + 1),
    LSTM: lambda i, h: 4 * h * (i + h + 1),
    PeepholeLSTM: lambda i, h: 4 * h * (i + h + 1) + 3 * h,
    GRU: lambda i, h: 3 * h * (i + h + 1) + h,
    AttentionLSTM: lambda i, h: 4 * h * (i + h + 1) + h * h + 2 * h * h,
}


@pytest.mark.parametrize("kind", CELLS)
def test_parameter_count(kind):
    assert sum(p.numel() for p in kind(3, 7).parameters()) == COUNTS[kind](3, 7)


@pytest.mark.parametrize("kind", CELLS)
def test_uniform_initialisation_has_torchs_bounds_and_spread(kind):
    cell = kind(20, 100, forget_bias=None) if kind.has_cell_state else kind(20, 100)
    bound = 1 / math.sqrt(100)
    for name, parameter in cell.named_parameters():
        assert parameter.abs().max() <= bound, name
        if parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name


@pytest.mark.parametrize("kind", [LSTM, PeepholeLSTM, AttentionLSTM])
def test_the_forget_bias_is_one_and_no_other(kind):
    cell = kind(2, 10)
    assert torch.equal(cell.bias[10:20], torch.ones(10))
    others = torch.cat([cell.bias[:10], cell.bias[20:]])
    assert others.abs().max() <= 1 / math.sqrt(10)
    assert torch.equal(kind(2, 10, forget_bias=3.0).bias[10:20], torch.full((10,), 3.0))


@pytest.mark.parametrize("kind", CELLS)
def test_orthogonal_initialisation(kind):
    cell = kind(3, 8, initialization="orthogonal", dtype=torch.float64)
    for block in cell.weight_hh.detach().split(8):
        torch.testing.assert_close(block @ block.T, torch.eye(8, dtype=torch.float64))


@pytest.mark.parametrize("kind", CELLS)
def test_initialisation_depends_on_the_seed_alone(kind):
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in kind(3, 5).parameters()])

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("kind", CELLS)
def test_what_cannot_be_is_refused(kind):
    with pytest.raises(ValueError, match="hidden_size"):
        kind(3, 0)
    with pytest.raises(ValueError, match="input_size"):
        kind(0, 3)
    with pytest.raises(ValueError, match="backend"):
        kind(3, 3, "cudnn")
    with pytest.raises(ValueError, match="initialization"):
        kind(3, 3, initialization="zeros")
    cell = kind(3, 4)
    with pytest.raises(ValueError, match="inputs"):
        cell(torch.randn(5, 2, 2))
    with pytest.raises(ValueError, match="inputs"):
        cell(torch.randn(5, 3))
    with pytest.raises(ValueError, match="inputs"):
        cell(torch.randn(0, 2, 3))
    with pytest.raises(ValueError, match="inputs"):
        cell(torch.randn(5, 0, 3))
    wrong = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="state"):
        cell(torch.randn(5, 2, 3), (wrong, wrong) if kind.has_cell_state else wrong)


def test_the_peephole_lstm_has_no_torch_backend():
    assert PeepholeLSTM.available_backends() == ("native", "triton", "loop")
    with pytest.raises(ValueError, match="backend"):
        PeepholeLSTM(3, 3, "torch")
    with pytest.raises(ValueError, match="counterpart"):
        PeepholeLSTM(3, 3).to_torch()


def test_the_rnn_takes_two_nonlinearities():
    with pytest.raises(ValueError, match="nonlinearity"):
        RNN(1, 1, nonlinearity="sigmoid")
