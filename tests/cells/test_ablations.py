"""LSTMs without some part, against formulas written out here, and against the whole where they reduce to it."""

import itertools

import numpy as np
import pytest
import torch

from cells import LSTM, AblatedLSTM, GateRecurrentLSTM, PeepholeLSTM, native
from cells.ablated_lstm import GateState
from tests.cells.conftest import random_state
from tests.cells.test_backends import assert_equals_step

PARTS = {
    "input_gate": False,
    "forget_gate": False,
    "output_gate": False,
    "input_activation": False,
    "output_activation": False,
    "peepholes": False,
    "coupled_gates": True,
}
SINGLE = [{}, *({part: value} for part, value in PARTS.items())]
PAIRS = [
    dict(pair)
    for pair in itertools.combinations(PARTS.items(), 2)
    if not ({"coupled_gates"} < dict(pair).keys() and {"input_gate", "forget_gate"} & dict(pair).keys())
]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def written_out(cell: AblatedLSTM, inputs: np.ndarray, h: np.ndarray, c: np.ndarray, changes: dict) -> np.ndarray:
    """Greff et al.'s equations, gate by gate, each with its own weights."""
    names = [
        name
        for name, there in {
            "i": changes.get("input_gate", True),
            "f": changes.get("forget_gate", True) and not changes.get("coupled_gates", False),
            "g": True,
            "o": changes.get("output_gate", True),
        }.items()
        if there
    ]

    def blocks(parameter: torch.Tensor, keys: list[str]) -> dict[str, np.ndarray]:
        size = cell.hidden_size
        return {key: parameter.detach().numpy()[k * size : (k + 1) * size] for k, key in enumerate(keys)}

    w, u, b = (blocks(part, names) for part in (cell.weight_ih, cell.weight_hh, cell.bias))
    seeing = [name for name in names if name != "g"]
    none = dict.fromkeys(seeing, 0.0)
    p = none if cell.weight_peephole is None else blocks(cell.weight_peephole, seeing)
    outputs = []
    for x in inputs:
        z = {name: x @ w[name].T + h @ u[name].T + b[name] for name in names}
        i = sigmoid(z["i"] + p["i"] * c) if "i" in z else 1.0
        f = sigmoid(z["f"] + p["f"] * c) if "f" in z else 1.0
        if changes.get("coupled_gates"):
            f = 1 - i
        g = np.tanh(z["g"]) if changes.get("input_activation", True) else z["g"]
        c = f * c + i * g
        o = sigmoid(z["o"] + p["o"] * c) if "o" in z else 1.0
        h = o * (np.tanh(c) if changes.get("output_activation", True) else c)
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize("changes", [*SINGLE, *PAIRS], ids=lambda changes: "-".join(changes) or "whole")
def test_every_ablation_is_what_its_equations_say(changes):
    cell = AblatedLSTM(3, 5, dtype=torch.float64, **changes)
    inputs, h, c = (torch.randn(*shape, dtype=torch.float64) for shape in ((9, 4, 3), (4, 5), (4, 5)))
    expected = written_out(cell, inputs.numpy(), h.numpy(), c.numpy(), changes)
    for backend in ("loop", "auto") if len(changes) < 2 else ("loop",):  # kernels of several: some below
        cell.backend = backend
        outputs, (last, _) = cell(inputs, (h, c))
        torch.testing.assert_close(outputs, torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
        assert torch.equal(last, outputs[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "changes", [*SINGLE, {"input_gate": False, "bias": False}], ids=lambda changes: "-".join(changes) or "whole"
)
def test_kernels_of_single_ablations_equal_the_equations(changes, dtype):
    cell = AblatedLSTM(3, 19, dtype=dtype, **changes)
    if native.library().loaded:
        assert cell.active_backend == "native"
    x = torch.randn(11, 5, 3, dtype=dtype, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, 5))


@pytest.mark.parametrize(
    "changes",
    [
        {"input_gate": False, "output_activation": False},
        {"input_gate": False, "forget_gate": False, "output_gate": False},
        dict(PARTS, input_gate=True, forget_gate=True),
    ],
    ids=lambda changes: "-".join(changes),
)
def test_kernels_without_several_parts_equal_the_equations(changes):
    cell = AblatedLSTM(2, 5, dtype=torch.float64, **changes)
    if native.library().loaded:
        assert cell.active_backend == "native"
    x = torch.randn(7, 3, 2, dtype=torch.float64, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, 3))


