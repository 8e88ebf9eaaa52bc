"""Memory in the state: for how long a linear readout could tell what was shown."""

import torch
from torch import Tensor

from bench.probe.subject import MOST_POINTS, Reading, Subject, check_size, spread, unroll

RIDGE = 0.01  # of the variance of a unit
FEWEST = 32  # sequences to test on


def memory(subject: Subject) -> list[Reading]:
    """Return how well the task's cue can be decoded from the state k steps after it was shown.

    The decoder is ridge regression from the whole state, fitted to half of the sequences, and tried on the other half;
    then the halves change places. The value is the share of the cue's variance that it explains (R², Jaeger's (2001)
    memory function, of the input that matters), at least 0: 1 is all, 0 nothing. Sequences that end before count no
    more.

    Raises:
        CannotStep: the contender cannot run step by step, or its state grows.
    """
    with torch.no_grad():
        way = unroll(subject.model.cell, subject.batch.inputs)
        check_size(way)
        states = torch.stack([torch.cat(parts, dim=-1) for parts in way.states]).double()  # (T, B, S)
    cue, shown = subject.task.cue(subject.batch)
    cue = cue.double()
    x, value = [], []
    for lag in spread(len(states), MOST_POINTS // 2):
        there = (shown + lag < len(states)).nonzero().flatten()
        half = len(there) // 2
        if half < FEWEST:
            break
        at_lag = states[shown[there] + lag, there]
        if not at_lag.isfinite().all():
            break
        halves = [(at_lag[:half], cue[there[:half]]), (at_lag[half:], cue[there[half:]])]
        shares = [explained(*one, *other) for one, other in (halves, halves[::-1])]
        x.append(float(lag))
        value.append(max(0.0, sum(shares) / 2))
    return [Reading("memory", "state", x, value)] if x else []


def explained(fit_on: Tensor, answers: Tensor, test_on: Tensor, expected: Tensor) -> float:
    """Return the share of the variance of `expected` (M, F) that ridge regression, fitted to `answers` (N, F) from
    `fit_on` (N, S), explains from `test_on` (M, S).

    What it says is held within the range of the answers that it was fitted to: a rare sequence, whose state lies where
    none of the others did, would else count for more than all of them."""
    mean, spread_of = fit_on.mean(dim=0), fit_on.std(dim=0).clamp(min=1e-12)
    known = spread_of > 1e-9  # units that never move tell nothing
    a = ((fit_on - mean) / spread_of)[:, known]
    b = ((test_on - mean) / spread_of)[:, known]
    middle = answers.mean(dim=0)
    gram = a.T @ a + RIDGE * len(a) * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    weights = torch.linalg.solve(gram, a.T @ (answers - middle)) if a.shape[1] else a.new_zeros(0, answers.shape[1])
    said = (b @ weights + middle).clamp(answers.amin(dim=0), answers.amax(dim=0))
    error = (said - expected).square().sum()
    total = (expected - middle).square().sum()
    return float(1 - error / total) if total > 0 else 0.0
