"""LSTM with peephole connections."""

from collections.abc import Callable

from torch import Tensor, nn

from cells.lstm import LSTM, LSTMState


class PeepholeLSTM(LSTM):
    """LSTM whose gates see the cell state through diagonal weights (Gers et al. 2002):

        i = σ(W_i x_t + U_i h_{t−1} + p_i ⊙ c_{t−1} + b_i)
        f = σ(W_f x_t + U_f h_{t−1} + p_f ⊙ c_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g
        o = σ(W_o x_t + U_o h_{t−1} + p_o ⊙ c_t + b_o)
        h_t = o ⊙ tanh(c_t)

    Args: see `LSTM`.

    Parameters: those of `LSTM`, and weight_peephole (3H) in the order i, f, o.
    State: (h, c), each (B, H).
    """

    torchrecurrent_layer = "PeepholeLSTM"

    def build_parameters(self, parameter: Callable[..., nn.Parameter]) -> None:
        self.weight_peephole = parameter(3 * self.hidden_size)

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        p_i, p_f, p_o = self.weight_peephole.chunk(3)
        i, f, g, o = (gates_x + h @ self.weight_hh.T).chunk(4, dim=-1)
        i = (i + p_i * c).sigmoid()
        f = (f + p_f * c).sigmoid()
        c = f * c + i * g.tanh()
        o = (o + p_o * c).sigmoid()
        h = o * c.tanh()
        self.observe(i=i, f=f, o=o)
        return h, (h, c)
