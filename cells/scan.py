"""Linear recurrences over all steps at once: h_t = a_t ⊙ h_{t−1} + b_t, and the selective one of Mamba."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cells import compiler, native


def scan(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    """Return h_1 … h_T of h_t = a_t ⊙ h_{t−1} + b_t.

    On a CPU this is one pass over the steps, in C++. On a GPU it is an associative scan (Blelloch 1990): two steps in
    a row are one of the same form, with a = a₂a₁ and b = a₂b₁ + b₂. Triton composes a tile of steps at once
    (cells/triton_scan.py); without it, torch's operations halve a sequence until a step is left, and fill it in again:
    O(T) work in 2·log₂ T dependent rounds. Nothing is divided, and no logarithm is taken: decays of modulus up to 1 are
    safe at any length, in float32 too, where the products of small ones merely vanish.

    Args:
        decay: a, (T, …), real or complex; axes of size 1 stand for all of `inputs`.
        inputs: b, (T, …).
        start: h_0, the shape of a step of `inputs`.

    Returns:
        (T, …), as `inputs`.
    """
    dtype = torch.promote_types(torch.promote_types(decay.dtype, inputs.dtype), start.dtype)
    decay, inputs, start = decay.to(dtype), inputs.to(dtype), start.to(dtype)  # under autocast they may differ
    if native.is_transformed(inputs, decay):  # which torch.func and export do not see through
        return _loop(decay, inputs, start)
    return _scan(_kernels(inputs), decay, inputs, start)


def _scan(kernels: Any, decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    decay = decay.expand(*decay.shape[:2], *inputs.shape[2:])
    rows = _rows(decay), _rows(inputs), _rows(start.unsqueeze(0))
    states: Tensor = _Scan.apply(kernels, *rows)  # type: ignore[no-untyped-call]
    return states.view_as(inputs)


def selective_scan(delta: Tensor, a: Tensor, b: Tensor, c: Tensor, u: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return y_1 … y_T and s_T of s_t = exp(Δ_t A) ⊙ s_{t−1} + Δ_t u_t B_tᵀ, y_t = s_t C_t (Gu & Dao 2023).

    In C++, and on a GPU in Triton, one pass over the steps computes decays, states and outputs. Of the states, C++
    keeps every sixteenth for backward, which computes the others again; Triton keeps all.

    Args:
        delta, u: Δ and u, (T, B, E) for E channels.
        a: A, (E, N) for N numbers of each channel.
        b, c: B and C, (T, B, N).
        start: s_0, (B, E, N).

    Returns:
        y (T, B, E) and the last state (B, E, N).
    """
    arguments = (delta, a, b, c, u, start)
    alike = len({each.dtype for each in arguments}) == 1
    kernels = _kernels(delta) if alike else None
    if kernels is None or native.is_transformed(delta, a):
        return _selective(scan, *arguments)
    y, last = _SelectiveScan.apply(kernels, *arguments)  # type: ignore[no-untyped-call]
    return y, last


