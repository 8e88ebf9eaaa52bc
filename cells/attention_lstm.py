"""LSTM that attends over its own past."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cells import compiler, native
from cells.lstm import LSTM, LSTMState
from cells.states import register_state


class AttentionState(tuple):
    """The LSTM's state (h, c), which unpacks like any other, with the `memory` (t, B, H) of all
    hidden states so far. A plain (h, c) is a state with an empty memory."""

    memory: Tensor

    def __new__(cls, h: Tensor, c: Tensor, memory: Tensor) -> "AttentionState":
        state = super().__new__(cls, (h, c))
        state.memory = memory
        return state

    def __getnewargs__(self) -> tuple[Tensor, Tensor, Tensor]:  # by which it is copied and pickled
        return (*self, self.memory)


register_state(AttentionState, lambda state: [*state, state.memory])


def transformed(h: Tensor, weight: Tensor) -> Tensor:
    """Return h_tᵀ W_a for hidden states (…, H) and W_a (H, H)."""
    return h @ weight


def attentional(both: Tensor, weight: Tensor) -> Tensor:
    """Return tanh(W_c [context_t; h_t]) for pairs (…, 2H) and W_c (H, 2H)."""
    return (both @ weight.T).tanh()


# By the parameter: equations of each step alone, beside the recurrence.
EQUATIONS = {"weight_score": transformed, "weight_combine": attentional}
FEW_ROWS = 8  # of a step: fewer keep no tile of a product busy


class EachStep(compiler.Compilable):
    """One of these equations as a step without a state, from which a kernel is compiled. It is run on the parameters of
    a cell; the parameter that it has itself is only of their shape."""

    state_widths: Sequence[int] = ()  # type: ignore[assignment]

    def __init__(self, name: str, hidden_size: int) -> None:
        super().__init__()
        self.name, self.hidden_size = name, hidden_size
        self.input_size = hidden_size if name == "weight_score" else 2 * hidden_size
        self.register_parameter(name, nn.Parameter(torch.eye(hidden_size, self.input_size, device="cpu")))

    @property
    def title(self) -> str:
        return f"AttentionLSTM.{self.name}"

    def advance(self, x_t: Tensor, parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return EQUATIONS[self.name](x_t, getattr(self, self.name)), []


each_step = functools.cache(EachStep)


class AttentionLSTM(LSTM):
    """LSTM whose output attends causally over its own hidden states: the global attention of Luong
    et al. (2015, eqs. 5 and 7–8), with the sequence so far in the place of a source sentence:

        h_1 … h_t: the hidden states of an LSTM
        α_ts = softmax over s ≤ t of score(h_t, h_s),  score = h_tᵀ W_a h_s ("general") or h_tᵀ h_s ("dot")
        context_t = Σ_s α_ts h_s
        y_t = tanh(W_c [context_t; h_t])

    The recurrence is the LSTM's and takes any of its backends. Attention adds a cost that grows
    with T², but no memory that does; nothing of y_t feeds back into the recurrence. With the native
    backend it is computed by `native.attend` and by kernels compiled from the equations of y_t and of
    the score, else by `F.scaled_dot_product_attention` and torch's products.

    Args:
        score: "general" or "dot".
        Others: see `LSTM`.

    Parameters: those of `LSTM`, weight_score (H, H) = W_a (score "general" only) and
    weight_combine (H, 2H) = W_c. State: (h, c), each (B, H), carrying the memory of past hidden
    states (`AttentionState`).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        score: str = "general",
        **options: Any,
    ) -> None:
        if score not in ("general", "dot"):
            raise ValueError(f"score must be 'general' or 'dot', not {score!r}")
        self.score = score
        super().__init__(input_size, hidden_size, backend, **options)

    def build_parameters(self, parameter: Callable[..., nn.Parameter]) -> None:
        size = self.hidden_size
        self.weight_score = parameter(size, size) if self.score == "general" else None
        self.weight_combine = parameter(size, 2 * size)

    def state_shapes(self, state: LSTMState, batch: int) -> dict[str, tuple[int, ...]]:
        shapes = super().state_shapes(state, batch)
        return shapes | ({"memory": (len(state.memory), *shapes["h"])} if isinstance(state, AttentionState) else {})

    def state_parts(self, state: LSTMState) -> list[Any]:
        return super().state_parts(state) + ([state.memory] if isinstance(state, AttentionState) else [])

    def step(self, x_t: Tensor, state: LSTMState | None = None) -> tuple[Tensor, AttentionState]:
        h, (h, c) = super().step(x_t, state)
        memory = self._remember(state, h.unsqueeze(0))
        query = h if self.weight_score is None else transformed(h, self.weight_score)
        weights = torch.einsum("bh,sbh->sb", query, memory).softmax(dim=0)
        self.observe(attention=weights)
        context = torch.einsum("sb,sbh->bh", weights, memory)
        output = attentional(torch.cat([context, h], dim=-1), self.weight_combine)
        return output, AttentionState(h, c, memory)

    def run(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, AttentionState]:
        hidden, (h, c) = super().run(inputs, state)
        memory = self._remember(state, hidden)
        return self.combine(hidden, memory), AttentionState(h, c, memory)

    def read(self, hidden: Tensor) -> Tensor:
        return self.combine(hidden, hidden)

    def combine(self, hidden: Tensor, memory: Tensor) -> Tensor:
        """Return the outputs (T, B, H) from hidden states (T, B, H) and what they attend to, as `attend`."""
        context = self.attend(hidden, memory)
        return self._each("weight_combine", torch.cat([context, hidden], dim=-1))

    def attend(self, hidden: Tensor, memory: Tensor) -> Tensor:
        """Return each hidden state's context (T, B, H) from `memory` (S, B, H), whose last T entries
        are `hidden` (T, B, H) itself. From an entry that is not finite on, contexts of its sequence are NaN; those
        before, and other sequences, do not depend on it."""
        transformed = native.is_transformed(memory, self.weight_hh)
        # torch's kernel allows no transforms, and has no second derivative.
        with sdpa_kernel(SDPBackend.MATH) if transformed or self.backend == "loop" else nullcontext():
            return self._attend(hidden, memory) if transformed else self._attend_finite(hidden, memory)

    def _attend_finite(self, hidden: Tensor, memory: Tensor) -> Tensor:
        """Return what `attend` does, branching on values, which transforms do not allow."""
        # One sum tells in all but broken cases that everything is finite. Without storage there is nothing to tell.
        if memory.is_meta or memory.detach().sum().isfinite():
            return self._attend(hidden, memory)
        # The attention multiplies later entries by a weight of zero, of which they make NaN.
        broken = ~memory.isfinite().all(dim=-1, keepdim=True)
        reached = broken.cummax(dim=0).values
        steps = len(hidden)
        context = self._attend(hidden.masked_fill(broken[-steps:], 0.0), memory.masked_fill(broken, 0.0))
        return context.masked_fill(reached[-steps:], torch.nan)

    def _attend(self, hidden: Tensor, memory: Tensor) -> Tensor:
        """Return what `attend` does, of entries that are all finite."""
        query = hidden if self.weight_score is None else self._each("weight_score", hidden)
        if self._is_native(memory):
            return native.attend(query, memory)  # Luong's scores are not divided by √H
        # (time, batch, features) → (batch, one head, time, features)
        queries = query.transpose(0, 1).unsqueeze(1)
        keys = memory.transpose(0, 1).unsqueeze(1)
        steps, known = len(hidden), len(memory)
        mask = None
        if known > steps:  # is_causal would align the first query with the first key, not the last
            mask = torch.ones(steps, known, dtype=torch.bool, device=hidden.device).tril(known - steps)
        context = F.scaled_dot_product_attention(queries, keys, keys, attn_mask=mask, is_causal=mask is None, scale=1.0)
        return context.squeeze(1).transpose(0, 1)

    def _is_native(self, values: Tensor) -> bool:
        return not native.is_transformed(values, self.weight_hh) and self.active_backend == "native"

    def _each(self, name: str, inputs: Tensor) -> Tensor:
        """Compute the equation of a parameter for each step of (T, B, ·)."""
        kernel = compiler.kernel_of(each_step(name, self.hidden_size)) if self._is_native(inputs) else None
        if kernel is None:
            return EQUATIONS[name](inputs, getattr(self, name))
        steps, batch, size = inputs.shape
        rows = inputs if batch >= FEW_ROWS else inputs.reshape(1, steps * batch, size)
        outputs, _ = native.run(kernel, self, rows, [])
        return outputs.view(steps, batch, -1)

    def companions(self) -> list[compiler.Compilable]:
        names = [name for name in EQUATIONS if getattr(self, name) is not None]
        return [each_step(name, self.hidden_size) for name in names]

    def _remember(self, state: LSTMState | None, hidden: Tensor) -> Tensor:
        """Return the memory (t + T, B, H) after new hidden states (T, B, H)."""
        return torch.cat([state.memory, hidden]) if isinstance(state, AttentionState) else hidden
