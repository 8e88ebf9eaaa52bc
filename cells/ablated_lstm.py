"""LSTMs with parts removed, coupled or added, to find out which of them matter."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cells.arguments import check_flags
from cells.lstm import LSTM, LSTMState
from cells.peephole_lstm import PeepholeLSTM
from cells.states import register_state


class AblatedLSTM(LSTM):
    """The peephole LSTM of Greff et al. (2017) without some of its parts. Whole, it is

        i = σ(W_i x_t + U_i h_{t−1} + p_i ⊙ c_{t−1} + b_i)      NIG   i = 1
        f = σ(W_f x_t + U_f h_{t−1} + p_f ⊙ c_{t−1} + b_f)      NFG   f = 1;  CIFG  f = 1 − i
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)                   NIAF  g without tanh
        c_t = f ⊙ c_{t−1} + i ⊙ g
        o = σ(W_o x_t + U_o h_{t−1} + p_o ⊙ c_t + b_o)          NOG   o = 1
        h_t = o ⊙ tanh(c_t)                                     NOAF  h_t = o ⊙ c_t
                                                                NP    p = 0

    and beside each equation stands what removing its part makes of it, under the paper's name. A gate that is not
    there has no parameters. Any parts can be removed together.

    Args:
        input_gate, forget_gate, output_gate: whether there is such a gate.
        input_activation, output_activation: whether there is a tanh before, and after, the cell state.
        peepholes: whether the gates see the cell state.
        coupled_gates: whether the input gate takes the forget gate's part.
        Others: see `LSTM`. With coupled gates, `forget_bias` is that of 1 − i: the input gate's bias is its negative.

    Parameters: those of `PeepholeLSTM`, rows of the gates that there are, in the order i, f, g, o.
    State: (h, c), each (B, H).

    Raises:
        ValueError: coupled gates without an input gate or without a forget gate; see also `LSTM`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        input_gate: bool = True,
        forget_gate: bool = True,
        output_gate: bool = True,
        input_activation: bool = True,
        output_activation: bool = True,
        peepholes: bool = True,
        coupled_gates: bool = False,
        **options: Any,
    ) -> None:
        check_flags(input_gate=input_gate, forget_gate=forget_gate, output_gate=output_gate, peepholes=peepholes)
        check_flags(input_activation=input_activation, output_activation=output_activation, coupled_gates=coupled_gates)
        if coupled_gates and not (input_gate and forget_gate):
            raise ValueError("coupled_gates: needs the input gate and the forget gate that it couples")
        self.input_activation, self.output_activation = input_activation, output_activation
        self.peepholes, self.coupled_gates = peepholes, coupled_gates
        present = {"i": input_gate, "f": forget_gate and not coupled_gates, "g": True, "o": output_gate}
        self.gate_names = [name for name, there in present.items() if there]
        self.gates = len(self.gate_names)
        super().__init__(input_size, hidden_size, backend, **options)

    def build_parameters(self, parameter: Callable[..., Any]) -> None:
        self.weight_peephole = parameter((self.gates - 1) * self.hidden_size) if self.peepholes else None

    def start_biases(self, bias: Tensor, forget: Tensor, remember: Tensor | None) -> None:
        gates = dict(zip(self.gate_names, bias.split(self.hidden_size), strict=True))
        if "f" in gates:
            gates["f"].copy_(forget)
        if "i" in gates and (remember is not None or self.coupled_gates):
            gates["i"].copy_(-forget if self.coupled_gates else remember)

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        before = dict(zip(self.gate_names, (gates_x + h @ self.weight_hh.T).chunk(self.gates, dim=-1), strict=True))
        # A cell may have no gates at all, and so none that see its state.
        peepholes = () if self.weight_peephole is None else self.weight_peephole.chunk(max(1, self.gates - 1))
        seen = dict(zip((name for name in self.gate_names if name != "g"), peepholes, strict=False))

        def gate(name: str, c: Tensor) -> Tensor:
            if name not in before:
                return torch.ones_like(c)
            return (before[name] + seen[name] * c if self.peepholes else before[name]).sigmoid()

        i = gate("i", c)
        f = 1 - i if self.coupled_gates else gate("f", c)
        g = before["g"].tanh() if self.input_activation else before["g"]
        c = f * c + i * g
        o = gate("o", c)
        h = o * (c.tanh() if self.output_activation else c)
        self.observe(i=i, f=f, o=o)
        return h, (h, c)


