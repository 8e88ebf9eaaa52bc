"""LSTM with a matrix as its memory."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.arguments import check_sizes
from cells.layer import Layer

MLSTMState = tuple[Tensor, Tensor, Tensor]


class MLSTM(Layer):
    """mLSTM: an LSTM whose memory is a matrix, and whose gates do not see it (Beck et al. 2024, eqs. 19 to 27, with a
    sigmoid forget gate), in heads of D features:

        q = W_q x,  k = W_k x / √D,  v = W_v x,  o = σ(W_o x + b_o),  ĩ = w_iᵀ x + b_i,  f̃ = w_fᵀ x + b_f
        m_t = max(log σ(f̃) + m_{t−1}, ĩ)
        i' = exp(ĩ − m_t),  f' = exp(log σ(f̃) + m_{t−1} − m_t)
        C_t = f' C_{t−1} + i' v kᵀ,  n_t = f' n_{t−1} + i' k
        h_t = o ⊙ C_t q / max(|n_tᵀ q|, exp(−m_t))
        output W_out h_t

    All steps are computed at once, as attention is, from the products q_tᵀ k_s and the gates between s and t (appendix
    A.3). Forget biases start between 3 and 6, one a head, as the authors' do.

    This is the bare cell. The authors' layer (github.com/NX-AI/xlstm) computes q and k from a causal convolution, gates
    from q, k and v with weights that start at 0, and a norm of each head's h; it is twice as wide as its inputs, and
    adds 10⁻⁶ to the denominator.

    Args:
        heads: at least 1. D is H/heads, rounded up.
        Others: see `Layer`.

    State: C (B, heads, D, D), n (B, heads, D), m (B, heads).
    """

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 4) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(heads=heads)
        self.heads, self.width = heads, -(-hidden_size // heads)
        inner = heads * self.width
        self.enter = nn.Linear(input_size, 3 * inner, bias=False)
        self.output_gate = nn.Linear(input_size, inner)
        self.gates = nn.Linear(input_size, 2 * heads)
        self.leave = nn.Linear(inner, hidden_size, bias=False)
        with torch.no_grad():
            self.gates.bias[heads:] = torch.linspace(3.0, 6.0, heads)

    def initial_state(self, inputs: Tensor) -> MLSTMState:
        batch, heads, width = inputs.shape[1], self.heads, self.width
        return (
            inputs.new_zeros(batch, heads, width, width),
            inputs.new_zeros(batch, heads, width),
            inputs.new_zeros(batch, heads),
        )

    def run(self, inputs: Tensor, state: MLSTMState) -> tuple[Tensor, MLSTMState]:
        c, n, m = state
        q, k, v = (
            each.permute(1, 2, 0, 3) for each in self.enter(inputs).unflatten(-1, (3, self.heads, self.width)).unbind(2)
        )  # (B, heads, T, D)
        k = k / math.sqrt(self.width)
        i, f = self.gates(inputs).to(m.dtype).permute(1, 2, 0).chunk(2, dim=1)  # (B, heads, T)
        # With F_t the sum of log σ(f̃) up to t, step s reaches t with the logarithm F_t − F_s + ĩ_s.
        kept = F.logsigmoid(f).cumsum(dim=-1)
        later = torch.ones(len(inputs), len(inputs), dtype=torch.bool, device=inputs.device).triu(1)
        reach = (kept.unsqueeze(-1) - kept.unsqueeze(-2) + i.unsqueeze(-2)).masked_fill(later, -math.inf)
        before = kept + m.unsqueeze(-1)  # the same of the state
        largest = torch.maximum(reach.amax(dim=-1), before)
        weights = (reach - largest.unsqueeze(-1)).exp()
        carried = (before - largest).exp()
        shares = weights * (q @ k.transpose(-1, -2))
        read = shares @ v + carried.unsqueeze(-1) * (q @ c.transpose(-1, -2))
        size = (shares.sum(dim=-1) + carried * (q @ n.unsqueeze(-1)).squeeze(-1)).abs()
        small = (-(-largest).relu()).exp()  # of both sides of the fraction, as exp(−m) may be too large for a number
        h = read * small.unsqueeze(-1) / torch.maximum(size * small, (-largest.relu()).exp()).unsqueeze(-1)
        outputs = self.leave(self.output_gate(inputs).sigmoid() * h.permute(2, 0, 1, 3).flatten(2))
        last = weights[:, :, -1].unsqueeze(-1) * k  # what each step leaves in the memory
        c = carried[..., -1:, None] * c + v.transpose(-1, -2) @ last
        n = carried[..., -1:] * n + last.sum(dim=-2)
        return outputs, (c, n, largest[..., -1])
