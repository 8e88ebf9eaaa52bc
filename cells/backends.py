"""What computes a cell's recurrence beside its equations in Python: which implementations a class has, which of them
can be used here, and how each is called."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from cells import compiler
from cells.exchange import TorchExchange

State = Any  # h (B, H), or (h, c) of such
ONE_LAYER = {"num_layers": 1, "dropout": 0.0, "bidirectional": False, "batch_first": False}


class Backends(TorchExchange, compiler.Compilable):
    """The implementations of a cell: compiled kernels, torch.nn's, and the loop over its equations."""

    torchrecurrent_layer: ClassVar[str | None] = None  # that computes the same
    states: ClassVar[tuple[str, ...]] = ("h",)  # names of what the state consists of, each (B, H)
    gates: int

    def __init_subclass__(cls, **options: Any) -> None:
        """A class with equations of its own has no implementation but those that it names: those of another class
        compute other equations."""
        super().__init_subclass__(**options)
        if {"recur", "project"} & vars(cls).keys():
            for name in ("torch_class", "torchrecurrent_layer"):
                if name not in vars(cls):
                    setattr(cls, name, None)

    @classmethod
    def available_backends(cls) -> tuple[str, ...]:
        return ("native", *(("torch",) if cls.torch_class is not None else ()), "triton", "loop")

    @property
    def like(self) -> Tensor:
        return self.weight_ih

    @property
    def state_widths(self) -> list[int]:
        return [1] * len(self.states)

    def split_state(self, state: State) -> list[Tensor]:
        """Return the parts of a state that a kernel advances."""
        return list(state) if len(self.states) > 1 else [state]

    def join_state(self, parts: list[Tensor]) -> State:
        """Return the state that consists of these parts."""
        return tuple(parts) if len(self.states) > 1 else parts[0]

    def forward_native(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the compiled kernel on this cell's parameters."""
        outputs, parts = compiler.run(self, "native", inputs, self.split_state(state))
        return outputs, self.join_state(parts)

    def forward_triton(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the kernels for GPUs on this cell's parameters."""
        outputs, parts = compiler.run(self, "triton", inputs, self.split_state(state))
        return outputs, self.join_state(parts)

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