def test_the_whole_is_the_peephole_lstm_and_without_peepholes_the_lstm():
    for changes, kind in (({}, PeepholeLSTM), ({"peepholes": False}, LSTM)):
        cell, plain = AblatedLSTM(3, 5, dtype=torch.float64, **changes), kind(3, 5, dtype=torch.float64)
        plain.load_state_dict(cell.state_dict())
        inputs = torch.randn(9, 2, 3, dtype=torch.float64)
        torch.testing.assert_close(cell(inputs)[0], plain(inputs)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("changes", "gates"), [({}, 4), *(({g: False}, 3) for g in list(PARTS)[:3])])
def test_a_missing_gate_has_no_parameters(changes, gates):
    cell = AblatedLSTM(3, 7, **changes)
    assert sum(p.numel() for p in cell.parameters()) == gates * 7 * (3 + 7 + 1) + (gates - 1) * 7


def test_where_the_forget_bias_goes():
    assert torch.equal(AblatedLSTM(2, 4, input_gate=False).bias[:4], torch.ones(4))
    assert torch.equal(AblatedLSTM(2, 4, output_gate=False).bias[4:8], torch.ones(4))
    assert torch.equal(AblatedLSTM(2, 4, coupled_gates=True).bias[:4], -torch.ones(4))  # f = 1 − i
    assert AblatedLSTM(2, 4, forget_gate=False).bias.abs().max() <= 0.5
    with pytest.raises(ValueError, match="coupled_gates"):
        AblatedLSTM(2, 4, coupled_gates=True, input_gate=False)


class TestGateRecurrence:
    def test_it_is_what_its_equations_say(self):
        cell = GateRecurrentLSTM(3, 5, dtype=torch.float64)
        inputs = torch.randn(8, 4, 3, dtype=torch.float64)
        w, u, b, p, r = (
            {name: block.detach().numpy() for name, block in zip(names, part.split(5), strict=True)}
            for part, names in (
                (cell.weight_ih, "ifgo"), (cell.weight_hh, "ifgo"), (cell.bias, "ifgo"),
                (cell.weight_peephole, "ifo"), (cell.weight_gates, "ifo"),
            )
        )  # fmt: skip
        h = c = np.zeros((4, 5))
        i = f = o = np.zeros((4, 5))
        for t, x in enumerate(inputs.numpy()):
            z = {name: x @ w[name].T + h @ u[name].T + b[name] for name in "ifgo"}
            rec = {n: i @ r[n][:, :5].T + f @ r[n][:, 5:10].T + o @ r[n][:, 10:].T for n in "ifo"}
            i, f = (sigmoid(z[name] + rec[name] + p[name] * c) for name in "if")
            c = f * c + i * np.tanh(z["g"])
            o = sigmoid(z["o"] + rec["o"] + p["o"] * c)
            h = o * np.tanh(c)
            torch.testing.assert_close(cell(inputs)[0][t], torch.from_numpy(h), rtol=1e-9, atol=1e-9)

    def test_without_its_weights_it_is_the_peephole_lstm(self):
        cell, plain = GateRecurrentLSTM(3, 5, dtype=torch.float64), PeepholeLSTM(3, 5, dtype=torch.float64)
        with torch.no_grad():
            cell.weight_gates.zero_()
        plain.load_state_dict(cell.state_dict(), strict=False)
        inputs = torch.randn(9, 2, 3, dtype=torch.float64)
        torch.testing.assert_close(cell(inputs)[0], plain(inputs)[0], rtol=1e-12, atol=1e-12)

    def test_its_kernel_equals_the_equations(self):
        cell = GateRecurrentLSTM(3, 5, dtype=torch.float64)
        if native.library().loaded:
            assert cell.active_backend == "native"
        inputs = torch.randn(8, 4, 3, dtype=torch.float64, requires_grad=True)
        assert_equals_step(cell, inputs, random_state(cell, 4))
        state = GateState(*(torch.randn(4, size, dtype=torch.float64, requires_grad=True) for size in (5, 5, 15)))
        leaves = [inputs, *state, state.gates, *cell.parameters()]
        found = []
        for backend in ("native", "loop"):
            cell.backend = backend
            outputs, last = cell(inputs, state)
            total = outputs.square().sum() + last.gates.sin().sum() + last[1].sum()
            found.append([outputs, last.gates, *torch.autograd.grad(total, leaves)])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)

    def test_its_state_carries_the_gates(self):
        cell = GateRecurrentLSTM(3, 5, dtype=torch.float64)
        inputs = torch.randn(9, 2, 3, dtype=torch.float64)
        whole, _ = cell(inputs)
        first, state = cell(inputs[:4])
        torch.testing.assert_close(torch.cat([first, cell(inputs[4:], state)[0]]), whole, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(cell(inputs[4:], tuple(state))[0], whole[4:])
