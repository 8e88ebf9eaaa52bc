"""Contenders that declare what they are, and some that declare nothing."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.bench.broken import Minimal


class Wide(nn.Module):
    """Its outputs are of another width than its hidden size; its state is a tree."""

    can_step = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.output_size = 2 * hidden_size + 1
        self.layer = nn.Linear(input_size, self.output_size)

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        outputs = self.layer(inputs).cumsum(dim=0)
        if state is not None:
            outputs = outputs + state["sum"][0]
        return outputs, {"sum": [outputs[-1]], "layers": (outputs[-1:, :, :1],)}


class Backwards(nn.Module):
    """Reads a sequence from its end, and says so."""

    can_step = False
    why_no_steps = "it reads from the end"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.GRU(input_size, hidden_size)

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        outputs, last = self.layer(inputs.flip(0))
        return outputs.flip(0), last


class SecretlyBackwards(Backwards):
    """Does not say it."""

    can_step = None


class Stateless(Minimal):
    """Has nothing to hand on."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        return super().forward(inputs)[0], None


class Remembering(nn.Module):
    """Its state is all that it was shown, as a Transformer's is."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        shown = self.layer(inputs) if state is None else torch.cat([state.transpose(0, 1), self.layer(inputs)])
        return shown.cumsum(dim=0)[-len(inputs) :], shown.transpose(0, 1)
