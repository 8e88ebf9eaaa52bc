"""Checks of what constructors are given, which raise a ValueError that names the argument."""

from numbers import Integral, Real
from typing import Any

from torch import Tensor


def check_sizes(**sizes: int) -> None:
    """Check that each size is a whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise ValueError(f"{name} must be a whole number, not {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


def check_flags(**flags: bool) -> None:
    """Check that each flag is true or false; a word such as "false" would count as true."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ValueError(f"{name} must be True or False, not {flag!r}")


def check_shares(**shares: float) -> None:
    """Check that each is a share of a whole: at least 0 and below 1."""
    for name, share in shares.items():
        if not isinstance(share, Real) or isinstance(share, bool) or not 0 <= share < 1:
            raise ValueError(f"{name} must be a number of at least 0 and below 1, not {share!r}")


def check_sequence(inputs: Any, input_size: int) -> None:
    """Check that these are inputs (T, B, I), with T and B at least 1."""
    is_tensor = isinstance(inputs, Tensor)
    if not is_tensor or inputs.dim() != 3 or 0 in inputs.shape[:2] or inputs.shape[2] != input_size:
        given = tuple(inputs.shape) if is_tensor else f"a {type(inputs).__name__}"
        raise ValueError(f"inputs must be (T ≥ 1, B ≥ 1, {input_size}), time first, not {given}")
