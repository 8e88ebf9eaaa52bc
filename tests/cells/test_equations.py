"""The cells against independent implementations of the same equations."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from cells import GRU, LSTM, RNN, PeepholeLSTM

IN, H = 3, 5
TORCH = [(RNN, nn.RNN, {}), (RNN, nn.RNN, {"nonlinearity": "relu"}), (LSTM, nn.LSTM, {}), (GRU, nn.GRU, {})]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "layer_kind", "options"), TORCH)
def test_the_loop_computes_torch_nn_with_its_weights(kind, layer_kind, options, bias):
    layer = layer_kind(3, 5, bias=bias, dtype=torch.float64, **options)
    cell = kind(3, 5, "loop", bias=bias, dtype=torch.float64, **options).load_torch(layer)
    inputs, h, c = (torch.randn(*shape, dtype=torch.float64) for shape in ((7, 4, 3), (4, 5), (4, 5)))
    state, torch_state = ((h, c), (h[None], c[None])) if kind is LSTM else (h, h[None])
    outputs, last = cell(inputs, state)
    expected, expected_last = layer(inputs, torch_state)
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9)
    for one, other in zip(
        last if kind is LSTM else [last], expected_last if kind is LSTM else [expected_last], strict=True
    ):
        torch.testing.assert_close(one, other[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "layer_kind", "options"), TORCH)
def test_to_torch_computes_the_same(kind, layer_kind, options):
    cell = kind(3, 5, "loop", dtype=torch.float64, **options)
    layer = cell.to_torch()
    assert isinstance(layer, layer_kind)
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(inputs)[0], cell(inputs)[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(kind(3, 5, dtype=torch.float64, **options).load_torch(layer)(inputs)[0], cell(inputs)[0])


def test_load_torch_refuses_what_differs():
    for cell, layer, says in (
        (LSTM(3, 5), nn.LSTM(3, 6), "differ"),
        (LSTM(3, 5), nn.LSTM(3, 5, num_layers=2), "differ"),
        (LSTM(3, 5), nn.LSTM(3, 5, proj_size=2), "differ"),
        (LSTM(3, 5), nn.GRU(3, 5), "LSTM"),
        (PeepholeLSTM(3, 5), nn.LSTM(3, 5), "no torch"),
        (RNN(3, 5), nn.RNN(3, 5, nonlinearity="relu"), "nonlinearity"),
    ):
        with pytest.raises(ValueError, match=says):
            cell.load_torch(layer)


def onnx(operator: str, inputs: torch.Tensor, given: dict[str, torch.Tensor], **attributes) -> list[torch.Tensor]:
    """Evaluate one of ONNX's recurrent operators, X and `given` in float64: all outputs, and last states."""
    names = {"RNN": "X W R B . H", "GRU": "X W R B . H", "LSTM": "X W R B . H C P"}[operator].split()
    arguments = {name: value.detach().numpy() for name, value in {"X": inputs, **given}.items()}
    results = ["Y", "Yh", *(["Yc"] if "C" in names else [])]
    node = helper.make_node(
        operator, [name if name in arguments else "" for name in names], results, hidden_size=H, **attributes
    )
    graph = helper.make_graph(
        [node],
        operator,
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, value.shape) for name, value in arguments.items()],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in results],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    outputs, *last = ReferenceEvaluator(model).run(None, arguments)
    return [torch.from_numpy(outputs[:, 0]), *(torch.from_numpy(each[0]) for each in last)]


