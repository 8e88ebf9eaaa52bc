"""Every contender, by every implementation that can be had here, as tests take them: small, by name."""

from torch import nn

import cells
from cells import GRU, Cell, Stack
from cells.layer import Layer

IN, H = 3, 8
SHIPPED = [getattr(cells, name) for name in cells.__all__]
CELLS = [kind for kind in SHIPPED if issubclass(kind, Cell) and kind is not Cell]
LAYERS = [kind for kind in SHIPPED if issubclass(kind, Layer)]
BLOCKS = {"layers": 2, "residual": True, "norm": True, "feedforward": 2.0}


def stack_of(kind: type[nn.Module], **options) -> Stack:
    return Stack(lambda width: kind(width, H), IN, H, **options)


def contenders() -> dict[str, object]:
    made = {}
    for kind in CELLS:
        for backend in kind.available_backends():
            if kind(1, 1).can_use(backend):
                made[f"{kind.__name__} by {backend}"] = lambda kind=kind, backend=backend: kind(IN, H, backend)
    for kind in LAYERS:
        made[kind.__name__] = lambda kind=kind: kind(IN, H)
        made[f"blocks of {kind.__name__}"] = lambda kind=kind: stack_of(kind, **BLOCKS)
    made["layers of GRU"] = lambda: stack_of(GRU, layers=2)
    return made


CONTENDERS = contenders()
