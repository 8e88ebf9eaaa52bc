"""LSTMs with peepholes, or without some of their parts, for GPUs, written in Triton. Python over `step` launches some
fifteen kernels a time step, and torch.nn has no such cell.

A whole sequence is one kernel. Its programs share out the units and the rows of the batch, and meet after every step,
for each needs what the others computed; so all of them must run at once, and where they are too many for the GPU, a
step is a matrix product of torch's and one point-wise kernel. Backpropagation through time is written out in both.

Products of float32 are made of three of TensorFloat-32 (`PRECISION`), which lose a few last digits at most. Triton's
interpreter (`TRITON_INTERPRET=1`) runs the same kernels on a CPU, which is how they are tested without a GPU."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from cells.lstm_parts import LSTMParts


class _Tiles(NamedTuple):
    """How a kernel over whole sequences is shared out: each program has some rows of the batch and some units, and
    multiplies `depth` units at a time, as much as fits into registers and into the shared memory of most GPUs."""

    rows: int
    depth: int
    warps: int
    units: int = 32


TILES = _Tiles(16, 64, 4), _Tiles(32, 32, 8), _Tiles(64, 32, 8)  # the first that makes few enough programs is taken
BLOCK = 128  # hidden units a program of a kernel over one step
FUSED = {"enable_fp_fusion": True}  # a·b + c rounded once, whatever Triton's default
PRECISION = {torch.float32: "tf32x3", torch.float64: "ieee"}

# The bits of `LSTMParts`.
INPUT_GATE, FORGET_GATE, OUTPUT_GATE, COUPLED, INPUT_TANH, OUTPUT_TANH, PEEPHOLES = (
    tl.constexpr(1 << bit) for bit in range(7)
)


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _places(parts: tl.constexpr):
    """Where f, g and o stand among the gates that there are, in the order i, f, g, o, and how many there are."""
    at_f: tl.constexpr = 1 if INPUT_GATE & parts else 0
    at_g: tl.constexpr = at_f + (1 if FORGET_GATE & parts else 0)
    return at_f, at_g, at_g + 1, at_g + (2 if OUTPUT_GATE & parts else 1)


@triton.jit
def _read(gate, hidden, mask, parts: tl.constexpr):
    """The values of all gates; in the place of a missing one, any."""
    at_f, at_g, at_o, _ = _places(parts)
    g = tl.load(gate + at_g * hidden, mask, other=0)
    i = tl.load(gate, mask, other=0) if INPUT_GATE & parts else g
    f = tl.load(gate + at_f * hidden, mask, other=0) if FORGET_GATE & parts else g
    o = tl.load(gate + at_o * hidden, mask, other=0) if OUTPUT_GATE & parts else g
    return i, f, g, o


@triton.jit
def _open(sums, peephole, state, value, mask, seen, parts: tl.constexpr):
    """A gate's value, stored there too, from its weighted sums and the cell state that it sees."""
    if PEEPHOLES & parts:
        sums += tl.load(peephole, seen, other=0) * state
    opened = tl.sigmoid(sums)
    tl.store(value, opened, mask)
    return opened


@triton.jit
def _advance(i, f, g, o, before, gate, peephole, c, h, hidden, mask, seen, parts: tl.constexpr):
    """A tile of units, one step on: from the gates before their nonlinearities and c(t−1) to the gates' values, h(t)
    and c(t), which is returned."""
    at_f, at_g, at_o, _ = _places(parts)
    after = before
    if INPUT_GATE & parts:
        i = _open(i, peephole, before, gate, mask, seen, parts)
        if COUPLED & parts:
            after = (1 - i) * before
    if FORGET_GATE & parts:
        f = _open(f, peephole + at_f * hidden, before, gate + at_f * hidden, mask, seen, parts)
        after = f * before
    if INPUT_TANH & parts:
        g = _tanh(g)
    tl.store(gate + at_g * hidden, g, mask)
    after += i * g if INPUT_GATE & parts else g
    y = _tanh(after) if OUTPUT_TANH & parts else after
    if OUTPUT_GATE & parts:
        y *= _open(o, peephole + at_g * hidden, after, gate + at_o * hidden, mask, seen, parts)
    tl.store(c, after, mask)
    tl.store(h, y, mask)
    return after


