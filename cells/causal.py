"""Causality where values are not finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cells import native


def run_causally(run: Callable[[Tensor, Any], tuple[Tensor, Any]], inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Return `run(inputs, state)`, in which NaN or infinity in an input reaches no output before it and no other
    sequence, nor the gradients of these.

    What computes all steps at once, and the gradient of every weight, multiplies later steps by a weight of zero; but
    0 · NaN is NaN. So a batch with such inputs is computed twice, with zeros in their place for the outputs before
    them, and as it is for the others. One sum tells whether there are any.

    Transforms of torch.func, export and compilation allow no branch on values, and a GPU would have to be waited for at
    every call: there, `run` is called as it is.

    Args:
        run: causal, each sequence by itself.
        inputs: (T, B, I).
    """
    if len(inputs) == 1 or inputs.device.type != "cpu" or native.is_transformed(inputs, inputs):
        return run(inputs, state)
    if inputs.detach().sum().isfinite():
        return run(inputs, state)
    reached = (~inputs.isfinite().all(dim=-1, keepdim=True)).cummax(dim=0).values
    before, _ = run(inputs.masked_fill(reached, 0.0), state)
    after, last = run(inputs, state)
    outputs: Tensor = _Chosen.apply(reached, after, before)  # type: ignore[no-untyped-call]
    return outputs, last


class _Chosen(torch.autograd.Function):
    """where(condition, a, b); what no gradient reaches is not differentiated, not even by zeros."""

    @staticmethod
    def forward(ctx: Any, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(condition)
        return torch.where(condition, a, b)

    @staticmethod
    def backward(ctx: Any, *of_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (condition,) = ctx.saved_tensors
        parts = (of_outputs[0].masked_fill(~condition, 0.0), of_outputs[0].masked_fill(condition, 0.0))
        return (None, *(part if part.any() else None for part in parts))
