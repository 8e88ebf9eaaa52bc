"""What is trained: a cell under a linear readout."""

from typing import Any

import torch
from torch import Tensor, nn

from bench.spec.config import RunSpec
from bench.spec.targets import build
from tasks import Task


class Model(nn.Module):
    """A cell whose outputs (T, B, H) a linear readout turns into (T, B, O).

    A stack of cells would stand in the place of `cell`: anything called as
    `outputs, state = cell(inputs, state)`.
    """

    def __init__(self, cell: nn.Module, hidden_size: int, output_size: int, **factory: Any) -> None:
        super().__init__()
        self.cell = cell
        self.readout = nn.Linear(hidden_size, output_size, **factory)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs, _ = self.cell(inputs)
        return self.readout(outputs)


def make_task(spec: RunSpec) -> Task:
    """Build the task that a specification names.

    Raises:
        ConfigError: the task refuses its settings.
    """
    return build("task", spec.task)


def make_model(spec: RunSpec, task: Task, device: str | None = None) -> Model:
    """Build cell and readout, drawing their parameters from torch's global generator.

    Args:
        device: where to; the specification's if None. On "meta" nothing is allocated.

    Raises:
        ConfigError: the cell refuses its settings.
    """
    device = spec.device if device is None else device
    with torch.device(device):
        # Moved too: other people's layers may be made on the CPU whatever torch's default device is.
        cell = build("cell", spec.cell, input_size=task.input_size).to(device, spec.torch_dtype)
        return Model(cell, spec.cell["hidden_size"], task.output_size, dtype=spec.torch_dtype)


def backend_of(cell: nn.Module) -> str:
    """Return the implementation that a cell's calls use; "own" for classes that do not tell."""
    return str(getattr(cell, "active_backend", "own"))


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable scalars."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
