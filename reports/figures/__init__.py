"""Frames → figures."""

from bench.record.errors import one_line
from reports.isolation import isolated
from reports.load import LoadError

try:
    with isolated():
        import matplotlib  # noqa: F401  before anything else does: what a user has set for it may end the import
except Exception as error:
    raise LoadError(
        f"matplotlib cannot be imported ({one_line(error)}); MPLBACKEND or a matplotlibrc sets what it does not know"
    ) from error
