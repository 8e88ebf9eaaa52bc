"""Minimal cells, linear recurrences, xLSTMs, attention and convolutions, each against its printed equations, step by
step in numpy or in torch.nn; in pieces; and by finite differences."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import weight_norm

from cells import (
    JANET,
    LEM,
    LRU,
    LSTM1997,
    MLSTM,
    SLSTM,
    TCN,
    Attention,
    AttentionLSTM,
    GatedConvolution,
    LinearRNN,
    Mamba,
    MinGRU,
    MinLSTM,
    TruncatedLSTM1997,
    compiler,
)
from cells.layer import Layer
from tests.cells import contenders

IN, H, T, B = 3, 4, 9, 2
LAYERS = [
    (LRU, {}),
    (LRU, {"state_size": 7, "r_min": 0.5, "r_max": 0.9, "max_phase": 0.3}),
    (Mamba, {}),
    (Mamba, {"state_size": 2, "expand": 1.3, "kernel": 1}),
    (MLSTM, {}),
    (MLSTM, {"heads": 3}),
    (Attention, {}),
    (Attention, {"heads": 1, "base": 100.0}),
    (TCN, {}),
    (TCN, {"kernel": 2, "blocks": 1}),
    (GatedConvolution, {}),
    (GatedConvolution, {"kernel": 1, "depth": 2}),
]
CELLS = [kind for kind in contenders.CELLS if kind is not AttentionLSTM]  # that is compiled as its LSTM


def sequences(steps: int = T) -> torch.Tensor:
    return torch.randn(steps, B, IN, dtype=torch.float64)


def values(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture(params=LAYERS, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def layer(request) -> Layer:
    kind, options = request.param
    return kind(IN, H, **options).double()


class TestLayers:
    def test_outputs_are_as_declared(self, layer):
        outputs, _ = layer(sequences())
        assert outputs.shape == (T, B, layer.output_size)
        assert layer.output_size == H
        assert layer.can_step

    @pytest.mark.parametrize("pieces", [[1] * T, [4, 5], [1, 7, 1]])
    def test_a_sequence_in_pieces_is_the_whole(self, layer, pieces):
        inputs, state, outputs = sequences(), None, []
        for piece in inputs.split(pieces):
            output, state = layer(piece, state)
            outputs.append(output)
        torch.testing.assert_close(torch.cat(outputs), layer(inputs)[0], rtol=1e-9, atol=1e-9)

    def test_no_step_sees_a_later_one_or_another_sequence(self, layer):
        inputs = sequences().requires_grad_()
        outputs, _ = layer(inputs)
        (gradient,) = torch.autograd.grad(outputs[4, 0].sum(), inputs)
        assert gradient[4, 0].abs().sum() > 0
        assert not gradient[5:].any()
        assert not gradient[:, 1].any()

    def test_gradients_are_finite_differences(self, layer):
        inputs = sequences(5).requires_grad_()
        names, parameters = zip(*layer.named_parameters(), strict=True)

        def run(inputs, *parameters):
            return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (inputs,))[0]

        assert torch.autograd.gradcheck(run, (inputs, *parameters))

    def test_forward_mode_derivatives_are_finite_differences(self, layer):
        inputs, direction, step = sequences(5), sequences(5), 1e-6
        _, found = torch.func.jvp(lambda x: layer(x)[0], (inputs,), (direction,))
        up, down = (layer(inputs + sign * step * direction)[0] for sign in (1, -1))
        torch.testing.assert_close(found, (up - down) / (2 * step), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_parameters_of_fewer_digits_make_such_outputs(self, layer, dtype):
        inputs = sequences()
        expected = layer(inputs)[0]
        outputs, state = layer.to(dtype)(inputs.to(dtype))
        assert outputs.dtype == dtype
        torch.testing.assert_close(outputs.double(), expected, rtol=0.1, atol=0.05)
        assert layer(inputs.to(dtype), state)[0].isfinite().all()

    def test_inputs_of_another_shape_are_refused(self, layer):
        with pytest.raises(ValueError, match="time first"):
            layer(torch.zeros(T, B, IN + 1))

    def test_every_parameter_matters(self, layer):
        layer(sequences())[0].square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())

    def test_float32_survives_a_thousand_steps(self, layer):
        inputs = 3 * sequences(1000)
        with torch.no_grad():
            exact = layer(inputs)[0]
            outputs = layer.float()(inputs.float())[0]
        torch.testing.assert_close(outputs.double(), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [LRU, Mamba, MLSTM, Attention, TCN, GatedConvolution])
@pytest.mark.parametrize("sizes", [(0, 4), (3, 0), (2.5, 4), (3, True)])
def test_sizes_that_are_none_are_refused(kind, sizes):
    with pytest.raises(ValueError, match="size must be"):
        kind(*sizes)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (LRU, {"r_min": 0.9, "r_max": 0.5}, "r_min < r_max"),
        (LRU, {"state_size": 0}, "state_size must be at least 1"),
        (Mamba, {"expand": 0.0}, "channels must be at least 1"),
        (MLSTM, {"heads": 0}, "heads must be at least 1"),
        (Attention, {"heads": 0}, "heads must be at least 1"),
        (Attention, {"base": 1.0}, "base must be above 1"),
        (TCN, {"dropout": 1.0}, "dropout must be"),
        (TCN, {"blocks": 0}, "blocks must be at least 1"),
        (GatedConvolution, {"depth": 0}, "depth must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind, options, says):
    with pytest.raises(ValueError, match=says):
        kind(IN, H, **options)


class TestCells:
    """Those that are compiled from a step are held to it by tests of all backends, too."""

    @pytest.mark.parametrize("kind", CELLS)
    def test_it_has_a_kernel(self, kind):
        assert compiler.reason(kind(IN, H)) is None

    @pytest.mark.parametrize("kind", CELLS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_every_backend_is_the_loop(self, kind, dtype):
        inputs = sequences(33).to(dtype)
        found = {}
        for backend in kind.available_backends():
            torch.manual_seed(0)
            cell = kind(IN, H, backend, dtype=dtype)
            if not cell.can_use(backend):
                continue
            outputs, state = cell(inputs)
            outputs.square().sum().backward()
            last = state if isinstance(state, tuple) else (state,)
            found[backend] = [outputs, *last, *(parameter.grad for parameter in cell.parameters())]
        assert {"loop", *(["scan"] if "scan" in kind.available_backends() else [])} <= set(found)
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        for others in found.values():
            for one, other in zip(others, found["loop"], strict=True):
                torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("kind", [kind for kind in CELLS if kind is not TruncatedLSTM1997])
    def test_gradients_are_finite_differences(self, kind):
        cell = kind(IN, H, "scan" if "scan" in kind.available_backends() else "loop", dtype=torch.float64)
        inputs = sequences(5).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, *_: cell(x)[0], (inputs, *cell.parameters()))

    @pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
    def test_scan_goes_on_from_a_state(self, kind):
        cell = kind(IN, H, "scan", dtype=torch.float64)
        inputs = sequences()
        first, state = cell(inputs[:4])
        second, _ = cell(inputs[4:], state)
        torch.testing.assert_close(torch.cat([first, second]), cell(inputs)[0], rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
    def test_without_products_of_the_state_there_is_no_weight_for_them(self, kind):
        assert {name for name, _ in kind(IN, H).named_parameters()} == {"weight_ih", "bias"}
        assert {name for name, _ in kind(IN, H, bias=False).named_parameters()} == {"weight_ih"}


def log_g(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), -F.softplus(-x))


def heinsen(log_decay: torch.Tensor, log_inputs: torch.Tensor) -> torch.Tensor:
    """The papers' own parallel form, from h_0 = 0: logarithms of all steps from cumulated sums (Heinsen 2023)."""
    so_far = log_decay.cumsum(dim=0)
    return (so_far + (log_inputs - so_far).logcumsumexp(dim=0)).exp()


