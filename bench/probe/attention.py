"""Attention: which steps each step looks back at."""

import torch

from bench.probe.subject import Reading, Subject, spread, unroll


def attention(subject: Subject) -> list[Reading]:
    """Return the weights of one sequence: value is how much the step x attends to the step y ≤ x; for cells that
    attend."""
    with torch.no_grad():
        way = unroll(subject.model.cell, subject.batch.inputs[:, :1])
    if "attention" not in way.seen[0]:
        return []
    times = spread(len(way.seen))
    points = [(t, s, float(way.seen[t]["attention"][s, 0])) for t in times for s in times if s <= t]
    x, y, value = zip(*points, strict=True)
    return [Reading("attention", "attention", list(map(float, x)), [round(v, 5) for v in value], tuple(map(float, y)))]
