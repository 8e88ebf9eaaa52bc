"""Long expressive memory."""

import math
from numbers import Real
from typing import Any, ClassVar

from torch import Tensor

from cells.cell import Cell

LEMState = tuple[Tensor, ...]  # y, z


class LEM(Cell):
    """Long expressive memory (Rusch et al. 2022, section 2): a pair of states that move by learned time steps:

        δ̄ = Δt σ(W_1 x_t + U_1 y_{t−1} + b_1)
        δ = Δt σ(W_2 x_t + U_2 y_{t−1} + b_2)
        z_t = (1 − δ) ⊙ z_{t−1} + δ ⊙ tanh(W_z x_t + U_z y_{t−1} + b_z)
        y_t = (1 − δ̄) ⊙ y_{t−1} + δ̄ ⊙ tanh(W_y x_t + U_y z_t + b_y)

    As in the authors' code, y_t sees z_t. The LEM of torchrecurrent 0.2.5 shows it z_{t−1}, against that package's own
    documentation.

    Args:
        dt: Δt, above 0: no time step is longer. The authors tune it for each problem, from 0.00017 to 1.
        Others: see `Cell`.

    Parameters: weight_ih (4H, I), weight_hh (4H, H), bias (4H), rows in the order δ̄, δ, z, y. State: (y, z), each
    (B, H).

    Raises:
        ValueError: see `Cell`; or Δt is not a positive, finite number.
    """

    gates = 4
    states: ClassVar[tuple[str, ...]] = ("y", "z")

    def __init__(
        self, input_size: int, hidden_size: int, backend: str = "auto", *, dt: float = 1.0, **options: Any
    ) -> None:
        if not isinstance(dt, Real) or isinstance(dt, bool) or not 0 < dt < math.inf:
            raise ValueError(f"dt must be a number above 0, not {dt!r}")
        super().__init__(input_size, hidden_size, backend, **options)
        self.dt: float = float(dt)

    def recur(self, gates_x: Tensor, state: LEMState) -> tuple[Tensor, LEMState]:
        y, z = state
        of_y, of_z = self.weight_hh.split([3 * self.hidden_size, self.hidden_size])
        step_y_x, step_z_x, z_x, y_x = gates_x.chunk(4, dim=-1)
        step_y_y, step_z_y, z_y = (y @ of_y.T).chunk(3, dim=-1)
        step_y, step_z = (step_y_x + step_y_y).sigmoid(), (step_z_x + step_z_y).sigmoid()
        self.observe(step_y=step_y, step_z=step_z)
        z = (1 - self.dt * step_z) * z + self.dt * step_z * (z_x + z_y).tanh()
        y = (1 - self.dt * step_y) * y + self.dt * step_y * (y_x + z @ of_z.T).tanh()
        return y, (y, z)
