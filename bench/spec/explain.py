"""What Hydra and OmegaConf complain of, as one line: what, where, what to do."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bench.record.errors import nearest


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