@triton.jit
def _retreat(i, f, g, o, before, after, of_h, of_c, d_gate, peephole, hidden, mask, seen, parts: tl.constexpr):
    """A tile of units, one step back: from the gates' values, c(t−1), c(t) and the gradients of h(t) and c(t) to those
    of the gates and of c(t−1), which is returned."""
    at_f, at_g, at_o, _ = _places(parts)
    y = _tanh(after) if OUTPUT_TANH & parts else after
    if OUTPUT_GATE & parts:
        d_o = of_h * y * o * (1 - o)
        tl.store(d_gate + at_o * hidden, d_o, mask)
        if PEEPHOLES & parts:
            of_c += d_o * tl.load(peephole + at_g * hidden, seen, other=0)
        of_h *= o
    of_c += of_h * (1 - y * y) if OUTPUT_TANH & parts else of_h
    d_g = of_c * i if INPUT_GATE & parts else of_c
    if INPUT_TANH & parts:
        d_g *= 1 - g * g
    tl.store(d_gate + at_g * hidden, d_g, mask)
    of_before = of_c
    if FORGET_GATE & parts:
        d_f = of_c * before * f * (1 - f)
        tl.store(d_gate + at_f * hidden, d_f, mask)
        of_before = of_c * f
        if PEEPHOLES & parts:
            of_before += d_f * tl.load(peephole + at_f * hidden, seen, other=0)
    if INPUT_GATE & parts:
        d_i = of_c * g
        if COUPLED & parts:
            of_before = of_c * (1 - i)
            d_i -= of_c * before
        d_i *= i * (1 - i)
        tl.store(d_gate, d_i, mask)
        if PEEPHOLES & parts:
            of_before += d_i * tl.load(peephole, seen, other=0)
    return of_before


