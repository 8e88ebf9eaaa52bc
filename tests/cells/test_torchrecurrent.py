"""Layers of torchrecurrent join as cells, as they are."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from cells import PeepholeLSTM, TorchRecurrent

torchrecurrent = pytest.importorskip("torchrecurrent")
LAYERS = sorted(name for name in vars(torchrecurrent) if f"{name}Cell" in vars(torchrecurrent))


def test_the_package_has_its_dozens_of_layers():
    assert len(LAYERS) >= 37


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_a_cell(layer):
    size = 4
    cell = TorchRecurrent(size, size, layer, "torchrecurrent")  # one of them wants I = H
    inputs = torch.randn(7, 3, size)
    outputs, state = cell(inputs)
    assert outputs.shape == (7, 3, size)
    if layer != "tauGRU":  # looks further back than the state that it returns
        first, state = cell(inputs[:4])
        second, _ = cell(inputs[4:], state)
        torch.testing.assert_close(torch.cat([first, second]), outputs)
    outputs.sum().backward()
    assert cell.active_backend == "torchrecurrent"


def test_its_peephole_lstm_is_ours():
    theirs = TorchRecurrent(3, 6, "PeepholeLSTM", "torchrecurrent").double()
    ours = PeepholeLSTM(3, 6, dtype=torch.float64)
    parameters = dict(theirs.layer.cells[0].named_parameters())  # gates i, f, g, o in both
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.uniform_(-1, 1)
        for name in ("weight_ih", "weight_hh"):
            getattr(ours, name).copy_(parameters[name])
        ours.bias.copy_(parameters["bias_ih"] + parameters["bias_hh"])
        ours.weight_peephole.copy_(parameters["weight_ph"])
    inputs = torch.randn(9, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(inputs)[0], theirs(inputs)[0], rtol=1e-10, atol=1e-12)


def of_configuration(name: str, inputs: int, hidden: int) -> TorchRecurrent:
    """The layer that conf/cell/NAME.yaml makes, with parameters drawn from U(−1, 1)."""
    options = yaml.safe_load((Path(__file__).parents[2] / f"conf/cell/{name}.yaml").read_text(encoding="utf-8"))
    taken = {key: value for key, value in options.items() if key not in ("defaults", "name")}
    return TorchRecurrent(inputs, hidden, **taken).double()


def drawn(cell: TorchRecurrent) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.uniform_(-1, 1)
    return dict(cell.layer.cells[0].named_parameters())


def test_indrnn_is_the_papers():
    """Li et al. (2018): relu, and each unit's weight of itself starts between 0 and 1, as in the authors' code."""
    cell = of_configuration("indrnn", 3, 500)
    recurrent = cell.layer.cells[0].vector_u
    assert 0 <= recurrent.min() < 0.02
    assert 0.98 < recurrent.max() <= 1
    p, inputs, h = drawn(cell), torch.randn(9, 2, 3, dtype=torch.float64), torch.zeros(2, 500, dtype=torch.float64)
    outputs, _ = cell(inputs)
    for x, output in zip(inputs, outputs, strict=True):
        h = (x @ p["weight_ih"].T + p["bias_ih"] + p["bias_hh"] + p["vector_u"] * h).relu()
        torch.testing.assert_close(output, h, rtol=1e-9, atol=1e-12)


def test_cornn_is_the_papers():
    """Rusch & Mishra (2021), whose code damps by the velocity of the step before."""
    cell = of_configuration("cornn", 3, 5)
    p, inputs = drawn(cell), torch.randn(9, 2, 3, dtype=torch.float64)
    position = velocity = torch.zeros(2, 5, dtype=torch.float64)
    outputs, _ = cell(inputs)
    for x, output in zip(inputs, outputs, strict=True):
        force = x @ p["weight_ih"].T + position @ p["weight_hh"].T + velocity @ p["weight_ch"].T
        force = (force + p["bias_ih"] + p["bias_hh"] + p["bias_ch"]).tanh()
        velocity = velocity + 0.1 * (force - 1.0 * position - 1.0 * velocity)
        position = position + 0.1 * velocity
        torch.testing.assert_close(output, position, rtol=1e-9, atol=1e-12)


def test_an_unknown_layer_is_refused_with_a_hint():
    with pytest.raises(ValueError, match="did you mean MGU"):
        TorchRecurrent(2, 3, "MGUU")
    with pytest.raises(ValueError, match="JANET"):
        TorchRecurrent(2, 3, "zzz")


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend"):
        TorchRecurrent(2, 3, "MGU", "loop")


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchrecurrent", None)
    with pytest.raises(ValueError, match="pip install"):
        TorchRecurrent(2, 3, "MGU")
