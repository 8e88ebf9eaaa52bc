"""Classes named in the configuration: `_target_` imported, and options checked against its own signature.

The constructor is the schema. So the options of a user's class are checked as those of the built-in
ones are, and nothing is written down twice.

Importing this imports no torch: a command is composed, or refused, before that."""

import functools
import inspect
import types
import typing
from dataclasses import field, make_dataclass
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.record.errors import ConfigError, nearest

GIVEN = {"input_size", "device", "dtype"}  # options of cells that the harness gives
UNSET = "???"  # what OmegaConf calls an option that a file names and does not set
Option = tuple[Any, Any]  # annotation and default, `inspect.Parameter.empty` where there is none


def load_target(path: str) -> Any:
    """Import the class (or factory) at a dotted path.

    Raises:
        ConfigError: nothing there.
    """
    try:
        return get_object(path)
    except (HydraException, ImportError, ValueError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"_target_={path}: cannot be imported ({reason})") from error


def is_built_in(path: str) -> bool:
    """Tell whether a class is this project's own, and not one that may do anything to the process that builds it."""
    return path.partition(".")[0] in ("cells", "tasks")


def options_of(target: Any) -> tuple[dict[str, Option], bool]:
    """Return a class's constructor options by name, and whether it takes any others too.

    A constructor that ends in `**options` hands them to its base class, so the walk goes on there.
    """
    options: dict[str, Option] = {}
    constructors = [vars(base).get("__init__") for base in target.__mro__] if isinstance(target, type) else [target]
    for constructor in filter(None, constructors):
        if not inspect.isfunction(constructor):
            break
        hints = typing.get_type_hints(constructor)
        parameters = list(inspect.signature(constructor).parameters.values())
        takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        for parameter in parameters[1:] if isinstance(target, type) else parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                options.setdefault(parameter.name, (hints.get(parameter.name, Any), parameter.default))
        if not takes_more:
            return options, False
    return options, True


