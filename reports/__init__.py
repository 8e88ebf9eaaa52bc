"""Stored results → typed rows → statistics and figures → markdown. Never trains."""

from typing import TYPE_CHECKING

from reports.load import Stored, load

if TYPE_CHECKING:
    from reports.comparisons import compare

__all__ = ["Stored", "compare", "load"]


def __getattr__(name: str) -> object:
    """Import `compare` when it is asked for: statistics take a second to import, which loading does not need."""
    if name == "compare":
        from reports.comparisons import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
