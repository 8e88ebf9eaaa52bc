"""What there is to choose from: groups by name, then cells, tasks, sweeps and settings in full.

All of it is read from the configuration files and the schema, and so is neither written down twice nor out of date.
`python -m bench.catalogue` prints it as conf/README.md. What needs torch is imported late: help comes at once."""

import dataclasses
import textwrap
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from tabulate import tabulate

import conf

ROOT = Path(conf.__file__).parent
GROUPS = ("sweep", "cell", "stack", "initialization", "task", "missing", "diagnostics", "tuning", "launch")
WIDTH = 110
HEADERS = ["setting", "type", "default", "what it is"]
# The file of each group of settings that explains its keys.
EXPLAINED_IN = {
    "": "config",
    "training": "training/default",
    "timing": "timing/default",
    "tracking": "tracking/wandb",
    "checkpoint": "checkpoint/default",
    "tuning": "tuning/none",
    "diagnostics": "diagnostics/standard",
}
BY_CLASS = "each has its own: python -m bench --"  # of cell and task, whose options are their constructors'


def describe_groups() -> str:
    """Return the sweeps, cells, tasks and launchers, a line each, as their files describe themselves."""
    lines = []
    for group in GROUPS:
        prefix = f"+{group}=" if group in ("sweep", "launch") else f"{group}="
        lines.append("")
        files = _files(group)
        width = max(len(prefix + path.stem) for path in files)
        lines += [f"  {prefix + path.stem:{width}}  {_description(path)}" for path in files]
    return "\n".join(lines) + "\n"


def list_cells(mine: Path | None = None) -> str:
    """Return every cell: what it is and where from, its options with their defaults, and what these mean.

    Args:
        mine: a folder of more configurations, as `--config-dir` names it.
    """
    said = _explained("cell", mine)
    entries, meanings = [], dict[str, str]()
    for path, options in options_of_group("cell", mine):
        lines = _wrapped("  ".join(f"cell.{key}={_value(value)}" for key, value in options.items()))
        entries.append("\n".join([f"cell={path.stem}  {_description(path)}", *lines]))
        for key in options:  # the same in every cell that has it
            meanings.setdefault(f"cell.{key}", said(path, key))
    meanings |= {f"cell.{key}": meaning for key, meaning in _of_any_cell().items() if f"cell.{key}" not in meanings}
    width = max(map(len, meanings))
    legend = "\n".join(f"    {key:{width}}  {meaning}" for key, meaning in meanings.items())
    return "\n\n".join([*entries, f"Options\n{legend}"])


def list_tasks(mine: Path | None = None) -> str:
    """Return every task: what it is and where from, and its options with their defaults and meaning."""
    said = _explained("task", mine)
    entries = []
    for path, options in options_of_group("task", mine):
        given = {key: f"task.{key}={_value(value)}" for key, value in options.items()}
        width = max(map(len, given.values()))
        lines = [f"    {text:{width}}  {said(path, key)}" for key, text in given.items()]
        entries.append("\n".join([f"task={path.stem}  {_description(path)}", *lines]))
    return "\n\n".join(entries)


def list_sweeps(mine: Path | None = None) -> str:
    """Return every sweep: what it is for, and what it sweeps, part by part."""
    entries = []
    for path in _files("sweep", mine):
        lines = [f"+sweep={path.stem}  {_description(path)}"]
        for said in swept_by(path):
            lines += _wrapped(said)
        entries.append("\n".join(lines))
    return "\n\n".join(entries)


def swept_by(path: Path) -> list[str]:
    """Return what a sweep's file sweeps, as on the command line: for all of it, part by part, and its scales."""
    sweep: Any = OmegaConf.to_container(OmegaConf.load(path))
    groups = [("", sweep["hydra"]["sweeper"].get("params") or {}), *(sweep.get("parts") or {}).items()]
    said = [
        (f"part={name}: " if name else "") + "  ".join(f"{key}={_value(value)}" for key, value in values.items())
        for name, values in groups
        if values
    ]
    return said + [f"scale={name}" for name in sweep.get("scales") or {}]


def list_settings(mine: Path | None = None) -> str:
    """Return every setting of the schema: key, type, default, and what it is."""
    return tabulate(settings_rows(), HEADERS, "simple", disable_numparse=True, maxcolwidths=[None, None, None, 60])