# A whole sequence: each program a tile of (rows, units). Those of the same rows exchange h, or the gates' gradients.
# What a step needs beside these is read while the others are waited for.


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
def _forward(
    gates, weight, peephole, h, c, arrived, steps, batch, hidden,
    parts: tl.constexpr, precision: tl.constexpr, rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """gates (T, B, ·H): before their nonlinearities and without the recurrent share, to become the gates' values.
    h, c (T + 1, B, H): the first there, the others to be filled. arrived: a zero for each block of rows."""
    at_f, at_g, at_o, count = _places(parts)
    row = tl.program_id(1) * rows + tl.arange(0, rows)[:, None]
    unit = tl.program_id(0) * units + tl.arange(0, units)[None, :]
    there, seen = row < batch, unit < hidden
    mask = there & seen
    gate, state = row * count * hidden + unit, row * hidden + unit
    before = tl.load(c + state, mask, other=0)
    i, f, g, o = _read(gates + gate, hidden, mask, parts)
    for t in tl.range(0, steps, num_stages=1):
        for first in range(0, hidden, depth):
            along, down = first + tl.arange(0, depth)[None, :], first + tl.arange(0, depth)[:, None]
            past = tl.load(h + row * hidden + along, there & (along < hidden), other=0)
            w, within = weight + unit * hidden + down, seen & (down < hidden)
            if INPUT_GATE & parts:
                i = tl.dot(past, tl.load(w, within, other=0), i, input_precision=precision, out_dtype=i.dtype)
            if FORGET_GATE & parts:
                of_f = tl.load(w + at_f * hidden * hidden, within, other=0)
                f = tl.dot(past, of_f, f, input_precision=precision, out_dtype=f.dtype)
            of_g = tl.load(w + at_g * hidden * hidden, within, other=0)
            g = tl.dot(past, of_g, g, input_precision=precision, out_dtype=g.dtype)
            if OUTPUT_GATE & parts:
                of_o = tl.load(w + at_o * hidden * hidden, within, other=0)
                o = tl.dot(past, of_o, o, input_precision=precision, out_dtype=o.dtype)
        h += batch * hidden
        c += batch * hidden
        before = _advance(
            i, f, g, o, before, gates + gate, peephole + unit, c + state, h + state, hidden, mask, seen, parts
        )
        _arrive(arrived + tl.program_id(1))
        gates += tl.where(t + 1 < steps, batch * count * hidden, 0)  # the last reads in vain
        i, f, g, o = _read(gates + gate, hidden, mask, parts)
        _wait(arrived + tl.program_id(1), (t + 1) * tl.num_programs(0))


@triton.jit
def _backward(
    gates, d_gates, weight, peephole, c, dh, d_outputs, dc, arrived, steps, batch, hidden,
    parts: tl.constexpr, precision: tl.constexpr, rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """gates, d_gates, c, d_outputs: at the last step. dh, dc (B, H): of the last state, to become that of the first."""
    _, _, _, count = _places(parts)
    row = tl.program_id(1) * rows + tl.arange(0, rows)[:, None]
    unit = tl.program_id(0) * units + tl.arange(0, units)[None, :]
    there, seen = row < batch, unit < hidden
    mask = there & seen
    gate, state = row * count * hidden + unit, row * hidden + unit
    of_h, of_c = tl.load(dh + state, mask, other=0), tl.load(dc + state, mask, other=0)
    after = tl.load(c + state, mask, other=0)
    i, f, g, o = _read(gates + gate, hidden, mask, parts)
    before = tl.load(c - batch * hidden + state, mask, other=0)
    of_output = tl.load(d_outputs + state, mask, other=0)
    for t in tl.range(0, steps, num_stages=1):
        of_h += of_output
        of_c = _retreat(
            i, f, g, o, before, after, of_h, of_c, d_gates + gate, peephole + unit, hidden, mask, seen, parts
        )
        _arrive(arrived + tl.program_id(1))
        a_step = tl.where(t + 1 < steps, batch * hidden, 0)  # the last reads in vain
        gates -= a_step * count
        c -= a_step
        d_outputs -= a_step
        i, f, g, o = _read(gates + gate, hidden, mask, parts)
        after, before = before, tl.load(c - batch * hidden + state, mask, other=0)
        of_output = tl.load(d_outputs + state, mask, other=0)
        _wait(arrived + tl.program_id(1), (t + 1) * tl.num_programs(0))
        of_h = tl.zeros((rows, units), of_h.dtype)
        for first in range(0, count * hidden, depth):
            along, down = first + tl.arange(0, depth)[None, :], first + tl.arange(0, depth)[:, None]
            d_gate = tl.load(d_gates + row * count * hidden + along, there & (along < count * hidden), other=0)
            w = tl.load(weight + down * hidden + unit, seen & (down < count * hidden), other=0)
            of_h = tl.dot(d_gate, w, of_h, input_precision=precision, out_dtype=of_h.dtype)
        d_gates -= batch * count * hidden
    tl.store(dh + state, of_h, mask)
    tl.store(dc + state, of_c, mask)


# One step: each program a row and `block` units.


@triton.jit
def _forward_step(gates, peephole, c_before, h, c, hidden, parts: tl.constexpr, block: tl.constexpr):
    _, _, _, count = _places(parts)
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    gate, state = gates + row * count * hidden + unit, row * hidden + unit
    i, f, g, o = _read(gate, hidden, mask, parts)
    before = tl.load(c_before + state, mask, other=0)
    _advance(i, f, g, o, before, gate, peephole + unit, c + state, h + state, hidden, mask, mask, parts)


@triton.jit
def _backward_step(
    gates, d_gates, peephole, c_before, c, dh, d_output, dc, hidden, parts: tl.constexpr, block: tl.constexpr
):
    _, _, _, count = _places(parts)
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    gate, state = row * count * hidden + unit, row * hidden + unit
    i, f, g, o = _read(gates + gate, hidden, mask, parts)
    before, after = tl.load(c_before + state, mask, other=0), tl.load(c + state, mask, other=0)
    of_h = tl.load(dh + state, mask, other=0) + tl.load(d_output + state, mask, other=0)
    of_c = tl.load(dc + state, mask, other=0)
    of_before = _retreat(
        i, f, g, o, before, after, of_h, of_c, d_gates + gate, peephole + unit, hidden, mask, mask, parts
    )
    tl.store(dc + state, of_before, mask)


def _tiles(batch: int, hidden: int, like: Tensor) -> _Tiles | None:
    """Choose tiles of so few programs that all run at once; None if there are none."""
    if not like.is_cuda:  # the interpreter runs one program after another: none may wait for another
        return TILES[0]._replace(units=max(32, triton.next_power_of_2(hidden)))
    at_once = torch.cuda.get_device_properties(like.device).multi_processor_count
    return next((tiles for tiles in TILES if math.prod(_programs(tiles, batch, hidden)) <= at_once), None)


def _programs(tiles: _Tiles, batch: int, hidden: int) -> tuple[int, int]:
    return triton.cdiv(hidden, tiles.units), triton.cdiv(batch, tiles.rows)


def _launch(kernel: Any, tensors: tuple[Tensor, ...], sizes: tuple[int, int, int], bits: int, tiles: _Tiles) -> None:
    """Run a kernel over a whole sequence; the driver refuses programs that cannot all run at once."""
    programs, like = _programs(tiles, *sizes[1:]), tensors[0]
    arrived = torch.zeros(programs[1], dtype=torch.int32, device=like.device)
    cooperative = {"launch_cooperative_grid": True} if like.is_cuda else {}
    constants = _constants(bits, tiles, like.dtype)
    kernel[programs](*tensors, arrived, *sizes, **constants, num_warps=tiles.warps, **FUSED, **cooperative)


def _constants(bits: int, tiles: _Tiles, dtype: torch.dtype) -> dict[str, Any]:
    """Return what a kernel over whole sequences is compiled for."""
    depth = tiles.depth if dtype == torch.float32 else 32  # the same bytes, or fewer
    shape = {"rows": tiles.rows, "units": tiles.units, "depth": depth}
    return {"parts": bits, "precision": PRECISION[dtype], **shape}


class LSTMRecurrence(torch.autograd.Function):
    """inputs (T, B, I), weight_ih, weight_hh, bias (·H), peephole (a block less) or None, h, c (B, H) and `LSTMParts` →
    outputs (T, B, H) and the last h and c."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        weight_ih, weight_hh, bias, peephole, h_first, c_first, parts = rest
        steps, batch, hidden = len(inputs), inputs.shape[1], weight_hh.shape[1]
        weight_hh, peephole = weight_hh.contiguous(), bias if peephole is None else peephole  # which is not read then
        gates = F.linear(inputs, weight_ih, bias)
        h, c = (inputs.new_empty(steps + 1, batch, hidden) for _ in range(2))
        h[0], c[0] = h_first, c_first
        tiles = _tiles(batch, hidden, h)
        if tiles:
            _launch(_forward, (gates, weight_hh, peephole, h, c), (steps, batch, hidden), parts.bits, tiles)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            for t in range(steps):
                gates[t].addmm_(h[t], weight_hh.T)
                _forward_step[grid](gates[t], peephole, c[t], h[t + 1], c[t + 1], hidden, parts.bits, BLOCK, **FUSED)
        ctx.save_for_backward(inputs, weight_ih, weight_hh, peephole, gates, h, c)
        ctx.parts, ctx.tiles = parts, tiles
        return h[1:], h[-1].clone(), c[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, dh_last: Tensor, dc_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("triton kernels have no second derivative (create_graph=True): use backend=loop")
        inputs, weight_ih, weight_hh, peephole, gates, h, c = ctx.saved_tensors
        parts, steps, batch, hidden = ctx.parts, len(inputs), inputs.shape[1], weight_hh.shape[1]
        d_outputs = d_outputs.contiguous()
        dh, dc = (d_last.clone(memory_format=torch.contiguous_format) for d_last in (dh_last, dc_last))
        d_gates = torch.empty_like(gates)
        if ctx.tiles:
            last = (gates[-1], d_gates[-1], weight_hh, peephole, c[-1], dh, d_outputs[-1], dc)
            _launch(_backward, last, (steps, batch, hidden), parts.bits, ctx.tiles)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            for t in reversed(range(steps)):
                state = (c[t], c[t + 1], dh, d_outputs[t], dc)
                _backward_step[grid](gates[t], d_gates[t], peephole, *state, hidden, parts.bits, BLOCK, **FUSED)
                torch.mm(d_gates[t], weight_hh, out=dh)
        flat = d_gates.flatten(0, 1)
        return (
            d_gates @ weight_ih if ctx.needs_input_grad[0] else None,
            flat.T @ inputs.flatten(0, 1),
            flat.T @ h[:-1].flatten(0, 1),
            flat.sum(0),
            _of_peepholes(d_gates, c, parts) if parts.peepholes else None,
            dh,
            dc,
            None,
        )


def _of_peepholes(d_gates: Tensor, c: Tensor, parts: LSTMParts) -> Tensor:
    """Sum, over time and batch, each gate's gradient times the cell state that it saw."""
    seen = ((parts.input_gate, c[:-1]), (parts.forget_gate, c[:-1]), (True, None), (parts.output_gate, c[1:]))
    gates = zip(d_gates.chunk(parts.gates, dim=-1), (state for there, state in seen if there), strict=True)
    return torch.cat([torch.einsum("tbh,tbh->h", gate, state) for gate, state in gates if state is not None])
