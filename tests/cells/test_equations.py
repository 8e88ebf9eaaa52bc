"""The cells against independent implementations of the same equations."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from cells import GRU, LSTM, RNN, PeepholeLSTM

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


def onnx_lstm(cell: PeepholeLSTM, inputs: np.ndarray, h: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
    """Evaluate ONNX's LSTM operator, whose gates are in the order i, o, f, c and peepholes i, o, f."""
    size = cell.hidden_size

    def reorder(rows: torch.Tensor, order: tuple[int, ...]) -> np.ndarray:
        blocks = rows.detach().split(size)
        return torch.cat([blocks[i] for i in order])[None].numpy()

    gates = (0, 3, 1, 2)  # from our i, f, g, o
    arguments = {
        "X": inputs,
        "W": reorder(cell.weight_ih, gates),
        "R": reorder(cell.weight_hh, gates),
        "B": np.concatenate([reorder(cell.bias, gates), np.zeros((1, 4 * size))], axis=1),
        "H": h[None],
        "C": c[None],
        "P": reorder(cell.weight_peephole, (0, 2, 1)),  # from our i, f, o
    }
    names = ["X", "W", "R", "B", "", "H", "C", "P"]
    node = helper.make_node("LSTM", names, ["Y", "Yh", "Yc"], hidden_size=size)
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, value.shape) for name, value in arguments.items()],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in ("Y", "Yh", "Yc")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    return ReferenceEvaluator(model).run(None, arguments)


def test_the_peephole_lstm_is_onnx_lstm():
    cell = PeepholeLSTM(3, 5, dtype=torch.float64)
    inputs, h, c = (torch.randn(*shape, dtype=torch.float64) for shape in ((11, 4, 3), (4, 5), (4, 5)))
    outputs, (h_last, c_last) = cell(inputs, (h, c))
    expected, expected_h, expected_c = onnx_lstm(cell, inputs.numpy(), h.numpy(), c.numpy())
    torch.testing.assert_close(outputs, torch.from_numpy(expected[:, 0]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(h_last, torch.from_numpy(expected_h[0]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(c_last, torch.from_numpy(expected_c[0]), rtol=1e-9, atol=1e-9)


def test_without_peepholes_the_peephole_lstm_is_the_lstm():
    peephole, plain = PeepholeLSTM(3, 5, dtype=torch.float64), LSTM(3, 5, dtype=torch.float64)
    with torch.no_grad():
        peephole.weight_peephole.zero_()
    plain.load_state_dict(peephole.state_dict(), strict=False)
    inputs = torch.randn(9, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(peephole(inputs)[0], plain(inputs)[0], rtol=1e-12, atol=1e-12)
