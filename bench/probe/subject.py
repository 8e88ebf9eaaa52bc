"""What is looked at, step by step, and what a look finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.record.records import Reading as Reading
from bench.spec.config import Training
from bench.train.model import Model
from cells import Cell
from tasks import Batch, Task

MOST_POINTS = 64  # of a curve or of a side of a grid


@dataclass(frozen=True)
class Subject:
    """A model as training has it at some moment.

    Attributes:
        model: in training.
        task: that it is trained on.
        batch: sequences to look at.
        training: the settings, and `optimizer`, the state, of whatever makes its steps.
    """

    model: Model
    task: Task
    batch: Batch
    training: Training
    optimizer: dict[str, Any]


@dataclass(frozen=True)
class Unrolled:
    """A cell's way through the sequences, T steps.

    Attributes:
        outputs: (T, B, H).
        states: of each step the tensors of the state after it, (B, H) each.
        seen: of each step what the cell computed on the way, by name; empty for classes that do not show it.
    """

    outputs: Tensor
    states: list[tuple[Tensor, ...]]
    seen: list[dict[str, Tensor]]


def unroll(cell: nn.Module, inputs: Tensor) -> Unrolled:
    """Run a cell step by step, by its equations where it has them."""
    outputs, states, seen = [], [], []
    state: Any = None
    with showing(cell) as shown:
        for x_t in inputs:
            if isinstance(cell, Cell):
                output, state = cell.step(x_t, state)
            else:
                output, state = cell(x_t.unsqueeze(0), state)
                output = output[0]
            outputs.append(output)
            states.append(parts_of(state))
            seen.append({name: value for values in shown for name, value in values.items()})
            shown.clear()
    return Unrolled(torch.stack(outputs), states, seen)


@contextmanager
def showing(cell: nn.Module) -> Iterator[list[dict[str, Tensor]]]:
    """Have a cell compute by its equations and show what it computes on the way, as long as this lasts."""
    shown: list[dict[str, Tensor]] = []
    if not isinstance(cell, Cell):
        yield shown
        return
    before = cell.backend
    cell.backend, cell.observer = "loop", shown.append
    try:
        yield shown
    finally:
        cell.backend, cell.observer = before, None


def parts_of(state: Any) -> tuple[Tensor, ...]:
    """Return the tensors of a state: of h alone, or of (h, c)."""
    parts = tuple(state) if isinstance(state, tuple | list) else (state,)
    return tuple(part for part in parts if isinstance(part, Tensor))


def name_of_part(number: int) -> str:
    """Return what a part of a state is called."""
    return ("h", "c")[number] if number < 2 else f"state_{number}"


def spread(length: int, most: int = MOST_POINTS) -> list[int]:
    """Return at most `most` of the indices below `length`, evenly, the first and the last among them."""
    if length <= most:
        return list(range(length))
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)})