def list_all() -> str:
    """Return all of it as markdown."""
    from bench.spec.neutral import COMPOSITION

    parts = [
        "# What can be set",
        "Written by `python -m bench.catalogue`, from the schema and the files beside this one. The command line has\n"
        "the same: `python -m bench --settings`, `--cells`, `--tasks`, `--sweeps`.",
        "## Settings",
        _markdown(HEADERS, [(f"`{key}`", kind, f"`{value}`", said) for key, kind, value, said in settings_rows()]),
    ]
    for group in ("cell", "task"):
        said = _explained(group)
        parts.append(f"## {group.capitalize()}s")
        if group == "cell":
            stacked = [(f"`cell.{key}`", f"`{_value(COMPOSITION[key])}`", said) for key, said in _of_any_cell().items()]
            parts += ["### any cell", _markdown(["option", *HEADERS[2:]], stacked)]
        for path, options in options_of_group(group):
            rows = [(f"`{group}.{key}`", f"`{_value(value)}`", said(path, key)) for key, value in options.items()]
            parts += [f"### `{group}={path.stem}`", _description(path) + "."]
            parts.append(_markdown(["option", *HEADERS[2:]], rows))
    parts.append("## Sweeps")
    for path in _files("sweep"):
        parts += [f"### `+sweep={path.stem}`", _description(path) + "."]
        parts.append("\n".join(["```", *swept_by(path), "```"]))
    return "\n\n".join(parts) + "\n"


def settings_rows() -> list[tuple[str, str, str, str]]:
    """Return a row per setting: key, type, default, explanation, in the order of the files that explain them.

    Raises:
        KeyError: a setting that no file explains.
    """
    from bench.spec.config import Flat

    rows = []
    for group, file in EXPLAINED_IN.items():
        owner = next((field.type for field in dataclasses.fields(Flat) if field.name == group), Flat)
        hints = typing.get_type_hints(owner)
        values: Any = OmegaConf.to_container(OmegaConf.structured(owner))
        said = _comments(ROOT / f"{file}.yaml")
        for key in [key for key in said if key in hints] + [key for key in hints if key not in said]:
            if dataclasses.is_dataclass(hints[key]):
                continue
            name = f"{group}.{key}" if group else key
            if name in ("cell", "task"):
                rows.append((name, "a group", "lstm" if name == "cell" else "adding", f"{BY_CLASS}{name}s"))
            else:
                rows.append((name, _type(hints[key]), _value(values[key]), said[key]))
    return rows


# What each flag of the command line prints.
FLAGS: dict[str, Callable[[Path | None], str]] = {
    "--cells": list_cells,
    "--tasks": list_tasks,
    "--sweeps": list_sweeps,
    "--settings": list_settings,
}


def options_of_group(group: str, mine: Path | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Return each file of "cell" or "task" with its options as they are where nothing else is given."""
    from bench.spec.config import register_with_hydra
    from bench.spec.targets import UNSET

    register_with_hydra()
    found = []
    with initialize_config_module("conf", version_base="1.3"):
        searched = [] if mine is None else [f"hydra.searchpath=['file://{mine.resolve()}']"]
        for path in _files(group, mine):
            composed = compose("config", [*searched, f"{group}={path.stem}"])
            options: Any = OmegaConf.to_container(composed[group], resolve=True)
            own = {key: value for key, value in options.items() if key not in ("_target_", "name") and value != UNSET}
            found.append((path, own))
    return found


def _explained(group: str, mine: Path | None = None) -> Callable[[Path, str], str]:
    """Return what says of an option of a file what it is: the file itself, one that it builds on, or the first other
    that has it."""
    comments = {path: _comments(path) for path in _files(group, mine)}
    others = [*comments.values(), _of_any_cell()] if group == "cell" else [*comments.values()]
    named = {path.stem: found for path, found in comments.items()}

    def explain(path: Path, key: str) -> str:
        file: Any = OmegaConf.load(path)
        bases = [named.get(base, {}) for base in file.get("defaults", []) if isinstance(base, str)]
        return next((found[key] for found in [comments[path], *bases, *others] if found.get(key)), "")

    return explain


def _of_any_cell() -> dict[str, str]:
    """Return the options that say how a cell is stacked, and what each is."""
    return _comments(ROOT / "stack/default.yaml")


def _markdown(headers: list[str], rows: Sequence[tuple[str, ...]]) -> str:
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return tabulate(escaped, headers, "github", disable_numparse=True)


def _files(group: str, mine: Path | None = None) -> list[Path]:
    folders = [ROOT] if mine is None else [ROOT, mine]
    return sorted((path for folder in folders for path in (folder / group).glob("*.yaml")), key=lambda path: path.stem)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="      ", break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def _description(path: Path) -> str:
    """Return the first comment of a configuration file, but for Hydra's package directive."""
    comments = (line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def _comments(path: Path) -> dict[str, str]:
    """Return what a configuration file says beside each of its first keys."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if ":" in line and line[0] not in " #-"]
    return {line.partition(":")[0]: line.partition(" #")[2].strip() for line in lines}


def _type(hint: Any) -> str:
    """Name a type as one would: int, float or null, list of int."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if one is type(None) else _type(one) for one in inner)
    if origin in (list, dict):
        return f"{origin.__name__} of {_type(inner[-1])}" if inner[-1] is not Any else origin.__name__
    return "any" if hint is Any else str(hint.__name__)


def _value(value: Any) -> str:
    """Write a value as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


if __name__ == "__main__":
    print(list_all(), end="")
