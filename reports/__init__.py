"""Stored results → frames → statistics → figures → markdown. Never trains."""

from reports.load import Stored, load

__all__ = ["Stored", "load"]