class GateState(tuple):
    """An LSTM's state (h, c), which unpacks like any other, with the values of its `gates` (B, 3H), i, f, o. A plain
    (h, c) is a state before which all gates were zero."""

    gates: Tensor

    def __new__(cls, h: Tensor, c: Tensor, gates: Tensor) -> "GateState":
        state = super().__new__(cls, (h, c))
        state.gates = gates
        return state

    def __getnewargs__(self) -> tuple[Tensor, Tensor, Tensor]:  # by which it is copied and pickled
        return (*self, self.gates)


register_state(GateState, lambda state: [*state, state.gates])


class GateRecurrentLSTM(PeepholeLSTM):
    """The peephole LSTM with full gate recurrence (Greff et al. 2017, FGR; Hochreiter & Schmidhuber 1997), whose gates
    also see all gates of the step before, a_{t−1} = [i_{t−1}; f_{t−1}; o_{t−1}]:

        i = σ(W_i x_t + U_i h_{t−1} + R_i a_{t−1} + p_i ⊙ c_{t−1} + b_i)
        f = σ(W_f x_t + U_f h_{t−1} + R_f a_{t−1} + p_f ⊙ c_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g
        o = σ(W_o x_t + U_o h_{t−1} + R_o a_{t−1} + p_o ⊙ c_t + b_o)
        h_t = o ⊙ tanh(c_t)

    Args: see `LSTM`.

    Parameters: those of `PeepholeLSTM`, and weight_gates (3H, 3H) = R, rows and columns in the order i, f, o.
    State: (h, c), each (B, H), carrying the gates' last values (`GateState`).
    """

    def build_parameters(self, parameter: Callable[..., Any]) -> None:
        super().build_parameters(parameter)
        self.weight_gates = parameter(3 * self.hidden_size, 3 * self.hidden_size)

    def state_shapes(self, state: LSTMState, batch: int) -> dict[str, tuple[int, ...]]:
        gates = {"gates": (batch, 3 * self.hidden_size)} if isinstance(state, GateState) else {}
        return super().state_shapes(state, batch) | gates

    def state_parts(self, state: LSTMState) -> list[Any]:
        return super().state_parts(state) + ([state.gates] if isinstance(state, GateState) else [])

    @property
    def state_widths(self) -> list[int]:
        return [1, 1, 3]

    def split_state(self, state: LSTMState) -> list[Tensor]:
        h, c = state
        # By len(h), exporters would take the batch for a constant.
        last = state.gates if isinstance(state, GateState) else h.new_zeros(h.shape[0], 3 * self.hidden_size)
        return [h, c, last]

    def join_state(self, parts: list[Tensor]) -> LSTMState:
        return GateState(*parts) if len(parts) > 2 else super().join_state(parts)

    def recur(self, gates_x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c, last = self.split_state(state)
        p_i, p_f, p_o = self.weight_peephole.chunk(3)
        r_i, r_f, r_o = (last @ self.weight_gates.T).chunk(3, dim=-1)
        i, f, g, o = (gates_x + h @ self.weight_hh.T).chunk(4, dim=-1)
        i = (i + r_i + p_i * c).sigmoid()
        f = (f + r_f + p_f * c).sigmoid()
        c = f * c + i * g.tanh()
        o = (o + r_o + p_o * c).sigmoid()
        h = o * c.tanh()
        self.observe(i=i, f=f, o=o)
        return h, GateState(h, c, torch.cat([i, f, o], dim=-1))
