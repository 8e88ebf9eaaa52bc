"""How a cell's weights start: named schemes. How the biases of gates start is `cells.gated`'s."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def uniform(name: str, parameter: Tensor, hidden_size: int) -> None:
    """Fill with U(-1/√H, 1/√H), as every recurrent layer of torch.nn does."""
    bound = 1.0 / math.sqrt(hidden_size)
    nn.init.uniform_(parameter, -bound, bound)


def small(name: str, parameter: Tensor, hidden_size: int) -> None:
    """Fill with U(-0.1, 0.1), whatever H (Hochreiter & Schmidhuber 1997, experiments 3 to 6)."""
    nn.init.uniform_(parameter, -0.1, 0.1)


def orthogonal(name: str, parameter: Tensor, hidden_size: int) -> None:
    """Fill each (H, H) block with an orthogonal matrix (Saxe et al. 2014), other matrices by Glorot
    & Bengio (2010), vectors with zero."""
    if parameter.dim() == 1:
        nn.init.zeros_(parameter)
        return
    for block in parameter.split(hidden_size):
        if block.shape[0] == block.shape[1]:
            nn.init.orthogonal_(block)
        else:
            nn.init.xavier_uniform_(block)


def identity(name: str, parameter: Tensor, hidden_size: int) -> None:
    """Set each gate's recurrent matrix to the identity and vectors to zero, and fill other matrices with N(0, 0.001²),
    as Le et al. (2015) do for the IRNN, a plain network with relu."""
    if parameter.dim() == 1:
        nn.init.zeros_(parameter)
    elif name == "weight_hh":
        for block in parameter.split(hidden_size):
            nn.init.eye_(block)
    else:
        nn.init.normal_(parameter, std=0.001)


SCHEMES: dict[str, Callable[[str, Tensor, int], None]] = {
    "uniform": uniform,
    "small": small,
    "orthogonal": orthogonal,
    "identity": identity,
}


@torch.no_grad()
def initialize(module: nn.Module, scheme: str, hidden_size: int) -> None:
    """Fill all parameters of `module` in place, drawing from torch's global generator in the order
    in which they were registered.

    Args:
        module: whose parameters are gates stacked in blocks of `hidden_size` rows, or vectors.
        scheme: a key of `SCHEMES`.
        hidden_size: H.
    """
    for name, parameter in module.named_parameters(recurse=False):
        SCHEMES[scheme](name, parameter, hidden_size)
