"""The peephole LSTM for GPUs: a matrix product and one fused point-wise kernel a time step, written in Triton, with
backpropagation through time written out. Python over `step` launches some fifteen kernels a time step instead.

Triton's interpreter (`TRITON_INTERPRET=1`) runs the same kernels on a CPU, which is how they are tested."""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128  # hidden units a program


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _forward_step(gates, peephole, c_before, h, c, hidden, block: tl.constexpr):
    """One row and `block` units: gates (B, 4H) before their nonlinearities are replaced by their values."""
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    gate, state = gates + row * 4 * hidden + unit, row * hidden + unit
    p_i = tl.load(peephole + unit, mask)
    p_f = tl.load(peephole + hidden + unit, mask)
    p_o = tl.load(peephole + 2 * hidden + unit, mask)
    before = tl.load(c_before + state, mask)
    i = tl.sigmoid(tl.load(gate, mask) + p_i * before)
    f = tl.sigmoid(tl.load(gate + hidden, mask) + p_f * before)
    g = _tanh(tl.load(gate + 2 * hidden, mask))
    after = f * before + i * g
    o = tl.sigmoid(tl.load(gate + 3 * hidden, mask) + p_o * after)
    tl.store(gate, i, mask)
    tl.store(gate + hidden, f, mask)
    tl.store(gate + 2 * hidden, g, mask)
    tl.store(gate + 3 * hidden, o, mask)
    tl.store(c + state, after, mask)
    tl.store(h + state, o * _tanh(after), mask)


@triton.jit
def _backward_step(gates, peephole, c_before, c, dh, d_output, dc, d_gates, hidden, block: tl.constexpr):
    """One row and `block` units. dh: of h(t), through the later steps; d_output: of the output at t; dc: of c(t), to be
    replaced by that of c(t−1)."""
    row, unit = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    mask = unit < hidden
    gate, state = row * 4 * hidden + unit, row * hidden + unit
    p_i = tl.load(peephole + unit, mask)
    p_f = tl.load(peephole + hidden + unit, mask)
    p_o = tl.load(peephole + 2 * hidden + unit, mask)
    i = tl.load(gates + gate, mask)
    f = tl.load(gates + gate + hidden, mask)
    g = tl.load(gates + gate + 2 * hidden, mask)
    o = tl.load(gates + gate + 3 * hidden, mask)
    before = tl.load(c_before + state, mask)
    tanh_c = _tanh(tl.load(c + state, mask))
    of_h = tl.load(dh + state, mask) + tl.load(d_output + state, mask)
    d_o = of_h * tanh_c * o * (1 - o)
    of_c = tl.load(dc + state, mask) + of_h * o * (1 - tanh_c * tanh_c) + d_o * p_o
    d_i = of_c * g * i * (1 - i)
    d_f = of_c * before * f * (1 - f)
    tl.store(d_gates + gate, d_i, mask)
    tl.store(d_gates + gate + hidden, d_f, mask)
    tl.store(d_gates + gate + 2 * hidden, of_c * i * (1 - g * g), mask)
    tl.store(d_gates + gate + 3 * hidden, d_o, mask)
    tl.store(dc + state, of_c * f + d_i * p_i + d_f * p_f, mask)


class PeepholeRecurrence(torch.autograd.Function):
    """inputs (T, B, I), weight_ih, weight_hh, bias (4H), peephole (3H), h, c (B, H) → outputs (T, B, H) and the last
    h and c."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs, weight_ih, weight_hh, bias, peephole, h_first, c_first = tensors
        steps, batch, hidden = len(inputs), inputs.shape[1], weight_hh.shape[1]
        gates = F.linear(inputs, weight_ih, bias)  # becomes the gates' values, step by step
        h, c = (inputs.new_empty(steps + 1, batch, hidden) for _ in range(2))
        h[0], c[0] = h_first, c_first
        grid = (batch, triton.cdiv(hidden, BLOCK))
        for t in range(steps):
            gates[t].addmm_(h[t], weight_hh.T)
            _forward_step[grid](gates[t], peephole, c[t], h[t + 1], c[t + 1], hidden, BLOCK)
        ctx.save_for_backward(inputs, weight_ih, weight_hh, peephole, gates, h, c)
        return h[1:], h[-1].clone(), c[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, dh_last: Tensor, dc_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("triton kernels have no second derivative (create_graph=True): use backend=loop")
        inputs, weight_ih, weight_hh, peephole, gates, h, c = ctx.saved_tensors
        steps, batch, hidden = len(inputs), inputs.shape[1], weight_hh.shape[1]
        d_outputs, dh, dc = d_outputs.contiguous(), dh_last.clone(), dc_last.clone()
        d_gates = torch.empty_like(gates)
        grid = (batch, triton.cdiv(hidden, BLOCK))
        for t in reversed(range(steps)):
            state = (c[t], c[t + 1], dh, d_outputs[t], dc)
            _backward_step[grid](gates[t], peephole, *state, d_gates[t], hidden, BLOCK)
            torch.mm(d_gates[t], weight_hh, out=dh)
        flat = d_gates.flatten(0, 1)
        d_i, d_f, _, d_o = d_gates.chunk(4, dim=-1)
        d_peephole = torch.cat([(d * state).sum((0, 1)) for d, state in ((d_i, c[:-1]), (d_f, c[:-1]), (d_o, c[1:]))])
        return (
            d_gates @ weight_ih if ctx.needs_input_grad[0] else None,
            flat.T @ inputs.flatten(0, 1),
            flat.T @ h[:-1].flatten(0, 1),
            flat.sum(0),
            d_peephole,
            dh,
            dc,
        )
