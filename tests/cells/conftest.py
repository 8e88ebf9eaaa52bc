"""Inputs and cells that the tests of this folder share."""

from collections.abc import Iterator

import pytest
import torch

from cells import GRU, LSTM, RNN, AttentionLSTM, Cell, PeepholeLSTM

CELLS = [RNN, LSTM, PeepholeLSTM, GRU, AttentionLSTM]
VARIANTS = [(cell, backend) for cell in CELLS for backend in cell.available_backends() if cell(1, 1).can_use(backend)]


@pytest.fixture(params=VARIANTS, ids=lambda variant: f"{variant[0].__name__}-{variant[1]}")
def variant(request: pytest.FixtureRequest) -> tuple[type[Cell], str]:
    return request.param


@pytest.fixture(autouse=True)
def _seeded_and_threads_as_before() -> Iterator[None]:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random_state(cell: Cell, batch: int) -> object:
    """A non-zero state for `cell`, in its dtype, with gradients."""
    parts = [torch.randn(batch, cell.hidden_size, dtype=cell.weight_hh.dtype, requires_grad=True) for _ in cell.states]
    return tuple(parts) if len(cell.states) > 1 else parts[0]


def unroll(cell: Cell, inputs: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
    """Apply `step` over time: what every backend is held to."""
    outputs = []
    for x_t in inputs:
        output, state = cell.step(x_t, state)
        outputs.append(output)
    return torch.stack(outputs), state
