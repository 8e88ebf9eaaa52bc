"""Checks of what constructors are given, which raise a ValueError that names the argument."""

from numbers import Integral


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
