"""How a cell's parameters start: named schemes, and the forget-gate bias that LSTMs add to any of them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def uniform(parameter: Tensor, hidden_size: int) -> None:
    """Fill with U(-1/√H, 1/√H), as every recurrent layer of torch.nn does."""
    bound = 1.0 / math.sqrt(hidden_size)
    nn.init.uniform_(parameter, -bound, bound)


def orthogonal(parameter: Tensor, hidden_size: int) -> None:
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


SCHEMES: dict[str, Callable[[Tensor, int], None]] = {"uniform": uniform, "orthogonal": orthogonal}


@torch.no_grad()
def initialize(module: nn.Module, scheme: str, hidden_size: int) -> None:
    """Fill all parameters of `module` in place, drawing from torch's global generator in the order
    in which they were registered.

    Args:
        module: whose parameters are gates stacked in blocks of `hidden_size` rows, or vectors.
        scheme: a key of `SCHEMES`.
        hidden_size: H.
    """
    for parameter in module.parameters(recurse=False):
        SCHEMES[scheme](parameter, hidden_size)
