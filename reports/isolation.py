"""A report depends on its files, and not on the process that makes it; nor does that process on the report."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench.record.errors import printable


@contextmanager
def isolated() -> Iterator[None]:
    """Let what is computed within not depend on how numpy prints, and libraries that complain print a line at most.

    Warnings become one printable line each, since they may quote what is stored; what matplotlib logs, of a
    configuration that reports do not use, is dropped.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    with warnings.catch_warnings(), np.printoptions(legacy=False):
        warnings.showwarning = _say  # type: ignore[assignment]
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


def _say(message: Warning | str, category: type[Warning], *_: object) -> None:
    print(f"warning: {printable(f'{category.__name__}: {message}')[:500]}", file=sys.stderr)
