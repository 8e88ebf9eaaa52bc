"""Compiled recurrences for the CPU. The mathematics is in the .cpp file of each cell, everything else in engine.h,
forward.h, backward.h and matmul.h; here are the calls that torch differentiates."""

from typing import Any

import torch
from torch import Tensor

from cells.native.build import NativeUnavailable, library

__all__ = ["NativeUnavailable", "instructions", "library", "run", "supports"]

DTYPES = (torch.float32, torch.float64)


def supports(parameter: Tensor) -> bool:
    """Tell whether compiled kernels exist for parameters of this device and dtype, building them if need be."""
    return parameter.device.type == "cpu" and parameter.dtype in DTYPES and library().loaded


def instructions() -> str:
    """Return which vector instructions the compiled kernels were built for."""
    return str(torch.ops.recurrent_bench.instructions())


def run(
    cell: str, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, vectors: Tensor, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a cell over a sequence.

    Args:
        cell: the name under which its .cpp file registers it.
        inputs: (T, B, I).
        weight_ih, weight_hh: (gates·H, I) and (gates·H, H).
        vectors: the parameters a unit, biases first, each (H), joined.
        h: initial state (B, H).
        c: initial cell state (B, H), for a cell that has one.

    Returns:
        The outputs (T, B, H) and the last h and c.

    Raises:
        TypeError: tensors of different dtypes.
        RuntimeError: in backward, if asked for a graph of its own (a second derivative).
    """
    tensors = (inputs, weight_ih, weight_hh, vectors, h, c)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        outputs, h, c_last = _Recurrence.apply(cell, *tensors)  # type: ignore[no-untyped-call]
    else:
        hidden, c_last, _, _ = torch.ops.recurrent_bench.forward(cell, *tensors, False)
        outputs, h = hidden[1:], hidden[-1]
    return outputs, h, None if c is None else c_last


class _Recurrence(torch.autograd.Function):
    """Backpropagation through time, written out in C++."""

    @staticmethod
    def forward(ctx: Any, cell: str, *tensors: Any) -> tuple[Tensor, Tensor, Tensor]:
        hidden, c_last, records, ctx.slices = torch.ops.recurrent_bench.forward(cell, *tensors, True)
        ctx.cell, ctx.has_cell_state = cell, tensors[-1] is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors[:4], hidden, records)
        return hidden[1:], hidden[-1].clone(), c_last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("native kernels have no second derivative (create_graph=True): use backend=loop")
        of_inputs = ctx.needs_input_grad[1]
        found = torch.ops.recurrent_bench.backward(ctx.cell, *ctx.saved_tensors, ctx.slices, *gradients, of_inputs)
        of_x, *of_parameters, of_h, of_c = found
        return (None, of_x if of_inputs else None, *of_parameters, of_h, of_c if ctx.has_cell_state else None)
