"""Common ways to go on where values of a sequence are missing."""

import torch
from torch import Tensor

STRATEGIES = ("zero", "forward_fill", "interpolation", "mask", "deletion")


def known_strategy(strategy: str) -> str:
    """Check that a strategy is one of those above.

    Raises:
        ValueError: it is none.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    return strategy


def fill(values: Tensor, gone: Tensor, strategy: str, unknown: float) -> Tensor:
    """Return values (T, …) with others in the place of those `gone` (T, …), along the first axis.

    Args:
        strategy: "zero" or "mask" puts zeros, "forward_fill" the last value there was, "interpolation" a line between
            the neighbours and beyond the ends the nearest.
        unknown: what is put where these know of no value.
    """
    if strategy in ("zero", "mask"):
        return values.masked_fill(gone, 0.0)
    steps = torch.arange(len(values), device=values.device).view(-1, *[1] * (values.dim() - 1)).expand_as(gone)
    before = steps.masked_fill(gone, -1).cummax(dim=0).values  # the last step there was; −1 if none
    last = values.gather(0, before.clamp(min=0)).masked_fill(before < 0, unknown)
    if strategy == "forward_fill":
        return last
    none = len(values)
    after = steps.masked_fill(gone, none).flip(0).cummin(dim=0).values.flip(0)
    following = values.gather(0, after.clamp(max=none - 1)).masked_fill(after == none, unknown)
    last = torch.where(before < 0, following, last)
    following = torch.where(after == none, last, following)
    way = (steps - before) / (after - before).clamp(min=1)
    way = way.masked_fill((before < 0) | (after == none), 0.0)
    return last + way * (following - last)
