"""What is not finite reaches no earlier output, no other sequence, and no gradient of these, in every contender."""

import math

import pytest
import torch
from torch import nn

from cells import GRU, MLSTM, RNN, Attention, TorchRecurrent
from tests.cells.contenders import CONTENDERS, IN, H

T, B = 9, 2


@pytest.fixture(params=CONTENDERS)
def contender(request) -> nn.Module:
    return CONTENDERS[request.param]().double()


def run(module: nn.Module, inputs: torch.Tensor, asked: torch.Tensor) -> list[torch.Tensor]:
    """Return the outputs that are asked for, and the gradients of their squares."""
    inputs = inputs.clone().requires_grad_()
    outputs = module(inputs)[0][asked]
    return [outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, *module.parameters()])]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 1, 4, T - 1])
def test_before_a_broken_input_all_is_as_without_it(contender, step, wrong):
    inputs = torch.randn(T, B, IN, dtype=torch.float64)
    broken = inputs.clone()
    broken[step, 0, 1] = wrong
    asked = torch.ones(T, B, dtype=torch.bool)
    asked[step:, 0] = False
    with torch.no_grad():
        assert torch.equal(contender(broken)[0][asked], contender(inputs)[0][asked])
        if math.isnan(wrong):
            assert contender(broken)[0][step, 0].isnan().any()
    # Without it, the gradients are those of sequences that end there, as it is multiplied by zero.
    torch.testing.assert_close(run(contender, broken, asked), run(contender, inputs, asked), rtol=1e-9, atol=1e-9)


def test_a_loss_on_what_is_broken_has_no_gradient_to_trust(contender):
    inputs = torch.randn(T, B, IN, dtype=torch.float64)
    inputs[4, 0] = math.nan
    contender(inputs)[0].sum().backward()
    assert any(parameter.grad.isnan().any() for parameter in contender.parameters())


def test_each_sequence_ends_where_it_is_broken():
    module = Attention(IN, H).double()
    inputs = torch.randn(T, 3, IN, dtype=torch.float64)
    broken = inputs.clone()
    broken[2, 0] = broken[6, 1] = math.nan
    asked = torch.ones(T, 3, dtype=torch.bool)
    asked[2:, 0] = asked[6:, 1] = False
    torch.testing.assert_close(run(module, broken, asked), run(module, inputs, asked), rtol=1e-9, atol=1e-9)
    assert module(broken)[0][~asked].isnan().all()


@pytest.mark.parametrize("kind", [Attention, MLSTM, GRU])
def test_the_state_is_what_steps_leave(kind):
    module = kind(IN, H).double()
    inputs = torch.randn(T, B, IN, dtype=torch.float64)
    inputs[4, 0] = math.nan
    whole, _ = module(inputs[:7])
    first, state = module(inputs[:6])
    second, _ = module(inputs[6:7], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_values_whose_sum_is_no_number_are_finite_all_the_same():
    module, inputs = RNN(1, 4), torch.tensor([3e38, 3e38, -1.0]).view(3, 1, 1)
    assert inputs.sum().isinf()
    outputs, state, single = module(inputs)[0], None, []
    for x in inputs.split(1):
        output, state = module(x, state)
        single.append(output)
    torch.testing.assert_close(outputs, torch.cat(single))


def test_the_cells_of_torchrecurrent_are_causal_too():
    pytest.importorskip("torchrecurrent")
    for backend in TorchRecurrent.available_backends():
        module = TorchRecurrent(IN, H, "MGU", backend).double()
        if backend != "torchrecurrent" and not module.can_use(backend):
            continue
        inputs = torch.randn(T, B, IN, dtype=torch.float64)
        broken = inputs.clone()
        broken[4] = math.nan
        asked = torch.arange(T) < 4
        torch.testing.assert_close(run(module, broken, asked), run(module, inputs, asked), rtol=1e-9, atol=1e-9)
