"""What Hydra and OmegaConf complain of, as one line: what, where, what to do."""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bench.catalogue import ROOT
from bench.record.errors import nearest

# What Hydra says of an override, with its key, and what is said instead: of the key without its pluses, and with them.
SAID = {
    r"Ambiguous value for argument '([^']+)'": "{0}: several values make a sweep; add -m",
    r"Sweep parameters '(.+)' requires": "{0}: several values make a sweep; add -m",
    r"Multiple values for (sweep)\. ": "{0}: is given twice; a command runs one sweep",
    r"Multiple values for (\S+)\. ": "{0}: is given twice",
    r"To append to your default list use (\S+)": "{0}: is added, with a plus; write {1}",
    r"Could not override '([^']+)'": "{0}: no such key or group; `python -m bench --help` lists them",
}

# What OmegaConf says of a value, and what is said of its key instead.
MEANT: dict[str, Callable[[str, re.Match[str]], str]] = {
    r"Value '(\d+)-(\d+)' of type": lambda key, ends: (
        f"{key}={ends[1]}-{ends[2]}: write {key}=range({ends[1]},{int(ends[2]) + 1})"
    ),
    r"Cannot assign (str|int|float) to Dict": lambda key, _: (
        f"{key}: must be a mapping; write for example '{key}={{cell: lstm}}'"
    ),
    r"is not a ListConfig, list or tuple": lambda key, _: f"{key}: must be a list; write {key}=[…]",
    r"Cannot merge DictConfig with ListConfig": lambda key, _: f"{key}: must be a list; write '{key}=[{{…}}]'",
    r"Value '(.+)' of type '\w+' could not be converted to (Float|Integer)": lambda key, said: (
        f"{key}={said[1]}: must be a {'whole ' if said[2] == 'Integer' else ''}number"
    ),
}
# Words that stand for a command, and how that is written.
COMMANDS = {
    "probe": "python -m bench probe results/NAME lengthen=[2,4]",
    "export": "python -m bench export results/NAME/runs/RUN_ID model.onnx",
    "report": "python -m reports results/NAME",
    "list": "python -m reports list",
    "show": "python -m reports show RUN_ID",
    "dashboard": "python -m reports dashboard results/NAME",
}
HINTS = {
    "task=mnist": " task=digits has images of 8 by 8; MNIST's own files are read by task=classify (tasks/DATA.md).",
}


def explain(error: Exception) -> str:
    """Return what Hydra or OmegaConf complains of as one line: what, where, what to do."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if not group:
            there = f"write {_written(name)}" if _written(name) else "leave it out"
            return f"--config-name={name}: no such file; {there}"
        if group == "hydra/launcher":
            extra = {"submitit_slurm": "slurm", "submitit_local": "slurm"}.get(name, name)
            return f"launcher {name!r} is not installed; pip install 'recurrent-bench[{extra}]'"
        hint = HINTS.get(f"{group}={name}") or nearest(name, error.options or [])
        return f"{group}={name}: no such {'launcher' if group == 'launch' else group}.{hint}"
    if isinstance(error, OverrideParseException):
        reason, override = error.message.splitlines()[0], error.override.lstrip("+~")
        if meant := _written(override):
            return f"{override}: is not an override; write {meant}"
        if alike := difflib.get_close_matches(override, COMMANDS, n=1, cutoff=0.75):
            return f"{override}: no such command; write {COMMANDS[alike[0]]}"
        return f"{override}: cannot be read; an override looks like key=value, a list like key=1,2 ({reason})"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
        known = [str(key) for key in cause.parent_node if key != "hydra" and not str(key).startswith("_")]
        elsewhere = [] if "." in str(cause.full_key) else _dotted(cause.parent_node)
        group, _, within = str(cause.full_key).partition(".")
        owner = cause.parent_node._get_node("name") if within == cause.key and group in ("cell", "task") else None
        wrong = "no such key" if owner is None else f"{owner} has no such option"
        return f"{cause.full_key}: {wrong}.{nearest(str(cause.key), known, elsewhere)}"
    if isinstance(cause, OmegaConfBaseException):
        return _one_line(cause)
    if isinstance(error, ConfigKeyError) and is_dataclass(error.object_type):
        known = [field.name for field in fields(error.object_type)]
        return f"{error.full_key}: no such key.{nearest(str(error.key), known)}"
    if isinstance(error, OmegaConfBaseException):
        return _one_line(error)
    for pattern, said in SAID.items():
        if match := re.search(pattern, str(error)):
            return said.format(match[1].lstrip("+"), match[1])
    return " ".join(str(error).split())


def _written(name: str) -> str:
    """Return how a sweep, cell or task of a name is asked for; nothing if there is none."""
    for group in ("sweep", "cell", "task"):
        if re.fullmatch(r"\w+", name) and (ROOT / group / f"{name.lower()}.yaml").is_file():
            return f"{'+' if group == 'sweep' else ''}{group}={name.lower()}"
    return ""


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
    key = getattr(error, "full_key", None)
    for pattern, said in MEANT.items():
        if key and (match := re.search(pattern, text)):
            return said(key, match)
    return f"{key}: {text}" if key else text
