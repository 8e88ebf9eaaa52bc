"""Causal self-attention."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cells import native
from cells.arguments import check_sizes
from cells.layer import Layer


class Attention(Layer):
    """Causal multi-head self-attention (Vaswani et al. 2017, section 3.2) with rotary positions (Su et al. 2021):

        q, k, v = W_q x, W_k x, W_v x, divided among heads of D features
        q_t, k_t: the features 2j and 2j + 1 rotated by the angle t·base^(−2j/D)
        y_t = W_o [Σ_{s ≤ t} softmax_s(q_tᵀ k_s / √D) v_s, of all heads]

    A Transformer is a `cells.Stack` of it with residual connections, norm and feedforward. The sum is computed by
    `native.attend` on a CPU, else by `F.scaled_dot_product_attention`. Neither has a second derivative; within
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` there is one.

    Args:
        heads: at least 1. D is H/heads, rounded up to an even number.
        base: of the angles.
        Others: see `Layer`.

    State: (k, v) of all steps so far, rotated, (B, t, heads, D) each: it grows.
    """

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 4, base: float = 10_000.0) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(heads=heads)
        if not base > 1:
            raise ValueError(f"base must be above 1, not {base!r}")
        self.heads, self.base, self.width = heads, base, 2 * -(-hidden_size // (2 * heads))
        self.enter = nn.Linear(input_size, 3 * heads * self.width, bias=False)
        self.leave = nn.Linear(heads * self.width, hidden_size, bias=False)

    def initial_state(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        nothing = inputs.new_zeros(inputs.shape[1], 0, self.heads, self.width)
        return nothing, nothing

    def run(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        known = state[0].shape[1]
        queries, keys, values = self.enter(inputs).unflatten(-1, (3, self.heads, self.width)).unbind(2)
        (queries, keys), values = self.rotate((queries, keys), known), values.contiguous()
        if known:
            keys, values = torch.cat([state[0].transpose(0, 1), keys]), torch.cat([state[1].transpose(0, 1), values])
        found = self.attend(queries, keys, values)
        return self.leave(found.flatten(2)), (keys.transpose(0, 1), values.transpose(0, 1))

    def rotate(self, features: Sequence[Tensor], first: int) -> list[Tensor]:
        """Rotate several features (T, B, heads, D) of the steps from `first` on."""
        one = features[0]
        like = {"device": one.device, "dtype": torch.promote_types(one.dtype, torch.float32)}
        exponents = torch.arange(0, self.width, 2, **like) / self.width  # type: ignore[call-overload]
        times = torch.arange(first, first + len(one), **like)  # type: ignore[call-overload]
        angles = torch.outer(times, self.base**-exponents).view(-1, 1, 1, self.width // 2)
        if one.dtype in native.DTYPES and not native.is_transformed(one, one):  # in a third of the time
            turns = torch.polar(torch.ones_like(angles), angles)
            pairs = (torch.view_as_complex(each.unflatten(-1, (-1, 2))) for each in features)
            return [torch.view_as_real(each * turns).flatten(-2) for each in pairs]
        cos, sin = angles.cos(), angles.sin()
        halves = [(each[..., 0::2], each[..., 1::2]) for each in features]
        rotated = [torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1) for even, odd in halves]
        return [each.flatten(-2).to(one.dtype) for each in rotated]

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return what each query finds (T, B, heads, D) among keys and values (S, B, heads, D) up to its own step, the
        last of which is the last query's."""
        transformed = native.is_transformed(queries, queries)
        # Who allows torch's fused kernels, which have no second derivative either, allows this one.
        fused = torch.backends.cuda.flash_sdp_enabled() and not transformed
        if fused and native.supports(queries) and native.library().loaded:
            q, k, v = (each.flatten(1, 2) for each in (queries, keys, values))
            return native.attend(q, k, v, self.width**-0.5).view_as(queries)
        steps, known = len(queries), len(keys)
        mask = None
        if known > steps:  # is_causal would align the first query with the first key, not the last
            mask = torch.ones(steps, known, dtype=torch.bool, device=queries.device).tril(known - steps)
        q, k, v = (each.permute(1, 2, 0, 3) for each in (queries, keys, values))
        # torch's kernels have no forward-mode derivative. Autocast they allow, so no other dtype is given here.
        with sdpa_kernel(SDPBackend.MATH) if transformed else nullcontext():
            found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return found.permute(2, 0, 1, 3)
