"""The Jacobian of one step of the recurrence: what a small change of the state becomes."""

import torch
from torch import Tensor, nn

from bench.probe.subject import Reading, Subject, parts_of, showing, unroll
from cells import Cell

SEQUENCES = 4  # whose eigenvalues are kept


def jacobian(subject: Subject) -> list[Reading]:
    """Return the eigenvalues of ∂s_t/∂s_{t−1} in the middle of some sequences, s the whole state, h or (h, c).

    x is the real and y the imaginary part, value the modulus. Beyond 1 a direction grows, near 1 it is kept; where all
    are well below 1, whatever the state held is soon gone. "singular" is the largest stretch of any direction.
    """
    cell, inputs = subject.model.cell, subject.batch.inputs[:, :SEQUENCES]
    if not isinstance(cell, Cell) or not _has_plain_state(cell, inputs):
        return []
    middle = len(inputs) // 2
    with torch.no_grad():
        states = unroll(cell, inputs[: max(middle, 1)]).states[-1]
    matrices = step_jacobians(cell, inputs[middle], states)
    if not matrices.isfinite().all():
        return []
    values = torch.linalg.eigvals(matrices).flatten()
    stretch = torch.linalg.matrix_norm(matrices, ord=2)
    found = Reading("jacobian", "state", values.real.tolist(), values.abs().tolist(), tuple(values.imag.tolist()))
    return [found, Reading("singular", "state", [0.0], [float(stretch.mean())])]


def step_jacobians(cell: Cell, x_t: Tensor, state: tuple[Tensor, ...]) -> Tensor:
    """Return ∂s_t/∂s_{t−1} for each sequence, (B, S, S) in float64, S the size of the whole state.

    Args:
        cell: whose equations.
        x_t: the step's inputs (B, I).
        state: before the step, (B, H) each.
    """
    whole = torch.cat([part.detach() for part in state], dim=-1)
    with torch.no_grad():
        gates_x = cell.project(x_t)

    def advance(flat: Tensor, gates: Tensor) -> Tensor:
        parts = flat.unsqueeze(0).split(cell.hidden_size, dim=-1)
        _, after = cell.recur(gates.unsqueeze(0), tuple(parts) if len(cell.states) > 1 else parts[0])
        return torch.cat(parts_of(after, 1), dim=-1).squeeze(0)

    with showing(cell):
        jacobians = torch.stack(
            [
                torch.autograd.functional.jacobian(lambda flat, gates=gates: advance(flat, gates), row)
                for row, gates in zip(whole, gates_x, strict=True)
            ]
        )
    return jacobians.double()


def radius_at_rest(cell: nn.Module, inputs: Tensor) -> float | None:
    """Return the spectral radius of the Jacobian at zero state and zero input; None for classes without equations."""
    if not isinstance(cell, Cell) or not _has_plain_state(cell, inputs):
        return None
    nothing = torch.zeros_like(inputs[0, :1])
    matrix = step_jacobians(cell, nothing, parts_of(cell.initial_state(nothing), 1))[0]
    return float(torch.linalg.eigvals(matrix).abs().max()) if matrix.isfinite().all() else None


def _has_plain_state(cell: Cell, inputs: Tensor) -> bool:
    """Tell whether h, or (h, c), is all that a step leaves to the next, in its recurrence."""
    with torch.no_grad():
        _, state = cell.recur(cell.project(inputs[0, :1]), cell.initial_state(inputs[0, :1]))
    return not hasattr(state, "gates")
