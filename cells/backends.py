"""What computes a cell's recurrence beside its equations in Python: which implementations a class has, which of them
can be used here, and how each is called."""

import functools
import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor

from cells import native
from cells.exchange import TorchExchange

State = Any  # h (B, H), or (h, c) of such
ONE_LAYER = {"num_layers": 1, "dropout": 0.0, "bidirectional": False, "batch_first": False}


class Backends(TorchExchange):
    """A recurrent layer with interchangeable implementations, of which `active_backend` computes a call."""

    native_kernel: str | None = None
    triton_kernel: ClassVar[str | None] = None  # that `forward_triton` calls
    torchrecurrent_layer: ClassVar[str | None] = None  # that computes the same
    has_cell_state: ClassVar[bool] = False
    gates: int
    backend: str

    @classmethod
    @functools.cache
    def available_backends(cls) -> tuple[str, ...]:
        """Return the names of the implementations that this cell has, fastest first."""
        kernels = {"native": "native_kernel", "torch": "torch_class", "triton": "triton_kernel"}
        return (*(name for name, attribute in kernels.items() if _has_kernel(cls, attribute)), "loop")

    @classmethod
    def has_published_layer(cls) -> bool:
        """Tell whether the package torchrecurrent has a layer of the same equations."""
        return _has_kernel(cls, "torchrecurrent_layer")

    @property
    def active_backend(self) -> str:
        """The implementation that a call uses: the one asked for or, if it cannot be had here, the fastest that can."""
        if self.backend != "auto" and self.can_use(self.backend):
            return self.backend
        return next(name for name in self.available_backends() if self.can_use(name))

    def can_use(self, backend: str) -> bool:
        """Tell whether an implementation that this cell has can be had here: for the device and dtype of its
        parameters, with the compiler and packages that there are."""
        if backend == "native":
            return self.native_kernel is not None and native.supports(self.weight_hh)
        return backend != "triton" or _triton_runs(self.weight_hh)

    def forward_native(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the compiled kernel on this cell's parameters."""
        h, c = state if self.has_cell_state else (state, None)
        weights = self.weight_ih, self.weight_hh, self.native_vectors()
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
        if inputs.is_cuda:
            _let_cudnn_gather_weights()
        return kernel(
            inputs, state, self.torch_weights(), has_biases=self.bias is not None, train=self.training, **ONE_LAYER
        )


@functools.cache
def _let_cudnn_gather_weights() -> None:
    """Silence the warning that cuDNN copies the weights at each call: it wants one piece of memory, with two biases a
    gate, and a cell has parameters of its own."""
    warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk of memory")


def _has_kernel(kind: type[Backends], attribute: str) -> bool:
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
