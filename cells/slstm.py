"""LSTM with exponential gates."""

import torch
from torch import Tensor

from cells.lstm import LSTM, LSTMState

EMPTY = -1e30  # the logarithm of a memory without contents, of which exp makes 0


class SLSTM(LSTM):
    """sLSTM: an LSTM with an exponential input gate, a normaliser n and a stabiliser m (Beck et al. 2024, eqs. 8 to 17,
    with a sigmoid forget gate and one head):

        ĩ, f̃, z̃, õ = W x_t + U h_{t−1} + b, each with its own W, U, b
        m_t = max(log σ(f̃) + m_{t−1}, ĩ)
        i' = exp(ĩ − m_t),  f' = exp(log σ(f̃) + m_{t−1} − m_t)
        c_t = f' ⊙ c_{t−1} + i' ⊙ tanh(z̃)
        n_t = f' ⊙ n_{t−1} + i'
        h_t = σ(õ) ⊙ c_t / n_t

    c and n carry the factor exp(−m), which h is without: the stabiliser changes nothing but keeps exp in range. Where n
    is 0, before the first step, m_t = ĩ, as in the authors' code: so n ≥ 1 from then on, and nothing divides by zero.

    This is the bare cell. The authors' layer (github.com/NX-AI/xlstm) has heads with a matrix U each, a causal
    convolution before i and f, and a norm of each head's h, and starts from U = 0 and forget biases from 5 to −7.

    Args: see `LSTM`.

    Parameters: weight_ih (4H, I), weight_hh (4H, H), bias (4H), rows in the order i, f, z, o. State: (h, c, n, m), each
    (B, H).
    """

    states = ("h", "c", "n", "m")

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c, n, m = state
        i, f, z, o = (gates_x + h @ self.weight_hh.T).chunk(4, dim=-1)
        log_f = -((-f).relu() + (-f.abs()).exp().log1p())  # log σ(f), which overflows nowhere
        kept = torch.where(n == 0, EMPTY, log_f + m)
        m = torch.maximum(kept, i)
        i, f = (i - m).exp(), (kept - m).exp()
        c = f * c + i * z.tanh()
        n = f * n + i
        o = o.sigmoid()
        h = o * c / n
        self.observe(i=i, f=f, o=o)
        return h, (h, c, n, m)
