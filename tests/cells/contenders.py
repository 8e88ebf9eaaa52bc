"""Every contender, by every implementation that can be had here, as tests take them: small, by name."""

from torch import nn

from cells import (
    GRU,
    JANET,
    LEM,
    LRU,
    LSTM,
    MLSTM,
    RNN,
    SLSTM,
    TCN,
    AblatedLSTM,
    Attention,
    AttentionLSTM,
    GatedConvolution,
    GateRecurrentLSTM,
    Mamba,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    Stack,
)  # fmt: skip

IN, H = 3, 8
CELLS = [
    RNN,
    LSTM,
    PeepholeLSTM,
    GRU,
    AttentionLSTM,
    MinGRU,
    MinLSTM,
    SLSTM,
    LEM,
    JANET,
    AblatedLSTM,
    GateRecurrentLSTM,
]
LAYERS = [LRU, Mamba, MLSTM, Attention, TCN, GatedConvolution]
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
