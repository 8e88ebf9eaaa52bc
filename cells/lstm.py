"""Long short-term memory."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from cells.gated import GatedCell

LSTMState = tuple[Tensor, ...]  # h, c


class LSTM(GatedCell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers et al. 2000),
    as torch.nn.LSTM computes it:

        i, f, o = σ(W x_t + U h_{t−1} + b), each with its own W, U, b
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g
        h_t = o ⊙ tanh(c_t)

    Args:
        forget_bias: what the forget gate's bias starts at (1: Gers et al. 2000, Jozefowicz et al.
            2015), see `GatedCell`.
        Others: see `GatedCell` and `Cell`.

    Parameters: weight_ih (4H, I), weight_hh (4H, H), bias (4H), rows in the order i, f, g, o.
    State: (h, c), each (B, H).
    """

    gates = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    torch_class: ClassVar[Callable[..., nn.RNNBase] | None] = nn.LSTM

    def start_biases(self, bias: Tensor, forget: Tensor, remember: Tensor | None) -> None:
        of_i, of_f, *_ = bias.split(self.hidden_size)
        of_f.copy_(forget)
        if remember is not None:
            of_i.copy_(remember)

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        i, f, g, o = (gates_x + h @ self.weight_hh.T).chunk(4, dim=-1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        self.observe(i=i, f=f, o=o)
        return h, (h, c)

    def forward_torch(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        outputs, h, c = self.call_torch_kernel(torch.lstm, inputs, [part.unsqueeze(0) for part in state])
        return outputs, (h.squeeze(0), c.squeeze(0))
