"""The frame that every cell stands in: checked arguments, parameters, initial state, choice of
backend, and the loop over time. The equations are not here: each cell's own file has them."""

import functools
import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import repeat
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells import native
from cells.arguments import check_flags, check_sizes
from cells.initialization import SCHEMES, initialize

# cuDNN wants its weights in one piece, with two biases a gate. A cell's own parameters are put together at each call.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk of memory")

State = Any  # h (B, H), or (h, c) of such


class Cell(nn.Module):
    """A recurrent layer with one bias per gate and interchangeable implementations.

    A subclass states `gates`, `has_cell_state` and the equations (`recur`). If torch.nn computes
    the same mathematics it also names that class (`torch_class`) and calls its kernel
    (`forward_torch`); if there is a compiled kernel, it names that (`native_kernel`) and gathers
    what the kernel takes beside the weights (`native_vectors`).

    One layer, one direction. A deep network is a sequence of cells, each fed the outputs of the one
    below; that belongs to whoever composes cells (`bench.train.model`), so no cell has to know its depth.

    Args:
        input_size: I, features of an input step.
        hidden_size: H, features of an output step.
        backend: "auto" (the fastest that exists here), "native" (C++ for the CPU, built at first
            use), "triton" (for GPUs), "torch" (torch.nn's kernel) or "loop" (Python over time
            steps). Where the one asked for cannot be had (no compiler, another device), the next is
            used: see `active_backend`.
        bias: whether gates have biases.
        initialization: a scheme of `cells.initialization`.
        device, dtype: of the parameters.

    Parameters, gates stacked along the rows in torch's order:
        weight_ih (gates·H, I), weight_hh (gates·H, H), bias (gates·H) or None.

    Raises:
        ValueError: a size that is no whole number of at least one, an unknown scheme, a backend that this cell lacks.
    """

    version: ClassVar[int] = 1  # of what it computes: another one gives runs other ids than those of stored results
    gates: int
    has_cell_state: ClassVar[bool] = False
    torch_class: ClassVar[Callable[..., nn.RNNBase] | None] = None
    native_kernel: ClassVar[str | None] = None
    triton_kernel: ClassVar[str | None] = None  # that `forward_triton` calls
    torchrecurrent_layer: ClassVar[str | None] = None  # that computes the same
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
        if backend != "auto" and backend not in self.available_backends():
            known = ["auto", *self.available_backends()]
            raise ValueError(f"backend of {type(self).__name__} must be one of {known}, not {backend!r}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.backend, self.initialization = backend, initialization

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape, device=device, dtype=dtype))

        rows = self.gates * hidden_size
        self.weight_ih = parameter(rows, input_size)
        self.weight_hh = parameter(rows, hidden_size)
        self.bias = parameter(rows) if bias else None
        self.build_parameters(parameter)
        self.reset_parameters()

    def build_parameters(self, parameter: Callable[..., nn.Parameter]) -> None:
        """Register what a cell has beyond the common parameters; `parameter(*shape)` makes one."""

    def reset_parameters(self) -> None:
        """Draw all parameters anew from torch's global generator."""
        initialize(self, self.initialization, self.hidden_size)

    # The recurrence.

    def recur(self, gates_x: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance one step given the input's share of the gates: the cell's equations.

        Args:
            gates_x: W_ih x_t + b, (B, gates·H).
            state: h (B, H), or (h, c) of such.

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

        Where no gradient is asked for and the native backend is active, its kernel computes the
        same; with backend="loop" these are always the equations themselves.

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
        if not torch.is_grad_enabled() and self.active_backend == "native":
            outputs, state = self.forward_native(x_t.unsqueeze(0), state)
            return outputs.squeeze(0), state
        return self.recur(self.project(x_t), state)

    def project(self, inputs: Tensor) -> Tensor:
        """Return the input's share of the gates, W_ih x + b: (…, I) → (…, gates·H)."""
        return F.linear(inputs, self.weight_ih, self.bias)

    def initial_state(self, inputs: Tensor) -> State:
        """Return the zero state for `inputs` (…, B, I), on their device and in their dtype."""
        h = inputs.new_zeros(inputs.shape[-2], self.hidden_size)
        return (h, torch.zeros_like(h)) if self.has_cell_state else h

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
        shape = (batch, self.hidden_size)
        return {"h": shape, "c": shape} if self.has_cell_state else {"h": shape}

    def state_parts(self, state: State) -> list[Any]:
        """Return what a state that was given consists of, whether or not it is one."""
        return list(state) if self.has_cell_state and isinstance(state, tuple | list) else [state]

    # Backends.

    @classmethod
    def available_backends(cls) -> tuple[str, ...]:
        """Return the names of the implementations that this cell has, fastest first."""
        return _backends_of(cls)  # type: ignore[arg-type]

    @classmethod
    def has_published_layer(cls) -> bool:
        """Tell whether the package torchrecurrent has a layer of the same equations."""
        return _has_kernel(cls, "torchrecurrent_layer")

    @property
    def active_backend(self) -> str:
        """The implementation that a call uses: the one asked for or, if it cannot be had here, the
        fastest that can."""
        if self.backend != "auto" and self.can_use(self.backend):
            return self.backend
        return next(name for name in self.available_backends() if self.can_use(name))

    def can_use(self, backend: str) -> bool:
        """Tell whether an implementation that this cell has can be had here: for the device and dtype
        of its parameters, with the compiler and packages that there are."""
        if backend == "native":
            return native.supports(self.weight_hh)
        return backend != "triton" or _triton_runs(self.weight_hh)

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
        if inputs.dim() != 3 or 0 in inputs.shape[:2] or inputs.shape[2] != self.input_size:
            raise ValueError(f"inputs must be (T ≥ 1, B ≥ 1, {self.input_size}), time first, not {tuple(inputs.shape)}")
        state = self._start(inputs, state)
        return getattr(self, f"forward_{self.active_backend}")(inputs, state)

    def forward_loop(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run `recur` over time. All steps are projected as one product, and split by one `unbind`:
        indexing instead would fill a whole gradient of the projection at every step."""
        outputs = []
        for gates_x in self.project(inputs).unbind(0):
            output, state = self.recur(gates_x, state)
            outputs.append(output)
        return torch.stack(outputs), state

    def forward_native(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the compiled kernel on this cell's parameters."""
        h, c = state if self.has_cell_state else (state, None)
        weights = (self.weight_ih, self.weight_hh, self.native_vectors())
        outputs, h, c = native.run(self.native_name(), inputs, *weights, h, c)
        return outputs, (h, c) if self.has_cell_state else h

    def forward_triton(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the Triton kernels on this cell's parameters."""
        raise NotImplementedError

    def native_name(self) -> str:
        """Return the name of the compiled kernel."""
        assert self.native_kernel is not None
        return self.native_kernel

    def native_vectors(self) -> Tensor:
        """Return the parameters a unit that the compiled kernel takes, each (H), joined: the biases."""
        return self.weight_hh.new_zeros(self.gates * self.hidden_size) if self.bias is None else self.bias

    def forward_torch(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run torch.nn's kernel on this cell's parameters."""
        raise NotImplementedError

    def call_torch_kernel(self, kernel: Callable[..., Any], inputs: Tensor, state: Any) -> Any:
        """Call the function that torch.nn's module of this cell calls, for one layer in one direction."""
        return kernel(
            inputs,
            state,
            self.torch_weights(),
            has_biases=self.bias is not None,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=False,
        )

    # Exchange with torch.nn, which has two biases per gate where the equations have one.

    def torch_weights(self) -> list[Tensor]:
        """Return this cell's parameters as torch.nn's kernels take them: w_ih, w_hh, b_ih, b_hh."""
        if self.bias is None:
            return [self.weight_ih, self.weight_hh]
        return [self.weight_ih, self.weight_hh, self.bias, torch.zeros_like(self.bias)]

    @torch.no_grad()
    def load_torch(self, layer: nn.RNNBase) -> Self:
        """Copy the parameters of a one-layer torch.nn module, summing its two biases. Returns self.

        Raises:
            ValueError: a module of another kind or size, with several layers, or bidirectional.
        """
        if self.torch_class is None or type(layer) is not self.torch_class:
            expected = getattr(self.torch_class, "__name__", "no torch.nn module")
            raise ValueError(f"{type(self).__name__} loads {expected}, not {type(layer).__name__}")
        here = (self.input_size, self.hidden_size, self.bias is not None, 1, False)
        there = (layer.input_size, layer.hidden_size, layer.bias, layer.num_layers, layer.bidirectional)
        if here != there:
            names = "(input_size, hidden_size, bias, num_layers, bidirectional)"
            raise ValueError(f"{names} differ: {here} here, {there} in the torch.nn module")
        theirs = dict(layer.named_parameters())
        self.weight_ih.copy_(theirs["weight_ih_l0"])
        self.weight_hh.copy_(theirs["weight_hh_l0"])
        if self.bias is not None:
            self._load_torch_bias(self.bias, theirs["bias_ih_l0"], theirs["bias_hh_l0"])
        return self

    def _load_torch_bias(self, bias: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        """Fill `bias` with what torch.nn's two biases amount to."""
        bias.copy_(bias_ih + bias_hh)

    @torch.no_grad()
    def to_torch(self) -> nn.RNNBase:
        """Return a new torch.nn module that computes what this cell computes.

        Raises:
            ValueError: if torch.nn has no such module.
        """
        if self.torch_class is None:
            raise ValueError(f"torch.nn has no counterpart of {type(self).__name__}")
        layer = self.torch_class(
            self.input_size,
            self.hidden_size,
            bias=self.bias is not None,
            device=self.weight_ih.device,
            dtype=self.weight_ih.dtype,
            **self._torch_options(),
        )
        for parameter, value in zip(layer.parameters(), self.torch_weights(), strict=True):
            parameter.copy_(value)
        return layer

    def _torch_options(self) -> dict[str, Any]:
        """Return what else `torch_class` must be told to compute this cell."""
        return {}

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


@functools.cache
def _backends_of(kind: type[Cell]) -> tuple[str, ...]:
    kernels = {"native": "native_kernel", "torch": "torch_class", "triton": "triton_kernel"}
    return (*(name for name, attribute in kernels.items() if _has_kernel(kind, attribute)), "loop")


def _has_kernel(kind: type[Cell], attribute: str) -> bool:
    """Tell whether a kernel is named, and computes this class's equations: one inherited from further up than
    `recur` or `project` computes those of another class."""

    def depth(name: str) -> int:
        return next(i for i, base in enumerate(kind.__mro__) if name in vars(base))

    return getattr(kind, attribute) is not None and depth(attribute) <= min(depth("recur"), depth("project"))


def _triton_runs(parameter: Tensor) -> bool:
    """Tell whether Triton can compute with a parameter: on a GPU that has TensorFloat-32, or on a CPU by its
    interpreter."""
    if parameter.is_cuda:
        device = torch.cuda.get_device_capability(parameter.device) >= (8, 0)
    else:
        device = parameter.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    return device and parameter.dtype in (torch.float32, torch.float64) and _has_triton()


@functools.cache
def _has_triton() -> bool:
    """Tell whether there is a Triton in which the kernels were tried."""
    if find_spec("triton") is None:
        return False
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 6)