def _selective(
    scan: Callable[..., Tensor], delta: Tensor, a: Tensor, b: Tensor, c: Tensor, u: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    states = scan((delta.unsqueeze(-1) * a).exp(), (delta * u).unsqueeze(-1) * b.unsqueeze(-2), start)
    return (states @ c.unsqueeze(-1)).squeeze(-1), states[-1]


def _kernels(inputs: Tensor) -> Any:
    """Return the kernels for such numbers, in C++ or in Triton; None if there are none."""
    if inputs.device.type == "cpu" and inputs.dtype.to_real() in native.DTYPES and native.library().loaded:
        return torch.ops.recurrent_bench
    return _on_gpu(inputs.device) if compiler.triton_runs(inputs.real if inputs.is_complex() else inputs) else None


@functools.cache
def _on_gpu(device: torch.device) -> Any:
    """Return the kernels in Triton if they compute on this device what the equations say."""
    from cells import triton_scan

    try:
        with torch.random.fork_rng(devices=(device,) if device.type == "cuda" else ()), torch.enable_grad():
            torch.manual_seed(0)
            agree = _agrees(triton_scan, torch.float32, device) and _agrees(triton_scan, torch.float64, device)
        reason = None if agree else "its results differ from the equations"
    except Exception as error:  # of Triton, its compiler or the device: there is a way without
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if reason is not None:
        warnings.warn(f"linear recurrences run without their GPU kernel: {reason}", stacklevel=2)
        return None
    return triton_scan


def _agrees(kernels: Any, dtype: torch.dtype, device: torch.device) -> bool:
    """Compare kernels with the loop, outputs and gradients, over more steps and channels than a tile has."""

    def made(*shape: int, kind: torch.dtype = dtype) -> Tensor:
        return (0.5 * torch.randn(*shape, dtype=kind, device=device)).requires_grad_()

    def agree(
        function: Callable[..., tuple[Tensor, ...]], loop: Callable[..., tuple[Tensor, ...]], *given: Tensor
    ) -> bool:
        found, expected = function(*given), loop(*given)
        weights = [torch.randn_like(each) for each in expected]
        gradients = (torch.autograd.grad(outputs, given, weights) for outputs in (found, expected))
        tolerance = 1e-9 if dtype is torch.float64 else 1e-3
        pairs = zip(
            *((*outputs, *each) for outputs, each in zip((found, expected), gradients, strict=True)), strict=True
        )
        return all(torch.allclose(one, other, rtol=tolerance, atol=tolerance) for one, other in pairs)

    steps, batch, channels, numbers = kernels.TILE[0] + 6, 2, kernels.TILE[1] + 1, 3
    of_numbers = made(channels, numbers), made(steps, batch, numbers), made(steps, batch, numbers)
    of_channels = made(steps, batch, channels), made(steps, batch, channels), made(batch, channels, numbers)
    return all(
        agree(
            lambda *given: (_scan(kernels, *given),),
            lambda *given: (_loop(*given),),
            made(steps, rows, channels, kind=kind),
            made(steps, batch, channels, kind=kind),
            made(batch, channels, kind=kind),
        )
        for kind, rows in ((dtype, batch), (dtype.to_complex(), 1))
    ) and agree(
        functools.partial(_SelectiveScan.apply, kernels),
        functools.partial(_selective, _loop),
        of_channels[0],
        *of_numbers,
        *of_channels[1:],
    )


def _rows(tensor: Tensor) -> Tensor:
    """Return (T, B, …) as (T, B, D), and (T, D) as (T, 1, D)."""
    return tensor.flatten(2) if tensor.dim() > 2 else tensor.unsqueeze(1)


def _loop(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    states = []
    for a, b in zip(decay.unbind(0), inputs.unbind(0), strict=True):
        start = a * start + b
        states.append(start)
    return torch.stack(states)


class _Scan(torch.autograd.Function):
    """Of (T, B, D); decays may be (T, 1, D), and the start is (1, B, D). The gradient of a scan is a scan from the end:
    g_t = ∂L/∂h_t + a_{t+1} ⊙ g_{t+1}."""

    @staticmethod
    def forward(ctx: Any, kernels: Any, decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
        if kernels is not None:
            states: Tensor = kernels.scan(*_contiguous(decay, inputs, start))
        else:
            states = _halved(decay, torch.cat([inputs[:1] + decay[:1] * start, inputs[1:]]))
        ctx.kernels = kernels
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(decay, states, start)
        return states

    @staticmethod
    def backward(ctx: Any, *of_output: Tensor | None) -> tuple[Tensor | None, ...]:
        decay, states, start = ctx.saved_tensors
        (of_states,) = of_output
        if of_states is None:
            return None, None, None, None
        if ctx.kernels is not None and not torch.is_grad_enabled():  # with it, the gradient is differentiated again
            return None, *ctx.kernels.scan_backward(*_contiguous(decay, states, start, of_states))
        back = decay.conj()
        later = torch.cat([back[1:], torch.zeros_like(back[:1])]).flip(0)
        of_inputs = _scan(ctx.kernels, later, of_states.flip(0), torch.zeros_like(start[0])).flip(0)
        before = torch.cat([start, states[:-1]])
        of_decay = (of_inputs * before.conj()).sum_to_size(decay.shape)
        return None, of_decay, of_inputs, back[:1] * of_inputs[:1]


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Any, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        y, last, states = kernels.selective_scan(*_contiguous(*arguments), any(ctx.needs_input_grad))
        ctx.kernels = kernels
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments, states)
        return y, last

    @staticmethod
    def backward(ctx: Any, of_y: Tensor | None, of_last: Tensor | None) -> tuple[Tensor | None, ...]:
        if of_y is None and of_last is None:
            return (None,) * len(ctx.needs_input_grad)
        *arguments, states = ctx.saved_tensors
        of_outputs = [
            torch.zeros_like(arguments[number]) if given is None else given
            for given, number in ((of_y, 0), (of_last, 5))  # of the shapes of Δ and the start
        ]
        if torch.is_grad_enabled():  # the gradient is differentiated again: by the parts that it is made of
            needed = ctx.needs_input_grad[1:]
            wanted = [each for each, is_needed in zip(arguments, needed, strict=True) if is_needed]
            outputs = _selective(functools.partial(_scan, ctx.kernels), *arguments)
            gradients = iter(torch.autograd.grad(outputs, wanted, of_outputs, create_graph=True))
            return None, *(next(gradients) if is_needed else None for is_needed in needed)
        return None, *ctx.kernels.selective_scan_backward(*_contiguous(*arguments, states, *of_outputs))


def _contiguous(*tensors: Tensor) -> list[Tensor]:
    """Return tensors as C++ takes them: conjugates computed, one number after the other."""
    return [tensor.resolve_conj().contiguous() for tensor in tensors]


def _halved(decay: Tensor, inputs: Tensor) -> Tensor:
    """Do as `scan`, from h_0 = 0."""
    steps = len(inputs)
    if steps == 1:
        return inputs
    even = steps - steps % 2
    second = decay[1:even:2]
    at_odd = _halved(second * decay[0:even:2], second * inputs[0:even:2] + inputs[1:even:2])
    states = torch.empty_like(inputs)
    states[0], states[1:even:2] = inputs[0], at_odd
    torch.addcmul(inputs[2::2], decay[2::2], at_odd[: len(inputs[2::2])], out=states[2::2])
    return states
