"""A sequence in pieces is the whole, whatever is done to the states between them, in every contender."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.cells.contenders import CONTENDERS, IN

DONE = {
    "nothing": lambda state: state,
    "detached": lambda state: pytree.tree_map(Tensor.detach, state),
    "cloned": lambda state: pytree.tree_map(Tensor.clone, state),
    "pickled": lambda state: pickle.loads(pickle.dumps(state)),
    "copied": copy.deepcopy,
}


@pytest.fixture(params=CONTENDERS)
def contender(request) -> nn.Module:
    return CONTENDERS[request.param]()


def sequences(steps: int, batch: int) -> Tensor:
    return torch.randn(steps, batch, IN, dtype=torch.float64)


def in_pieces(module: nn.Module, inputs: Tensor, sizes, done=DONE["nothing"]) -> Tensor:
    state, outputs = None, []
    for piece in inputs.split(sizes):
        output, state = module(piece, state)
        state = done(state)
        outputs.append(output)
    return torch.cat(outputs)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_single_steps_are_the_whole_in_every_mode(contender, steps, batch):
    contender(torch.randn(2, 2, IN))
    contender = contender.to(torch.float64)  # after it was used in another dtype
    inputs = sequences(steps, batch)
    expected = contender(inputs)[0].detach()
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(contender(inputs)[0], expected, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(in_pieces(contender, inputs, 1), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("done", DONE)
def test_states_can_be_handled_between_pieces(contender, done):
    contender, inputs = contender.double(), sequences(9, 2)
    with torch.no_grad():
        found = in_pieces(contender, inputs, [4, 1, 4], DONE[done])
        torch.testing.assert_close(found, contender(inputs)[0], rtol=1e-9, atol=1e-9)


def test_gradients_go_through_states(contender):
    contender, inputs = contender.double(), sequences(9, 2).requires_grad_()
    leaves = [inputs, *contender.parameters()]
    expected = torch.autograd.grad(contender(inputs)[0].square().sum(), leaves)
    for sizes in (1, [4, 5]):
        found = torch.autograd.grad(in_pieces(contender, inputs, sizes).square().sum(), leaves)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_copy_and_a_pickle_compute_the_same(contender):
    contender, inputs = contender.double(), sequences(5, 2)
    expected = contender(inputs)[0]
    for other in (copy.deepcopy(contender), pickle.loads(pickle.dumps(contender))):
        assert torch.equal(other(inputs)[0], expected)


@pytest.mark.parametrize("name", [name for name in CONTENDERS if not name.endswith((" by torch", " by loop"))])
def test_an_exported_program_goes_on_from_a_state(name):
    contender, inputs = CONTENDERS[name]().double().eval(), sequences(3, 2)
    _, state = contender(inputs)
    program = torch.export.export(contender, (inputs, state)).module()
    torch.testing.assert_close(program(inputs, state)[0], contender(inputs, state)[0], rtol=1e-9, atol=1e-9)
