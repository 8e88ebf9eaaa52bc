"""Whether a kernel computes what the equations say: outputs, last states and all gradients, in both dtypes."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cells import native
from cells.compiler.program import Parts, point_wise
from cells.compiler.trace import Step

# T, B, I, H: vectors filled in part, single steps, single rows, batches that threads divide.
SIZES = ((1, 1, 1, 1), (6, 3, 4, 5), (2, 1, 3, 19), (3, 9, 2, 33))
OWN_SIZES = ((1, 1), (5, 3))  # T, B, with the cell's own I and H
# Torch's own derivative of hardsigmoid is exact to single precision only.
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}


def differs(kernel: native.Kernel, parts: Parts, cell: Any) -> str | None:
    """Compare a kernel with a cell's own step, and, in sizes that the cell does not have, with the traced one.

    Returns:
        What differs, in a line; None if nothing does.
    """
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        torch.default_generator.manual_seed(0)  # and not those of GPUs
        for time, batch, inputs, hidden in SIZES:
            for dtype in TOLERANCE:
                difference = _compare_traced(kernel, parts, (time, batch, inputs, hidden), dtype)
                if difference is not None:
                    return f"{difference} in {dtype} at T={time}, B={batch}, I={inputs}, H={hidden}"
        double = copy.deepcopy(cell).double()
        for time, batch in OWN_SIZES:
            difference = _compare_step(kernel, double, double.advance, time, batch)
            if difference is not None:
                return f"{difference} from its step at T={time}, B={batch}"
    return None


def differs_on_gpu(kernel: native.Kernel, cell: Any, called: native.Call) -> str | None:
    """Compare a kernel for GPUs with a cell's own step, on the cell's device.

    Returns:
        What differs, in a line; None if nothing does.
    """
    device = next(cell.parameters()).device
    with torch.random.fork_rng(devices=(device,) if device.type == "cuda" else ()), torch.enable_grad():
        torch.manual_seed(0)
        time, batch = OWN_SIZES[-1]
        for dtype in TOLERANCE:
            copied = copy.deepcopy(cell).to(dtype)
            difference = _compare_step(kernel, copied, copied.advance, time, batch, called)
            if difference is not None:
                return f"{difference} from its step in {dtype} at T={time}, B={batch}"
    return None


def _compare_step(
    kernel: native.Kernel, module: nn.Module, step: Step, time: int, batch: int, called: native.Call | None = None
) -> str | None:
    like = next(module.parameters())

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=like.dtype, device=like.device, requires_grad=True)

    x = made(time, batch, kernel.input_size)
    states = [made(batch, width * kernel.hidden) for width in kernel.widths]

    def reference() -> tuple[Tensor, list[Tensor]]:
        outputs, state = [], states
        for x_t in x:
            output, state = step(x_t, state)
            outputs.append(output)
        return torch.stack(outputs), state

    leaves = [x, *states, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    return _difference(reference(), native.run(kernel, module, x, states, called), leaves)


def _compare_traced(kernel: native.Kernel, parts: Parts, sizes: tuple[int, ...], dtype: torch.dtype) -> str | None:
    time, batch, inputs, hidden = sizes
    matrices, vectors = parts.statics()
    products = [node.args for node in parts.nodes if node.op == "product"]
    if {block.tensor for left, block in products if left is None} & {
        block.tensor for left, block in products if left is not None
    }:
        inputs = hidden
    wide = {block.tensor for left, block in products if left is None}

    def made(rows: int, *columns: int) -> Tensor:
        return (torch.randn(rows, *columns, dtype=dtype) / (columns[0] if columns else 1) ** 0.5).requires_grad_()

    def rows_of(tensor: Any, blocks: Sequence[Any]) -> int:
        return hidden * (1 + max(block.index for block in blocks if block.tensor is tensor))

    gates = [block for _, block in products]
    weights = {m: made(rows_of(m, gates), inputs if m in wide else hidden) for m in matrices}
    biases = {v: made(rows_of(v, parts.vectors)) for v in vectors}
    x = torch.randn(time, batch, inputs, dtype=dtype, requires_grad=True)
    states = [torch.randn(batch, hidden, dtype=dtype, requires_grad=True) for _ in parts.after]

    def part(tensors: dict[Any, Tensor], block: Any) -> Tensor:
        return tensors[block.tensor][block.index * hidden : (block.index + 1) * hidden]

    def reference() -> tuple[Tensor, list[Tensor]]:
        outputs, state = [], states
        for x_t in x:
            values: dict[Any, Any] = {}
            for node in parts.nodes:
                if node.op == "product":
                    left = x_t if node.args[0] is None else values[node.args[0]]
                    values[node] = left @ part(weights, node.args[1]).T
                elif node.op == "vector":
                    values[node] = part(biases, node.args[0])
                elif node.op == "state":
                    values[node] = state[node.args[0]]
                else:
                    value = point_wise(node, values)
                    # Of truth values torch makes numbers of its default dtype.
                    has_numbers = isinstance(value, Tensor) and value.is_floating_point()
                    values[node] = value.to(dtype) if has_numbers else value
            state = [_row(values[node], x_t, hidden) for node in parts.after]
            outputs.append(_row(values[parts.output], x_t, hidden))
        return torch.stack(outputs), state

    leaves = [x, *states, *weights.values(), *biases.values()]
    found = native.call(kernel.name, hidden, x, states, list(weights.values()), list(biases.values()))
    return _difference(reference(), found, leaves)


def _row(value: Any, x_t: Tensor, hidden: int) -> Tensor:
    """Return a value as (B, H), also if it is a number or a vector of units."""
    value = value if isinstance(value, Tensor) else x_t.new_tensor(value)
    return value.expand(len(x_t), hidden)


def _difference(
    expected: tuple[Tensor, list[Tensor]], computed: tuple[Tensor, list[Tensor]], leaves: list[Tensor]
) -> str | None:
    want, got = [expected[0], *expected[1]], [computed[0], *computed[1]]
    tolerance = TOLERANCE[want[0].dtype]
    names = ["the output", *(f"state {j}" for j in range(len(want) - 1))]
    weights = [torch.randn_like(value) for value in want]

    def gradients(values: list[Tensor]) -> list[Tensor]:
        pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value.requires_grad]
        total = sum(((value * weight).sum() for value, weight in pairs), start=want[0].new_zeros(()))
        return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))

    for name, one, other in zip(names, want, got, strict=True):
        if not _close(one, other, tolerance):
            return f"{name} differs"
    for one, other in zip(gradients(want), gradients(got), strict=True):
        if not _close(one, other, tolerance):
            return "a gradient differs"
    return None


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Tell whether two tensors agree to what their greatest number allows."""
    scale = max([1.0, *one.detach().nan_to_num(0, 0, 0).abs().flatten().tolist()])
    return bool(torch.isclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True).all())
