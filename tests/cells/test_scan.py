"""The scan is the loop, in values and derivatives, at any length."""

import pytest
import torch

from cells.scan import scan


def in_sequence(decay, inputs, start):
    states = []
    for t in range(len(inputs)):
        start = decay[t] * start + inputs[t]
        states.append(start)
    return torch.stack(states)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 13, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_it_is_the_recurrence(steps, dtype):
    decay, inputs = (torch.randn(steps, 2, 3, dtype=dtype) for _ in range(2))
    start = torch.randn(2, 3, dtype=dtype)
    torch.testing.assert_close(scan(decay, inputs, start), in_sequence(decay, inputs, start), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 1, 3)])  # a decay of each sequence, and one of all
def test_its_derivatives_are_finite_differences(dtype, shape):
    def parameter(*size):
        return (0.5 * torch.randn(*size, dtype=dtype)).requires_grad_()

    arguments = (parameter(*shape), parameter(6, 2, 3), parameter(2, 3))
    assert torch.autograd.gradcheck(scan, arguments)
    assert torch.autograd.gradgradcheck(scan, arguments)


@pytest.mark.parametrize("largest", [1e-6, 0.9, 1.0])
def test_float32_suffices_for_a_thousand_steps(largest):
    decay, inputs = torch.rand(1000, 3, 5) * largest, torch.randn(1000, 3, 5)
    decay[500] = 0.0  # which has no logarithm
    start = torch.randn(3, 5)
    exact = in_sequence(decay.double(), inputs.double(), start.double())
    torch.testing.assert_close(scan(decay, inputs, start).double(), exact, rtol=1e-5, atol=1e-5)


def test_a_constant_decay_of_one_sums():
    inputs = torch.randn(1000, 4)
    states = scan(torch.ones(1000, 4), inputs, torch.zeros(4))
    torch.testing.assert_close(states.double(), inputs.double().cumsum(0), rtol=1e-5, atol=1e-4)


def test_transforms_go_through_it():
    decay, inputs, start = torch.rand(5, 7, 3), torch.randn(5, 7, 3), torch.randn(5, 3)
    mapped = torch.func.vmap(scan)(decay, inputs, start)
    torch.testing.assert_close(mapped, torch.stack([scan(*each) for each in zip(decay, inputs, start, strict=True)]))
