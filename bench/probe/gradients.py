"""Gradient flow: how much of the last answer's gradient arrives how far back."""

import math
import statistics

import torch
from torch import Tensor

from bench.probe.jacobian import radius_at_rest
from bench.probe.subject import CannotStep, Reading, Subject, check_size, spread, unroll

LEAST = 1e-30  # norms below that are rounding, or nothing


def gradient_flow(subject: Subject) -> list[Reading]:
    """Return the norm of ∂L/∂h_t against the distance k from the last step, and at what rate it decays with k.

    L is what the last step's output adds to the loss, so that all that arrives at h_t has come through the recurrence.
    Norms are root mean squares over sequences of ‖∂L_b/∂h_t‖; "c" is the same for the cell state, with what
    reaches it through the hidden state that is made of it. "decay" is
    the factor a step in a fit of log-norms to k; "at_rest" what the linearised recurrence would have, the spectral
    radius of its Jacobian at zero state and input, which for a linear network without inputs is that of W_hh.

    Raises:
        CannotStep: the contender cannot run step by step, or its state grows.
    """
    batch, model = subject.batch, subject.model
    with torch.enable_grad():
        way = unroll(model.cell, batch.inputs)
        check_size(way)
        if not all(part.requires_grad for part in way.states[0]):
            raise CannotStep("its state is a window of the inputs, through which no error flows back")
        last = torch.cat([way.outputs[:-1].detach(), way.outputs[-1:]])
        loss = subject.task.loss(model.readout(last), batch)
        readings = []
        for number in range(len(way.states[0])):
            states = [state[number] for state in way.states]
            gradients = torch.autograd.grad(loss, states, retain_graph=True, allow_unused=True)
            norms = [0.0 if g is None else _norm(g) for g in reversed(gradients)]  # from distance 0 on
            if not any(norms):
                continue
            part = way.parts[number]
            at = spread(len(norms))
            readings.append(Reading("gradient_flow", part, [float(k) for k in at], [norms[k] for k in at]))
            if (rate := decay_rate(norms)) is not None:
                readings.append(Reading("decay", part, [0.0], [rate]))
    at_rest = radius_at_rest(model.cell, batch.inputs)
    return readings if at_rest is None else [*readings, Reading("at_rest", "h", [0.0], [at_rest])]


def decay_rate(norms: list[float]) -> float | None:
    """Return the factor a step in a least-squares fit of log-norms to the distance; None from fewer than three norms
    that are large enough to mean anything."""
    points = [(k, math.log(norm)) for k, norm in enumerate(norms) if math.isfinite(norm) and norm > LEAST]
    if len(points) < 3:
        return None
    slope, _ = statistics.linear_regression(*zip(*points, strict=True))
    return math.exp(min(slope, 700.0))


def _norm(gradient: Tensor) -> float:
    """Return the root mean square over sequences of the norm of each one's own gradient; the loss is a mean of them."""
    batch = len(gradient)
    return float((gradient.double() * batch).square().sum(dim=-1).mean().sqrt())
