"""Several layers of a cell, in one direction or in both."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.arguments import check_flags, check_sequence, check_shares, check_sizes
from cells.causal import run_causally


class Stack(nn.Module):
    """A deep network of cells, which is a contender like any one of them.

    Layers follow each other as in torch.nn (`num_layers`, `bidirectional`, `dropout`), each fed the outputs of the one
    below. With `residual` they are the blocks of a pre-norm Transformer instead (Xiong et al. 2020): the inputs are
    mapped linearly to H features x, and every layer adds to these,

        x ← x + cell(norm(x))
        x ← x + W₂ gelu(W₁ norm(x)), with `feedforward`

    so that with attention as the cell this is a Transformer. Other papers arrange their blocks in other ways: a block
    of the LRU has a single residual connection, around LRU, gelu and a gated linear layer.

    Args:
        make: makes a cell, given how many features its inputs have.
        input_size: I.
        hidden_size: H, that cells are made with.
        layers: at least 1.
        bidirectional: whether each layer has a second cell, which reads from the end, its outputs beside the first's.
        dropout: share of zeros, in [0, 1): of the outputs of each layer but the last, or of what a residual layer adds.
        recurrent_dropout: share of the state's units that no product sees throughout a batch: variational dropout (Gal
            & Ghahramani 2016), with a mask per batch and layer, on the columns of weight_hh.
        residual: whether layers add to their inputs.
        norm: whether layers but the first, residual ones all, see normalised inputs (Ba et al. 2016), and the readout
            too.
        feedforward: features of W₁ x, as a multiple of H; 0 for none.

    State: a list of the layers' states. Outputs: (T, B, W), W twice the cell's width if bidirectional.

    Raises:
        ValueError: an option out of its range, options that exclude each other, or a cell that they do not suit.
    """

    def __init__(
        self,
        make: Callable[[int], nn.Module],
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        residual: bool = False,
        norm: bool = False,
        feedforward: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, layers=layers)
        check_flags(bidirectional=bidirectional, residual=residual, norm=norm)
        check_shares(dropout=dropout, recurrent_dropout=recurrent_dropout)
        if residual and bidirectional:
            raise ValueError("residual layers have one direction: with bidirectional=true widths would differ")
        if feedforward and not residual:
            raise ValueError("feedforward needs residual=true")
        if feedforward < 0:
            raise ValueError(f"feedforward must be at least 0, not {feedforward!r}")
        if dropout and layers == 1 and not residual:
            raise ValueError("dropout is between layers, and there is one; set layers=2 or more, or recurrent_dropout")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.bidirectional, self.residual = bidirectional, residual
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.encoder = nn.Linear(input_size, hidden_size) if residual else None
        self.cells, self.backward_cells = nn.ModuleList(), nn.ModuleList()
        self.norms, self.feedforwards = nn.ModuleList(), nn.ModuleList()
        width = hidden_size if residual else input_size
        for number in range(layers):
            self.norms.append(nn.LayerNorm(width) if norm and (number or residual) else nn.Identity())
            self.cells.append(make(width))
            own = getattr(self.cells[-1], "output_size", hidden_size)
            if residual and own != hidden_size:
                raise ValueError(f"residual layers need outputs as wide as their inputs, {hidden_size}, not {own}")
            if bidirectional:
                self.backward_cells.append(make(width))
            if feedforward:
                self.feedforwards.append(_feedforward(hidden_size, round(feedforward * hidden_size), norm))
            width = own * (1 + bidirectional)
        self.output_size = width
        self.last_norm = nn.LayerNorm(width) if norm else nn.Identity()
        if recurrent_dropout and not all(hasattr(cell, "weight_hh") for cell in self.cells):
            raise ValueError("recurrent_dropout masks weight_hh, which this cell lacks")

    @property
    def can_step(self) -> bool | None:
        """Whether it runs step by step; None if a cell does not say."""
        said = [getattr(cell, "can_step", None) for cell in self.cells]
        if self.bidirectional or False in said:
            return False
        return True if all(said) else None

    @property
    def why_no_steps(self) -> str:
        if self.bidirectional:
            return "it reads sequences in both directions"
        return str(getattr(self.cells[0], "why_no_steps", "its cell cannot"))

    @property
    def active_backend(self) -> str:
        """The implementation that the cells' calls use."""
        return str(getattr(self.cells[0], "active_backend", "own"))

    @property
    def takes_lengths(self) -> bool:
        """Whether what is behind a sequence's end would change its outputs, unless it is told where that is."""
        return self.bidirectional

    def forward(
        self, inputs: Tensor, state: list[Any] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Any]]:
        """Run over a sequence.

        Args:
            inputs: (T, B, I).
            state: of each layer, its cell's, or those of both directions; None at the beginning.
            lengths: (B), the steps of each sequence; None if all have T. Outputs up to its end are those of a sequence
                run alone, whatever is behind it.

        Raises:
            ValueError: inputs of another shape.
        """
        check_sequence(inputs, self.input_size)
        if self.bidirectional:
            order = None if lengths is None else _backwards(len(inputs), lengths)
            return self.run(inputs, state, order)
        return run_causally(self.run, inputs, state)

    def run(self, inputs: Tensor, state: list[Any] | None, order: Tensor | None = None) -> tuple[Tensor, list[Any]]:
        """Return the outputs and the state after the last step; `order`: see `_turned`."""
        x = inputs if self.encoder is None else self.encoder(inputs)
        after: list[Any] = []
        for number, (norm, cell) in enumerate(zip(self.norms, self.cells, strict=True)):
            before: Any = state[number] if state is not None else (None, None) if self.bidirectional else None
            if not self.residual and number:
                x = F.dropout(x, self.dropout, self.training)
            seen = norm(x)
            if self.bidirectional:
                y, last = self._run(cell, seen, before[0])
                back, back_last = self._run(self.backward_cells[number], _turned(seen, order), before[1])
                y, last = torch.cat([y, _turned(back, order)], dim=-1), (last, back_last)
            else:
                y, last = self._run(cell, seen, before)
            x = x + F.dropout(y, self.dropout, self.training) if self.residual else y
            if len(self.feedforwards):
                x = x + F.dropout(self.feedforwards[number](x), self.dropout, self.training)
            after.append(last)
        return self.last_norm(x), after

    def _run(self, cell: nn.Module, inputs: Tensor, state: Any) -> Any:
        if not (self.recurrent_dropout and self.training):
            return cell(inputs, state)
        weight = cell.weight_hh
        assert isinstance(weight, Tensor)
        mask = F.dropout(torch.ones_like(weight[:1]), self.recurrent_dropout)
        return torch.func.functional_call(cell, {"weight_hh": weight * mask}, (inputs, state))


def _backwards(steps: int, lengths: Tensor) -> Tensor:
    """Return in which order (T, B) to read sequences from their ends; what is behind an end stays where it is."""
    times = torch.arange(steps, device=lengths.device).unsqueeze(1)
    return torch.where(times < lengths, lengths - 1 - times, times)


def _turned(sequences: Tensor, order: Tensor | None) -> Tensor:
    """Return sequences (T, B, ·) from their ends, and those that were so from their beginnings."""
    if order is None:
        return sequences.flip(0)
    return sequences.gather(0, order.unsqueeze(-1).expand_as(sequences))


def _feedforward(size: int, inner: int, norm: bool) -> nn.Sequential:
    first = [nn.LayerNorm(size)] if norm else []
    return nn.Sequential(*first, nn.Linear(size, inner), nn.GELU(), nn.Linear(inner, size))
