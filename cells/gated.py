"""What cells that decide what to keep have in common: how the biases of these decisions start."""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from cells.cell import Cell

CHRONO = "chrono"
LEAST_MEMORY = 3  # below which U[1, T − 1] has no extent


class GatedCell(Cell):
    """A cell with a gate that keeps its state from step to step.

    Args:
        forget_bias: what the bias of that gate starts at: a number; "chrono", where it is drawn from log U[1, T − 1]
            and that of an input gate is its negative, so that units remember for 1 to T steps (Tallec & Ollivier
            2018, eq. 16); or None, which leaves it to `initialization`. Without biases it has no effect.
        longest_memory: T, at least 3, for "chrono".
        Others: see `Cell`.

    Raises:
        ValueError: another word than "chrono", a number that is not finite, or "chrono" without a `longest_memory`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        forget_bias: float | str | None = 1.0,
        longest_memory: int | None = None,
        **options: Any,
    ) -> None:
        if forget_bias == CHRONO:
            if not isinstance(longest_memory, Integral) or longest_memory < LEAST_MEMORY:
                raise ValueError(
                    f"longest_memory must be a whole number of at least {LEAST_MEMORY} with forget_bias={CHRONO}, not "
                    f"{longest_memory!r}"
                )
        elif forget_bias is not None:
            number = isinstance(forget_bias, Real) and not isinstance(forget_bias, bool) and math.isfinite(forget_bias)
            if not number:
                raise ValueError(f"forget_bias must be a finite number, null or {CHRONO}, not {forget_bias!r}")
        self.forget_bias, self.longest_memory = forget_bias, longest_memory
        super().__init__(input_size, hidden_size, backend, **options)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.bias is None or self.forget_bias is None:
            return
        forget = self.bias.new_empty(self.hidden_size)
        if self.forget_bias == CHRONO:
            assert self.longest_memory is not None
            forget.uniform_(1, self.longest_memory - 1).log_()
            self.start_biases(self.bias, forget, -forget)
        else:
            self.start_biases(self.bias, forget.fill_(float(self.forget_bias)), None)

    def start_biases(self, bias: Tensor, forget: Tensor, remember: Tensor | None) -> None:
        """Set, in `bias` (gates·H), the part of the gate that keeps the state to `forget` (H), and that of an input
        gate to `remember` (H) if there is such a gate and that is given."""
        raise NotImplementedError