@pytest.mark.parametrize("backend", ["native", "scan", "loop"])
def test_min_gru_is_the_log_space_scan_of_the_paper(backend):
    cell = MinGRU(IN, H, backend, dtype=torch.float64)
    inputs = sequences()
    k, candidate = F.linear(inputs, cell.weight_ih, cell.bias).chunk(2, dim=-1)
    expected = heinsen(-F.softplus(k), -F.softplus(-k) + log_g(candidate))
    torch.testing.assert_close(cell(inputs)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["native", "scan", "loop"])
def test_min_lstm_is_the_log_space_scan_of_the_paper(backend):
    cell = MinLSTM(IN, H, backend, dtype=torch.float64)
    inputs = sequences()
    f, i, candidate = F.linear(inputs, cell.weight_ih, cell.bias).chunk(3, dim=-1)
    difference = F.softplus(-f) - F.softplus(-i)
    expected = heinsen(-F.softplus(difference), -F.softplus(-difference) + log_g(candidate))
    torch.testing.assert_close(cell(inputs)[0], expected, rtol=1e-9, atol=1e-9)


def test_slstm_is_the_printed_equations():
    """Without the stabiliser, which they say changes nothing."""
    cell = SLSTM(IN, H, dtype=torch.float64)
    inputs, p = sequences(), values(cell)
    h, c, n = (np.zeros((B, H)) for _ in range(3))
    for t in range(T):
        i, f, z, o = np.split(inputs[t].numpy() @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 4, axis=-1)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        np.testing.assert_allclose(cell(inputs[: t + 1])[0][-1].detach(), h, rtol=1e-9)


