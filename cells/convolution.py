"""Causal convolutions, and networks of them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells import native
from cells.arguments import check_shares, check_sizes
from cells.layer import Layer


class CausalConvolution(nn.Module):
    """A convolution over time whose output at step t sees the inputs up to t only.

    Args:
        inputs, outputs: channels.
        kernel: how many inputs an output sees.
        dilation: steps between two of these.
        weight_norm: whether a filter is a direction and a length, learned apart (Salimans & Kingma 2016).

    Parameters: weight (outputs, inputs, kernel), bias (outputs), and length (outputs, 1, 1) with `weight_norm`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, *, weight_norm: bool = False) -> None:
        super().__init__()
        self.inputs, self.dilation = inputs, dilation
        self.reach = (kernel - 1) * dilation  # earlier steps that an output sees
        self.weight, self.bias = _filters(nn.Conv1d(inputs, outputs, kernel))
        norms = self.weight.detach().flatten(1).norm(dim=1).view(-1, 1, 1)
        self.length = nn.Parameter(norms) if weight_norm else None

    def initial_state(self, inputs: Tensor) -> Tensor:
        """Return the zeros before a sequence (T, B, ·), as `past` (B, inputs, reach)."""
        return inputs.new_zeros(inputs.shape[1], self.inputs, self.reach)

    def forward(self, inputs: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve (B, inputs, T), given what went before, to (B, outputs, T); return what the next steps see too."""
        seen = torch.cat([past, inputs], dim=-1)
        weight = self.weight
        if self.length is not None:
            weight = weight * (self.length / weight.flatten(1).norm(dim=1).view(-1, 1, 1))
        outputs = F.conv1d(seen, weight, self.bias, dilation=self.dilation)
        return outputs, seen[..., seen.shape[-1] - self.reach :]


class DepthwiseConvolution(nn.Module):
    """A causal convolution of each channel by itself. On a CPU its outputs and gradients are computed in C++, step by
    step, as the sequence is laid out.

    Args:
        channels: E.
        kernel: how many inputs an output sees.

    Parameters: weight (E, 1, kernel), bias (E).
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight, self.bias = _filters(nn.Conv1d(channels, channels, kernel, groups=channels))

    def initial_state(self, inputs: Tensor) -> Tensor:
        """Return the zeros before a sequence (T, B, ·), as `past` (B, E, kernel − 1)."""
        return inputs.new_zeros(inputs.shape[1], len(self.weight), self.weight.shape[-1] - 1)

    def forward(self, inputs: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve (T, B, E), given what went before, to (T, B, E); return what the next steps see too."""
        seen = torch.cat([past.permute(2, 0, 1), inputs]).contiguous()
        arguments = (seen, self.weight, self.bias)
        alike = native.supports(seen) and inputs.dtype == self.weight.dtype  # under autocast they differ
        if alike and native.library().loaded and not native.is_transformed(seen, self.weight):
            outputs: Tensor = _Depthwise.apply(*arguments)  # type: ignore[no-untyped-call]
        else:
            outputs = _depthwise(*arguments)
        return outputs, seen[len(inputs) :].permute(1, 2, 0)


def _depthwise(seen: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv1d(seen.permute(1, 2, 0), weight, bias, groups=len(weight)).permute(2, 0, 1)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, seen: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(seen, weight, bias)
        outputs: Tensor = torch.ops.recurrent_bench.convolve(seen, weight[:, 0].t().contiguous(), bias.contiguous())
        return outputs

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        if of_outputs is None:  # of what no loss is of; zeros would multiply what may not be finite
            return None, None, None
        seen, weight, bias = arguments = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated again
            wanted = [each for each, needed in zip(arguments, ctx.needs_input_grad, strict=True) if needed]
            found = iter(torch.autograd.grad(_depthwise(seen, weight, bias), wanted, of_outputs, create_graph=True))
            return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
        of_seen, of_weight, of_bias = torch.ops.recurrent_bench.convolve_backward(
            seen, weight[:, 0].t().contiguous(), of_outputs.contiguous()
        )
        return of_seen, of_weight.t().unsqueeze(1), of_bias


def _filters(like: nn.Conv1d) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight and bias that start as torch's do."""
    assert like.bias is not None
    return nn.Parameter(like.weight.detach().clone()), nn.Parameter(like.bias.detach().clone())


def start(convolutions: nn.ModuleList, inputs: Tensor) -> list[Tensor]:
    """Return what each of several causal convolutions has seen before a sequence (T, B, ·)."""
    return [each.initial_state(inputs) for each in convolutions if isinstance(each, CausalConvolution)]


class TCN(Layer):
    """Temporal convolutional network (Bai et al. 2018, section 3): residual blocks, each of two dilated causal
    convolutions with weight normalisation, ReLU and dropout:

        F(x) = drop(relu(conv(drop(relu(conv(x))))))
        block(x) = relu(F(x) + x), where x is mapped by a 1×1 convolution if its width is another

    The dilation is 2^k in block k = 0, 1, …: an output sees 1 + 2·(kernel − 1)·(2^blocks − 1) steps. Weights start as
    torch's. The authors' code (github.com/locuslab/TCN) draws them from N(0, 0.01²), which has an effect on the 1×1
    convolution only: weight normalisation computes the others anew.

    Args:
        kernel: steps that a filter sees.
        blocks: at least 1.
        dropout: share of zeros, in [0, 1).
        Others: see `Layer`.

    State: of each convolution the inputs that later steps see.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, kernel: int = 7, blocks: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(kernel=kernel, blocks=blocks)
        check_shares(dropout=dropout)
        self.dropout = dropout
        widths = [input_size, *[hidden_size] * (2 * blocks - 1)]
        self.convolutions = nn.ModuleList(
            CausalConvolution(width, hidden_size, kernel, 2 ** (number // 2), weight_norm=True)
            for number, width in enumerate(widths)
        )
        self.widen = nn.Conv1d(input_size, hidden_size, 1) if input_size != hidden_size else nn.Identity()

    def initial_state(self, inputs: Tensor) -> list[Tensor]:
        return start(self.convolutions, inputs)

    def run(self, inputs: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x = inputs.permute(1, 2, 0)
        kept = self.widen(x)
        after = []
        for number, (convolution, past) in enumerate(zip(self.convolutions, state, strict=True)):
            x, last = convolution(x, past)
            x = F.dropout(x.relu(), self.dropout, self.training)
            after.append(last)
            if number % 2:
                kept = x = (x + kept).relu()
        return x.permute(2, 0, 1), after


class GatedConvolution(Layer):
    """A network of gated causal convolutions (Dauphin et al. 2017, eq. 1), dilated by 2^k in layer k = 0, 1, … (van den
    Oord et al. 2016):

        layer(x) = x + (W ∗ x + b) ⊙ σ(V ∗ x + c), x mapped by a 1×1 convolution first if its width is another

    Args:
        kernel: steps that a filter sees.
        depth: layers, at least 1; an output sees 1 + (kernel − 1)·(2^depth − 1) steps.
        Others: see `Layer`.

    State: of each convolution the inputs that later steps see.
    """

    def __init__(self, input_size: int, hidden_size: int, *, kernel: int = 4, depth: int = 6) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(kernel=kernel, depth=depth)
        widths = [input_size, *[hidden_size] * (depth - 1)]
        self.convolutions = nn.ModuleList(
            CausalConvolution(width, 2 * hidden_size, kernel, 2**number) for number, width in enumerate(widths)
        )
        self.widen = nn.Conv1d(input_size, hidden_size, 1) if input_size != hidden_size else nn.Identity()

    def initial_state(self, inputs: Tensor) -> list[Tensor]:
        return start(self.convolutions, inputs)

    def run(self, inputs: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x = inputs.permute(1, 2, 0)
        kept = self.widen(x)
        after = []
        for convolution, past in zip(self.convolutions, state, strict=True):
            x, last = convolution(x, past)
            kept = x = kept + F.glu(x, dim=1)
            after.append(last)
        return x.permute(2, 0, 1), after
