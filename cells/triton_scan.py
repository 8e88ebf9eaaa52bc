"""The scans of `cells.scan` on GPUs, in Triton: a program has some channels, composes all steps of a tile at once
(`tl.associative_scan`), and hands the last state to the next tile.

Backward, a program goes through the same tiles from the end. Triton's interpreter runs the kernels on a CPU."""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 32, 32  # steps and channels of a scan's tile
SELECTIVE_TILE = 16, 8  # and of a selective one's, where each channel has several numbers


@triton.jit
def _then(a, b, later_a, later_b):
    """Compose h → a h + b with a later step of this form."""
    return later_a * a, later_a * b + later_b


@triton.jit
def _then_complex(a, a_i, b, b_i, later_a, later_a_i, later_b, later_b_i):
    return (
        later_a * a - later_a_i * a_i,
        later_a * a_i + later_a_i * a,
        later_a * b - later_a_i * b_i + later_b,
        later_a * b_i + later_a_i * b + later_b_i,
    )


@triton.jit
def _scan(
    decay, inputs, start, states, of_inputs, of_decay, steps, channels, decays,
    backward: tl.constexpr, imaginary: tl.constexpr, tile: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Write `states`, h_t = a_t h_{t−1} + b_t. Or backward, with the gradients of states as `inputs`, write
    `of_inputs`, g_t = b_t + a*_{t+1} g_{t+1}, and `of_decay`, g_t h*_{t−1}.

    A step has `channels` numbers, and as many decays or a divisor of it, which are then used again and again."""
    size: tl.constexpr = 2 if imaginary else 1  # of a number: the imaginary part follows the real one
    channel = tl.program_id(0) * width + tl.arange(0, width)
    inside = channel < channels
    at = tl.arange(0, tile)
    if backward:
        carried = tl.zeros([width], states.dtype.element_ty)
        carried_i = carried
    else:
        carried = tl.load(start + channel * size, inside, other=0.0)
        carried_i = tl.load(start + channel * size + 1, inside, other=0.0) if imaginary else carried
    for first in range(0, steps, tile):
        step = (steps - 1 - first - at if backward else first + at).to(tl.int64)[:, None]
        valid = (first + at < steps)[:, None] & inside
        places = (step * channels + channel) * size
        decay_step = step + 1 if backward else step
        decay_places = decay + (decay_step * decays + channel % decays) * size
        a = tl.load(decay_places, valid & (decay_step < steps), other=0.0)
        b = tl.load(inputs + places, valid, other=0.0)
        if imaginary:
            a_i = tl.load(decay_places + 1, valid & (decay_step < steps), other=0.0)
            a_i = -a_i if backward else a_i
            b_i = tl.load(inputs + places + 1, valid, other=0.0)
            a, a_i, b, b_i = tl.associative_scan((a, a_i, b, b_i), 0, _then_complex)
            found = a * carried - a_i * carried_i + b
            found_i = a * carried_i + a_i * carried + b_i
            carried_i = tl.sum(tl.where(at[:, None] == tile - 1, found_i, 0.0), 0)
        else:
            a, b = tl.associative_scan((a, b), 0, _then)
            found = a * carried + b
        carried = tl.sum(tl.where(at[:, None] == tile - 1, found, 0.0), 0)
        tl.store((of_inputs if backward else states) + places, found, valid)
        if imaginary:
            tl.store((of_inputs if backward else states) + places + 1, found_i, valid)
        if backward:
            before = tl.where(step > 0, states + places - channels * size, start + channel * size)
            h = tl.load(before, valid, other=0.0)
            if imaginary:
                h_i = tl.load(before + 1, valid, other=0.0)
                tl.store(of_decay + places, found * h + found_i * h_i, valid)
                tl.store(of_decay + places + 1, found_i * h - found * h_i, valid)
            else:
                tl.store(of_decay + places, found * h, valid)


@triton.jit
def _of_row(a, row, channel, number, channels, numbers):
    """Return which channels and which of their numbers exist, A, and where the row's state has these numbers."""
    inside = channel < channels
    all_inside = inside[:, None] & (number < numbers)
    slope = tl.load(a + channel[:, None] * numbers + number, all_inside, other=0.0)
    return inside, all_inside, slope, (row * channels + channel)[:, None] * numbers + number


@triton.jit
def _of_steps(delta, b, c, u, by_channel, by_number, channels_inside, numbers_inside):
    """Return Δ and u (steps, channels), B and C (steps, 1, numbers): zeros outside, where the state stays as it is."""
    d = tl.load(delta + by_channel, channels_inside, other=0.0)
    x = tl.load(u + by_channel, channels_inside, other=0.0)
    into = tl.load(b + by_number, numbers_inside, other=0.0)[:, None, :]
    return d, x, into, tl.load(c + by_number, numbers_inside, other=0.0)[:, None, :]


@triton.jit
def _selective(
    delta, a, b, c, u, start, y, states, last, steps, batch, channels, numbers,
    keep: tl.constexpr, tile: tl.constexpr, width: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Write y and the last state of `cells.scan.selective_scan`, and to `states` all of them if they are to be kept."""
    row = tl.program_id(0)
    channel = tl.program_id(1) * width + tl.arange(0, width)
    number = tl.arange(0, depth)
    at = tl.arange(0, tile)
    inside, all_inside, slope, of_row = _of_row(a, row, channel, number, channels, numbers)
    carried = tl.load(start + of_row, all_inside, other=0.0)
    for first in range(0, steps, tile):
        valid = (first + at < steps)[:, None]
        line = ((first + at).to(tl.int64) * batch + row)[:, None]
        by_channel, by_number = line * channels + channel, line * numbers + number
        d, x, into, out_of = _of_steps(
            delta, b, c, u, by_channel, by_number, valid & inside, valid & (number < numbers)
        )
        composed = tl.exp(d[:, :, None] * slope), (d * x)[:, :, None] * into
        decay, driven = tl.associative_scan(composed, 0, _then)
        state = decay * carried + driven
        tl.store(y + by_channel, tl.sum(state * out_of, 2), valid & inside)
        if keep:
            tl.store(states + by_channel[:, :, None] * numbers + number, state, valid[:, :, None] & all_inside)
        carried = tl.sum(tl.where(at[:, None, None] == tile - 1, state, 0.0), 0)
    tl.store(last + of_row, carried, all_inside)


@triton.jit
def _selective_backward(
    delta, a, b, c, u, start, states, of_y, of_last,
    of_delta, of_a, of_b, of_c, of_u, of_start, steps, batch, channels, numbers,
    tile: tl.constexpr, width: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Write all gradients of `cells.scan.selective_scan`: that of A for each row of the batch, and those of B and C for
    each group of channels, to be summed."""
    row, group = tl.program_id(0), tl.program_id(1)
    channel = group * width + tl.arange(0, width)
    number = tl.arange(0, depth)
    at = tl.arange(0, tile)
    inside, all_inside, slope, of_row = _of_row(a, row, channel, number, channels, numbers)
    carried = tl.load(of_last + of_row, all_inside, other=0.0)
    of_slope = tl.zeros([width, depth], of_a.dtype.element_ty)
    for first in range(0, steps + 1, tile):  # at step −1 is the start
        step = (steps - 1 - first - at).to(tl.int64)[:, None]
        valid = (step >= 0) & (step < steps)
        line = step * batch + row
        by_channel, by_number = line * channels + channel, line * numbers + number
        by_both = by_channel[:, :, None] * numbers + number
        inside_both = valid[:, :, None] & all_inside
        d, x, into, out_of = _of_steps(
            delta, b, c, u, by_channel, by_number, valid & inside, valid & (number < numbers)
        )
        wanted = tl.load(of_y + by_channel, valid & inside, other=0.0)[:, :, None]
        follows = (step + 1 >= 0) & (step + 1 < steps) & inside
        next_d = tl.load(delta + by_channel + batch * channels, follows, other=0.0)
        composed = tl.exp(next_d[:, :, None] * slope), wanted * out_of
        decay, driven = tl.associative_scan(composed, 0, _then)
        gradient = decay * carried + driven  # of s_t
        carried = tl.sum(tl.where(at[:, None, None] == tile - 1, gradient, 0.0), 0)
        state = tl.load(states + by_both, inside_both, other=0.0)
        earlier = tl.where((step > 0)[:, :, None], states + by_both - batch * channels * numbers, start + of_row)
        before = tl.load(earlier, inside_both, other=0.0)
        of_exponent = tl.where(inside_both, gradient * before * tl.exp(d[:, :, None] * slope), 0.0)
        of_drive = tl.sum(gradient * into, 2)
        of_slope += tl.sum(of_exponent * d[:, :, None], 0)
        tl.store(of_delta + by_channel, tl.sum(of_exponent * slope, 2) + x * of_drive, valid & inside)
        tl.store(of_u + by_channel, d * of_drive, valid & inside)
        by_group = group.to(tl.int64) * steps * batch * numbers + by_number
        tl.store(of_b + by_group, tl.sum(gradient * (d * x)[:, :, None], 1), valid & (number < numbers))
        tl.store(of_c + by_group, tl.sum(wanted * state, 1), valid & (number < numbers))
    tl.store(of_a + of_row, of_slope, all_inside)
    tl.store(of_start + of_row, carried, all_inside)


def scan(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    """Return the states (T, B, D) of decays (T, B or 1, D), inputs (T, B, D) and a start (1, B, D), each contiguous."""
    states = torch.empty_like(inputs)
    _run_scan(decay, inputs, start, states, states, states)  # the last two are not written
    return states


def scan_backward(decay: Tensor, states: Tensor, start: Tensor, of_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of decays, inputs and start, given those of the states."""
    of_inputs, of_decay = torch.empty_like(states), torch.empty_like(states)
    _run_scan(decay, of_states, start, states, of_inputs, of_decay, backward=True)
    return of_decay.sum_to_size(decay.shape), of_inputs, decay[:1].conj() * of_inputs[:1]


def _run_scan(decay: Tensor, inputs: Tensor, *others: Tensor, backward: bool = False) -> None:
    tile, width = TILE
    channels, decays = inputs[0].numel(), decay[0].numel()
    if inputs.is_complex():
        decay, inputs, *others = (torch.view_as_real(each) for each in (decay, inputs, *others))  # type: ignore[assignment]
    _scan[(triton.cdiv(channels, width),)](
        decay, inputs, *others, inputs.shape[0], channels, decays, backward, inputs.dim() > 3, tile, width
    )


def selective_scan(
    delta: Tensor, a: Tensor, b: Tensor, c: Tensor, u: Tensor, start: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state and, if they are to be kept, all states (T, B, E, N), of contiguous tensors."""
    y, last = torch.empty_like(u), torch.empty_like(start)
    states = u.new_empty(len(u) if keep else 0, *start.shape)
    grid, sizes = _sizes(u, a)
    _selective[grid](delta, a, b, c, u, start, y, states, last, *sizes[:4], keep, *sizes[4:])
    return y, last, states


def selective_scan_backward(
    delta: Tensor, a: Tensor, b: Tensor, c: Tensor, u: Tensor, start: Tensor, states: Tensor, of_y: Tensor,
    of_last: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of the first six arguments, given those of y and of the last state."""
    grid, sizes = _sizes(u, a)
    of_delta, of_u, of_start = (torch.empty_like(each) for each in (delta, u, start))
    of_a, of_b, of_c = (
        each.new_empty(count, *each.shape) for each, count in ((a, grid[0]), (b, grid[1]), (c, grid[1]))
    )
    _selective_backward[grid](
        delta, a, b, c, u, start, states, of_y, of_last, of_delta, of_a, of_b, of_c, of_u, of_start, *sizes
    )
    return of_delta, of_a.sum(0), of_b.sum(0), of_c.sum(0), of_u, of_start


def _sizes(u: Tensor, a: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the grid, and T, B, E, N and the tile's steps, channels and numbers."""
    steps, batch, channels = u.shape
    tile, width = SELECTIVE_TILE
    numbers = a.shape[1]
    return (batch, triton.cdiv(channels, width)), (
        steps, batch, channels, numbers, tile, width, triton.next_power_of_2(numbers)
    )  # fmt: skip
