"""The parts of an LSTM, shared by its forms and by the GPU's kernel for all of them, which only Triton can import."""

from typing import NamedTuple


class LSTMParts(NamedTuple):
    """The parts that a form of the LSTM has (see `cells.ablated_lstm`): gates with weights of their own, and others."""

    input_gate: bool = True
    forget_gate: bool = True
    output_gate: bool = True
    coupled_gates: bool = False
    input_activation: bool = True
    output_activation: bool = True
    peepholes: bool = True

    @property
    def gates(self) -> int:
        return 1 + self.input_gate + self.forget_gate + self.output_gate

    @property
    def bits(self) -> int:
        return sum(1 << bit for bit, there in enumerate(self) if there)
