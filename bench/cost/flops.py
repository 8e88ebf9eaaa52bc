"""How many floating-point operations a training step takes, counted without running one."""

import functools
import inspect
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Self

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.record.errors import ConfigError
from bench.spec.config import RunSpec
from bench.spec.targets import is_built_in
from bench.train.model import Model, count_parameters, make_model, make_task
from cells.backends import Backends
from tasks import Task

MOST_STORED = 1 << 20  # parameters, and inputs of a step, of a model that is computed to be counted
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
        model = _model(spec, task, batch)
        like = next(model.parameters())

        def count(steps: int) -> tuple[float, float]:
            return _count(model, like.new_zeros(steps, batch, task.input_size))

        if task.length <= COUNTED_LENGTHS[-1]:
            return count(task.length)
        counts = [count(length) for length in COUNTED_LENGTHS]
        forward, training = (extrapolate(COUNTED_LENGTHS, column, task.length) for column in zip(*counts, strict=True))
        return (forward, training) if forward is not None and training is not None else count(task.length)
    except ConfigError:
        raise
    except Exception:  # whatever a user's cell makes of tensors without storage
        return None


def _model(spec: RunSpec, task: Task, batch: int) -> Model:
    """Return a model to be counted: without storage, or with some if it is a small cell of ours, whose products are its
    loop's. What has no storage is computed by parts of torch's compiler, which takes longer to import than a short run
    to train."""
    model = make_model(spec, task, device="meta")
    is_small = max(count_parameters(model), batch * task.input_size) <= MOST_STORED
    if not (is_small and isinstance(model.cell, Backends) and is_built_in(spec.cell["_target_"])):
        return model
    model = make_model(replace(spec, cell={**spec.cell, "backend": "loop"}), task, device="cpu")
    model.mixed = False
    return model


class _Counter(FlopCounterMode):
    """torch's counter, which does not import torch's compiler in order to be left alone by it."""

    def __enter__(self) -> Self:
        super().__enter__()
        mode: Any = self.mode
        kind: Any = type(mode)
        mode.__class__ = _left_alone(kind)
        return self


@functools.cache
def _left_alone(kind: Any) -> type:
    """Return a dispatch mode's class whose method is what torch's wrapper would call."""
    method = inspect.unwrap(kind.__torch_dispatch__)
    return type(kind.__name__, (kind,), {"__torch_dispatch__": method, "_should_skip_dynamo": lambda: False})


def _count(model: Model, inputs: torch.Tensor) -> tuple[float, float]:
    with _Counter(display=False) as counter:
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
