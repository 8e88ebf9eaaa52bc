"""Checks of what constructors are given. Each returns the value, or raises a ValueError that names the argument."""

import math
from numbers import Integral, Real


def whole(name: str, value: int, least: int, below: float = math.inf) -> int:
    """Check a count: a whole number of at least `least`, and less than `below`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    if not least <= value < below:
        limit = "" if below == math.inf else f" and below {below}"
        raise ValueError(f"{name} must be at least {least}{limit}, not {value}")
    return int(value)


def share(name: str, value: float) -> float:
    """Check a probability or a share: a number in [0, 1)."""
    if not _is_real(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), not {value!r}")
    return value


def positive(name: str, value: float) -> float:
    """Check a finite number above 0."""
    if not _is_real(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite, not {value!r}")
    return value


def flag(name: str, value: bool) -> bool:
    """Check that a value is true or false; a word such as "false" would count as true."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return value


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