def check_options(group: str, options: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """Check a configuration group against the constructor of its `_target_`.

    Args:
        group: "cell" or "task", for messages.
        options: `_target_`, `name` and the constructor's options.
        given: options that the harness supplies itself.

    Returns:
        The same options with values converted to the annotated types.

    Raises:
        ConfigError: an unknown or missing option, a value of the wrong type, a key in one that is no text.
    """
    known, takes_more = options_of(load_target(str(options["_target_"])))
    if group == "cell":
        known = {**composition(), **known}
    own = {key: value for key, value in options.items() if key not in ("_target_", "name")}
    choices = set(known) - given
    for key in own:
        if key in given or (key not in choices and not takes_more):
            raise ConfigError(f"{group}.{key}: {options['name']} has no such option.{nearest(key, choices)}")
    _check_keys(group, own)
    for key in sorted(choices - set(own)):
        if known[key][1] is inspect.Parameter.empty:
            raise ConfigError(f"{group}.{key}: {options['name']} needs it and nothing sets it")
    typed = {key: known[key] for key in own if key in known and not _has_type(own[key], known[key][0])}
    return {**options, **_convert(group, own, typed)} if typed else dict(options)


def with_content(task: dict[str, Any]) -> dict[str, Any]:
    """Return a task's checked options, with the content of the files that it reads where nothing says it yet: that
    is what determines a run, and not where they are.

    Raises:
        ConfigError: a file cannot be read.
    """
    paths = [str(task[name]) for name in files_of(task) if task.get(name)]
    if not paths or task.get("content"):
        return task
    from tasks.files import content_of

    try:
        return {**task, "content": content_of(paths)}
    except ValueError as error:
        raise ConfigError(f"task={task['name']}: {error}") from error


def files_of(options: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of a class's options that name files."""
    return tuple(getattr(load_target(str(options["_target_"])), "files", ()))


def _check_keys(name: str, value: Any) -> None:
    """Raise ConfigError for a mapping with a key that is no text: files would keep it as text, another option then."""
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{name}: the key {key} is not text; begin it with a letter, or quote it in a file")
            _check_keys(f"{name}.{key}", child)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            _check_keys(f"{name}[{number}]", child)


@functools.cache
def composition() -> dict[str, Option]:
    """Return the options that every cell has since any can be stacked (`cells.Stack`)."""
    from cells import Stack

    return {key: option for key, option in options_of(Stack)[0].items() if key not in ("make", *GIVEN, "hidden_size")}


def composed(options: dict[str, Any]) -> dict[str, Any]:
    """Return those options of a cell that say how it is stacked. One of the same name that the cell's class has is the
    cell's."""
    own, _ = options_of(load_target(str(options["_target_"])))
    return {key: options[key] for key in composition() if key in options and key not in own}


def constructor_defaults(path: str) -> dict[str, Any]:
    """Return the defaults of the constructor at a dotted path, by option, but of those that the harness gives."""
    known, _ = options_of(load_target(path))
    return {
        key: default
        for key, (_, default) in known.items()
        if key not in GIVEN and default is not inspect.Parameter.empty
    }


def build(group: str, options: dict[str, Any], **given: Any) -> Any:
    """Build what a configuration group names, with options as `check_options` returns them and what the harness gives.

    Raises:
        ConfigError: the class refuses its options.
    """
    target = load_target(str(options["_target_"]))
    own = {key: value for key, value in options.items() if key not in ("_target_", "name")}
    try:
        return target(**own, **given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{group}={options['name']}: {str(error).partition(chr(10))[0]}") from error


def build_cell(options: dict[str, Any], input_size: int) -> Any:
    """Build what the group "cell" names, a stack of it if that is asked for.

    Raises:
        ConfigError: the class refuses its options, or cannot be stacked so.
    """
    from cells import Stack

    stacked = composed(options)
    own = {key: value for key, value in options.items() if key not in stacked}

    def make(width: int) -> Any:
        return build("cell", own, input_size=width)

    if all(value == composition()[key][1] for key, value in stacked.items()):
        return make(input_size)
    try:
        return Stack(make, input_size, options["hidden_size"], **stacked)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"cell={options['name']}: {error}") from error


def longest_memory(task: Any) -> int:
    """Return over how many steps the task of a configuration asks to remember something; at least 3, below which chrono
    initialisation has nothing to choose from."""
    try:
        built = build("task", check_options("task", dict(task), given=set()))
    except ConfigError:
        return 3  # the run is refused for that when it is checked
    return max(3, getattr(built, "longest_memory", built.length))


def version_of(options: dict[str, Any]) -> int | str:
    """Return the version of what a class computes, which its attribute `version` says; 1 if it says none."""
    version = getattr(load_target(str(options["_target_"])), "version", 1)
    return version if isinstance(version, int | str) else 1


def _convert(group: str, values: dict[str, Any], typed: dict[str, Option]) -> dict[str, Any]:
    fields = [
        (key, annotation if _is_plain(annotation) else Any, field(default=MISSING))
        for key, (annotation, _) in typed.items()
    ]
    # OmegaConf makes an int a float where that is asked for, but not where a word would do too.
    real = {key for key, annotation, _ in fields if {float, str} <= set(typing.get_args(annotation))}
    values = {key: float(value) if key in real and type(value) is int else value for key, value in values.items()}
    schema = OmegaConf.structured(make_dataclass(group, fields))
    OmegaConf.set_struct(schema, False)
    try:
        merged = OmegaConf.merge(schema, values)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{group}.{error.full_key}: {str(error).splitlines()[0]}") from error
    converted = OmegaConf.to_container(merged)
    assert isinstance(converted, dict)
    return {str(key): value for key, value in converted.items()}


def _has_type(value: Any, annotation: Any) -> bool:
    """Tell whether a value is of exactly a plain type, or of one in a union of them."""
    return annotation is Any or type(value) in (typing.get_args(annotation) or (annotation,))


def _is_plain(annotation: Any) -> bool:
    """Tell whether OmegaConf can hold values to an annotation: plain types, and unions of them."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return all(_is_plain(part) for part in typing.get_args(annotation))
    return annotation in (int, float, bool, str, type(None))
