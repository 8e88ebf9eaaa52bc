"""Any layer of the torchrecurrent package, by name."""

import difflib
from typing import Any

from torch import Tensor, nn

from cells.arguments import check_sizes


class TorchRecurrent(nn.Module):
    """A one-layer, one-direction layer of torchrecurrent (Martinuzzi 2025), e.g. MGU, JANET, IndRNN or LEM.

    Args:
        input_size: I.
        hidden_size: H.
        layer: the layer's class.
        options: what else that class takes.

    Called as every cell: `outputs, state = cell(inputs, state)`, inputs (T, B, I), outputs (T, B, H); the state
    is the layer's own.

    Raises:
        ValueError: a size below 1, the package is not installed, or it has no such layer.
    """

    active_backend = "torchrecurrent"

    def __init__(self, input_size: int, hidden_size: int, layer: str, **options: Any) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.layer = _class_of(layer)(input_size, hidden_size, **options)

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.layer(inputs, state)


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
