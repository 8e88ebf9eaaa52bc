"""How many floating-point operations a training step takes, counted without running one."""

import functools
import json
import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.record.errors import ConfigError
from bench.spec.config import RunSpec
from bench.train.model import Model, make_model, make_task

COUNTED_LENGTHS = (3, 5, 7, 9)  # whose FLOPs are counted one by one


def count_flops(spec: RunSpec) -> tuple[float, float] | None:
    """Count the FLOPs of the matrix products in a forward pass and in a training step, by torch's own counter, on
    tensors without storage. Point-wise operations are not counted. An attention over T steps is counted as computed,
    T×T, without credit for its causal half.

    Matrix products of a recurrence are a polynomial in T, of second degree with attention. Long sequences, whose
    operations would take the counter minutes, are counted by the polynomial through three short ones, if a fourth
    lies on it too.

    Returns:
        Both counts for a batch of the configured size, or None if the model cannot run without storage.
    """
    known = {"cell": spec.cell, "task": spec.task, "dtype": spec.dtype, "device": spec.device}
    return _count_alike(json.dumps(known), spec.training.batch_size)


@functools.cache
def _count_alike(known: str, batch: int) -> tuple[float, float] | None:
    """Count for all runs with some fields of `RunSpec`, as JSON, and a batch size: many runs of a process are alike."""
    spec = RunSpec(**json.loads(known))
    try:
        task = make_task(spec)
        model = make_model(spec, task, device="meta")
        inputs, dtype = task.input_size, spec.torch_dtype

        def count(steps: int) -> tuple[float, float]:
            return _count(model, torch.zeros(steps, batch, inputs, device="meta", dtype=dtype))

        if task.length <= COUNTED_LENGTHS[-1]:
            return count(task.length)
        counts = [count(length) for length in COUNTED_LENGTHS]
        forward, training = (extrapolate(COUNTED_LENGTHS, column, task.length) for column in zip(*counts, strict=True))
        return (forward, training) if forward is not None and training is not None else count(task.length)
    except ConfigError:
        raise
    except Exception:  # whatever a user's cell makes of tensors without storage
        return None


def _count(model: Model, inputs: torch.Tensor) -> tuple[float, float]:
    with FlopCounterMode(display=False) as counter:
        outputs = model(inputs)
        forward = counter.get_total_flops()
        outputs.sum().backward()
    return float(forward), float(counter.get_total_flops())


def extrapolate(at: Sequence[int], values: Sequence[float], to: int) -> float | None:
    """Return at `to` the polynomial of second degree through the first three points, if the others lie on it."""

    def polynomial(x: int) -> Fraction:
        total = Fraction(0)
        for i in range(3):
            others = [j for j in range(3) if j != i]
            total += Fraction(values[i]) * math.prod(Fraction(x - at[j], at[i] - at[j]) for j in others)
        return total

    fits = all(polynomial(x) == value for x, value in zip(at, values, strict=True))
    return float(polynomial(to)) if fits else None
