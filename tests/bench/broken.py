"""Cells that go wrong, for the tests of how that is handled."""

import random
from typing import Any

import numpy
import torch
from torch import Tensor, nn


class Exploding(nn.Module):
    """Raises when called."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        raise RuntimeError("this cell | always\nfails")


class Hungry(nn.Module):
    """Asks for more memory than any machine has."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        return torch.empty(2**50), None


class Diverging(nn.Module):
    """Its outputs become infinite after three training steps."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)
        self.calls = 0

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.calls += self.training
        return self.layer(inputs) * (float("inf") if self.calls > 3 else 1.0), None


class Minimal(nn.Module):
    """The least a user's cell must be: the call, and nothing else."""

    def __init__(self, input_size: int, hidden_size: int, scale: float = 1.0) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(input_size, hidden_size), scale

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        outputs = torch.tanh(self.scale * self.layer(inputs))
        return outputs, outputs[-1]


class Noisy(nn.Module):
    """Draws from all the global generators at every call, as a cell with dropout or noise does."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.calls += 1
        noise = torch.randn(()) + numpy.random.randn() + random.gauss(0, 1)
        return torch.tanh(self.layer(inputs)) + 0.1 * noise * self.calls, None
