"""The frame that every cell stands in: checked arguments, parameters, initial state, and the loop over time. The
equations are in each cell's own file, other implementations of them in `cells.backends`."""

import functools
from collections.abc import Callable
from itertools import repeat
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells import compiler, native
from cells.arguments import check_flags, check_sequence, check_sizes
from cells.backends import Backends, State
from cells.causal import run_causally
from cells.initialization import SCHEMES, initialize


class Cell(Backends):
    """A recurrent layer with one bias per gate and interchangeable implementations.

    A subclass states `gates`, its `states` if there are others than h, and the equations (`recur`), from which kernels
    are compiled (`cells.compiler`). If torch.nn computes the same mathematics it also names that class (`torch_class`)
    and calls its kernel (`forward_torch`).

    One layer, one direction. A deep network is a sequence of cells, each fed the outputs of the one below; that belongs
    to whoever composes cells, so no cell has to know its depth.

    Args:
        input_size: I, features of an input step.
        hidden_size: H, features of an output step.
        backend: "auto" (the fastest that exists here), "native" (C++ for the CPU, built at first use), "triton" (for
            GPUs), "torch" (torch.nn's kernel) or "loop" (Python over time steps). Where the one asked for cannot be had
            (no compiler, another device), the next is used: see `active_backend`.
        bias: whether gates have biases.
        initialization: a scheme of `cells.initialization`.
        device, dtype: of the parameters.

    Parameters, gates stacked along the rows in torch's order:
        weight_ih (gates·H, I), weight_hh (gates·H, H) if the gates see the state, bias (gates·H) or None.

    Raises:
        ValueError: a size that is no whole number of at least one, an unknown scheme, a backend that this cell lacks.
    """

    can_step: ClassVar[bool] = True
    recurrent: ClassVar[bool] = True  # whether gates see the state: a cell has no weight_hh otherwise
    version: ClassVar[int] = 1  # of what it computes: another one gives runs other ids than those of stored results
    observer: Callable[[dict[str, Tensor]], None] | None = None  # is shown what `recur` computes on the way

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str = "auto",
        *,
        bias: bool = True,
        initialization: str = "uniform",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_flags(bias=bias)
        if initialization not in SCHEMES:
            raise ValueError(f"initialization must be one of {sorted(SCHEMES)}, not {initialization!r}")
        if backend not in (known := ["auto", *self.available_backends()]):
            raise ValueError(f"backend of {type(self).__name__} must be one of {known}, not {backend!r}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.backend, self.initialization = backend, initialization

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape, device=device, dtype=dtype))

        rows = self.gates * hidden_size
        self.weight_ih = parameter(rows, input_size)
        if self.recurrent:
            self.weight_hh = parameter(rows, hidden_size)
        self.bias = parameter(rows) if bias else None
        self.build_parameters(parameter)
        self.reset_parameters()

    def build_parameters(self, parameter: Callable[..., nn.Parameter]) -> None:
        """Register what a cell has beyond the common parameters; `parameter(*shape)` makes one."""

    def reset_parameters(self) -> None:
        """Draw all parameters anew from torch's global generator."""
        initialize(self, self.initialization, self.hidden_size)

    def recur(self, gates_x: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance one step given the input's share of the gates: the cell's equations.

        Args:
            gates_x: W_ih x_t + b, (B, gates·H).
            state: h (B, H), or a tuple of such, one for each of `states`.

        Returns:
            The output (B, H) and the new state.
        """
        raise NotImplementedError

    def observe(self, **values: Tensor) -> None:
        """Show what a step computes on the way, such as gates (B, H), to whoever looks on."""
        if self.observer is not None:
            self.observer(values)

    def step(self, x_t: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Advance one step: the reference that every backend is held to.

        Where no gradient is asked for and the native backend is active, its kernel computes the same; with
        backend="loop" these are always the equations themselves.

        Args:
            x_t: input (B, I).
            state: h (B, H), or (h, c) of such; zeros if None.

        Returns:
            The output (B, H) and the new state.

        Raises:
            ValueError: input or state of another shape, or a state of another dtype than the input.
        """
        if x_t.dim() != 2 or x_t.shape[0] == 0 or x_t.shape[1] != self.input_size:
            raise ValueError(f"inputs of a step must be (B ≥ 1, {self.input_size}), not {tuple(x_t.shape)}")
        state = self._start(x_t, state)
        kernels = not torch.is_grad_enabled() and not native.is_transformed(x_t, self.weight_ih)
        if kernels and self.active_backend == "native":
            outputs, state = self.forward_native(x_t.unsqueeze(0), state)
            return outputs.squeeze(0), state
        return self.recur(self.project(x_t), state)

    def project(self, inputs: Tensor) -> Tensor:
        """Return the input's share of the gates, W_ih x + b: (…, I) → (…, gates·H)."""
        return F.linear(inputs, self.weight_ih, self.bias)

    def initial_state(self, inputs: Tensor) -> State:
        """Return the zero state for `inputs` (…, B, I), on their device and in their dtype."""
        return self.join_state([inputs.new_zeros(inputs.shape[-2], self.hidden_size) for _ in self.states])

    def _start(self, inputs: Tensor, state: State) -> State:
        """Return the state that a call on `inputs` (…, B, I) begins from: zero if it is None.

        Raises:
            ValueError: it is no state of this cell for such inputs.
        """
        if state is None:
            return self.initial_state(inputs)
        expected = self.state_shapes(state, inputs.shape[-2])
        parts = self.state_parts(state)
        if not (len(parts) == len(expected) and all(map(_fits, parts, expected.values(), repeat(inputs)))):
            wanted = ", ".join(f"{name} {shape}" for name, shape in expected.items())
            given = ", ".join(map(_describe, parts))
            raise ValueError(f"state must be {wanted}, {inputs.dtype}, not {given or 'empty'}")
        return state

    def state_shapes(self, state: State, batch: int) -> dict[str, tuple[int, ...]]:
        """Return what a state for `batch` sequences consists of."""
        return dict.fromkeys(self.states, (batch, self.hidden_size))

    def state_parts(self, state: State) -> list[Any]:
        """Return what a state that was given consists of, whether or not it is one."""
        return list(state) if len(self.states) > 1 and isinstance(state, tuple | list) else [state]

    def advance(self, x_t: Tensor, parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        output, state = self.recur(self.project(x_t), self.join_state(parts))
        return output, self.split_state(state)

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run over a sequence.

        Args:
            inputs: (T, B, I) with T ≥ 1 and B ≥ 1.
            state: h (B, H), or (h, c) of such; zeros if None.

        Returns:
            The outputs (T, B, H) and the state after the last step.

        Raises:
            ValueError: inputs or state of another shape, or a state of another dtype than the inputs.
        """
        check_sequence(inputs, self.input_size)
        state = self._start(inputs, state)
        if not torch.is_grad_enabled():  # steps see no later one; only gradients would be reached
            return self.run(inputs, state)
        return run_causally(self.run, inputs, state)

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs (T, B, H) and the state after the last step, of arguments that are checked."""
        backend = "loop" if native.is_transformed(inputs, self.weight_ih) else self.active_backend
        return getattr(self, f"forward_{backend}")(inputs, state)

    def read(self, hidden: Tensor) -> Tensor:
        return hidden

    @property
    def learn_each(self) -> native.LearnEach | None:
        """Has the gradients of several cells, each under a readout, in one call (see `native.learn_each`). None if the
        outputs are not those of a kernel for the CPU as they are."""
        is_bare = type(self).read is Cell.read and self.active_backend == "native"
        kernel = compiler.kernel_of(self) if is_bare and self.run_each is not None else None
        return functools.partial(native.learn_each, kernel) if kernel is not None else None

    def forward_loop(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run `recur` over time. All steps are projected as one product, and split by one `unbind`: indexing instead
        would fill a whole gradient of the projection at every step."""
        outputs = []
        for gates_x in self.project(inputs).unbind(0):
            output, state = self.recur(gates_x, state)
            outputs.append(output)
        return torch.stack(outputs), state

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, backend={self.backend!r}"


def _fits(part: Any, shape: tuple[int, ...], inputs: Tensor) -> bool:
    """Tell whether part of a state has a shape, and the dtype of the inputs. Autocast mixes these itself."""
    return (
        isinstance(part, Tensor)
        and part.shape == shape
        and (part.dtype == inputs.dtype or torch.is_autocast_enabled(inputs.device.type))
    )


def _describe(part: Any) -> str:
    return f"{tuple(part.shape)} {part.dtype}" if isinstance(part, Tensor) else f"a {type(part).__name__}"
