"""What is looked at, step by step, and what a look finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.record.records import Reading as Reading
from bench.spec.config import Training
from bench.train.model import Model, why_no_steps
from cells import Cell, Stack
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
        states: of each step the tensors of the state after it, (B, ·) each.
        parts: what each of these tensors is called.
        seen: of each step what the cell computed on the way, by name; empty for classes that do not show it.
    """

    outputs: Tensor
    states: list[tuple[Tensor, ...]]
    parts: list[str]
    seen: list[dict[str, Tensor]]


class CannotStep(ValueError):
    """The contender cannot run step by step, and what is asked for needs that. The message says why, in a line."""


def unroll(cell: nn.Module, inputs: Tensor) -> Unrolled:
    """Run a cell step by step, by its equations where it has them.

    Raises:
        CannotStep: it cannot.
    """
    if (reason := why_no_steps(cell, inputs.shape[-1])) is not None:
        raise CannotStep(reason)
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
            states.append(parts_of(state, inputs.shape[1]))
            seen.append({name: value for values in shown for name, value in values.items()})
            shown.clear()
    layers = state if isinstance(cell, Stack) else [state]
    parts = [
        f"layer{layer}.{name_of_part(number)}" if isinstance(cell, Stack) else name_of_part(number)
        for layer, each in enumerate(layers, start=1)
        for number in range(len(parts_of(each, inputs.shape[1])))
    ]
    return Unrolled(torch.stack(outputs), states, parts, seen)


def check_size(way: Unrolled) -> None:
    """Check that a state is as large at the end of a sequence as at its beginning.

    Raises:
        CannotStep: it grows with the sequence, as a Transformer's keys and values do.
    """
    if len({tuple(part.shape for part in parts) for parts in way.states}) > 1:
        raise CannotStep("its state grows with the sequence, and holds all that was shown")


@contextmanager
def showing(cell: nn.Module) -> Iterator[list[dict[str, Tensor]]]:
    """Have a cell, or each of a stack, compute by its equations and show what it computes on the way, as long as this
    lasts."""
    shown: list[dict[str, Tensor]] = []
    layers = dict(enumerate(cell.cells, start=1)) if isinstance(cell, Stack) else {0: cell}
    before = {each: each.backend for each in layers.values() if isinstance(each, Cell)}

    def show(values: dict[str, Tensor], prefix: str) -> None:
        shown.append({f"{prefix}{name}": value for name, value in values.items()})

    for number, each in layers.items():
        if isinstance(each, Cell):
            each.backend, each.observer = "loop", partial(show, prefix=f"layer{number}." if number else "")
    try:
        yield shown
    finally:
        for each, backend in before.items():
            each.backend, each.observer = backend, None


def parts_of(state: Any, batch: int) -> tuple[Tensor, ...]:
    """Return the tensors of a state, any tree of tuples, lists and mappings, as (B, ·) each: h alone, or h and c. Of a
    tensor that begins with another axis than that of the batch, such as torch.nn's layers, the next one is it."""
    if isinstance(state, Tensor):
        by_sequence = state if state.dim() < 2 or len(state) == batch else state.transpose(0, 1)
        return (by_sequence if by_sequence.dim() == 2 else by_sequence.reshape(len(by_sequence), -1),)
    children = state.values() if isinstance(state, dict) else state if isinstance(state, tuple | list) else ()
    return tuple(part for child in children for part in parts_of(child, batch))


def name_of_part(number: int) -> str:
    """Return what a part of a state is called."""
    return ("h", "c")[number] if number < 2 else f"state_{number}"


def spread(length: int, most: int = MOST_POINTS) -> list[int]:
    """Return at most `most` of the indices below `length`, evenly, the first and the last among them."""
    if length <= most:
        return list(range(length))
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)})
