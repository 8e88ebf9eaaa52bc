"""The frame of contenders that compute a sequence as a whole, and can go on from where they stopped."""

from typing import Any, ClassVar

from torch import Tensor, nn

from cells.arguments import check_sequence, check_sizes
from cells.causal import run_causally


class Layer(nn.Module):
    """A contender without a step of its own: `outputs, state = layer(inputs, state)` on any number of steps.

    A sequence cut into pieces, with the state handed on, has the outputs of the whole; a single step is a sequence of
    one. A subclass computes this in `run`.

    Args:
        input_size: I, features of an input step.
        hidden_size: H, features of an output step.

    Raises:
        ValueError: a size that is no whole number of at least one.
    """

    can_step: ClassVar[bool] = True
    version: ClassVar[int] = 1  # of what it computes: another one gives runs other ids than those of stored results

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size

    def initial_state(self, inputs: Tensor) -> Any:
        """Return the state before the first step of `inputs` (T, B, I)."""
        raise NotImplementedError

    def run(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the outputs (T, B, H) and the state after the last step."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run over a sequence.

        Args:
            inputs: (T, B, I) with T ≥ 1 and B ≥ 1.
            state: what an earlier call returned; None at the beginning.

        Raises:
            ValueError: inputs of another shape.
        """
        check_sequence(inputs, self.input_size)
        return run_causally(self.run, inputs, self.initial_state(inputs) if state is None else state)
