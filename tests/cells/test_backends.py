"""Every backend of every cell computes what `step` says, values and gradients, whatever the shape."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from cells import Cell
from tests.cells.conftest import VARIANTS, random_state, unroll

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def gradients(outputs: torch.Tensor, state: object, weights: list[torch.Tensor], leaves: list) -> list:
    """Gradients of a random linear functional of outputs and state."""
    parts = [outputs, *(state if isinstance(state, tuple) else (state,))]
    total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
    return list(torch.autograd.grad(total, leaves, retain_graph=True, materialize_grads=True))


def assert_equals_step(cell: Cell, inputs: torch.Tensor, state: object) -> None:
    tolerance = TOLERANCE[inputs.dtype]
    outputs, last = cell(inputs, state)
    expected, expected_last = unroll(cell, inputs, state)
    torch.testing.assert_close(outputs, expected, rtol=tolerance, atol=tolerance)
    weights = [torch.randn_like(expected)]
    weights += [torch.randn_like(inputs[0, :, :1]).expand(-1, cell.hidden_size) for _ in cell.states]
    leaves = [inputs, *(state if isinstance(state, tuple) else (state,)), *cell.parameters()]
    got, want = (gradients(*pair, weights, leaves) for pair in ((outputs, last), (expected, expected_last)))
    for one, other in zip(got, want, strict=True):
        # Sums over time and batch: compared to their size, as a float32 sum is.
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(one / scale, other / scale, rtol=tolerance, atol=tolerance)


@settings(max_examples=15, deadline=None)
@given(
    time=st.integers(1, 12),
    batch=st.integers(1, 5),
    inputs=st.integers(1, 6),
    hidden=st.integers(1, 9),
    bias=st.booleans(),
    variant=st.sampled_from(VARIANTS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_backend_equals_step_for_any_shape(time, batch, inputs, hidden, bias, variant, dtype):
    kind, backend = variant
    cell = kind(inputs, hidden, backend, bias=bias, dtype=dtype)
    x = torch.randn(time, batch, inputs, dtype=dtype, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, batch))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backend_equals_step_on_a_long_sequence(variant, dtype):
    kind, backend = variant
    cell, steps = kind(3, 16, backend, dtype=dtype), 20 if backend == "triton" else 60  # interpreted, it takes seconds
    assert_equals_step(cell, torch.randn(steps, 7, 3, dtype=dtype, requires_grad=True), random_state(cell, 7))


def test_gradients_are_the_derivatives(variant):
    kind, backend = variant
    cell = kind(2, 3, backend, dtype=torch.float64)
    inputs = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    state = random_state(cell, 2)
    parts = state if isinstance(state, tuple) else (state,)
    names = [name for name, _ in cell.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in cell.parameters()]

    def compute(x, *rest):
        start = tuple(rest[: len(parts)]) if len(cell.states) > 1 else rest[0]
        parameters = dict(zip(names, rest[len(parts) :], strict=True))
        outputs, last = torch.func.functional_call(cell, parameters, (x, start))
        return (outputs, *(last if isinstance(last, tuple) else (last,)))

    assert gradcheck(compute, (inputs, *parts, *values), fast_mode=backend == "triton")  # which is interpreted


def test_a_split_sequence_equals_the_whole(variant):
    kind, backend = variant
    cell = kind(3, 5, backend, dtype=torch.float64)
    inputs = torch.randn(9, 2, 3, dtype=torch.float64)
    whole, last = cell(inputs)
    first, state = cell(inputs[:4])
    second, state = cell(inputs[4:5], state)
    third, state = cell(inputs[5:], state)
    torch.testing.assert_close(torch.cat([first, second, third]), whole, rtol=1e-12, atol=1e-12)
    for one, other in zip(state, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_missing_state_is_zero(variant):
    kind, backend = variant
    cell = kind(3, 5, backend)
    inputs = torch.randn(4, 2, 3)
    zero = torch.zeros(2, 5)
    torch.testing.assert_close(cell(inputs)[0], cell(inputs, (zero, zero) if len(cell.states) > 1 else zero)[0])


def test_non_contiguous_inputs(variant):
    kind, backend = variant
    cell = kind(3, 5, backend, dtype=torch.float64)
    inputs = torch.randn(2, 8, 6, dtype=torch.float64)[:, ::2, ::2].transpose(0, 1)
    assert not inputs.is_contiguous()
    torch.testing.assert_close(cell(inputs)[0], cell(inputs.contiguous())[0], rtol=0, atol=1e-14)


def test_no_grad_gives_the_same_values(variant):
    kind, backend = variant
    cell = kind(3, 5, backend, dtype=torch.float64)
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = cell(inputs)
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, cell(inputs)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_reaches_no_earlier_output_and_no_other_sequence(variant, wrong):
    kind, backend = variant
    for batch, hidden in ((3, 5), *([] if backend == "triton" else [(9, 16)])):
        cell = kind(2, hidden, backend, dtype=torch.float64)
        inputs = torch.randn(6, batch, 2, dtype=torch.float64)
        plain = {}
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                plain[grad], _ = cell(inputs)
        for grad, step, sequence in itertools.product((True, False), (0, 3, 5), (0, batch - 1)):
            broken, expected = inputs.clone(), plain[grad]
            broken[step, sequence] = wrong
            with torch.set_grad_enabled(grad):
                outputs, _ = cell(broken)
            apart = torch.arange(batch) != sequence
            torch.testing.assert_close(outputs[:step], expected[:step], rtol=0, atol=1e-12)
            torch.testing.assert_close(outputs[:, apart], expected[:, apart], rtol=0, atol=1e-12)
            assert not torch.equal(outputs[step:, sequence], expected[step:, sequence])
            if math.isnan(wrong):
                assert outputs[step:, sequence].isnan().all()


def test_auto_takes_the_first_available(variant):
    kind, _ = variant
    cell = kind(1, 1)
    assert cell.active_backend == next(name for name in kind.available_backends() if cell.can_use(name))
