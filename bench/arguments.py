"""Checks the arguments of a command, and rewrites those that Hydra would misread."""

import re
from argparse import ArgumentError, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_origin

from hydra._internal.utils import get_args_parser

from bench.catalogue import ROOT
from bench.record.errors import ConfigError

HYDRA_SETTINGS = r"hydra([./]launcher$|\.launcher\.[a-z]|\.sweeper\.params(\.|$)|\.mode$)"
UNTYPED_MAPPINGS = ("training.optimizer_options",)  # null where there are none, and so none for the schema


def parse_arguments(given: Sequence[str]) -> Namespace:
    """Return a command's arguments as Hydra's parser has them.

    Raises:
        ConfigError: flags that Hydra lacks, or overrides that must not be given on the command line: secrets, since
            commands are stored with results, and what would have Hydra write elsewhere.
    """
    parser = get_args_parser()
    parser.exit_on_error = False  # type: ignore[attr-defined]
    given = [
        "--info=all" if word in ("-i", "--info") else word for word in given
    ]  # or it would take an override for its value
    try:
        parsed, unknown = parser.parse_known_args(sorted(given, key=_rank))
    except ArgumentError as error:
        raise ConfigError(f"{error.argument_name}: {error.message}") from error
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such flag; {_written(unknown[0].lstrip('-').partition('=')[0])}")
    if parsed.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: there is nothing to rerun here; the same command continues a sweep")
    for override in parsed.overrides:
        _check_override(override)
    mappings = set(mapping_keys())
    parsed.overrides = [_adding(override, mappings) for override in parsed.overrides]
    return parsed


def _written(flag: str) -> str:
    """Return what to write in place of a flag that there is not, which may be a setting."""
    from bench.spec.config import FIELDS  # imports torch

    name = flag.replace("-", "_")
    if name in ("sweep", "launch"):
        return f"write +{name}=…"
    return f"write {name}=…" if name in FIELDS else "`python -m bench --help` lists them"


def _rank(argument: str) -> int:
    """Order arguments as Hydra needs them: flags, then overrides, which its parser would not find after a
    flag, then the launcher, which so wins over the one that a sweep prefers."""
    if argument.startswith("+launch="):
        return 2
    return int("=" in argument and not argument.startswith("-"))


def _check_override(override: str) -> None:
    key, _, value = override.lstrip("+~").partition("=")
    if not key.strip("@:"):
        raise ConfigError(f"{override}: has no key; an override looks like key=value, without spaces")
    if re.search(r"(api_?key|password|secret|access_?token)$", key, flags=re.IGNORECASE):
        raise ConfigError(f"{key}: results store the command; set secrets in the environment")
    if re.match(r"hydra([./@:]|$)", key) and not re.match(HYDRA_SETTINGS, key):
        raise ConfigError(
            f"{key}: of Hydra's own settings, just hydra.launcher.…, hydra.sweeper.params and hydra.mode can be set"
        )
    if key == "setting" and value:
        raise ConfigError(f"setting={value}: follows from sweep and task, and cannot be set")
    if override.startswith("~") and (key in ("cell", "task", "training") or re.match(r"(cell|task|training)\.", key)):
        raise ConfigError(f"~{key}: every run has one; {key}=… chooses another")
    if key == "sweep" and "," in value:
        raise ConfigError(
            f"sweep={value}: a command runs one sweep; `python -m reports` sets the results of several side by side"
        )
    if key in (path.name for path in ROOT.iterdir() if path.is_dir()):
        if value.startswith("["):
            raise ConfigError(f"{key}={value}: a run has one; several make a sweep, as -m {key}={value.strip('[]')}")
        if re.fullmatch(r"null|true|false|[-+]?[\d.]+(e[-+]?\d+)?", value, flags=re.IGNORECASE):
            raise ConfigError(f"{key}={value}: must be the name of a {key}; `python -m bench --help` lists them")


def _adding(override: str, mappings: set[str]) -> str:
    """Return what adds to a mapping the one given, whose keys Hydra would refuse as new."""
    key, _, value = override.partition("=")
    return f"++{override}" if key in mappings and value.lstrip().startswith("{") else override


def mapping_keys(schema: Any = None, path: str = "") -> Iterator[str]:
    """Yield the settings that are mappings with keys of the user's own choice."""
    if schema is None:
        from bench.spec.config import Flat  # imports torch

        schema = Flat
        yield from UNTYPED_MAPPINGS
    for field in fields(schema):
        if is_dataclass(field.type):
            yield from mapping_keys(field.type, f"{path}{field.name}.")
        elif get_origin(field.type) is dict and field.name not in ("cell", "task"):  # these two are groups
            yield f"{path}{field.name}"
