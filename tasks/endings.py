"""Sequences that end at different steps: drawn, followed by zeros, and read where each ends."""

import torch
from torch import Tensor


def drawn_ends(shortest: int, extra: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Draw the last step (B) of each sequence, whose lengths are uniform in [`shortest`, `shortest` + `extra`]."""
    shape = (batch_size,)
    return shortest - 1 + torch.randint(extra + 1, shape, generator=generator, device=generator.device)


def cut(inputs: Tensor, ends: Tensor) -> Tensor:
    """Return inputs (T, B, ...) with zeros after each sequence's last step (B)."""
    steps = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
    kept = (steps <= ends).reshape(*inputs.shape[:2], *[1] * (inputs.dim() - 2))
    return torch.where(kept, inputs, torch.zeros_like(inputs))


def ends_of(inputs: Tensor) -> Tensor:
    """Return the last step (B) at which inputs (T, B, I) are not zero."""
    steps = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
    return ((inputs != 0).any(dim=-1) * steps).amax(dim=0)


def at(outputs: Tensor, steps: Tensor) -> Tensor:
    """Return the outputs (B, O) of each sequence at a step of its own (B)."""
    return outputs[steps, torch.arange(len(steps), device=outputs.device)]
