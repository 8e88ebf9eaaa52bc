"""The plain recurrent network, and the linear one."""

from typing import Any

import torch
from torch import Tensor, nn

from cells.cell import Cell


class RNN(Cell):
    """Plain recurrent network (Elman 1990), as torch.nn.RNN computes it:

        h_t = φ(W_ih x_t + W_hh h_{t−1} + b),  φ = tanh or relu

    Args:
        nonlinearity: φ, "tanh" or "relu".
        Others: see `Cell`.

    Parameters: weight_ih (H, I), weight_hh (H, H), bias (H). State: h (B, H).
    """

    gates = 1
    torch_class = nn.RNN

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        nonlinearity: str = "tanh",
        **options: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
        super().__init__(input_size, hidden_size, backend, **options)
        self.nonlinearity = nonlinearity

    def recur(self, gates_x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        phi = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        h = phi(gates_x + state @ self.weight_hh.T)
        return h, h

    def forward_torch(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        kernel = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        outputs, h = self.call_torch_kernel(kernel, inputs, state.unsqueeze(0))
        return outputs, h.squeeze(0)

    def _torch_options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}

    def load_torch(self, layer: nn.RNNBase) -> "RNN":
        if getattr(layer, "nonlinearity", self.nonlinearity) != self.nonlinearity:
            raise ValueError(f"nonlinearity differs: {self.nonlinearity} here, {layer.nonlinearity} there")
        return super().load_torch(layer)


class LinearRNN(Cell):
    """Linear recurrent network with a dense matrix, which Orvieto et al. (2023) set the LRU beside:

        h_t = W_ih x_t + W_hh h_{t−1} + b

    Args: see `Cell`.

    Parameters: weight_ih (H, I), weight_hh (H, H), bias (H). State: h (B, H).
    """

    gates = 1

    def recur(self, gates_x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = gates_x + state @ self.weight_hh.T
        return h, h
