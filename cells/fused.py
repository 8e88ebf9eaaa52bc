"""Kernels for GPUs, in Triton: over a whole sequence, and over one step; `cells.gpu` launches them.

The programs of a kernel over a sequence share out the units and the rows of the batch, also of several cells with the
same equations. Those of a cell meet after every step, for each needs what the others computed. What a step computes
besides products is generated (cells/compiler/emit_triton.py): for a tile of rows and units,

    start(x, p, zero)                        → what the sums of products of states start from
    forward(x, u, p, before, zero)           → states at t, output, what is saved
    backward(p, before, after, output, saved, d_output, d_state, zero)
                                             → gradients of products, of states at t−1 past products, of parameters

with tuples of tiles: x products of x(t), with their `biases`; u those sums; p parameters a unit, without rows; before,
after the states at t−1 and t; zero a tile of zeros. A `Layout` says what is in them.

Triton's interpreter (`TRITON_INTERPRET=1`) runs the same kernels on a CPU, which is how they are tested without a
GPU."""

from typing import NamedTuple

import triton
import triton.language as tl

Blocks = tuple[tuple[int, int], ...]  # H rows of a matrix, or H elements of a vector: which tensor, which block of it


class Layout(NamedTuple):
    """What the functions of a cell are given and give.

    Attributes:
        inputs, gates: the weights of x(t) and of states, in the order in which their products' gradients lie.
        biases: which vector is added to each product of x(t) already, −1 if none.
        vectors: the parameters a unit.
        operands: of each state that is multiplied its index, its first gate, the first gradient of its products, and
            to which of the sums each product is added.
        uncut: how many operands, the first ones, have gradients from their products; of others only the weights do.
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
    uncut: int
    states: int
    output: int
    saved: int
    gradients: int
    input_gradient: int
    sums: int
    of_vectors: tuple[int, ...]


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
def forward_sequence(
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
def backward_sequence(
    saved, d_products, weight, vectors, states, output, d_output, d_states, sums, arrived, plane, steps, batch, hidden,
    point: tl.constexpr, layout: tl.constexpr, width: tl.constexpr, precision: tl.constexpr,
    rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Of each cell: saved, d_products (B, ·H), output, d_output, states: at the last step. d_states (·, B, H): of the
    last state, to become that of the first. sums (·, B, H): zeros, to be filled."""
    count: tl.constexpr = layout.gradients
    operands: tl.constexpr = layout.uncut
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
def forward_step(
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
def backward_step(
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
