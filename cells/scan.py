"""The linear recurrence h_t = a_t ⊙ h_{t−1} + b_t, over all steps at once."""

from typing import Any

import torch
from torch import Tensor

from cells import native


def scan(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    """Return h_1 … h_T of h_t = a_t ⊙ h_{t−1} + b_t.

    An associative scan (Blelloch 1990): two steps in a row are one of the same form, with a = a₂a₁ and b = a₂b₁ + b₂,
    so a sequence is halved until a step is left, and then filled in again. That is O(T) work in 2·log₂ T dependent
    rounds. Nothing is divided, and no logarithm is taken: decays of modulus up to 1 are safe at any length, in float32
    too, where the products of small ones merely vanish.

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
    result: Tensor = _Scan.apply(decay, inputs, start)  # type: ignore[no-untyped-call]
    return result


def _loop(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    states = []
    for a, b in zip(decay.unbind(0), inputs.unbind(0), strict=True):
        start = a * start + b
        states.append(start)
    return torch.stack(states)


class _Scan(torch.autograd.Function):
    """The gradient of a scan is a scan from the end: g_t = ∂L/∂h_t + a_{t+1} ⊙ g_{t+1}."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
        first = inputs[:1] + decay[:1] * start
        states = _halved(decay, torch.cat([first, inputs[1:]]))
        ctx.save_for_backward(decay, states, start)
        return states

    @staticmethod
    def backward(ctx: Any, *of_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, states, start = ctx.saved_tensors
        (of_states,) = of_output
        back = decay.conj()
        later = torch.cat([back[1:], torch.zeros_like(back[:1])]).flip(0)
        of_inputs = scan(later, of_states.flip(0), torch.zeros_like(start)).flip(0)
        before = torch.cat([start.unsqueeze(0), states[:-1]])
        of_decay = (of_inputs * before.conj()).sum_to_size(decay.shape)
        return of_decay, of_inputs, (back[0] * of_inputs[0])


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
