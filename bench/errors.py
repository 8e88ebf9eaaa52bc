"""The one kind of error that is the user's to mend, and that is shown as a line and not as a traceback."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A configuration that cannot be run. The message is one line: what, where, what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, else what there is."""
    known = sorted(known)
    matches = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {matches[0]!r}?" if matches else f" There is: {', '.join(known)}."
