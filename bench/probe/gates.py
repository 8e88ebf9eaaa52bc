"""Gate activity: how open gates are, and when."""

import torch

from bench.probe.subject import Reading, Subject, spread, unroll

BINS = 20
CLOSED, OPEN = 0.1, 0.9  # beyond which a gate counts as saturated
MOST_UNITS = 32  # of a map


def gates(subject: Subject) -> list[Reading]:
    """Return of each gate a histogram of its values over all sequences, steps and units ("gate_histogram", shares), how
    often it is closed and open ("gate_saturation", at x = 0 the share below 0.1, at 1 that above 0.9), its mean
    over sequences and units at each step ("gate_mean"), and a map of units (y) over time (x) for one sequence
    ("gate_map")."""
    with torch.no_grad():
        way = unroll(subject.model.cell, subject.batch.inputs)
    names = [name for name in way.seen[0] if name != "attention"]
    readings = []
    for name in names:
        values = torch.stack([seen[name] for seen in way.seen]).float()  # (T, B, H)
        if not values.isfinite().all():
            continue
        shares = torch.histc(values, BINS, 0.0, 1.0) / values.numel()
        centres = [(i + 0.5) / BINS for i in range(BINS)]
        closed, opened = ((values < CLOSED).float().mean(), (values > OPEN).float().mean())
        times, units = spread(len(values)), spread(values.shape[-1], MOST_UNITS)
        grid = values[times][:, 0, units]
        readings += [
            Reading("gate_histogram", name, centres, _rounded(shares)),
            Reading("gate_saturation", name, [0.0, 1.0], [float(closed), float(opened)]),
            Reading("gate_mean", name, [float(t) for t in times], _rounded(values[times].mean(dim=(1, 2)))),
            Reading(
                "gate_map",
                name,
                [float(t) for t in times for _ in units],
                _rounded(grid.flatten()),
                tuple(float(unit) for _ in times for unit in units),
            ),
        ]
    return readings


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]
