"""LSTM with a forget gate only."""

from torch import Tensor

from cells.gated import GatedCell

BETA = 1.0  # by which a unit is more open to new values than its forget gate says


class JANET(GatedCell):
    """JANET: an LSTM with a forget gate only (van der Westhuizen & Lasenby 2018):

        s = W_s x_t + U_s h_{t−1} + b_s
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        h_t = σ(s) ⊙ h_{t−1} + (1 − σ(s − β)) ⊙ g,  β = 1

    The JANET of torchrecurrent 0.2.5 learns β.

    Args:
        forget_bias: what b_s starts at: 1, as in the authors' code, or "chrono", as in their experiments. See
            `GatedCell`.
        Others: see `GatedCell` and `Cell`.

    Parameters: weight_ih (2H, I), weight_hh (2H, H), bias (2H), rows in the order s, g. State: h (B, H).
    """

    gates = 2

    def start_biases(self, bias: Tensor, forget: Tensor, remember: Tensor | None) -> None:
        of_s, _ = bias.split(self.hidden_size)
        of_s.copy_(forget)

    def recur(self, gates_x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        s, g = (gates_x + state @ self.weight_hh.T).chunk(2, dim=-1)
        f = s.sigmoid()
        h = f * state + (1 - (s - BETA).sigmoid()) * g.tanh()
        self.observe(f=f)
        return h, h
