"""Linear recurrent unit."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.arguments import check_sizes
from cells.layer import Layer
from cells.scan import scan


class LRU(Layer):
    """Linear recurrent unit: a diagonal complex recurrence (Orvieto et al. 2023, section 3 and appendix A):

        λ = exp(−exp(ν) + i exp(θ))
        s_t = λ ⊙ s_{t−1} + exp(γ) ⊙ (B x_t)
        y_t = Re(C s_t) + D x_t

    It is linear in its inputs: on its own it solves linear problems only. The paper's network alternates it with
    nonlinear layers, which `cells.Stack` adds (residual, norm, feedforward). D is a matrix, so that I may differ from
    H; in the paper it is diagonal.

    Args:
        state_size: N, complex numbers in the state; None for H.
        r_min, r_max: between which moduli of λ the eigenvalues start, uniformly in the ring's area.
        max_phase: up to which phase they start, in radians.
        Others: see `Layer`.

    Parameters: nu, theta, gamma (N), the logarithms above; b_real, b_imag (N, I); c_real, c_imag (H, N); d (H, I).
    State: s (B, N, 2), real and imaginary parts.

    Raises:
        ValueError: as `Layer`, or a ring that is none.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int | None = None,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(state_size=(state_size := hidden_size if state_size is None else state_size))
        if not 0 <= r_min < r_max <= 1 or not max_phase > 0:
            raise ValueError(f"0 ≤ r_min < r_max ≤ 1 and max_phase > 0 must hold, not {r_min}, {r_max} and {max_phase}")
        squares = torch.rand(state_size) * (r_max**2 - r_min**2) + r_min**2
        squares = squares.clamp(1e-8, 1 - 1e-7)  # where logarithms end
        self.nu = nn.Parameter((-0.5 * squares.log()).log())
        self.theta = nn.Parameter((max_phase * torch.rand(state_size)).clamp(min=1e-6).log())
        self.gamma = nn.Parameter((1 - squares).sqrt().log())
        self.b_real, self.b_imag = (
            nn.Parameter(torch.randn(state_size, input_size) / math.sqrt(2 * input_size)) for _ in range(2)
        )
        self.c_real, self.c_imag = (
            nn.Parameter(torch.randn(hidden_size, state_size) / math.sqrt(state_size)) for _ in range(2)
        )
        self.d = nn.Parameter(torch.randn(hidden_size, input_size) / math.sqrt(input_size))

    def initial_state(self, inputs: Tensor) -> Tensor:
        return inputs.new_zeros(inputs.shape[1], len(self.nu), 2)

    def run(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(self.nu.dtype, torch.float32)  # torch has no complex numbers of fewer digits
        decay = torch.polar((-self.nu.to(wide).exp()).exp(), self.theta.to(wide).exp())
        # A complex number is two real ones side by side, so that each product is one of real matrices.
        enter = torch.stack([self.b_real, self.b_imag], dim=1) * self.gamma.exp().view(-1, 1, 1)  # (N, 2, I)
        leave = torch.stack([self.c_real, -self.c_imag], dim=-1)  # (H, N, 2)
        driven = F.linear(inputs, enter.flatten(0, 1)).unflatten(-1, (-1, 2))
        driven, state = (torch.view_as_complex(each.to(wide)) for each in (driven, state))
        states = torch.view_as_real(scan(decay.expand(len(inputs), 1, -1), driven, state))
        read = states.flatten(-2).to(leave.dtype)
        return F.linear(read, leave.flatten(1)) + F.linear(inputs, self.d), states[-1]
