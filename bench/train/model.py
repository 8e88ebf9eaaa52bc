"""What is trained: a contender under a linear readout, and what a contender says of itself."""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bench.record.errors import ConfigError, one_line
from bench.spec.config import RunSpec
from bench.spec.targets import build, build_cell
from cells import TorchRecurrent
from cells.backends import Backends
from tasks import Batch, Task

COMPILED = ("native", "triton")  # backends
STEPS_TRIED, SEQUENCES_TRIED = 4, 2  # of a class that does not say whether it can run step by step


class Model(nn.Module):
    """A cell whose outputs (T, B, W) a linear readout turns into (T, B, O).

    Args:
        cell: a cell, a stack of cells, a Transformer: anything called as `outputs, state = cell(inputs, state)`.
        width: W.
        output_size: O.
        mixed: whether products are computed in bfloat16, from parameters in float32 (torch's autocast).
        factory: device and dtype of the readout.
    """

    def __init__(self, cell: nn.Module, width: int, output_size: int, *, mixed: bool = False, **factory: Any) -> None:
        super().__init__()
        self.cell, self.mixed = cell, mixed
        self.readout = nn.Linear(width, output_size, **factory)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the outputs (T, B, O) for inputs (T, B, I).

        Args:
            lengths: (B), the steps of each sequence, if they differ. Only a cell that `takes_lengths` is told of them:
                what is behind a sequence's end changes nothing before it in one that reads forwards.
        """
        with self.precision(inputs.device):
            if lengths is not None and getattr(self.cell, "takes_lengths", False):
                outputs, _ = self.cell(inputs, None, lengths)
            else:
                outputs, _ = self.cell(inputs)
            outputs = self.readout(outputs)
        return outputs.to(inputs.dtype)

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which the model computes."""
        if not self.mixed or device.type == "meta":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def answer(self, batch: Batch) -> Tensor:
        """Return the outputs (T, B, O) for a batch, whose `lengths` are honoured if it has any."""
        return self(batch.inputs, getattr(batch, "lengths", None))


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
        cell = build_cell(spec.cell, task.input_size).to(device, spec.torch_dtype)
        if spec.is_mixed:
            _leave_kernels(cell)
        width = width_of(cell, spec.cell["hidden_size"])
        return Model(cell, width, task.output_size, mixed=spec.is_mixed, dtype=spec.torch_dtype)


def _leave_kernels(cell: nn.Module) -> None:
    """Have cells use what autocast reaches: no compiled kernel, which would compute in float32; ConfigError if one is
    asked for."""
    for each in cell.modules():
        if isinstance(each, Backends | TorchRecurrent):
            if each.backend in COMPILED:
                raise ConfigError(
                    f"cell.backend={each.backend}: computes in float32; with dtype=bfloat16 leave it at auto"
                )
            if each.backend == "auto":
                not_here = {*COMPILED, *(["torch"] if next(each.parameters()).device.type == "cpu" else [])}
                each.backend = next(name for name in each.available_backends() if name not in not_here)


def width_of(cell: nn.Module, hidden_size: int) -> int:
    """Return how many features a step of a contender's outputs has: its `output_size`, or H if it declares none.

    Raises:
        ConfigError: what it declares is no size.
    """
    width = getattr(cell, "output_size", hidden_size)
    if not isinstance(width, int) or width < 1:
        raise ConfigError(f"{type(cell).__name__}.output_size is {width!r}; it must be a whole number of at least 1")
    return width


def why_no_steps(cell: nn.Module, input_size: int) -> str | None:
    """Return why a contender cannot run step by step, in a line; None if it can.

    A contender declares it as `can_step`, and the reason as `why_no_steps`. One that declares nothing is tried on a
    copy: fed a short sequence step by step, its state handed on, it must return what it returns for the whole.
    """
    declared = getattr(cell, "can_step", None)
    if declared is not None:
        return None if declared else getattr(cell, "why_no_steps", f"{type(cell).__name__} declares that it cannot")
    try:
        return _tried_in_steps(copy.deepcopy(cell).eval(), input_size)
    except Exception as error:
        return f"{type(cell).__name__} fails on single steps: {one_line(error)}"


@torch.no_grad()
def _tried_in_steps(cell: nn.Module, input_size: int) -> str | None:
    like = next(cell.parameters(), torch.zeros(()))
    device = like.device
    shape = (STEPS_TRIED, SEQUENCES_TRIED, input_size)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        inputs = torch.arange(1, 1 + STEPS_TRIED * SEQUENCES_TRIED * input_size, device=device).to(like.dtype).sin()
        whole, _ = cell(inputs.view(shape), None)
        state, single = None, []
        for x_t in inputs.view(shape):
            outputs, state = cell(x_t.unsqueeze(0), state)
            single.append(outputs)
    if state is None:
        return f"{type(cell).__name__} returns no state"
    alike = torch.allclose(torch.cat(single), whole, rtol=1e-3, atol=1e-4, equal_nan=True)
    return None if alike else f"{type(cell).__name__} returns other outputs step by step"


def backend_of(cell: nn.Module) -> str:
    """Return the implementation that a cell's calls use; "own" for classes that do not tell."""
    return str(getattr(cell, "active_backend", "own"))


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable scalars."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
