"""Any layer of the torchrecurrent package, by name."""

import difflib
from typing import Any

from torch import Tensor, nn

from cells import compiler, native
from cells.arguments import check_sizes
from cells.causal import run_causally


class TorchRecurrent(compiler.Compilable):
    """A one-layer, one-direction layer of torchrecurrent (Martinuzzi 2025), e.g. MGU, JANET, IndRNN or LEM.

    Args:
        input_size: I.
        hidden_size: H.
        layer: the layer's class.
        backend: "native" (C++ for the CPU, compiled from the layer's cell), "triton" (for GPUs, likewise),
            "torchrecurrent" (the package's own loop), or "auto", the first of these that can be had. See
            `active_backend`, and `reason` and `triton_reason` of `cells.compiler` for why a layer has no kernel.
        options: what else that class takes.

    Called as every cell: `outputs, state = cell(inputs, state)`, inputs (T, B, I), outputs (T, B, H); the state
    is the layer's own.

    Raises:
        ValueError: a size below 1, another backend, the package is not installed, or it has no such layer.
    """

    def __init__(self, input_size: int, hidden_size: int, layer: str, backend: str = "auto", **options: Any) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        if backend not in (known := ["auto", *self.available_backends()]):
            raise ValueError(f"backend must be one of {known}, not {backend!r}")
        self.input_size, self.hidden_size, self.backend = input_size, hidden_size, backend
        self.layer = _class_of(layer)(input_size, hidden_size, **options)

    @classmethod
    def available_backends(cls) -> tuple[str, ...]:
        return ("native", "triton", "torchrecurrent")

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if inputs.dim() != 3 or 0 in inputs.shape:
            return self.layer(inputs, state)
        return run_causally(self.run, inputs, state)

    def run(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the outputs (T, B, H) and the state after the last step."""
        if native.is_transformed(inputs, self.like) or (backend := self.active_backend) == "torchrecurrent":
            return self.layer(inputs, state)
        # A layer's states are (layers, B, H).
        if state is None:
            parts = [inputs.new_zeros(inputs.shape[1], self.hidden_size) for _ in self.state_widths]
        else:
            parts = [part.squeeze(0) for part in (state if isinstance(state, tuple | list) else [state])]
        outputs, parts = compiler.run(self, backend, inputs, parts)
        last = tuple(part.unsqueeze(0) for part in parts)
        return outputs, last if len(last) > 1 else last[0]

    def read(self, hidden: Tensor) -> Tensor:
        return hidden

    @property
    def title(self) -> str:
        return type(self.layer).__name__

    @property
    def state_widths(self) -> list[int]:
        return [1, 1] if self._cell().uses_double_state() else [1]

    def advance(self, x_t: Tensor, parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        cell = self._cell()
        result = cell(x_t, tuple(parts) if len(parts) > 1 else parts[0])
        if len(parts) == 1:
            return (result, [result]) if isinstance(result, Tensor) else (result[0], [result[1]])
        output, second = result
        return output, list(second) if isinstance(second, tuple) else [output, second]

    def _cell(self) -> Any:
        """Return the cell of the layer's only step; Untraceable if the layer is no loop over one cell."""
        from torchrecurrent import base

        layer = self.layer
        if type(layer).forward not in {
            vars(kind).get("forward") for kind in vars(base).values() if isinstance(kind, type)
        }:
            raise compiler.Untraceable(f"{type(layer).__name__} carries more from step to step than its cell's state")
        if len(layer.cells) != 1 or layer.batch_first:
            raise compiler.Untraceable("kernels are of one layer, time first")
        return layer.cells[0]


def _class_of(layer: str) -> Any:
    try:
        import torchrecurrent
    except ImportError as error:
        raise ValueError(
            "the package torchrecurrent is not installed: pip install 'recurrent-bench[torchrecurrent]'"
        ) from error
    layers = {
        name: kind
        for name, kind in vars(torchrecurrent).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and hasattr(torchrecurrent, f"{name}Cell")
    }
    if layer not in layers:
        close = difflib.get_close_matches(layer, layers, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(layers))}"
        raise ValueError(f"torchrecurrent has no layer {layer!r}; {hint}")
    return layers[layer]
