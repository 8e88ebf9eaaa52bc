"""What all cells have in common: parameters, initialisation, refusals."""

import math
import runpy
import warnings
from pathlib import Path

import pytest
import torch

import cells
from cells import GRU, LSTM, RNN, AblatedLSTM, AttentionLSTM, GateRecurrentLSTM, PeepholeLSTM, TorchRecurrent
from cells.ablated_lstm import GateState
from cells.attention_lstm import AttentionState
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
    cell = kind(20, 100, forget_bias=None) if len(kind.states) > 1 else kind(20, 100)
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
    wrong = {"hidden_size": (3, 0), "input_size": (0, 3), "backend": (3, 3, "cudnn")}
    for said, arguments in wrong.items():
        with pytest.raises(ValueError, match=said):
            kind(*arguments)
    with pytest.raises(ValueError, match="initialization"):
        kind(3, 3, initialization="zeros")
    cell = kind(3, 4)
    for shape in ((5, 2, 2), (5, 3), (0, 2, 3), (5, 0, 3)):
        with pytest.raises(ValueError, match="inputs"):
            cell(torch.randn(shape))


def wrong_states(cell, good):
    """States of no batch of two: of other shapes, parts and kinds."""
    h = good if isinstance(good, torch.Tensor) else good[0]

    def each(part):
        return (part, part) if len(cell.states) > 1 else part

    shapes = [each(torch.zeros(shape)) for shape in ((1, 4), (3, 4), (2, 1), (2, 5), (4,), (1, 2, 4), ())]
    forms = [(None, None), each(h.numpy()), (h,), (h, h, h), [], {}, "h", h if len(cell.states) > 1 else (h, h)]
    mixed = [(h, h[:1]), (h[:1], h), (h, None), (h, h.double())] if len(cell.states) > 1 else []
    if isinstance(cell, AttentionLSTM):
        memories = [torch.zeros(3, 1, 4), torch.zeros(3, 2, 5), torch.zeros(2, 4), torch.zeros(3, 2, 4).double()]
        mixed += [AttentionState(h, h, memory) for memory in memories]
    if isinstance(cell, GateRecurrentLSTM):
        mixed += [GateState(h, h, gates) for gates in (torch.zeros(1, 12), torch.zeros(2, 4))]
    return [*shapes, *forms, *mixed, each(h.double())]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("kind", [*CELLS, GateRecurrentLSTM])
def test_a_state_that_is_none_is_refused_by_forward_and_step(kind, grad):
    """A state of one sequence would be spread over a batch, and one of another dtype change the outputs'."""
    for backend in kind.available_backends():
        cell = kind(3, 4, backend)
        x = torch.randn(5, 2, 3)
        with torch.set_grad_enabled(grad):
            _, good = cell.step(x[0])
            good = tuple(part.detach() for part in good) if len(cell.states) > 1 else good.detach()
            cell.step(x[0], good)
            cell(x, list(good) if len(cell.states) > 1 else good)
            for state in wrong_states(cell, good):
                with pytest.raises(ValueError, match="state must be"):
                    cell.step(x[0], state)
                with pytest.raises(ValueError, match="state must be"):
                    cell(x, state)
            for inputs in (x, x[0, 0], x[0, :0], x[0, :, :2]):
                with pytest.raises(ValueError, match="inputs of a step"):
                    cell.step(inputs, good)


def test_autocast_may_mix_dtypes():
    cell, x = RNN(3, 4, "loop"), torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        _, h = cell.step(x)
        assert h.dtype == torch.bfloat16
        cell.step(x, h)


@pytest.mark.parametrize("size", [True, 2.0, "2", 0, None])
@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
def test_sizes_are_whole_numbers(name, size):
    for kind, options in ((LSTM, {}), (TorchRecurrent, {"layer": "MGU"})):
        with pytest.raises(ValueError, match=name):
            kind(**{"input_size": 2, "hidden_size": 2, **options, name: size})


@pytest.mark.parametrize("name", ["bias", "input_gate", "peepholes", "coupled_gates"])
def test_flags_are_true_or_false(name):
    with pytest.raises(ValueError, match=name):
        AblatedLSTM(2, 2, **{name: "false"})


def test_the_peephole_lstm_has_no_torch_backend():
    assert PeepholeLSTM.available_backends() == ("native", "triton", "loop")
    with pytest.raises(ValueError, match="backend"):
        PeepholeLSTM(3, 3, "torch")
    with pytest.raises(ValueError, match="counterpart"):
        PeepholeLSTM(3, 3).to_torch()


def test_the_rnn_takes_two_nonlinearities():
    with pytest.raises(ValueError, match="nonlinearity"):
        RNN(1, 1, nonlinearity="sigmoid")


@pytest.mark.parametrize("path", sorted(Path(cells.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_an_import_leaves_filters_of_warnings_alone(path):
    if path.stem in ("fused", "gpu", "triton_scan"):
        pytest.importorskip("triton")
    before = list(warnings.filters)
    runpy.run_path(str(path))
    assert warnings.filters == before
