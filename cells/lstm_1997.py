"""The LSTM as first printed, without a forget gate."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from cells.cell import Cell
from cells.lstm import LSTMState


class LSTM1997(Cell):
    """The LSTM as Hochreiter & Schmidhuber (1997) print it, each memory cell with gates of its own:

        i, o = σ(W x_t + U h_{t−1} + b), each with its own W, U, b
        g = 4 σ(W_g x_t + U_g h_{t−1} + b_g) − 2
        c_t = c_{t−1} + i ⊙ g
        h_t = o ⊙ (2 σ(c_t) − 1)

    In the paper the cells of a block share their gates, gates also see gates, and gradients are truncated
    (`TruncatedLSTM1997`); here they are not. 4 σ(z) − 2 is computed as 2 tanh(z/2).

    Args:
        input_bias, output_bias: what the biases of these gates start at, a number for each block of H/n units, so that
            blocks begin to store, or to be read, one after another; None leaves them to `initialization`.
        Others: see `Cell`; `initialization` is "small" in the paper's experiments 3 to 6.

    Parameters: weight_ih (3H, I), weight_hh (3H, H), bias (3H), rows in the order i, g, o.
    State: (h, c), each (B, H).

    Raises:
        ValueError: no numbers, or so many that they do not divide H; see also `Cell`.
    """

    gates = 3
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        input_bias: Sequence[float] | None = None,
        output_bias: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        self.input_bias = _blocks("input_bias", input_bias, hidden_size)
        self.output_bias = _blocks("output_bias", output_bias, hidden_size)
        super().__init__(input_size, hidden_size, backend, **options)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.bias is None:
            return
        of_i, _, of_o = self.bias.split(self.hidden_size)
        for gate, values in ((of_i, self.input_bias), (of_o, self.output_bias)):
            if values:
                gate.copy_(torch.tensor(values).repeat_interleave(self.hidden_size // len(values)))

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        i, g, o = (gates_x + h @ self.weight_hh.T).chunk(3, dim=-1)
        i, o = i.sigmoid(), o.sigmoid()
        c = c + i * (2 * (g / 2).tanh())
        h = o * (c / 2).tanh()
        self.observe(i=i, o=o)
        return h, (h, c)


class TruncatedLSTM1997(LSTM1997):
    """`LSTM1997` with the paper's gradients (appendix A.1): an error at the input of a gate or a memory cell goes on
    to weights and to x_t, and not to h_{t−1}. Errors flow back in time through c alone, which leaves them as they are.
    """

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        return super().recur(gates_x, (h.detach(), c))


def _blocks(name: str, values: Sequence[float] | None, hidden_size: int) -> tuple[float, ...]:
    if values is None:
        return ()
    numbers = [*values] if isinstance(values, Sequence) and not isinstance(values, str) else []
    if not numbers or not all(isinstance(each, Real) and math.isfinite(each) for each in numbers):
        raise ValueError(f"{name} must be a list of numbers, one for each block, or null, not {values!r}")
    if hidden_size % len(numbers):
        raise ValueError(f"{name} has {len(numbers)} numbers, which do not divide {hidden_size} units into blocks")
    return tuple(float(each) for each in numbers)
