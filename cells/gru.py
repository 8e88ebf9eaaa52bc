"""Gated recurrent unit."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cells.gated import GatedCell


class GRU(GatedCell):
    """Gated recurrent unit (Cho et al. 2014) in the form that torch.nn and cuDNN compute, where the
    reset gate acts after the matrix product:

        r = σ(W_r x_t + U_r h_{t−1} + b_r)
        z = σ(W_z x_t + U_z h_{t−1} + b_z)
        n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t−1} + b_hn))
        h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}

    Args: see `GatedCell` and `Cell`; `forget_bias` is that of z, and None by default.

    Parameters: weight_ih (3H, I), weight_hh (3H, H), bias (3H), rows in the order r, z, n; and
    bias_hn (H), the bias inside the reset gate's product. State: h (B, H).
    """

    gates = 3
    torch_class = nn.GRU

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        forget_bias: float | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, backend, forget_bias=forget_bias, **options)

    def build_parameters(self, parameter: Callable[..., nn.Parameter]) -> None:
        self.bias_hn = parameter(self.hidden_size) if self.bias is not None else None

    def start_biases(self, bias: Tensor, forget: Tensor, remember: Tensor | None) -> None:
        _, of_z, _ = bias.split(self.hidden_size)
        of_z.copy_(forget)  # n is weighted by 1 − z: there is no gate of its own to `remember`

    def recur(self, gates_x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = state
        r_x, z_x, n_x = gates_x.chunk(3, dim=-1)
        r_h, z_h, n_h = (h @ self.weight_hh.T).chunk(3, dim=-1)
        if self.bias_hn is not None:
            n_h = n_h + self.bias_hn
        r = (r_x + r_h).sigmoid()
        z = (z_x + z_h).sigmoid()
        n = (n_x + r * n_h).tanh()
        h = (1 - z) * n + z * h
        self.observe(r=r, z=z)
        return h, h

    def forward_torch(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, h = self.call_torch_kernel(torch.gru, inputs, state.unsqueeze(0))
        return outputs, h.squeeze(0)

    def torch_weights(self) -> list[Tensor]:
        if self.bias is None or self.bias_hn is None:
            return [self.weight_ih, self.weight_hh]
        bias_hh = torch.cat([self.bias.new_zeros(2 * self.hidden_size), self.bias_hn])
        return [self.weight_ih, self.weight_hh, self.bias, bias_hh]

    def _load_torch_bias(self, bias: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        # Outside the reset gate's product two biases are one; inside it b_hn stands alone.
        gates = 2 * self.hidden_size
        bias.copy_(torch.cat([bias_ih[:gates] + bias_hh[:gates], bias_ih[gates:]]))
        if self.bias_hn is not None:
            self.bias_hn.copy_(bias_hh[gates:])
