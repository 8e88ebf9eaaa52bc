"""From equations to kernels: cells that the compiler has not seen, published ones, and what it refuses."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from cells import Cell, TorchRecurrent, compiler, native
from tests.cells.conftest import random_state
from tests.cells.test_backends import assert_equals_step

pytestmark = pytest.mark.skipif(not native.library().loaded, reason="no native kernels here")


class ThreeStates(Cell):
    """A state that is multiplied, one that is not, and one that is only remembered, two steps late."""

    states = ("h", "c", "late")
    gates = 2

    def recur(self, gates_x, state):
        h, c, late = state
        a, b = (gates_x + h @ self.weight_hh.T).chunk(2, dim=-1)
        c = 0.9 * c + a.sigmoid() * late
        h = (b + c).tanh()
        return h, (h, c, h)


class TwoStages(Cell):
    """A product of a product: r ⊙ h is multiplied in the step that computes r."""

    gates = 2

    def recur(self, gates_x, state):
        r, n = gates_x.chunk(2, dim=-1)
        weight_r, weight_n = self.weight_hh.chunk(2)
        r = (r + state @ weight_r.T).sigmoid()
        n = (n + (r * state) @ weight_n.T).tanh()
        h = state + r * (n - state)
        return h, h


class ThreeStages(Cell):
    """Three layers within a step, sharing their weights, and a value of the first used by the last."""

    gates = 1

    def recur(self, gates_x, state):
        first = (gates_x + state @ self.weight_hh.T).tanh()
        second = (first @ self.weight_hh.T).relu()
        third = (second @ self.weight_hh.T + first).tanh()
        return third, third


class PointWiseState(Cell):
    """No product of the state at all, and an output that is not the state."""

    gates = 2

    def build_parameters(self, parameter):
        self.scale = parameter(self.hidden_size)

    def recur(self, gates_x, state):
        a, b = gates_x.chunk(2, dim=-1)
        h = F.softplus(a + self.scale * state) - math.log(2)
        return h.abs() * torch.exp(-b * b), h


class SharedWeight(Cell):
    """One matrix multiplies two states; its transpose multiplies one of them, too."""

    states = ("h", "c")
    gates = 1

    def recur(self, gates_x, state):
        h, c = state
        h, c = (gates_x + h @ self.weight_hh.T).tanh(), (c @ self.weight_hh.T + c @ self.weight_hh).sin()
        return h * c, (h, c)


class ScaledArgument(Cell):
    """What is multiplied is scaled a unit and by a single parameter first."""

    gates = 1

    def build_parameters(self, parameter):
        self.per_unit, self.alone = parameter(self.hidden_size), parameter(1)

    def recur(self, gates_x, state):
        scaled = self.per_unit * state * self.alone.sigmoid()
        h = F.hardtanh(gates_x + scaled @ self.weight_hh.T, -0.8, 0.9)
        return h, h


class Constants(Cell):
    """Numbers made in the step, and a new state that depends on nothing."""

    states = ("h", "c")
    gates = 1

    def recur(self, gates_x, state):
        h, c = state
        ones, halves = torch.ones_like(h), h.new_full(h.shape, 0.5)
        h = (gates_x + h @ self.weight_hh.T) * halves + (c - ones).clamp(min=-1)
        return F.leaky_relu(h, 0.1), (h.tanh(), ones)


class Skewed(Cell):
    """A matrix computed from parameters: W − Wᵀ − I/10."""

    gates = 2

    def recur(self, gates_x, state):
        weight, other = self.weight_hh.chunk(2)
        skewed = weight - weight.T - 0.1 * torch.eye(self.hidden_size, dtype=weight.dtype)
        a, b = gates_x.chunk(2, dim=-1)
        h = state + 0.1 * (a + state @ skewed.T).tanh() * torch.where(b > 0, F.silu(b), F.elu(state @ other.T))
        return h, h


class Joined(Cell):
    """Two states joined and multiplied by one wide matrix; the output is a product of the same step."""

    states = ("h", "c")
    gates = 1

    def build_parameters(self, parameter):
        self.wide, self.out = (
            parameter(2 * self.hidden_size, 2 * self.hidden_size),
            parameter(self.hidden_size, self.hidden_size),
        )

    def recur(self, gates_x, state):
        a, b = F.linear(torch.cat(state, dim=-1), self.wide).split(self.hidden_size, dim=1)
        h, c = (gates_x + a).tanh(), b.sigmoid() * state[1].detach()
        return (h * c) @ self.out, (h, c)


class Kinks(Cell):
    """Functions with kinks and comparisons, and a gate that nothing uses."""

    gates = 3

    def recur(self, gates_x, state):
        a, b, _ = (gates_x + state @ self.weight_hh.T).chunk(3, dim=-1)
        h = F.relu6(torch.maximum(a, b)) + torch.minimum(a, -b).clamp(-0.5, 0.5) - torch.where(a > b, a, b * b) / 8
        h = h / (1 + h.square()).sqrt() + (a.abs() + 1).log() / 4 + F.mish(b) / 8
        return h, h


class TruthValues(Cell):
    """Truth values that numbers are computed with, and an output that is one."""

    gates = 2

    def recur(self, gates_x, state):
        a, b = (gates_x + state @ self.weight_hh.T).chunk(2, dim=-1)
        up, down = (a > 0).to(a.dtype), b < 0
        h = up * a.tanh() + (1 - up) * b + (up + down + ((a > b) ^ down)) * 0.1 * state
        return up, torch.where((a > 0) * down + (a > 1), h, -h)


class OtherDtypes(Cell):
    """Buffers of truth values and whole numbers, and numbers made in the step."""

    gates = 1

    def build_parameters(self, parameter):
        self.register_buffer("even", torch.arange(self.hidden_size) % 2 == 0)
        self.register_buffer("order", torch.arange(self.hidden_size) % 3)
        self.register_buffer("below", torch.ones(self.hidden_size, self.hidden_size).tril() > 0)

    def recur(self, gates_x, state):
        scale = torch.arange(self.hidden_size) / self.hidden_size
        weight = torch.where(self.below, self.weight_hh, 0.0)
        z = (gates_x * torch.tensor(0.5) + state @ weight.T - self.order * scale).tanh() * torch.ones(())
        h = torch.where(self.even, z, 0.5 * state) + ~self.even * 0.1 * z
        return h, h


class CutProducts(Cell):
    """Products whose state has no gradient: of a state that has one elsewhere, with other weights and with the same; of
    one that has none at all; with weights that have none; and point-wise work that is cut."""

    states = ("h", "c")
    gates = 2

    def build_parameters(self, parameter):
        self.other, self.fixed = (parameter(self.hidden_size, self.hidden_size) for _ in range(2))

    def recur(self, gates_x, state):
        h, c = state
        own, shared = self.weight_hh.chunk(2)
        a, b = (gates_x + F.linear(h.detach(), self.weight_hh)).chunk(2, dim=-1)
        a = a + h @ self.other.T + h @ shared.T + a.detach() * h
        h = a.tanh() + (c.detach().detach() @ own.T + h @ self.fixed.detach().T).sigmoid() * (b > 0).detach()
        return h, (h, b.sin().detach() + b)


class CutState(Cell):
    """A state that is only multiplied and never has a gradient, not even after the last step but for its own."""

    states = ("h", "c")
    gates = 2

    def recur(self, gates_x, state):
        h, c = state
        a, b = (gates_x + h.detach() @ self.weight_hh.T).chunk(2, dim=-1)
        c = 0.9 * c + a.tanh()
        return c * b.sigmoid(), (b.sigmoid(), c)


class CutStages(Cell):
    """Values of the same step that are multiplied and have no gradient, beside ones that have."""

    gates = 2

    def recur(self, gates_x, state):
        r, n = gates_x.chunk(2, dim=-1)
        weight_r, weight_n = self.weight_hh.chunk(2)
        r = (r + (0.5 * state.detach()) @ weight_r.T).sigmoid()
        n = (n + (r * state).detach() @ weight_n.T + (r * state) @ weight_r.T).tanh()
        h = state + r.detach() * (n - state)
        return h, h


UNSEEN = [
    ThreeStates, TwoStages, ThreeStages, PointWiseState, SharedWeight, ScaledArgument, Constants, Skewed, Joined, Kinks,
    TruthValues, OtherDtypes, CutProducts, CutState, CutStages,
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _compiled_side_by_side():
    compiler.prepare([kind(3, 5) for kind in UNSEEN])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", UNSEEN)
def test_cells_never_seen_equal_their_equations(kind, dtype):
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for time, batch, inputs, hidden in ((5, 3, 3, 5), (1, 1, 1, 1), (9, 17, 2, 19), (6, 1, 4, 300)):
            cell = kind(inputs, hidden, dtype=dtype, initialization="orthogonal")
            with torch.no_grad():
                for parameter in cell.parameters():
                    parameter += 0.1 * torch.randn_like(parameter) / hidden**0.5
            assert cell.active_backend == "native", compiler.reason(cell)
            x = torch.randn(time, batch, inputs, dtype=dtype, requires_grad=True)
            assert_equals_step(cell, x, random_state(cell, batch))


def test_a_gradient_that_is_cut_is_not_computed():
    """Of the operands that are cut no product is taken backward; the weights that multiply them have gradients."""
    cut = {kind: [one.cut for one in compiler.equations(kind(3, 5)).program().operands] for kind in UNSEEN}
    assert sorted(cut.pop(CutProducts)) == [False, True, True]
    assert cut.pop(CutState) == [True]
    assert sorted(cut.pop(CutStages)) == [False, True, True]
    assert not any(itertools.chain.from_iterable(cut.values()))
    cell = CutState(3, 5, dtype=torch.float64)
    state = [torch.randn(2, 5, dtype=torch.float64, requires_grad=True) for _ in cell.states]
    outputs, _ = cell(torch.randn(4, 2, 3, dtype=torch.float64), state)
    outputs.sum().backward()
    assert not state[0].grad.any()
    assert state[1].grad.all()
    assert cell.weight_hh.grad.all()


def test_no_grad_equals_the_loop():
    for kind in UNSEEN:
        cell = kind(3, 21, dtype=torch.float64)
        x = torch.randn(6, 5, 3, dtype=torch.float64)
        with torch.no_grad():
            outputs, state = cell(x)
            cell.backend = "loop"
            expected, last = cell(x)
        torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9)
        for one, other in zip(cell.split_state(state), cell.split_state(last), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


# Published cells.

LAYERS = (
    "ATR", "AntisymmetricRNN", "BR", "CFN", "DSGU", "FastGRNN", "FastRNN", "GatedAntisymmetricRNN", "IndRNN", "JANET",
    "LEM", "LiGRU", "LightRU", "MCLSTM", "MGU", "MUT1", "MUT2", "MUT3", "MiRU1", "MiRU2", "MinimalRNN",
    "MultiplicativeLSTM", "NAS", "NBR", "OriginalLSTM", "PeepholeLSTM", "RAN", "ResLSTM", "SCRN", "SGRN", "SGU", "STAR",
    "TRNN", "UGRNN", "UnICORNN", "WMCLSTM", "coRNN",
)  # fmt: skip
# Built are those of forms that the cells above do not have: in the products of x(t), and in what else is multiplied.
BUILT = "DSGU", "LEM", "MUT1", "MultiplicativeLSTM", "ResLSTM", "SCRN", "SGU", "coRNN"
NOT_EXACT = {"DSGU": 1e-7, "SGU": 1e-7}  # torch's derivative of hardsigmoid is of single precision


@pytest.fixture(scope="module")
def _published():
    pytest.importorskip("torchrecurrent")
    compiler.prepare([TorchRecurrent(3, 5, layer) for layer in BUILT])


def test_published_cells_have_equations_that_the_engine_runs():
    pytest.importorskip("torchrecurrent")
    for layer in LAYERS:
        found = compiler.equations(TorchRecurrent(3, 5, layer))
        assert f"// {layer}" in found.source(), layer
        assert found.program().phases <= 3, layer


@pytest.mark.parametrize("layer", BUILT)
@pytest.mark.usefixtures("_published")
def test_published_cells_equal_the_packages_loops(layer):
    for dtype, tolerance in ((torch.float64, NOT_EXACT.get(layer, 1e-10)), (torch.float32, 1e-4)):
        for time, batch, inputs, hidden in ((7, 3, 3, 19), (4, 9, 2, 33), (1, 1, 1, 1)):
            cell = TorchRecurrent(inputs, hidden, layer).to(dtype)
            with torch.no_grad():
                for parameter in cell.parameters():
                    parameter += torch.randn_like(parameter) / hidden**0.5
            assert cell.active_backend == "native", compiler.reason(cell)
            x = torch.randn(time, batch, inputs, dtype=dtype, requires_grad=True)
            parts = [torch.randn(1, batch, hidden, dtype=dtype, requires_grad=True) for _ in cell.state_widths]
            leaves = [x, *parts, *cell.parameters()]
            found = []
            for backend in ("native", "torchrecurrent"):
                cell.backend = backend
                outputs, last = cell(x, tuple(parts) if len(parts) > 1 else parts[0])
                values = [outputs, *(last if isinstance(last, tuple) else [last])]
                total = sum((value * (i + 1)).sin().sum() for i, value in enumerate(values))
                found.append([*values, *torch.autograd.grad(total, leaves, materialize_grads=True)])
            for one, other in zip(*found, strict=True):
                scale = max(1.0, float(other.detach().abs().max()))
                torch.testing.assert_close(one / scale, other / scale, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        ("IntersectionRNN", "used other than in a product"),
        ("TGRU", "more from step to step"),
        ("TLSTM", "more from step to step"),
        ("tauGRU", "more from step to step"),
    ],
)
def test_published_cells_without_a_kernel_say_why(layer, why):
    pytest.importorskip("torchrecurrent")
    cell = TorchRecurrent(4, 4, layer, backend="native")
    assert cell.active_backend == "torchrecurrent"
    assert why in compiler.reason(cell)
    assert "\n" not in compiler.reason(cell)


# What is refused.


@torch.no_grad()
def stopped(h: torch.Tensor) -> torch.Tensor:
    """A gradient stopped in a way that operations do not show."""
    return 0.5 * h


class Refused(Cell):
    """A plain network whose step has, in the place of tanh, a function of W x + U h + b and of h."""

    gates = 1

    def __init__(self, *sizes, function, **options):
        self.function = function
        super().__init__(*sizes, **options)

    def recur(self, gates_x, state):
        h = self.function(gates_x + state @ self.weight_hh.T, state)
        return h, h


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda z, _: z.softmax(dim=-1), "aten._softmax.default is no product with parameters and not point-wise"),
        (lambda z, _: z.tanh() if z.sum() > 0 else z, "depends on the value of a tensor"),
        (lambda z, _: F.dropout(z, 0.5), "is random"),
        (lambda z, _: z.add_(1), "aten.add_.Tensor writes in place"),
        (lambda z, _: torch.special.bessel_j0(z), "kernels have no aten.special_bessel_j0"),
        (lambda z, _: torch.cat(z.split([4, 1], dim=-1)[::-1], dim=-1), "elsewhere than between pieces of 5 units"),
        # The compiler sees one batch size; its check sees others.
        (lambda z, h: z.tanh() / len(h), "not used, because the output differs from its step"),
        (lambda z, h: z.tanh() + stopped(h), "not used, because a gradient differs from its step"),
        (lambda z, _: torch.heaviside(z, z.abs()), "it has no derivative"),
        (lambda z, _: (z > 0) * 1.0, "comparing it with its step fails"),
    ],
)
def test_what_cannot_be_compiled_runs_as_the_loop_and_says_why(function, why):
    cell = Refused(3, 5, "native", function=function)
    before = torch.get_rng_state()
    assert cell.active_backend == "loop"
    assert torch.equal(torch.get_rng_state(), before)
    assert why in compiler.reason(cell)
    assert compiler.reason(cell).startswith("Refused")
    assert "\n" not in compiler.reason(cell)
    assert cell(torch.randn(4, 2, 3))[0].shape == (4, 2, 5)


class CutInput(Cell):
    """A plain network whose input has no gradient."""

    gates = 1

    def project(self, inputs):
        return F.linear(inputs.detach(), self.weight_ih, self.bias)

    def recur(self, gates_x, state):
        h = (gates_x + state @ self.weight_hh.T).tanh()
        return h, h


def test_a_cell_that_cuts_the_gradient_of_its_input_runs_as_the_loop():
    cell, x = CutInput(3, 5), torch.randn(4, 2, 3, requires_grad=True)
    assert cell.active_backend == "loop"
    assert compiler.reason(cell) == "CutInput has no native kernel: it cuts the gradient of its input x(t)"
    cell(x)[0].sum().backward()
    assert x.grad is None
    assert cell.weight_ih.grad.any()


@pytest.mark.parametrize("failure", [MemoryError("no memory"), torch.OutOfMemoryError("no memory")])
def test_a_comparison_that_failed_for_a_passing_reason_is_made_again(failure, monkeypatch):
    def rescaled(z, _):
        return (1.0625 * z).tanh()

    def fail(*_):
        raise failure

    (compiler.equations(Refused(3, 5, function=rescaled)).folder / "verdict").unlink(missing_ok=True)
    with monkeypatch.context() as full:
        full.setattr(compiler, "differs", fail)
        assert "comparing it with its step fails: no memory" in compiler.reason(Refused(3, 5, function=rescaled))
    assert compiler.reason(Refused(3, 5, function=rescaled)) is None


def test_cells_with_the_same_equations_share_a_kernel():
    class Renamed(TwoStages):
        pass

    one, other = compiler.kernel_of(TwoStages(3, 5)), compiler.kernel_of(Renamed(2, 64, dtype=torch.float64))
    assert one.name == other.name


class Dropped(Cell):
    """A plain network that drops units while it trains."""

    gates = 1

    def recur(self, gates_x, state):
        h = F.dropout((gates_x + state @ self.weight_hh.T).tanh(), 0.5, self.training)
        return h, h


def test_a_step_that_drops_units_in_training_is_not_the_one_of_evaluation():
    cell = Dropped(3, 5)
    x = torch.randn(20, 4, 3)
    assert cell.eval().active_backend == "native"
    assert (cell(x)[0] != 0).all()
    assert cell.train().active_backend == "loop"
    assert 0.3 < (cell(x)[0] == 0).double().mean() < 0.7
    assert cell.eval().active_backend == "native"


class Annealed(Cell):
    """A plain network with a temperature that is an attribute."""

    gates = 1
    temperature = 1.0

    def recur(self, gates_x, state):
        h = ((gates_x + state @ self.weight_hh.T) / self.temperature).tanh()
        return h, h


def test_an_attribute_that_changed_is_not_as_the_kernel_has_it():
    cell = Annealed(3, 5)
    assert cell.active_backend == "native"
    cell.temperature = 0.1
    assert cell.active_backend == "loop"
    assert "temperature was 1.0, and it is 0.1" in compiler.reason(cell)
    cell.temperature = 1.0
    assert cell.active_backend == "native"
