"""Errors that are the user's to mend, each shown as a line and not as a traceback."""

import difflib
import errno
import os
from collections.abc import Iterable
from textwrap import shorten

# What people write for settings whose names are nothing like it.
ABBREVIATED = {"lr": "learning_rate", "steps": "max_steps", "units": "hidden_size"}

MOST_LETTERS = 500  # of what there is to choose from


class ConfigError(ValueError):
    """A configuration that cannot be run. The message is one line: what, where, what to do."""


def nearest(name: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Return " Did you mean 'x'?" for the names nearest to `name`, of those known and the last parts of dotted ones
    elsewhere; else what is known."""
    known, name = sorted(known), ABBREVIATED.get(name, name)
    names = {dotted.rpartition(".")[2]: dotted for dotted in elsewhere} | {each: each for each in known}
    alike = [each for each in names if each.lower() == name.lower()]
    matches = [name] if name in names else alike or difflib.get_close_matches(name, names, n=2)
    if matches:
        return f" Did you mean {' or '.join(repr(names[match]) for match in matches)}?"
    listed = shorten(", ".join(known), MOST_LETTERS, placeholder=" …")
    return f" Choose from: {listed}." if known else " There is none; a + before the key adds one."


def one_line(error: BaseException) -> str:
    """Return an exception as one line of plain text: its kind, and the first line of what it says."""
    said = str(error).strip()
    return printable(f"{type(error).__name__}: {said}".splitlines()[0] if said else type(error).__name__)[:500]


def printable(text: str) -> str:
    """Return text without what a terminal would obey or could not show, on one line."""
    return "".join(c if c.isprintable() else " " for c in text.encode(errors="replace").decode())


def explain_os(error: OSError) -> str:
    """Return what the system complains of as one line: which file, and why."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        kind = "file" if error.errno == errno.EISDIR else "folder"
        reason += f", where a {kind} belongs; move it away"
    return f"{error.filename}: {reason}" if error.filename else reason


def explain_memory(error: MemoryError) -> str:
    """Return as one line that memory ran out, and over what if that is known."""
    return f"memory ran out ({one_line(error)}); give this more of it, or fewer runs at once"
