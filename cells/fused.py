"""LSTMs with peepholes, or without some of their parts, for GPUs, written in Triton. Python over `step` launches some
fifteen kernels a time step, and torch.nn has no such cell.

Up to `LARGEST` hidden units a whole sequence is one kernel: a program takes some rows of the batch through time, reads
the weights anew at every step, from the cache, and waits for nobody. Beyond, the matrix product of a step is large
enough to be spread over the GPU: it is torch's, with one point-wise kernel a step. Backpropagation through time is
written out in both.

Products of float32 are made of three of TensorFloat-32 (`PRECISION`), which lose a few last digits at most. Triton's
interpreter (`TRITON_INTERPRET=1`) runs the same kernels on a CPU, which is how they are tested without a GPU."""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from cells.lstm import LSTMParts

LARGEST = 512  # hidden units in a kernel over whole sequences
ROWS, UNITS, DEPTH, WARPS = 16, 64, 32, 4  # of the tiles in such a kernel
BLOCK = 128  # hidden units a program of a kernel over one step
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
def _advance(i, f, g, o, gate, peephole, c_before, c, h, hidden, mask, seen, parts: tl.constexpr):
    """A tile of units, one step on: from the gates before their nonlinearities to their values, c(t) and h(t)."""
    at_f, at_g, at_o, _ = _places(parts)
    before = tl.load(c_before, mask, other=0)
    after = before
    if INPUT_GATE & parts:
        if PEEPHOLES & parts:
            i += tl.load(peephole, seen, other=0) * before
        i = tl.sigmoid(i)
        tl.store(gate, i, mask)
        if COUPLED & parts:
            after = (1 - i) * before
    if FORGET_GATE & parts:
        if PEEPHOLES & parts:
            f += tl.load(peephole + at_f * hidden, seen, other=0) * before
        f = tl.sigmoid(f)
        tl.store(gate + at_f * hidden, f, mask)
        after = f * before
    if INPUT_TANH & parts:
        g = _tanh(g)
    tl.store(gate + at_g * hidden, g, mask)
    after += i * g if INPUT_GATE & parts else g
    y = _tanh(after) if OUTPUT_TANH & parts else after
    if OUTPUT_GATE & parts:
        if PEEPHOLES & parts:
            o += tl.load(peephole + at_g * hidden, seen, other=0) * after
        o = tl.sigmoid(o)
        tl.store(gate + at_o * hidden, o, mask)
        y = o * y
    tl.store(c, after, mask)
    tl.store(h, y, mask)


@triton.jit
def _retreat(gate, d_gate, peephole, c_before, c, dh, d_output, dc, hidden, mask, seen, parts: tl.constexpr):
    """A tile of units, one step back. dh: of h(t), through the later steps; d_output: of the output at t; dc: of c(t),
    to be replaced by that of c(t−1)."""
    at_f, at_g, at_o, _ = _places(parts)
    i, f, g, o = _read(gate, hidden, mask, parts)
    before = tl.load(c_before, mask, other=0)
    after = tl.load(c, mask, other=0)
    of_h = tl.load(dh, mask, other=0) + tl.load(d_output, mask, other=0)
    of_c = tl.load(dc, mask, other=0)
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
    tl.store(dc, of_before, mask)


# A whole sequence: program by program, tiles of (rows, units). Between what one tile writes and another reads stands a
# barrier, which within a program is all that is needed.


