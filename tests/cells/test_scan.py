"""The scan is the loop, in values and derivatives, at any length: in C++, in torch's operations, and in Triton, whose
interpreter runs the last in a process of tests/cells/test_fused.py."""

import itertools
import os
from typing import Any

import numpy as np
import pytest
import torch

from cells import scan as module
from cells.scan import scan, selective_scan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(params=["interpreted"] if INTERPRETED else ["native", "torch"], autouse=True)
def computed_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(module, "_kernels", lambda inputs: None)
    elif request.param == "interpreted":
        from triton.runtime.interpreter import ScanOps

        from cells import triton_scan

        monkeypatch.setattr(ScanOps, "generic_scan", compose_by_rows)
        monkeypatch.setattr(triton_scan, "TILE", (8, 16))
        monkeypatch.setattr(triton_scan, "SELECTIVE_TILE", (4, 16))
        monkeypatch.setattr(module, "_kernels", lambda inputs: triton_scan)
    return request.param


def compose_by_rows(self: Any, given: tuple[Any, ...]) -> list[Any]:
    """Do what Triton's interpreter does in an associative scan, whole rows at a time: it goes number by number, which
    takes minutes."""
    rows = zip(*(np.moveaxis(each.handle.data, self.axis, 0) for each in given), strict=True)
    tensors = ([self.to_tensor(row, each.dtype) for row, each in zip(one, given, strict=True)] for one in rows)
    composed = itertools.accumulate(tensors, lambda before, row: self.combine_fn.fn(*before, *row))
    columns = zip(*([each.handle.data for each in row] for row in composed), strict=True)
    return [
        self.to_tensor(np.stack(column, self.axis), each.dtype) for column, each in zip(columns, given, strict=True)
    ]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest, computed_by: str):
    if computed_by == "interpreted" and request.param > 1:
        pytest.skip("the interpreter has one")
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


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
@pytest.mark.usefixtures("threads")
def test_its_derivatives_are_finite_differences(dtype, shape, computed_by):
    def parameter(*size):
        return (0.5 * torch.randn(*size, dtype=dtype)).requires_grad_()

    arguments = (parameter(*shape), parameter(6, 2, 3), parameter(2, 3))
    fast = computed_by == "interpreted"
    assert torch.autograd.gradcheck(scan, arguments, fast_mode=fast)
    assert torch.autograd.gradgradcheck(scan, arguments, fast_mode=fast)


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


def test_a_row_longer_than_a_vector_is_shared_among_threads(threads):
    decay, inputs, start = torch.rand(9, 1, 2, 37), torch.randn(9, 3, 2, 37), torch.randn(3, 2, 37)
    torch.testing.assert_close(scan(decay, inputs, start), in_sequence(decay, inputs, start))
    back = scan(decay.transpose(2, 3), inputs.transpose(2, 3), start.transpose(1, 2))  # not one after the other
    torch.testing.assert_close(back.transpose(2, 3), in_sequence(decay, inputs, start))


def selective(channels: int, numbers: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    steps, batch = 35, 3  # three of the chunks before which states are kept
    sizes = [(steps, batch, channels), (channels, numbers), *[(steps, batch, numbers)] * 2, (steps, batch, channels)]
    delta, a, b, c, u = (torch.randn(size, dtype=dtype) for size in sizes)
    start = torch.randn(batch, channels, numbers, dtype=dtype)
    return tuple(each.requires_grad_() for each in (delta.exp(), -a.exp(), b, c, u, start))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "numbers"), [(1, 1), (5, 3), (16, 4), (37, 6)])
def test_the_selective_scan_is_the_recurrence(threads, channels: int, numbers: int, dtype: torch.dtype):
    delta, a, b, c, u, start = arguments = selective(channels, numbers, dtype)
    y, last = selective_scan(*arguments)
    state, outputs = start, []
    for t in range(len(delta)):
        kept = (delta[t].unsqueeze(-1) * a).exp() * state
        state = kept + (delta[t] * u[t]).unsqueeze(-1) * b[t].unsqueeze(1)
        outputs.append((state * c[t].unsqueeze(1)).sum(-1))
    torch.testing.assert_close((y, last), (torch.stack(outputs), state))
    weights = torch.randn_like(y), torch.randn_like(last)
    expected = torch.autograd.grad((torch.stack(outputs), state), arguments, weights)
    close = {"rtol": 1e-5, "atol": 1e-4} if dtype is torch.float32 else {}  # sums over steps and sequences
    torch.testing.assert_close(torch.autograd.grad((y, last), arguments, weights), expected, **close)
    with torch.no_grad():  # when nothing is kept
        torch.testing.assert_close(selective_scan(*arguments), (y, last))


def test_the_selective_scan_has_first_and_second_derivatives(computed_by):
    arguments, fast = selective(3, 2, torch.float64), computed_by == "interpreted"
    assert torch.autograd.gradcheck(selective_scan, arguments, fast_mode=fast)
    if not fast:  # interpreted, it takes seconds
        assert torch.autograd.gradgradcheck(selective_scan, arguments)
    *others, start = arguments  # as a sequence begins: with zeros of which no gradient is wanted
    zeros = torch.zeros_like(start)
    assert torch.autograd.gradgradcheck(lambda *args: selective_scan(*args, zeros)[0], others, fast_mode=fast)


def test_the_selective_scan_keeps_the_states_of_every_sixteenth_step_only(computed_by):
    if computed_by != "native":
        pytest.skip("torch's operations keep what each of them needs")
    steps, batch, channels, numbers = 64, 2, 32, 40
    delta, u = torch.rand(2, steps, batch, channels, requires_grad=True).unbind()
    b, c = torch.randn(2, steps, batch, numbers).unbind()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        selective_scan(delta, -torch.rand(channels, numbers), b, c, u, torch.zeros(batch, channels, numbers))
    assert max(kept) == steps // 16 * batch * channels * numbers
    given = 2 * steps * batch * (channels + numbers) + channels * numbers + batch * channels * numbers
    assert sum(kept) == given + max(kept)
