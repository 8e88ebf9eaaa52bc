"""Selective state space model."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.arguments import check_sizes
from cells.convolution import DepthwiseConvolution
from cells.layer import Layer
from cells.scan import selective_scan


class Mamba(Layer):
    """A diagonal selective state space model (S6) in its block (Gu & Dao 2023, algorithm 2 and figure 3):

        u, g = W_in x_t,  u = silu(conv(u)), a causal convolution of each channel
        Δ_t = softplus(W_Δ W_δ u_t + b_Δ),  B_t = W_B u_t,  C_t = W_C u_t,  A = −exp(log A)
        s_t = exp(Δ_t A) ⊙ s_{t−1} + Δ_t u_t B_tᵀ,  for each channel N numbers
        y_t = s_t C_t + D ⊙ u_t
        output W_out (y_t ⊙ silu(g_t))

    A starts at −1 … −N in each channel, Δ between 0.001 and 0.1, log-uniformly. All of it is as in the authors' code
    (github.com/state-spaces/mamba), whose blocks normalise by RMSNorm and start W_out smaller by √(number of blocks).

    Args:
        state_size: N, of each channel.
        expand: channels, as a multiple of H.
        kernel: steps that the convolution sees.
        Others: see `Layer`.

    State: s (B, E, N) for E channels, and what the convolution's next steps see (B, E, kernel − 1).
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, state_size: int = 16, expand: float = 2.0, kernel: int = 4
    ) -> None:
        super().__init__(input_size, hidden_size)
        channels = round(expand * hidden_size)
        check_sizes(state_size=state_size, channels=channels, kernel=kernel)
        self.rank, self.state_size = math.ceil(hidden_size / 16), state_size
        self.enter = nn.Linear(input_size, 2 * channels, bias=False)
        self.convolution = DepthwiseConvolution(channels, kernel)
        self.select = nn.Linear(channels, self.rank + 2 * state_size, bias=False)
        self.step_size = nn.Linear(self.rank, channels)
        self.log_a = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(channels, 1))
        self.d = nn.Parameter(torch.ones(channels))
        self.leave = nn.Linear(channels, hidden_size, bias=False)
        with torch.no_grad():
            bound = self.rank**-0.5
            self.step_size.weight.uniform_(-bound, bound)
            steps = self.step_size.bias.uniform_(math.log(0.001), math.log(0.1)).exp_()
            steps.add_((-(-steps).expm1()).log())  # the inverse of softplus

    def initial_state(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.new_zeros(inputs.shape[1], *self.log_a.shape), self.convolution.initial_state(inputs)

    def run(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        start, past = state
        u, gate = self.enter(inputs).chunk(2, dim=-1)
        u, past = self.convolution(u, past)
        u = F.silu(u)
        low, b, c = self.select(u).split([self.rank, self.state_size, self.state_size], dim=-1)
        delta = F.softplus(self.step_size(low))
        y, last = selective_scan(delta, -self.log_a.exp(), b, c, u, start)
        return self.leave((y + self.d * u) * F.silu(gate)), (last, past)
