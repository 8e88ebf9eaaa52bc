"""Recurrences on GPUs, in Triton. Python over `step` launches some fifteen kernels a time step.

A whole sequence is one kernel, also of several cells with the same equations side by side. Its programs share out the
units and the rows of the batch, and those of a cell meet after every step, for each needs what the others computed; so
all of them must run at once, and where those of one cell are too many for the GPU, a step is a matrix product of
torch's and one point-wise kernel. What a step computes besides products is generated
(cells/compiler/emit_triton.py): for a tile of rows and units,

    start(x, p, zero)                        → what the sums of products of states start from
    forward(x, u, p, before, zero)           → states at t, output, what is saved
    backward(p, before, after, output, saved, d_output, d_state, zero)
                                             → gradients of products, of states at t−1 past products, of parameters

with tuples of tiles: x products of x(t), with their `biases`; u those sums; p parameters a unit, without rows; before,
after the states at t−1 and t; zero a tile of zeros. A `Layout` says what is in them.

Products of float32 are made of three of TensorFloat-32 (`PRECISION`), which lose a few last digits at most. Triton's
interpreter (`TRITON_INTERPRET=1`) runs the same kernels on a CPU, which is how they are tested without a GPU."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

Blocks = tuple[tuple[int, int], ...]  # H rows of a matrix, or H elements of a vector: which tensor, which block of it


class Layout(NamedTuple):
    """What the functions of a cell are given and give.

    Attributes:
        inputs, gates: the weights of x(t) and of states, in the order in which their products' gradients lie.
        biases: which vector is added to each product of x(t) already, −1 if none.
        vectors: the parameters a unit.
        operands: of each state that is multiplied its index, its first gate, the first gradient of its products, and
            to which of the sums each product is added.
        states: how many there are.
        output: which state the output is, −1 if it is none.
        saved: how many values are saved.
        gradients: how many gradients of products there are.
        input_gradient: the first of those of x(t).
        sums: how many gradients of parameters are no gradients of products, and are summed in the kernel.
        of_vectors: which gradient, and after these which sum, each of the vectors has, −1 if none.
    """

    inputs: Blocks
    biases: tuple[int, ...]
    gates: Blocks
    vectors: Blocks
    operands: tuple[tuple[int, int, int, tuple[int, ...]], ...]
    states: int
    output: int
    saved: int
    gradients: int
    input_gradient: int
    sums: int
    of_vectors: tuple[int, ...]


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


# Functions that generated code calls, beside Triton's own.


@triton.jit
def tanh(x):
    """Return tanh x, NaN of NaN."""
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def relu(x):
    """Return max(x, 0), NaN of NaN."""
    return maximum(x, 0.0)


@triton.jit
def sign(x):
    """Return −1, 0 or 1."""
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


@triton.jit
def maximum(a, b):
    """Return the greater of two, NaN if one is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(a, b):
    """Return the lesser of two, NaN if one is."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def log1p(x):
    """Return log(1 + x), with all digits where x is small."""
    above = 1 + x  # rounded, which the quotient makes good
    return tl.where(above == 1, x, tl.where(above == float("inf"), x, tl.log(above) * (x / (above - 1))))


@triton.jit
def expm1(x):
    """Return eˣ − 1, with all digits where x is small."""
    e = tl.exp(x)
    exact = (e == 1) | (e == float("inf")) | (e == 0)
    quotient = (e - 1) * (x / tl.log(tl.where(exact, 2.0, e)))
    return tl.where(e == 1, x, tl.where(exact, e - 1, quotient))


# Tuples of tiles.


@triton.jit
def _read(base, apart, mask, count: tl.constexpr):
    """Load `count` tiles that lie `apart`."""
    found = ()
    for k in tl.static_range(count):
        found = found + (tl.load(base + k * apart, mask, other=0),)
    return found


@triton.jit
def _write(base, apart, mask, values):
    for k in tl.static_range(len(values)):
        tl.store(base + k * apart, values[k], mask)


@triton.jit
def _added(some, others):
    found = ()
    for k in tl.static_range(len(some)):
        found = found + (some[k] + others[k],)
    return found


@triton.jit
def _replaced(values, index: tl.constexpr, value):
    found = ()
    for k in tl.static_range(len(values)):
        if k == index:
            found = found + (value,)
        else:
            found = found + (values[k],)
    return found


# A whole sequence: each program a tile of (rows, units). Those of the same rows exchange states, or the gradients of
# products. What a step needs beside these is read while the others are waited for.


@triton.jit
def _arrive(arrived):
    """Say that what was stored is there: to the other threads of the program, then to the other programs."""
    tl.debug_barrier()
    tl.atomic_add(arrived, 1, sem="release")


@triton.jit
def _wait(arrived, count):
    """Wait until programs have arrived `count` times, and see what they stored."""
    while tl.atomic_add(arrived, 0, sem="acquire") < count:
        pass
    tl.debug_barrier()


@triton.jit
def _multiply(
    u, states, weight, plane, row, unit, there, seen, hidden,
    operand: tl.constexpr, precision: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Add the products of a state to the sums that they are part of."""
    at: tl.constexpr = operand[3]
    state = states + operand[0] * plane + row * hidden
    for first in range(0, hidden, depth):
        along, down = first + tl.arange(0, depth)[None, :], first + tl.arange(0, depth)[:, None]
        past = tl.load(state + along, there & (along < hidden), other=0)
        w = weight + (operand[1] * hidden + unit) * hidden + down
        u = _add_products(u, past, w, hidden, seen & (down < hidden), at, precision)
    return u