def in_order(rows: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Return rows of gates in another order, for ONNX's one direction."""
    blocks = rows.split(H)
    return torch.cat([blocks[gate] for gate in order]).unsqueeze(0)


def weights(cell, order: tuple[int, ...], bias_hh: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    other = torch.zeros_like(cell.bias) if bias_hh is None else bias_hh
    biases = torch.cat([in_order(cell.bias, order), in_order(other, order)], dim=1)
    return {"W": in_order(cell.weight_ih, order), "R": in_order(cell.weight_hh, order), "B": biases}


def sequence_and_state(parts: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(11, 4, IN, dtype=torch.float64), *torch.randn(parts, 4, H, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_peephole_lstm_is_onnx_lstm(backend):
    """Its gates are in the order i, o, f, c and its peepholes i, o, f; ours i, f, g, o and i, f, o."""
    cell = PeepholeLSTM(IN, H, backend, dtype=torch.float64)
    inputs, h, c = sequence_and_state(2)
    outputs, (h_last, c_last) = cell(inputs, (h, c))
    given = weights(cell, (0, 3, 1, 2)) | {"P": in_order(cell.weight_peephole, (0, 2, 1)), "H": h[None], "C": c[None]}
    torch.testing.assert_close([outputs, h_last, c_last], onnx("LSTM", inputs, given), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_gru_is_onnx_gru_with_the_reset_after_the_product(backend):
    """Its gates are in the order z, r, h; ours r, z, n. The reset before the product is another GRU."""
    cell = GRU(IN, H, backend, dtype=torch.float64)
    inputs, h = sequence_and_state(1)
    given = weights(cell, (1, 0, 2), torch.cat([cell.bias.new_zeros(2 * H), cell.bias_hn])) | {"H": h[None]}
    found = list(cell(inputs, h))
    torch.testing.assert_close(found, onnx("GRU", inputs, given, linear_before_reset=1), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found[0], onnx("GRU", inputs, given, linear_before_reset=0)[0], atol=1e-3)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_rnn_is_onnx_rnn(backend):
    cell = RNN(IN, H, backend, dtype=torch.float64)
    inputs, h = sequence_and_state(1)
    given = weights(cell, (0,)) | {"H": h[None]}
    torch.testing.assert_close(list(cell(inputs, h)), onnx("RNN", inputs, given), rtol=1e-9, atol=1e-9)


# The last outputs that Keras's own tests expect (github.com/keras-team/keras, keras/src/layers/rnn/*_test.py) of layers
# whose weights are 0.01 and 0.02 and whose biases are 0.03 all over, so that all units are alike.
KERAS = [
    (RNN, 4, (2, 3, 4), {}, [0.405432, 0.73605347]),
    (LSTM, 3, (3, 6, 4), {"forget_bias": 1.0}, [0.6288687, 0.86899155, 0.9460773]),
    (LSTM, 3, (3, 6, 4), {"forget_bias": None}, [0.57019705, 0.8661914, 0.9459622]),
    (LSTM, 3, (3, 6, 4), {"bias": False}, [0.54986924, 0.86226785, 0.9443936]),
    (GRU, 3, (3, 6, 4), {}, [0.5217289, 0.6371659, 0.39384964]),
    (GRU, 3, (3, 6, 4), {"bias": False}, [0.49988455, 0.64701194, 0.4103359]),
]
KERAS_FROM_STATES = [
    (RNN, 4, [[0.33621645] * 4, [0.6262637] * 4]),
    (LSTM, 2, [[0.20574439, 0.3558822], [0.64930826, 0.66276]]),
    (GRU, 2, [[0.23774096, 0.33508456], [0.83659905, 1.0227708]]),
]


@torch.no_grad()
def keras_cell(kind, size: int, features: int, **options):
    cell = kind(features, size, **options)
    constants = {"weight_ih": 0.01, "weight_hh": 0.02, "bias": 0.03, "bias_hn": 0.03}
    for name, parameter in cell.named_parameters():
        parameter.fill_(constants[name])
    if cell.bias is not None and kind is LSTM and cell.forget_bias is not None:
        cell.bias[size : 2 * size] = cell.forget_bias
    if cell.bias is not None and kind is GRU:
        cell.bias[: 2 * size] = 0.06  # its two biases of r and of z are one here
    return cell


@pytest.mark.parametrize(("kind", "size", "shape", "options", "expected"), KERAS)
def test_the_last_outputs_are_those_of_keras(kind, size, shape, options, expected):
    cell = keras_cell(kind, size, shape[2], **options)
    inputs = torch.arange(float(np.prod(shape))).view(shape).transpose(0, 1)
    last = cell(inputs)[0][-1]
    torch.testing.assert_close(last, torch.tensor(expected).unsqueeze(1).expand_as(last), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "size", "expected"), KERAS_FROM_STATES)
def test_from_a_state_the_last_outputs_are_those_of_keras(kind, size, expected):
    cell = keras_cell(kind, size, 3)
    inputs = torch.arange(24.0).view(2, 4, 3).transpose(0, 1)
    h = torch.arange(2.0 * size).view(2, size)
    last = cell(inputs, (h, h) if kind is LSTM else h)[0][-1]
    torch.testing.assert_close(last, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_without_peepholes_the_peephole_lstm_is_the_lstm():
    peephole, plain = PeepholeLSTM(3, 5, dtype=torch.float64), LSTM(3, 5, dtype=torch.float64)
    with torch.no_grad():
        peephole.weight_peephole.zero_()
    plain.load_state_dict(peephole.state_dict(), strict=False)
    inputs = torch.randn(9, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(peephole(inputs)[0], plain(inputs)[0], rtol=1e-12, atol=1e-12)
