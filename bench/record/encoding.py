"""Records as plain values, JSON and YAML, and back: what is read is checked against their types."""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect
import yaml
from msgspec import Struct
from msgspec.inspect import Metadata

from bench.record.errors import ConfigError, printable
from bench.record.files import Damaged, read_sealed
from bench.record.records import FORMAT, UNSEALED_FORMAT, Configuration, Setting

R = TypeVar("R", bound=Struct)


@functools.cache
def fields_of(kind: type[Struct]) -> dict[str, tuple[Any, str, dict[str, Any]]]:
    """Return the fields of a record: the type, as msgspec.inspect has it, the description and what else was `said`."""
    found = {}
    about = msgspec.inspect.type_info(kind)
    assert isinstance(about, msgspec.inspect.StructType)
    for field in about.fields:
        meta = field.type if isinstance(field.type, Metadata) else Metadata(field.type)
        found[field.name] = meta.type, (meta.extra_json_schema or {}).get("description", ""), meta.extra or {}
    return found


@functools.cache
def _prefix_of(kind: type[Struct]) -> tuple[str, str] | None:
    """Return the field of a record whose entries are stored beside the others, and how their names begin."""
    prefixes = ((name, about["prefix"]) for name, (_, _, about) in fields_of(kind).items() if "prefix" in about)
    return next(prefixes, None)


def flat(record: Struct) -> dict[str, Any]:
    """Return a record as it is stored: plain values by name."""
    fields: dict[str, Any] = msgspec.to_builtins(record, enc_hook=_plain, str_keys=True)
    if opened := _prefix_of(type(record)):
        fields |= {f"{opened[1]}{name}": value for name, value in fields.pop(opened[0]).items()}
    return fields


def _plain(value: object) -> str | int | float:
    """Return a value of a subclass, as numpy's float64 from a user's task, as one of the plain type."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} cannot be stored")


def settings_columns(config: dict[str, Any], groups: Iterable[str] = ("cell", "task", "training")) -> dict[str, Any]:
    """Return a configuration's settings as columns `group.key`; a list or mapping becomes its text."""
    return {
        f"{group}.{key}": value if value is None or isinstance(value, int | float | str) else str(value)
        for group in groups
        for key, value in config[group].items()
        if key not in ("name", "_target_")
    }


def read_as(kind: type[R], fields: Mapping[str, Any], where: Path) -> R:
    """Return the record that fields are, as `flat` returns them; others than the record's are left out.

    Raises:
        Damaged: they are not. The message names a field that is wrong.
    """
    with _telling(where):
        return _read_as(kind, fields)


def read_record(kind: type[R], path: Path, limit: int, unsealed_format: int = UNSEALED_FORMAT) -> R:
    """Return the record in a sealed file; see `read_sealed`.

    Raises:
        OSError: it cannot be read.
        Damaged: it is not what was written.
        ConfigError: a newer version wrote it.
    """
    fields = read_sealed(path, limit, unsealed_format)
    if isinstance(found := fields.get("format"), int) and found > FORMAT:
        raise ConfigError(f"{path}: has format {found}, written by a newer version; this one reads up to {FORMAT}")
    return read_as(kind, fields, path)


def read_lines(kind: type[R], text: bytes, where: Path) -> list[R]:
    """Return the records of a JSON-lines file.

    Raises:
        Damaged: a line is none.
    """
    with _telling(where):
        return [_read_as(kind, fields) for fields in _LINES.decode_lines(text)]


_LINES = msgspec.json.Decoder(dict[str, Any])


def _read_as(kind: type[R], fields: Mapping[str, Any]) -> R:
    if opened := _prefix_of(kind):
        name, prefix = opened
        entries = {key[len(prefix) :]: value for key, value in fields.items() if key.startswith(prefix)}
        fields = {**fields, name: entries}
    return msgspec.convert(fields, kind, str_keys=True)


@contextmanager
def _telling(where: Path) -> Iterator[None]:
    """Have what is wrong with a file's values be `Damaged`, in a line."""
    try:
        yield
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Damaged(f"{where}: is not what was written ({printable(str(error))[:200]})") from error


def check_config(config: Any, where: Path) -> None:
    """Check that a configuration has what every reader relies on, and in its groups settings that make columns.

    Raises:
        Damaged: it has not.
    """
    with _telling(where):
        msgspec.convert(config, Configuration)
        for group in ("cell", "task", "training"):
            msgspec.convert(config[group], dict[str, Setting])


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML as the store writes it: no tags, and no aliases, which can make megabytes of a line."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def parse_yaml(text: bytes, path: Path) -> Any:
    """Return what a YAML file of the store holds.

    Raises:
        Damaged: it is not YAML, or more than that.
    """
    try:
        found = yaml.load(text, Loader=_PlainLoader)
        json.dumps(found, ensure_ascii=False, default=str, skipkeys=True).encode()  # half a surrogate pair is no text
        return found
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Damaged(f"{path}: is not YAML ({str(error).splitlines()[0][:100]})") from error
