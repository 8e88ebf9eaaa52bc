"""Recurrences on GPUs: how a generated module is run over a sequence, for one cell or for several side by side.

Python over `step` launches some fifteen kernels a time step. Here a whole sequence is one kernel (cells/fused.py); its
programs must all run at once, and where those of one cell are too many for the GPU, a step is a matrix product of
torch's and one point-wise kernel.

Products of float32 are made of three of TensorFloat-32 (`PRECISION`), which lose a few last digits at most."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from cells.fused import Blocks, Layout, backward_sequence, backward_step, forward_sequence, forward_step


class _Tiles(NamedTuple):
    """How a kernel over whole sequences is shared out: each program has some rows of the batch and some units, and
    multiplies `depth` units at a time, as much as fits into registers and into the shared memory of most GPUs."""

    rows: int
    depth: int
    warps: int
    units: int = 32


TILES = _Tiles(16, 64, 4), _Tiles(32, 32, 8), _Tiles(64, 32, 8)  # the first that makes few enough programs is taken
SHARED = 99 * 2**10  # bytes of memory that the threads of a program share, on most GPUs
MOST_SUMS = 4  # for larger tiles than the smallest
BLOCK = 128  # hidden units a program of a kernel over one step
FUSED = {"enable_fp_fusion": True}  # a·b + c rounded once, whatever Triton's default
PRECISION = {torch.float32: "tf32x3", torch.float64: "ieee"}


def _tiles(layout: Layout, cells: int, batch: int, hidden: int, like: Tensor) -> tuple[_Tiles, int] | None:
    """Choose tiles of so few programs that all of a cell run at once, and for how many cells at a time, with the fewest
    launches; None if there are none."""
    if not like.is_cuda:  # the interpreter runs one program after another: none may wait for another
        return TILES[0]._replace(units=max(32, triton.next_power_of_2(hidden))), cells
    if not layout.operands:  # nothing to wait for
        return TILES[0], cells
    at_once = torch.cuda.get_device_properties(like.device).multi_processor_count
    counts = {tiles: at_once // math.prod(_programs(tiles, batch, hidden)) for tiles in _fitting(layout)}
    possible = [tiles for tiles, count in counts.items() if count]
    best = min(possible, key=lambda tiles: -(-cells // counts[tiles]), default=None)
    return None if best is None else (best, counts[best])


def _fitting(layout: Layout) -> tuple[_Tiles, ...]:
    """Return the tiles of which all sums of products fit into registers."""
    return TILES if len({k for *_, at in layout.operands for k in at}) <= MOST_SUMS else TILES[:1]


def _programs(tiles: _Tiles, batch: int, hidden: int) -> tuple[int, int]:
    return triton.cdiv(hidden, tiles.units), triton.cdiv(batch, tiles.rows)


def _launch(
    kernel: Any,
    tensors: Sequence[Tensor],
    sizes: Sequence[int],
    functions: dict[str, Any],
    shared_out: tuple[_Tiles, int],
) -> None:
    """Run a kernel over whole sequences; the driver refuses programs that cannot all run at once.

    Args:
        tensors: of all cells, which are their first dimension.
        sizes: elements of a state at all steps, T, B, H.
        shared_out: what `_tiles` returns.
    """
    tiles, at_a_time = shared_out
    like, programs = tensors[0], _programs(tiles, *sizes[2:])
    cooperative = {"launch_cooperative_grid": True} if like.is_cuda and functions["layout"].operands else {}
    constants = functions | _constants(functions["layout"], tiles, like.dtype)
    for some in zip(*(tensor.split(at_a_time) for tensor in tensors), strict=True):
        grid = (*programs, len(some[0]))
        arrived = torch.zeros(math.prod(grid[1:]), dtype=torch.int32, device=like.device)
        kernel[grid](*some, arrived, *sizes, **constants, num_warps=tiles.warps, **FUSED, **cooperative)


def _constants(layout: Layout, tiles: _Tiles, dtype: torch.dtype) -> dict[str, Any]:
    """Return what a kernel over whole sequences is compiled for."""
    depth = tiles.depth if dtype == torch.float32 else 32  # the same bytes, or fewer
    gates = max((len(at) for *_, at in layout.operands), default=0)
    while 2 * dtype.itemsize * depth * (tiles.rows + gates * tiles.units) > SHARED:  # twice: the next is read meanwhile
        depth //= 2
    return {"precision": PRECISION[dtype], "rows": tiles.rows, "units": tiles.units, "depth": depth}


def call(
    module: Any,
    hidden: int,
    inputs: Tensor,
    states: Sequence[Tensor],
    matrices: Sequence[Tensor],
    vectors: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """Run a generated module over a sequence: inputs (T, B, I), states (B, H), matrices (·H, I or H), vectors (·H).

    Returns:
        The outputs (T, B, H) and the last states.

    Raises:
        TypeError: tensors of different dtypes.
        RuntimeError: in backward, if asked for a graph of its own (a second derivative).
    """
    return call_each(module, hidden, [inputs], [states], [matrices], [vectors])[0]


def call_each(
    module: Any,
    hidden: int,
    inputs: Sequence[Tensor],
    states: Sequence[Sequence[Tensor]],
    matrices: Sequence[Sequence[Tensor]],
    vectors: Sequence[Sequence[Tensor]],
) -> list[tuple[Tensor, list[Tensor]]]:
    """Run a generated module over a sequence for each of several cells, as `call` does for one."""
    layout: Layout = module.LAYOUT
    given = [*inputs, *(tensor for each in (states, matrices, vectors) for several in each for tensor in several)]
    if not torch.is_autocast_enabled(inputs[0].device.type) and len(dtypes := {tensor.dtype for tensor in given}) > 1:
        raise TypeError(f"inputs, states and parameters must have one dtype, not {', '.join(map(str, dtypes))}")

    def together(blocks: Blocks, of_each: Sequence[Sequence[Tensor]]) -> Tensor:
        return _joined([_stacked(blocks, tensors, hidden, inputs[0]) for tensors in of_each])

    of_x, of_states = together(layout.inputs, matrices), together(layout.gates, matrices)
    first = [_joined(several) for several in zip(*states, strict=True)]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    outputs, *last = _Recurrence.apply(  # type: ignore[no-untyped-call]
        module, keep, _joined(inputs), of_x, of_states, together(layout.vectors, vectors), *first
    )
    lasts = zip(*(state.unbind() for state in last), strict=True)
    return [(output, [*states]) for output, states in zip(outputs.unbind(), lasts, strict=True)]


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors of several cells as one, without a copy if there is one cell."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack([*tensors])


def _stacked(blocks: Blocks, tensors: Sequence[Tensor], hidden: int, like: Tensor) -> Tensor:
    """Return blocks of tensors as one tensor, without a copy where they lie so."""
    parts = []
    for _, following in itertools.groupby(enumerate(blocks), lambda pair: (pair[1][0], pair[1][1] - pair[0])):
        run = list(following)
        tensor, first = run[0][1]
        whole = first == 0 and len(run) * hidden == len(tensors[tensor])
        parts.append(tensors[tensor] if whole else tensors[tensor].narrow(0, first * hidden, len(run) * hidden))
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else like.new_empty(0)


def _biases(layout: Layout, vectors: Tensor, hidden: int) -> Tensor | None:
    """Return the biases of the products of x(t), (R, 1, ·H)."""
    count = len(layout.biases)
    if max(layout.biases) < 0:
        return None
    if layout.biases == tuple(range(count)):
        return vectors[:, None, : count * hidden]
    none, parts = torch.zeros_like(vectors[:, :hidden]), vectors.split(hidden, dim=1)
    return torch.cat([none if i < 0 else parts[i] for i in layout.biases], dim=1).unsqueeze(1)


class _Recurrence(torch.autograd.Function):
    """A module, whether a gradient is wanted, and of R cells inputs (R, T, B, I), weights of x(t) (R, ·H, I) and of
    states (R, ·H, H), vectors (R, ·H) and first states (R, B, H) → outputs (R, T, B, H) and the last states."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx: Any, module: Any, keep: bool, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        of_x, of_states, vectors, *first = tensors
        layout: Layout = module.LAYOUT
        (cells, steps), (batch, hidden) = inputs.shape[:2], first[0].shape[1:]
        of_states, vectors = of_states.contiguous(), vectors.contiguous()
        flat, bias = inputs.flatten(1, 2), _biases(layout, vectors, hidden)
        x = torch.bmm(flat, of_x.mT) if bias is None else torch.baddbmm(bias, flat, of_x.mT)
        x = x.view(cells, steps, batch, -1)
        states = x.new_empty(cells, layout.states, steps + 1, batch, hidden)
        torch.stack(first, dim=1, out=states[:, :, 0])
        output = x.new_empty(cells, steps, batch, hidden) if layout.output < 0 else states[:, layout.output, 1:]
        if not keep:
            width, saved = 0, x
        elif layout.saved <= len(layout.inputs):  # in the place of the products, which are read just before
            width, saved = len(layout.inputs), x
        else:
            width, saved = layout.saved, x.new_empty(cells, steps, batch, layout.saved * hidden)
        plane, tiles = states.stride(1), _tiles(layout, cells, batch, hidden, x)
        functions = {"start": module.start, "point": module.forward, "layout": layout, "width": width}
        if tiles:
            of_each = (x, saved, of_states, vectors, states, output)
            _launch(forward_sequence, of_each, (plane, steps, batch, hidden), functions, tiles)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            products = x.new_empty(batch, len(layout.gates) * hidden)
            for cell, t in itertools.product(range(cells), range(steps)):
                for state, gate, _, at in layout.operands:
                    rows = slice(gate * hidden, (gate + len(at)) * hidden)
                    torch.mm(states[cell, state, t], of_states[cell, rows].T, out=products[:, rows])
                now = (x[cell, t], products, saved[cell, t], vectors[cell], states[cell, :, t], output[cell, t])
                forward_step[grid](*now, plane, batch, hidden, **functions, block=BLOCK, **FUSED)
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(inputs, of_x, of_states, vectors, saved, states, output)
            ctx.module, ctx.width, ctx.tiles = module, width, tiles
        return (output, *(last.clone() for last in states[:, :, -1].unbind(1)))

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(each is None for each in given):
            return (None,) * len(ctx.needs_input_grad)
        if torch.is_grad_enabled():
            raise RuntimeError("triton kernels have no second derivative (create_graph=True): use backend=loop")
        inputs, of_x, of_states, vectors, saved, states, output = ctx.saved_tensors
        layout: Layout = ctx.module.LAYOUT
        like = (output, *states[:, :, -1].unbind(1))
        d_output, *d_last = (
            torch.zeros_like(of) if each is None else each for each, of in zip(given, like, strict=True)
        )
        cells, steps, batch, hidden = output.shape
        d_output, d_states = d_output.contiguous(), torch.stack(d_last, dim=1)
        d_products = d_output.new_empty(cells, steps, batch, layout.gradients * hidden)
        sums = d_output.new_zeros(cells, layout.sums, batch, hidden)
        plane = states.stride(1)
        functions = {"point": ctx.module.backward, "layout": layout, "width": ctx.width}
        if ctx.tiles:
            at_end = (saved[:, -1], d_products[:, -1], of_states, vectors, states[:, :, -1], output[:, -1])
            of_each = (*at_end, d_output[:, -1], d_states, sums)
            _launch(backward_sequence, of_each, (plane, steps, batch, hidden), functions, ctx.tiles)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            for cell, t in itertools.product(range(cells), reversed(range(steps))):
                now = (saved[cell, t], d_products[cell, t], vectors[cell], states[cell, :, t], output[cell, t])
                gradients = (d_output[cell, t], d_states[cell], sums[cell])
                backward_step[grid](*now, *gradients, plane, batch, hidden, **functions, block=BLOCK, **FUSED)
                for state, gate, gradient, at in layout.operands[: layout.uncut]:
                    d = d_products[cell, t, :, gradient * hidden : (gradient + len(at)) * hidden]
                    d_states[cell, state].addmm_(d, of_states[cell, gate * hidden : (gate + len(at)) * hidden])
        flat = d_products.flatten(1, 2)

        def of(gradient: int, count: int) -> Tensor:
            return flat[:, :, gradient * hidden : (gradient + count) * hidden]

        of_input = of(layout.input_gradient, len(layout.inputs))
        weights = [
            of(gradient, len(at)).mT @ states[:, state, :-1].flatten(1, 2) for state, _, gradient, at in layout.operands
        ]
        none = flat.new_zeros(cells, hidden)
        totals = [*flat.sum(1).split(hidden, dim=1), *sums.sum(2).unbind(1), none]
        return (
            None,
            None,
            (of_input @ of_x).view_as(inputs) if ctx.needs_input_grad[2] else None,
            of_input.mT @ inputs.flatten(1, 2),
            torch.cat(weights, dim=1) if weights else None,
            torch.cat([totals[i] for i in layout.of_vectors], dim=1) if layout.of_vectors else None,
            *d_states.unbind(1),
        )
