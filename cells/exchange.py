"""The exchange of parameters with torch.nn, which has two biases per gate where the equations have one."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


class TorchExchange(nn.Module):
    """A recurrent layer whose parameters torch.nn can use, if it computes the same mathematics."""

    torch_class: ClassVar[Callable[..., nn.RNNBase] | None] = None
    input_size: int
    hidden_size: int
    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias: nn.Parameter | None

    def torch_weights(self) -> list[Tensor]:
        """Return this cell's parameters as torch.nn's kernels take them: w_ih, w_hh, b_ih, b_hh."""
        if self.bias is None:
            return [self.weight_ih, self.weight_hh]
        return [self.weight_ih, self.weight_hh, self.bias, torch.zeros_like(self.bias)]

    @torch.no_grad()
    def load_torch(self, layer: nn.RNNBase) -> Self:
        """Copy the parameters of a one-layer torch.nn module, summing its two biases. Returns self.

        Raises:
            ValueError: a module of another kind or size, with several layers, bidirectional, or with a projection.
        """
        if self.torch_class is None or type(layer) is not self.torch_class:
            expected = getattr(self.torch_class, "__name__", "no torch.nn module")
            raise ValueError(f"{type(self).__name__} loads {expected}, not {type(layer).__name__}")
        here = (self.input_size, self.hidden_size, self.bias is not None, 1, False, 0)
        there = (
            layer.input_size, layer.hidden_size, layer.bias, layer.num_layers, layer.bidirectional, layer.proj_size
        )  # fmt: skip
        if here != there:
            names = "(input_size, hidden_size, bias, num_layers, bidirectional, proj_size)"
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
        like = {"device": self.weight_ih.device, "dtype": self.weight_ih.dtype}
        options = {"bias": self.bias is not None, **like, **self._torch_options()}
        layer = self.torch_class(self.input_size, self.hidden_size, **options)
        for parameter, value in zip(layer.parameters(), self.torch_weights(), strict=True):
            parameter.copy_(value)
        return layer

    def _torch_options(self) -> dict[str, Any]:
        """Return what else `torch_class` must be told to compute this cell."""
        return {}