@triton.jit
def _forward(
    gates, weight, peephole, h, c, steps, batch, hidden,
    parts: tl.constexpr, precision: tl.constexpr, rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """gates (T, B, ·H): before their nonlinearities and without the recurrent share, to become the gates' values.
    h, c (T + 1, B, H): the first there, the others to be filled."""
    at_f, at_g, at_o, count = _places(parts)
    kind: tl.constexpr = gates.dtype.element_ty
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    for _ in range(steps):
        for first in range(0, hidden, units):
            unit = first + tl.arange(0, units)[None, :]
            seen = unit < hidden
            mask = (row < batch) & seen
            gate, state = gates + row * count * hidden + unit, row * hidden + unit
            i, f, g, o = _read(gate, hidden, mask, parts)
            for other in range(0, hidden, depth):
                along, down = other + tl.arange(0, depth)[None, :], other + tl.arange(0, depth)[:, None]
                before = tl.load(h + row * hidden + along, (row < batch) & (along < hidden), other=0)
                w, within = weight + unit * hidden + down, seen & (down < hidden)
                if INPUT_GATE & parts:
                    i = tl.dot(before, tl.load(w, within, other=0), i, input_precision=precision, out_dtype=kind)
                if FORGET_GATE & parts:
                    of_f = tl.load(w + at_f * hidden * hidden, within, other=0)
                    f = tl.dot(before, of_f, f, input_precision=precision, out_dtype=kind)
                g = tl.dot(
                    before,
                    tl.load(w + at_g * hidden * hidden, within, other=0),
                    g,
                    input_precision=precision,
                    out_dtype=kind,
                )
                if OUTPUT_GATE & parts:
                    of_o = tl.load(w + at_o * hidden * hidden, within, other=0)
                    o = tl.dot(before, of_o, o, input_precision=precision, out_dtype=kind)
            after_h, after_c = h + batch * hidden + state, c + batch * hidden + state
            _advance(i, f, g, o, gate, peephole + unit, c + state, after_c, after_h, hidden, mask, seen, parts)
        gates += batch * count * hidden
        h += batch * hidden
        c += batch * hidden
        tl.debug_barrier()


@triton.jit
def _backward(
    gates, d_gates, weight, peephole, c, dh, d_outputs, dc, steps, batch, hidden,
    parts: tl.constexpr, precision: tl.constexpr, rows: tl.constexpr, units: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """gates, d_gates, c, d_outputs: at the last step. dh, dc (B, H): of the last state, to become that of the first."""
    _, _, _, count = _places(parts)
    kind: tl.constexpr = gates.dtype.element_ty
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    for _ in range(steps):
        for first in range(0, hidden, units):
            unit = first + tl.arange(0, units)[None, :]
            seen = unit < hidden
            mask = (row < batch) & seen
            gate, state = row * count * hidden + unit, row * hidden + unit
            before = c - batch * hidden + state
            at_state = (before, c + state, dh + state, d_outputs + state, dc + state)
            _retreat(gates + gate, d_gates + gate, peephole + unit, *at_state, hidden, mask, seen, parts)
        tl.debug_barrier()
        for first in range(0, hidden, units):
            unit = first + tl.arange(0, units)[None, :]
            of_h = tl.zeros((rows, units), kind)
            for other in range(0, count * hidden, depth):
                along, down = other + tl.arange(0, depth)[None, :], other + tl.arange(0, depth)[:, None]
                there = (row < batch) & (along < count * hidden)
                d_gate = tl.load(d_gates + row * count * hidden + along, there, other=0)
                w = tl.load(weight + down * hidden + unit, (unit < hidden) & (down < count * hidden), other=0)
                of_h = tl.dot(d_gate, w, of_h, input_precision=precision, out_dtype=kind)
            tl.store(dh + row * hidden + unit, of_h, (row < batch) & (unit < hidden))
        gates -= batch * count * hidden
        d_gates -= batch * count * hidden
        c -= batch * hidden
        d_outputs -= batch * hidden
        tl.debug_barrier()


# One step: a program for a row and `block` units.


@triton.jit
def _forward_step(gates, peephole, c_before, h, c, hidden, parts: tl.constexpr, block: tl.constexpr):
    _, _, _, count = _places(parts)
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    gate, state = gates + row * count * hidden + unit, row * hidden + unit
    i, f, g, o = _read(gate, hidden, mask, parts)
    states = (c_before + state, c + state, h + state)
    _advance(i, f, g, o, gate, peephole + unit, *states, hidden, mask, mask, parts)


@triton.jit
def _backward_step(
    gates, d_gates, peephole, c_before, c, dh, d_output, dc, hidden, parts: tl.constexpr, block: tl.constexpr
):
    _, _, _, count = _places(parts)
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    gate, state = row * count * hidden + unit, row * hidden + unit
    states = (c_before + state, c + state, dh + state, d_output + state, dc + state)
    _retreat(gates + gate, d_gates + gate, peephole + unit, *states, hidden, mask, mask, parts)


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
        if hidden <= LARGEST:
            sizes = (steps, batch, hidden, parts.bits, PRECISION[h.dtype], ROWS, UNITS, DEPTH)
            _forward[(triton.cdiv(batch, ROWS),)](gates, weight_hh, peephole, h, c, *sizes, num_warps=WARPS)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            for t in range(steps):
                gates[t].addmm_(h[t], weight_hh.T)
                _forward_step[grid](gates[t], peephole, c[t], h[t + 1], c[t + 1], hidden, parts.bits, BLOCK)
        ctx.save_for_backward(inputs, weight_ih, weight_hh, peephole, gates, h, c)
        ctx.parts = parts
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
        if hidden <= LARGEST:
            last = (gates[-1], d_gates[-1], weight_hh, peephole, c[-1], dh, d_outputs[-1], dc)
            sizes = (steps, batch, hidden, parts.bits, PRECISION[h.dtype], ROWS, UNITS, DEPTH)
            _backward[(triton.cdiv(batch, ROWS),)](*last, *sizes, num_warps=WARPS)
        else:
            grid = (batch, triton.cdiv(hidden, BLOCK))
            for t in reversed(range(steps)):
                state = (c[t], c[t + 1], dh, d_outputs[t], dc)
                _backward_step[grid](gates[t], d_gates[t], peephole, *state, hidden, parts.bits, BLOCK)
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
