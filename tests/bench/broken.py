"""Cells and tasks that go wrong, for the tests of how that is handled."""

import math
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from bench.train.streams import make_streams
from tasks import Adding, Batch


class OneLayer(nn.Module):
    """What most of them are: a linear layer."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)


class Exploding(OneLayer):
    """Raises when called."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        raise RuntimeError("this cell | always\nfails")


class Hungry(OneLayer):
    """Asks for more memory than any machine has."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        return torch.empty(2**50), None


class Diverging(OneLayer):
    """Its outputs become infinite after three training steps."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.calls = 0

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.calls += self.training
        return self.layer(inputs) * (float("inf") if self.calls > 3 else 1.0), None


class NaNFromTheStart(OneLayer):
    """Its outputs are no numbers, ever."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        return self.layer(inputs) * float("nan"), None


class Minimal(nn.Module):
    """The least a user's cell must be: the call, and nothing else."""

    def __init__(self, input_size: int, hidden_size: int, scale: float = 1.0) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(input_size, hidden_size), scale

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        outputs = torch.tanh(self.scale * self.layer(inputs))
        return outputs, outputs[-1]


class Noisy(OneLayer):
    """Draws from all the global generators at every call, as a cell with dropout or noise does."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.calls += 1
        noise = torch.randn(()) + numpy.random.randn() + random.gauss(0, 1)
        return torch.tanh(self.layer(inputs)) + 0.1 * noise * self.calls, None


class Killed(nn.Module):
    """Its process dies of SIGKILL at the n-th training step, `times` times; a file remembers how often."""

    def __init__(self, input_size: int, hidden_size: int, log: str, times: int = 99, at: int = 3) -> None:
        super().__init__()
        self.layer, self.log, self.times, self.at = nn.Linear(input_size, hidden_size), Path(log), times, at
        self.calls = 0

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.calls += self.training
        before = self.log.read_text() if self.log.exists() else ""
        if self.calls == self.at and len(before) < self.times:
            self.log.write_text(before + "x")
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tanh(self.layer(inputs)), None


class Growing(OneLayer):
    """Takes 64 MiB more at every call, and uses them."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.kept = []

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.kept.append(torch.ones(16 << 20))
        return torch.tanh(self.layer(inputs)), None


class Deadly(nn.Module):
    """Ends its process when it is built."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        os._exit(0)  # as if all were well


class Leaving(OneLayer):
    """Tries to end the program."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        sys.exit("no")


class Short(OneLayer):
    """Has an answer for up to twelve steps only."""

    longest = 12

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        if len(inputs) > self.longest:
            raise RuntimeError("too long")
        return torch.tanh(self.layer(inputs)), None


class Secretive(Minimal):
    """Keeps an object in its state that is neither a tensor nor a plain value."""

    def get_extra_state(self) -> Any:
        return Path("somewhere")

    def set_extra_state(self, state: Any) -> None:
        assert state == Path("somewhere")


class FailsForSeedOne(Adding):
    """With seed 1 something goes wrong at the third batch: `where` says what."""

    def __init__(self, length: int = 6, where: str = "sample", *, solved_mse: float = 0.01) -> None:
        super().__init__(length, solved_mse=solved_mse)
        self.where, self.batches, self.is_one = where, 0, False

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        streams = make_streams(1, "cpu")
        self.is_one = generator.initial_seed() in (streams.training.initial_seed(), streams.evaluation.initial_seed())
        self.batches += 1
        self.fail("sample")
        return super().sample(batch_size, generator)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        self.fail("loss")
        infinite = self.where == "infinite" and self.is_due
        return super().loss(outputs, batch) * (math.inf if infinite else 1.0)

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        self.fail("score")
        return super().score(outputs, batch)

    @property
    def is_due(self) -> bool:
        return self.is_one and self.batches > 3

    def fail(self, where: str) -> None:
        if self.where == where and self.is_due:
            raise SystemExit(3) if where == "loss" else RuntimeError(f"no {where}")


class DrawsGlobally(Adding):
    """Draws from all the global generators for every batch and every loss."""

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        batch = super().sample(batch_size, generator)
        return Batch(batch.inputs + random.random() + numpy.random.rand(), batch.targets)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return super().loss(outputs, batch) * (1 + torch.rand(()))
