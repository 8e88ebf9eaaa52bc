"""Errors that are the user's to mend, each shown as a line and not as a traceback."""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

# What people write for settings whose names are nothing like it.
ABBREVIATED = {"lr": "learning_rate", "steps": "max_steps", "units": "hidden_size"}


class ConfigError(ValueError):
    """A configuration that cannot be run. The message is one line: what, where, what to do."""


def nearest(name: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Return " Did you mean 'x'?" for the names nearest to `name`, of those known and the last parts of dotted ones
    elsewhere; else what is known."""
    known, name = sorted(known), ABBREVIATED.get(name, name)
    names = {dotted.rpartition(".")[2]: dotted for dotted in elsewhere} | {each: each for each in known}
    matches = [name] if name in names else difflib.get_close_matches(name, names, n=2)
    if matches:
        return f" Did you mean {' or '.join(repr(names[match]) for match in matches)}?"
    return f" There is: {', '.join(known)}." if known else " There is none; a + before the key adds one."


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


def explain(error: Exception) -> str:
    """Return what Hydra or OmegaConf complains of as one line: what, where, what to do."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if not group:
            return f"--config-name={name}: no such file; leave it out"
        if group == "hydra/launcher":
            extra = {"submitit_slurm": "slurm", "submitit_local": "slurm"}.get(name, name)
            return f"launcher {name!r} is not installed; pip install 'recurrent-bench[{extra}]'"
        return f"{group}={name}: no such {group}.{nearest(name, error.options or [])}"
    if isinstance(error, OverrideParseException):
        reason, override = error.message.splitlines()[0], error.override.lstrip("+~")
        return f"{override}: cannot be read; an override looks like key=value, a list like key=1,2 ({reason})"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
        known = [str(key) for key in cause.parent_node if key != "hydra"]
        elsewhere = [] if "." in str(cause.full_key) else _dotted(cause.parent_node)
        return f"{cause.full_key}: no such key.{nearest(str(cause.key), known, elsewhere)}"
    if isinstance(cause, OmegaConfBaseException):
        return _one_line(cause)
    if isinstance(error, ConfigKeyError) and is_dataclass(error.object_type):
        known = [field.name for field in fields(error.object_type)]
        return f"{error.full_key}: no such key.{nearest(str(error.key), known)}"
    if isinstance(error, OmegaConfBaseException):
        return _one_line(error)
    match = re.search(r"Ambiguous value for argument '([^']+)'", str(error))
    if match:
        return f"{match[1].lstrip('+')}: several values make a sweep; add -m"
    match = re.search(r"Sweep parameters '(.+)' requires", str(error))
    if match:
        return f"{match[1].replace('++', '')}: several values make a sweep; add -m"
    match = re.search(r"Multiple values for (\S+)\. ", str(error))
    if match:
        return f"{match[1]}: is given twice"
    match = re.search(r"To append to your default list use (\S+)", str(error))
    if match:
        return f"{match[1].lstrip('+')}: is added, with a plus; write {match[1]}"
    match = re.search(r"Could not override '([^']+)'", str(error))
    if match:
        return f"{match[1]}: no such key or group; `python -m bench --help` lists what there is"
    return " ".join(str(error).split())


def _dotted(node: object, path: str = "") -> Iterator[str]:
    """Return the full names of all values under a node, but Hydra's own."""
    if not isinstance(node, DictConfig):
        yield path
        return
    for key in map(str, node):
        if (path, key) != ("", "hydra"):
            yield from _dotted(node._get_node(key), f"{path}.{key}" if path else key)


def _one_line(error: OmegaConfBaseException) -> str:
    """Return what an OmegaConf error says as one line that names the key."""
    text = str(error).splitlines()[0]
    return f"{error.full_key}: {text}" if getattr(error, "full_key", None) else text
