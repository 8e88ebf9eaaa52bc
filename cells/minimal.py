"""Minimal gated cells, whose gates do not see the state, so that all steps can be computed at once."""

import torch
from torch import Tensor

from cells.cell import Cell
from cells.scan import scan


class ScannedCell(Cell):
    """A cell whose step is h_t = a_t ⊙ h_{t−1} + b_t, where a_t and b_t depend on x_t alone.

    A subclass states both (`coefficients`). Without products of the state it has no weight_hh. The further backend
    "scan" computes all steps at once (`cells.scan`).
    """

    recurrent = False

    @classmethod
    def available_backends(cls) -> tuple[str, ...]:
        return ("native", "triton", "scan", "loop")

    def coefficients(self, gates_x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (…, H) each, of W x + b (…, gates·H)."""
        raise NotImplementedError

    def recur(self, gates_x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.coefficients(gates_x)
        h = a * state + b
        return h, h

    def forward_scan(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute all steps at once."""
        states = scan(*self.coefficients(self.project(inputs).to(state.dtype)), state)
        return states, states[-1]


def positive(x: Tensor) -> Tensor:
    """Return g(x), x + 0.5 where x ≥ 0 and σ(x) elsewhere: the activation that keeps minimal cells' states positive."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


class MinGRU(ScannedCell):
    """Minimal GRU (Feng et al. 2024, section 3.1, with the activation g of its appendix B):

        z_t = σ(W_z x_t + b_z)
        h̃_t = g(W_h x_t + b_h),  g(x) = x + 0.5 if x ≥ 0, else σ(x)
        h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ h̃_t

    The paper computes it from logarithms, for which it needs g; the scan here needs none, and computes the same. The
    usual port (github.com/lucidrains/minGRU-pytorch) has no biases: `bias=False`.

    Args: see `Cell`.

    Parameters: weight_ih (2H, I) and bias (2H), rows in the order z, h̃. State: h (B, H).
    """

    gates = 2

    def coefficients(self, gates_x: Tensor) -> tuple[Tensor, Tensor]:
        z, candidate = gates_x.chunk(2, dim=-1)
        z = z.sigmoid()
        self.observe(z=z)
        return 1 - z, z * positive(candidate)


class MinLSTM(ScannedCell):
    """Minimal LSTM (Feng et al. 2024, section 3.2, with the activation g of its appendix B):

        f_t = σ(W_f x_t + b_f),  i_t = σ(W_i x_t + b_i)
        h̃_t = g(W_h x_t + b_h),  g(x) = x + 0.5 if x ≥ 0, else σ(x)
        f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)
        h_t = f'_t ⊙ h_{t−1} + i'_t ⊙ h̃_t

    Args: see `Cell`.

    Parameters: weight_ih (3H, I) and bias (3H), rows in the order f, i, h̃. State: h (B, H).
    """

    gates = 3

    def coefficients(self, gates_x: Tensor) -> tuple[Tensor, Tensor]:
        f, i, candidate = gates_x.chunk(3, dim=-1)
        f, i = f.sigmoid(), i.sigmoid()
        both = f + i
        self.observe(f=f / both, i=i / both)
        return f / both, i / both * positive(candidate)
