"""What sees torch's operations one by one gets the loop's answer, or a line; never a wrong one."""

import copy
import pickle

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks

from cells import GRU, LSTM, AttentionLSTM, Cell, GateRecurrentLSTM, TorchRecurrent

CELLS = [LSTM, GRU, AttentionLSTM]


@pytest.fixture(params=CELLS, ids=lambda cell: cell.__name__)
def pair(request: pytest.FixtureRequest) -> tuple[Cell, Cell]:
    """A cell with its usual backend, and the loop with the same parameters."""
    cell, loop = request.param(3, 8), request.param(3, 8, backend="loop")
    loop.load_state_dict(cell.state_dict())
    return cell, loop


X, V = torch.randn(5, 2, 3), torch.randn(5, 2, 3)


def test_forward_mode_derivatives_are_those_of_the_loop(pair):
    def dual(cell: Cell) -> torch.Tensor:
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(cell(forward_ad.make_dual(X, V))[0]).tangent

    def jvp(cell: Cell) -> torch.Tensor:
        return torch.func.jvp(lambda x: cell(x)[0], (X,), (V,))[1]

    cell, loop = pair
    for derivative in (dual, jvp):
        expected = derivative(loop)
        assert expected.abs().sum() > 0
        torch.testing.assert_close(derivative(cell), expected)
        torch.testing.assert_close(derivative(cell.requires_grad_(False)), expected)
        cell.requires_grad_()


def test_reverse_mode_transforms_are_those_of_the_loop(pair):
    for transformed in (
        lambda cell: torch.func.grad(lambda x: cell(x)[0].sin().sum())(X),
        lambda cell: torch.func.jacrev(lambda x: cell(x)[0].sum(0))(X),
        lambda cell: torch.func.vmap(lambda x: cell(x)[0])(torch.stack([X, V])),
    ):
        torch.testing.assert_close(*map(transformed, pair))


def test_the_loop_has_second_derivatives(pair):
    def second(x: torch.Tensor) -> torch.Tensor:
        (first,) = torch.autograd.grad(pair[1].double()(x)[0].sin().sum(), x, create_graph=True)
        return first

    assert torch.autograd.gradcheck(second, X.double().requires_grad_())


def test_work_in_place_on_outputs_is_refused(pair):
    """Backward needs them: torch says so."""
    outputs, _ = pair[0](X)
    with pytest.raises(RuntimeError, match="inplace"):
        outputs.add_(1).sum().backward()


def test_compiled_and_exported_it_computes_the_same(pair):
    cell, loop = pair
    expected = loop(X)[0]
    torch.testing.assert_close(torch.compile(cell, fullgraph=True, backend="eager")(X)[0], expected)
    torch.testing.assert_close(torch.export.export(cell, (X,)).module()(X)[0], expected)


@pytest.mark.parametrize("kind", [AttentionLSTM, GateRecurrentLSTM])
def test_states_of_classes_of_their_own_are_copied_and_stored(kind, tmp_path):
    cell = kind(3, 8).requires_grad_(False)
    _, state = cell(X)
    torch.save(state, tmp_path / "state")
    stored = torch.load(tmp_path / "state", weights_only=False)
    copies = [copy.deepcopy(state), pickle.loads(pickle.dumps(state)), stored]
    for other in copies:
        torch.testing.assert_close(cell(V, other)[0], cell(V, state)[0])


def test_inputs_of_autocast_may_have_its_dtype(pair):
    cell, loop = pair
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cell(X.bfloat16())[0], loop(X.bfloat16())[0])


@pytest.mark.parametrize("kind", [LSTM, GRU])  # torch's kernel of attention takes no other strides
def test_what_is_saved_may_come_back_with_other_strides(kind):
    cell, loop = kind(3, 8), kind(3, 8, backend="loop")
    loop.load_state_dict(cell.state_dict())

    def gradients(cell: Cell) -> list[torch.Tensor]:
        x = X.clone().requires_grad_()
        return list(torch.autograd.grad(cell(x)[0].sin().sum(), [x, *cell.parameters()]))

    def turned(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1) if tensor.dim() > 1 else tensor

    expected = gradients(loop)
    with saved_tensors_hooks(lambda tensor: tensor, turned):
        found = gradients(cell)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_outputs_and_last_state_share_no_memory():
    outputs, (h, _) = LSTM(3, 8)(X)
    before = h.clone()
    outputs.zero_()
    assert torch.equal(h, before)
    assert h.untyped_storage().nbytes() == h.nbytes


def test_what_is_no_sequence_is_told_in_a_line():
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(3, 3)])
    for call, says in (
        (lambda: LSTM(3, 8)(packed), "not a PackedSequence"),
        (lambda: LSTM(3, 8)(X, (None, None)), "not a NoneType, a NoneType"),
        (lambda: GRU(3, 8)(X, (torch.zeros(2, 8),)), "not a tuple"),
        (lambda: LSTM(3, 8).step(torch.randn(3), None), r"must be \(B ≥ 1, 3\), not \(3,\)"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_layers_of_torchrecurrent_are_transformed_as_they_are():
    pytest.importorskip("torchrecurrent")
    cell = TorchRecurrent(3, 8, "MGU")
    expected = torch.autograd.grad(cell.layer(x := X.clone().requires_grad_())[0].sum(), x)[0]
    torch.testing.assert_close(torch.func.grad(lambda x: cell(x)[0].sum())(X), expected)