@pytest.mark.parametrize("backend", ["native", "loop"])
@pytest.mark.parametrize("exponent", [200.0, -200.0])
def test_slstm_survives_exponents_that_no_number_can_hold(backend, exponent):
    """Biases of the input gate are factors of c and n, which h is without. Small ones leave n at 0 unless m follows ĩ
    at the first step."""
    cell = SLSTM(IN, H, backend)
    with torch.no_grad():
        cell.bias[:H] = 0.0
        inputs = sequences().float()
        expected = cell(inputs)[0]
        cell.bias[:H] = exponent
    outputs, state = cell(inputs)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
    assert (state[2] >= 1).all()
    assert all(each.isfinite().all() for each in torch.autograd.grad(outputs.sum(), [*cell.parameters()]))


def test_mlstm_survives_exponents_that_no_number_can_hold():
    layer = MLSTM(IN, H)
    for exponent, largest in ((200.0, 1e3), (-200.0, 0.0)):
        with torch.no_grad():
            layer.gates.bias[: layer.heads] = exponent
        outputs, _ = layer(sequences().float())
        assert outputs.abs().max() <= largest
        assert all(each.isfinite().all() for each in torch.autograd.grad(outputs.sum(), [*layer.parameters()]))


@pytest.mark.parametrize("backend", ["native", "loop"])
@pytest.mark.parametrize("dt", [1.0, 0.3])
def test_lem_is_the_printed_equations(backend, dt):
    """y sees the z of its own step."""
    cell = LEM(IN, H, backend, dt=dt, dtype=torch.float64)
    inputs, p = sequences(), values(cell)
    y = z = np.zeros((B, H))
    expected = []
    for x in inputs.numpy():
        w, u, b = (np.split(p[name], 4) for name in ("weight_ih", "weight_hh", "bias"))
        of_y, of_z = (dt * sigmoid(x @ w[i].T + y @ u[i].T + b[i]) for i in (0, 1))
        z = z + of_z * (np.tanh(x @ w[2].T + y @ u[2].T + b[2]) - z)
        y = y + of_y * (np.tanh(x @ w[3].T + z @ u[3].T + b[3]) - y)
        expected.append(y)
    outputs, state = cell(inputs)
    np.testing.assert_allclose(outputs.detach(), expected, rtol=1e-9)
    np.testing.assert_allclose(state[1].detach(), z, rtol=1e-9)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_janet_is_the_printed_equations(backend):
    cell = JANET(IN, H, backend, dtype=torch.float64)
    inputs, p = sequences(), values(cell)
    h, expected = np.zeros((B, H)), []
    for x in inputs.numpy():
        s, g = np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 2, axis=-1)
        h = sigmoid(s) * h + (1 - sigmoid(s - 1)) * np.tanh(g)
        expected.append(h)
    np.testing.assert_allclose(cell(inputs)[0].detach(), expected, rtol=1e-9)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_linear_rnn_is_its_closed_form(backend):
    """h_T = Σ_t W_hhᵀ⁻ᵗ (W_ih x_t + b)."""
    cell = LinearRNN(IN, H, backend, dtype=torch.float64)
    inputs, p = sequences(), values(cell)
    given = inputs.numpy() @ p["weight_ih"].T + p["bias"]
    powers = [np.linalg.matrix_power(p["weight_hh"], k).T for k in range(len(given))]
    expected = [sum(given[t] @ powers[T - t] for t in range(T + 1)) for T in range(len(given))]
    np.testing.assert_allclose(cell(inputs)[0].detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_lstm_of_1997_is_the_printed_equations(backend):
    cell = LSTM1997(IN, H, backend, dtype=torch.float64)
    inputs, p = sequences(), values(cell)
    h, c, expected = np.zeros((B, H)), np.zeros((B, H)), []
    for x in inputs.numpy():
        i, g, o = np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 3, axis=-1)
        c = c + sigmoid(i) * (4 * sigmoid(g) - 2)
        h = sigmoid(o) * (2 * sigmoid(c) - 1)
        expected.append(h)
    outputs, state = cell(inputs)
    np.testing.assert_allclose(outputs.detach(), expected, rtol=1e-9)
    np.testing.assert_allclose(state[1].detach(), c, rtol=1e-9)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_gradients_of_1997_flow_back_through_the_cells_alone(backend):
    torch.manual_seed(0)
    cell, whole = (kind(IN, H, backend, dtype=torch.float64) for kind in (TruncatedLSTM1997, LSTM1997))
    assert cell.active_backend == backend
    cell.load_state_dict(whole.state_dict())
    inputs = sequences().requires_grad_()
    state = tuple(torch.randn(B, H, dtype=torch.float64, requires_grad=True) for _ in range(2))
    (h, c), expected = state, []
    for x in inputs:
        h, (_, c) = whole.recur(whole.project(x), (h.detach(), c))
        expected.append(h)
    outputs, (h_last, c_last) = cell(inputs, state)
    found, wanted = (outputs, h_last, c_last), (torch.stack(expected), h, c)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    weights = [torch.randn_like(each) for each in wanted]
    gradients, truncated = (
        torch.autograd.grad(values, (inputs, *state, *each.parameters()), weights, materialize_grads=True)
        for values, each in ((found, cell), (wanted, whole))
    )
    torch.testing.assert_close(gradients, truncated, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(cell(inputs, state)[0], outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["native", "loop"])
def test_the_gradients_of_1997_are_finite_differences_with_every_h_before_held_as_it_is(backend):
    cell = TruncatedLSTM1997(IN, H, backend, dtype=torch.float64)
    inputs, c_first = sequences(), torch.randn(B, H, dtype=torch.float64)
    h_first, weights = torch.randn_like(c_first), torch.randn(T, B, H, dtype=torch.float64)
    leaves = [inputs, c_first, cell.weight_ih, cell.weight_hh, cell.bias]
    given = [leaf.requires_grad_() for leaf in leaves]
    outputs, _ = cell(inputs, (h_first, c_first))
    before = torch.cat([h_first.unsqueeze(0), outputs[:-1]]).detach()

    @torch.no_grad()
    def total(x, c, weight_ih, weight_hh, bias):
        i, g, o = (x @ weight_ih.T + before @ weight_hh.T + bias).chunk(3, dim=-1)
        c = c + (i.sigmoid() * (4 * g.sigmoid() - 2)).cumsum(0)
        return float((weights * o.sigmoid() * (2 * c.sigmoid() - 1)).sum())

    step = 1e-5
    for number, gradient in enumerate(torch.autograd.grad(outputs, given, weights)):
        direction = torch.randn_like(gradient)
        up, down = (
            total(*(leaf + sign * step * direction if leaf is given[number] else leaf for leaf in given))
            for sign in (1, -1)
        )
        assert (gradient * direction).sum().item() == pytest.approx((up - down) / (2 * step), rel=1e-7)


def test_blocks_of_the_lstm_of_1997_start_as_told():
    cell = LSTM1997(2, 6, input_bias=[-3, -6], output_bias=[-1, -2, -3], initialization="small")
    of_i, of_g, of_o = cell.bias.tolist()[:6], cell.bias[6:12], cell.bias.tolist()[12:]
    assert of_i == [-3] * 3 + [-6] * 3
    assert of_o == [-1, -1, -2, -2, -3, -3]
    small = torch.cat([of_g, cell.weight_ih.flatten(), cell.weight_hh.flatten()]).abs()
    assert 0.08 < small.max() <= 0.1


@pytest.mark.parametrize("biases", [[], [-1, -2, -3, -4], "-1", 3, [math.nan], ["a"]])
def test_biases_that_are_none_of_blocks_are_refused(biases):
    with pytest.raises(ValueError, match="input_bias"):
        LSTM1997(IN, 6, input_bias=biases)


def test_the_forget_gate_of_janet_starts_as_told():
    assert (JANET(IN, H).bias[:H] == 1).all()
    biases = JANET(IN, 500, forget_bias="chrono", longest_memory=100).bias
    assert 0 <= biases[:500].min() < 0.2
    assert 4.5 < biases[:500].max() <= math.log(99)
    assert biases[500:].abs().max() < 0.1


@pytest.mark.parametrize("dt", [0, -1.0, math.inf, math.nan, True, "1"])
def test_a_time_step_that_is_none_is_refused(dt):
    with pytest.raises(ValueError, match="dt must be a number above 0"):
        LEM(IN, H, dt=dt)


@pytest.mark.parametrize("heads", [1, 2])
def test_mlstm_is_the_printed_equations(heads):
    """Step by step and without the stabiliser: the denominator is max(|nᵀq|, 1)."""
    layer = MLSTM(IN, H, heads=heads).double()
    inputs, p, width = sequences(), values(layer), H // heads
    expected = np.zeros((T, B, H))
    for b in range(B):
        memory, norm = np.zeros((heads, width, width)), np.zeros((heads, width))
        for t in range(T):
            x = inputs[t, b].numpy()
            q, k, v = (p["enter.weight"] @ x).reshape(3, heads, width)
            i, f = (p["gates.weight"] @ x + p["gates.bias"]).reshape(2, heads)
            o = sigmoid(p["output_gate.weight"] @ x + p["output_gate.bias"]).reshape(heads, width)
            h = np.zeros((heads, width))
            for a in range(heads):
                key = k[a] / math.sqrt(width)
                memory[a] = sigmoid(f[a]) * memory[a] + np.exp(i[a]) * np.outer(v[a], key)
                norm[a] = sigmoid(f[a]) * norm[a] + np.exp(i[a]) * key
                h[a] = o[a] * (memory[a] @ q[a]) / max(abs(norm[a] @ q[a]), 1.0)
            expected[t, b] = p["leave.weight"] @ h.flatten()
    np.testing.assert_allclose(layer(inputs)[0].detach(), expected, rtol=1e-9, atol=1e-12)


def test_lru_is_the_printed_equations():
    layer = LRU(IN, H, state_size=5).double()
    inputs, p = sequences(), values(layer)
    eigenvalues = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    b, c = p["b_real"] + 1j * p["b_imag"], p["c_real"] + 1j * p["c_imag"]
    state = np.zeros((B, 5), dtype=complex)
    outputs = layer(inputs)[0].detach().numpy()
    for t in range(T):
        x = inputs[t].numpy()
        state = eigenvalues * state + np.exp(p["gamma"]) * (x @ b.T)
        np.testing.assert_allclose(outputs[t], (state @ c.T).real + x @ p["d"].T, rtol=1e-9)


def test_the_eigenvalues_of_lru_start_in_their_ring():
    p = values(LRU(IN, 1000, r_min=0.6, r_max=0.8, max_phase=1.5))
    moduli, phases = np.exp(-np.exp(p["nu"])), np.exp(p["theta"])
    assert 0.6 <= moduli.min() < 0.61 < 0.79 < moduli.max() <= 0.8
    assert np.mean(moduli**2) == pytest.approx((0.36 + 0.64) / 2, abs=0.01)  # uniform in area
    assert phases.max() <= 1.5
    np.testing.assert_allclose(np.exp(p["gamma"]), np.sqrt(1 - moduli**2), rtol=1e-3)


def test_mamba_is_the_printed_equations():
    layer = Mamba(IN, H, state_size=3, expand=1.5, kernel=2).double()
    inputs, p, channels = sequences(), values(layer), 6

    def silu(x):
        return x * sigmoid(x)

    outputs = layer(inputs)[0].detach().numpy()
    for b in range(B):
        state, before = np.zeros((channels, 3)), np.zeros(channels)
        for t in range(T):
            entered, gate = np.split(p["enter.weight"] @ inputs[t, b].numpy(), 2)
            w = p["convolution.weight"][:, 0]
            u = silu(w[:, 0] * before + w[:, 1] * entered + p["convolution.bias"])
            before = entered
            low, in_, out = np.split(p["select.weight"] @ u, [1, 4])
            step = np.log1p(np.exp(p["step_size.weight"] @ low + p["step_size.bias"]))
            a = -np.exp(p["log_a"])
            state = np.exp(step[:, None] * a) * state + np.outer(step * u, in_)
            y = state @ out + p["d"] * u
            np.testing.assert_allclose(outputs[t, b], p["leave.weight"] @ (y * silu(gate)), rtol=1e-9)


def test_the_step_sizes_of_mamba_start_in_their_range():
    sizes = F.softplus(Mamba(IN, 500).step_size.bias)
    assert 0.001 <= sizes.min() < 0.0012
    assert 0.09 < sizes.max() <= 0.1


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_the_printed_equations(heads):
    layer = Attention(IN, H, heads=heads).double()
    inputs, p, width = sequences(), values(layer), H // heads
    outputs = layer(inputs)[0].detach().numpy()
    frequencies = 10_000.0 ** (-np.arange(0, width, 2) / width)

    def rotated(x: np.ndarray, t: int) -> np.ndarray:
        turned = (x[0::2] + 1j * x[1::2]) * np.exp(1j * t * frequencies)
        return np.stack([turned.real, turned.imag], axis=-1).flatten()

    for b in range(B):
        q, k, v = np.moveaxis((inputs[:, b].numpy() @ p["enter.weight"].T).reshape(T, 3, heads, width), 1, 0)
        for t in range(T):
            found = []
            for a in range(heads):
                scores = [rotated(q[t, a], t) @ rotated(k[s, a], s) / math.sqrt(width) for s in range(t + 1)]
                weights = np.exp(scores) / np.exp(scores).sum()
                found.append(weights @ v[: t + 1, a])
            np.testing.assert_allclose(outputs[t, b], p["leave.weight"] @ np.concatenate(found), rtol=1e-9, atol=1e-12)


def test_attention_has_a_second_derivative_where_torch_is_asked_for_one():
    """By torch's own sum, which is that of the kernel, also over what an earlier call saw."""
    layer, inputs = Attention(IN, H, heads=2).double(), sequences()
    expected = layer(inputs)[0]
    gradient = functools.partial(torch.autograd.gradgradcheck, lambda x: layer(x)[0], inputs[:3].requires_grad_())
    with pytest.raises(RuntimeError, match="second derivative"):
        gradient()
    with sdpa_kernel(SDPBackend.MATH):
        assert gradient()
        first, state = layer(inputs[:2])
        torch.testing.assert_close(torch.cat([first, layer(inputs[2:], state)[0]]), expected)


def test_attention_takes_any_number_of_heads_and_any_size():
    for size, heads in ((1, 1), (5, 2), (7, 4), (9, 16)):
        assert Attention(IN, size, heads=heads)(torch.zeros(2, 2, IN))[0].shape == (2, 2, size)


def padded(convolution: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    reach = (convolution.kernel_size[0] - 1) * convolution.dilation[0]
    return convolution(F.pad(x, (reach, 0)))


def test_tcn_is_torch_convolutions_as_the_paper_stacks_them():
    layer = TCN(IN, H, kernel=3, blocks=2).double()
    inputs = sequences(20)
    x = inputs.permute(1, 2, 0)
    for number, ours in enumerate(layer.convolutions):
        if number % 2 == 0:
            kept = layer.widen(x) if number == 0 else x
        theirs = weight_norm(nn.Conv1d(x.shape[1], H, 3, dilation=2 ** (number // 2))).double()
        with torch.no_grad():
            theirs.parametrizations.weight.original0.copy_(ours.length)
            theirs.parametrizations.weight.original1.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
        x = padded(theirs, x).relu()
        if number % 2:
            x = (kept + x).relu()
    torch.testing.assert_close(layer(inputs)[0], x.permute(2, 0, 1), rtol=1e-9, atol=1e-12)


def test_a_tcn_sees_as_far_as_it_says():
    layer = TCN(1, 8, kernel=3, blocks=3).double()
    inputs = torch.randn(60, 1, 1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(inputs)[0][-1].sum(), inputs)
    assert len(gradient.flatten().nonzero()) <= 1 + 2 * 2 * 7
    assert not gradient[: 60 - 29].any()
    assert gradient[60 - 29].any()


def test_dropout_of_a_tcn_is_for_training():
    layer = TCN(IN, 16, dropout=0.5)
    inputs = torch.randn(T, B, IN)
    assert not torch.equal(layer(inputs)[0], layer(inputs)[0])
    layer.eval()
    assert torch.equal(layer(inputs)[0], layer(inputs)[0])


def test_gated_convolution_is_torch_convolutions():
    layer = GatedConvolution(IN, H, kernel=3, depth=3).double()
    inputs = sequences(20)
    x = layer.widen(inputs.permute(1, 2, 0))
    seen = inputs.permute(1, 2, 0)
    for number, ours in enumerate(layer.convolutions):
        theirs = nn.Conv1d(seen.shape[1], 2 * H, 3, dilation=2**number).double()
        with torch.no_grad():
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
        values, gates = padded(theirs, seen).chunk(2, dim=1)
        seen = x = x + values * gates.sigmoid()
    torch.testing.assert_close(layer(inputs)[0], x.permute(2, 0, 1), rtol=1e-9, atol=1e-12)


# What the authors' code computes (github.com/facebookresearch/fairseq at 3d262bb, the layers of FConvDecoder without
# attention and weight normalisation) from the numbers below: outputs of the second sequence at steps 0, 4 and 8, and
# gradients of the sum of all last outputs with respect to its inputs at steps 1, 7 and 8.
FCONV_OUTPUTS = [
    [-0.04592063567991935, -0.1736253357504166, -0.05876205472892779, 0.3055609782144056],
    [0.09991559335425225, 0.5121753058392008, -0.014342455894655267, 0.1888833217863259],
    [0.07719376652195784, 0.6958448391363631, 0.3740739081955288, -0.26196447978200516],
]
FCONV_GRADIENTS = [
    [0.0023027748622950943, 0.04728520560590075, -0.04165795231904869, -0.012613555456693133],
    [-0.4364591480553916, -0.051890096297660004, 0.4796469469001872, -0.3473170229263562],
    [-0.4113265839390568, 0.6570502206024966, 0.8658348737047566, -0.37631207665299277],
]


def wave(phase: int, *shape: int) -> torch.Tensor:
    return torch.arange(phase + 1.0, phase + 1 + math.prod(shape), dtype=torch.float64).sin().view(shape)


def test_gated_convolution_is_that_of_its_authors():
    """Theirs is not dilated, so it was given filters with zeros between their taps. It multiplies each layer's sum by
    √½: undoing that multiplies layer k's inputs by 2^(k/2), which its weights and biases have to make up for."""
    layers, size = 3, 4
    layer = GatedConvolution(size, size, kernel=2, depth=layers).double()
    with torch.no_grad():
        for number, convolution in enumerate(layer.convolutions):
            convolution.weight.copy_(wave(10 * number, 2 * size, size, 2))
            convolution.bias.copy_(wave(10 * number + 5, 2 * size))
            convolution.weight[size:] /= 2 ** (number / 2)
            convolution.bias[:size] *= 2 ** (number / 2)
    inputs = wave(0, 9, 2, size).requires_grad_()
    outputs = layer(inputs)[0] / 2 ** (layers / 2)
    (gradient,) = torch.autograd.grad(outputs[-1].sum(), inputs)
    torch.testing.assert_close(outputs[[0, 4, 8], 1].tolist(), FCONV_OUTPUTS, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient[[1, 7, 8], 1].tolist(), FCONV_GRADIENTS, rtol=1e-12, atol=1e-12)