@triton.jit
def _add_products(u, past, weight, hidden, within, at: tl.constexpr, precision: tl.constexpr):
    found = ()
    for k in tl.static_range(len(u)):
        total = u[k]
        for gate in tl.static_range(len(at)):
            if at[gate] == k:
                w = tl.load(weight + gate * hidden * hidden, within, other=0)
                total = tl.dot(past, w, total, input_precision=precision, out_dtype=total.dtype)
        found = found + (total,)
    return found


@triton.jit
def _multiply_back(
    d_state, d_products, weight, unit, there, seen, hidden,
    operand: tl.constexpr, precision: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Add, to the gradient of a state, the gradients of its products times their weights."""
    at: tl.constexpr = operand[3]
    total = d_state[operand[0]]
    length = len(at) * hidden
    for first in range(0, length, depth):
        along, down = first + tl.arange(0, depth)[None, :], first + tl.arange(0, depth)[:, None]
        d = tl.load(d_products + operand[2] * hidden + along, there & (along < length), other=0)
        w = tl.load(weight + (operand[1] * hidden + down) * hidden + unit, seen & (down < length), other=0)
        total = tl.dot(d, w, total, input_precision=precision, out_dtype=total.dtype)
    return _replaced(d_state, operand[0], total)


@triton.jit(do_not_specialize=["steps", "batch"])
def _forward(
    x, saved, weight, vectors, states, output, arrived, plane, steps, batch, hidden,
    start: tl.constexpr, point: tl.constexpr, layout: tl.constexpr, width: tl.constexpr, precision: tl.constexpr,
    rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Of each cell: x (T, B, ·H): products of x(t). saved (T, B, width·H), which may be x; width 0: nothing is saved.
    states (·, T + 1, B, H), `plane` apart: the first there, the others to be filled. output (T, B, H), if it is no
    state. arrived: a zero for each block of rows."""
    inputs: tl.constexpr = len(layout.inputs)
    operands: tl.constexpr = len(layout.operands)
    cell = tl.program_id(2).to(tl.int64)
    series = cell * steps * batch * hidden
    x += series * inputs
    saved += series * width
    output += series
    states += cell * plane * layout.states
    weight += cell * len(layout.gates) * hidden * hidden
    vectors += cell * len(layout.vectors) * hidden
    arrived += cell * tl.num_programs(1) + tl.program_id(1)
    row = tl.program_id(1) * rows + tl.arange(0, rows)[:, None]
    unit = tl.program_id(0) * units + tl.arange(0, units)[None, :]
    there, seen = row < batch, unit < hidden
    mask = there & seen
    zero = tl.zeros((rows, units), x.dtype.element_ty)
    state = row * hidden + unit
    before = _read(states + state, plane, mask, layout.states)
    p = _read(vectors + unit, hidden, seen, len(layout.vectors))
    products = _read(x + row * inputs * hidden + unit, hidden, mask, inputs)
    for t in tl.range(0, steps, num_stages=1):
        u = start(products, p, zero)
        for k in tl.static_range(operands):
            u = _multiply(
                u, states, weight, plane, row, unit, there, seen, hidden, layout.operands[k], precision, depth
            )
        before, value, kept = point(products, u, p, before, zero)
        states += batch * hidden
        _write(states + state, plane, mask, before)
        if operands > 0:
            _arrive(arrived)
        if layout.output < 0:
            tl.store(output + state, value[0], mask)
            output += batch * hidden
        if width > 0:
            _write(saved + row * width * hidden + unit, hidden, mask, kept)
            saved += batch * width * hidden
        x += tl.where(t + 1 < steps, batch * inputs * hidden, 0)  # the last reads in vain
        products = _read(x + row * inputs * hidden + unit, hidden, mask, inputs)
        if operands > 0:
            _wait(arrived, (t + 1) * tl.num_programs(0))


@triton.jit(do_not_specialize=["steps", "batch"])
def _backward(
    saved, d_products, weight, vectors, states, output, d_output, d_states, sums, arrived, plane, steps, batch, hidden,
    point: tl.constexpr, layout: tl.constexpr, width: tl.constexpr, precision: tl.constexpr,
    rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Of each cell: saved, d_products (B, ·H), output, d_output, states: at the last step. d_states (·, B, H): of the
    last state, to become that of the first. sums (·, B, H): zeros, to be filled."""
    count: tl.constexpr = layout.gradients
    operands: tl.constexpr = len(layout.operands)
    cell = tl.program_id(2).to(tl.int64)
    series = cell * steps * batch * hidden
    saved += series * width
    d_products += series * count
    d_output += series
    output += series if layout.output < 0 else cell * plane * layout.states
    states += cell * plane * layout.states
    d_states += cell * batch * hidden * layout.states
    sums += cell * batch * hidden * layout.sums
    weight += cell * len(layout.gates) * hidden * hidden
    vectors += cell * len(layout.vectors) * hidden
    arrived += cell * tl.num_programs(1) + tl.program_id(1)
    row = tl.program_id(1) * rows + tl.arange(0, rows)[:, None]
    unit = tl.program_id(0) * units + tl.arange(0, units)[None, :]
    there, seen = row < batch, unit < hidden
    mask = there & seen
    zero = tl.zeros((rows, units), d_output.dtype.element_ty)
    state = row * hidden + unit
    keep, gate = row * width * hidden + unit, row * count * hidden
    p = _read(vectors + unit, hidden, seen, len(layout.vectors))
    d_state = _read(d_states + state, batch * hidden, mask, layout.states)
    after = _read(states + state, plane, mask, layout.states)
    states -= batch * hidden
    before = _read(states + state, plane, mask, layout.states)
    kept = _read(saved + keep, hidden, mask, layout.saved)
    value = tl.load(output + state, mask, other=0)
    of_output = tl.load(d_output + state, mask, other=0)
    for t in tl.range(0, steps, num_stages=1):
        d, d_state, d_vectors = point(p, before, after, value, kept, of_output, d_state, zero)
        _write(d_products + gate + unit, hidden, mask, d)
        if operands > 0:
            _arrive(arrived)
        total = _read(sums + state, batch * hidden, mask, layout.sums)
        _write(sums + state, batch * hidden, mask, _added(total, d_vectors))  # registers are scarcer than this is slow
        a_step = tl.where(t + 1 < steps, batch * hidden, 0)  # the last reads in vain
        saved -= a_step * width
        states -= a_step
        output -= a_step
        d_output -= a_step
        kept = _read(saved + keep, hidden, mask, layout.saved)
        after = before
        before = _read(states + state, plane, mask, layout.states)
        value = tl.load(output + state, mask, other=0)
        of_output = tl.load(d_output + state, mask, other=0)
        if operands > 0:
            _wait(arrived, (t + 1) * tl.num_programs(0))
        for k in tl.static_range(operands):
            d_state = _multiply_back(
                d_state, d_products + gate, weight, unit, there, seen, hidden, layout.operands[k], precision, depth
            )
        d_products -= batch * count * hidden
    _write(d_states + state, batch * hidden, mask, d_state)


# One step: each program a row and `block` units.


@triton.jit
def _add_to_sums(u, products, operand: tl.constexpr):
    at: tl.constexpr = operand[3]
    for i in tl.static_range(len(at)):
        u = _replaced(u, at[i], u[at[i]] + products[operand[1] + i])
    return u


@triton.jit(do_not_specialize=["batch"])
def _forward_step(
    x, products, saved, vectors, states, output, plane, batch, hidden,
    start: tl.constexpr, point: tl.constexpr, layout: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """x, products, saved (B, ·H). states: at t−1, to be filled at t."""
    inputs: tl.constexpr = len(layout.inputs)
    gates: tl.constexpr = len(layout.gates)
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    zero = tl.zeros((block,), x.dtype.element_ty)
    state = states + row * hidden + unit
    before = _read(state, plane, mask, layout.states)
    p = _read(vectors + unit, hidden, mask, len(layout.vectors))
    of_x = _read(x + row * inputs * hidden + unit, hidden, mask, inputs)
    u = start(of_x, p, zero)
    of_states = _read(products + row * gates * hidden + unit, hidden, mask, gates)
    for k in tl.static_range(len(layout.operands)):
        u = _add_to_sums(u, of_states, layout.operands[k])
    after, value, kept = point(of_x, u, p, before, zero)
    _write(state + batch * hidden, plane, mask, after)
    if layout.output < 0:
        tl.store(output + row * hidden + unit, value[0], mask)
    if width > 0:
        _write(saved + row * width * hidden + unit, hidden, mask, kept)


@triton.jit(do_not_specialize=["batch"])
def _backward_step(
    saved, d_products, vectors, states, output, d_output, d_states, sums, plane, batch, hidden,
    point: tl.constexpr, layout: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """saved, d_products (B, ·H), output, d_output: at t. states: at t−1. d_states (·, B, H): of the states at t, to
    become that of those at t−1 past products. sums (·, B, H): of the steps after."""
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    zero = tl.zeros((block,), d_output.dtype.element_ty)
    at = row * hidden + unit
    before = _read(states + at, plane, mask, layout.states)
    after = _read(states + batch * hidden + at, plane, mask, layout.states)
    p = _read(vectors + unit, hidden, mask, len(layout.vectors))
    kept = _read(saved + row * width * hidden + unit, hidden, mask, layout.saved)
    d_state = _read(d_states + at, batch * hidden, mask, layout.states)
    value = tl.load(output + at, mask, other=0)
    of_output = tl.load(d_output + at, mask, other=0)
    d, d_state, d_vectors = point(p, before, after, value, kept, of_output, d_state, zero)
    _write(d_products + row * layout.gradients * hidden + unit, hidden, mask, d)
    _write(d_states + at, batch * hidden, mask, d_state)
    total = _read(sums + at, batch * hidden, mask, layout.sums)
    _write(sums + at, batch * hidden, mask, _added(total, d_vectors))


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
            _launch(_forward, of_each, (plane, steps, batch, hidden), functions, tiles)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            products = x.new_empty(batch, len(layout.gates) * hidden)
            for cell, t in itertools.product(range(cells), range(steps)):
                for state, gate, _, at in layout.operands:
                    rows = slice(gate * hidden, (gate + len(at)) * hidden)
                    torch.mm(states[cell, state, t], of_states[cell, rows].T, out=products[:, rows])
                now = (x[cell, t], products, saved[cell, t], vectors[cell], states[cell, :, t], output[cell, t])
                _forward_step[grid](*now, plane, batch, hidden, **functions, block=BLOCK, **FUSED)
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
            _launch(_backward, of_each, (plane, steps, batch, hidden), functions, ctx.tiles)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            for cell, t in itertools.product(range(cells), reversed(range(steps))):
                now = (saved[cell, t], d_products[cell, t], vectors[cell], states[cell, :, t], output[cell, t])
                gradients = (d_output[cell, t], d_states[cell], sums[cell])
                _backward_step[grid](*now, *gradients, plane, batch, hidden, **functions, block=BLOCK, **FUSED)
                for state, gate, gradient, at in layout.operands:
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
