"""What turns a configuration, as Hydra composed it or as plain values, into checked `Settings`."""

import contextlib
import os
import re
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.record.errors import ConfigError, nearest
from bench.spec.config import (
    FIELDS,
    SCHEMA,
    Execution,
    Flat,
    Name,
    RunSpec,
    Settings,
    SweepSpec,
    Training,
)  # fmt: skip
from bench.spec.explain import explain
from bench.spec.targets import GIVEN, UNSET, check_options, composed, load_target, with_content

Part = TypeVar("Part", RunSpec, Execution, SweepSpec)


def from_hydra(composed: DictConfig) -> Settings:
    """Check a composed configuration and return it typed, with `device` resolved.

    Raises:
        ConfigError: a value of the wrong type or out of range, an unknown key or class.
    """
    return from_plain(plain_values(composed))


def plain_values(composed: DictConfig) -> dict[str, Any]:
    """Return the values of a composed configuration, references resolved, without Hydra's own part.

    Raises:
        ConfigError: a reference to nothing.
    """
    try:
        if "hydra" in composed:
            composed = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        plain: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    return {str(key): value for key, value in plain.items()}


def from_plain(values: dict[str, Any]) -> Settings:
    """Check plain values and return them typed, as `from_hydra` does.

    They are plain since a key that was forced into a typed node would pass unseen."""
    if isinstance(cell := values.get("cell"), dict):
        values = {**values, "cell": {key: value for key, value in cell.items() if value != UNSET}}
    flat = _typed(values)
    _check_relations(flat)
    device = resolve_device(flat.device)
    cell = check_options("cell", flat.cell, given=GIVEN)
    if "hidden_size" not in cell:
        raise ConfigError(f"cell.hidden_size: {cell['name']} has none; the readout needs to know H")
    task = with_content(check_options("task", flat.task, given=set()))
    if composed(cell).get("bidirectional") and not getattr(load_target(str(task["_target_"])), "offline", False):
        raise ConfigError(
            f"cell.bidirectional: {task['name']} asks for answers while a sequence is read, and a cell that reads from "
            "its end sees what comes later; choose a task that is answered at the end, as adding is"
        )
    checked = {**{name: getattr(flat, name) for name in FIELDS}, "cell": cell, "task": task, "device": device}

    def part(kind: type[Part], **own: Any) -> Part:
        return kind(**{each.name: checked[each.name] for each in fields(kind)} | own)  # type: ignore[arg-type]

    run = part(RunSpec, device=device.partition(":")[0])
    return Settings(run, part(Execution), part(SweepSpec))


def _typed(values: dict[str, Any]) -> Any:
    """Return plain values in the types of the schema and within its bounds, flat. What has them already is taken as it
    is; the rest is converted, or refused, by OmegaConf, which takes a hundred times as long."""
    if _has_known_keys(values, Flat):
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert(values, Flat)
    try:
        typed = OmegaConf.to_object(OmegaConf.merge(SCHEMA, values))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    _check_bounds(typed, Flat)
    return typed


def _has_known_keys(values: dict[str, Any], schema: Any) -> bool:
    known = {each.name: each.type for each in fields(schema)}
    return all(
        key in known
        and not (is_dataclass(known[key]) and isinstance(value, dict) and not _has_known_keys(value, known[key]))
        for key, value in values.items()
    )


def resolve_device(device: str) -> str:
    """Return the device that "auto" stands for, or check that the one asked for is there.

    Raises:
        ConfigError: no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ConfigError(f"device={device}: must be auto, cpu, cuda or cuda:N")
    if device != "cpu":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ConfigError(f"device={device}: torch {torch.__version__} finds no CUDA device; use device=cpu")
        index = int(device.partition(":")[2] or 0)
        if index >= count:
            raise ConfigError(f"device={device}: this machine has {count} CUDA device(s), counted from 0")
    return device


def _check_bounds(values: Any, annotation: Any, key: str = "") -> None:
    """Raise ConfigError for a value, of the right type already, beyond the bounds in its annotation."""
    if is_dataclass(values):
        for each in fields(values):
            _check_bounds(getattr(values, each.name), each.type, f"{key}.{each.name}".removeprefix("."))
    elif isinstance(values, list) and get_origin(annotation) is list:
        for value in values:
            _check_bounds(value, get_args(annotation)[0], key)
    else:
        try:
            msgspec.convert(values, annotation)
        except msgspec.ValidationError as error:
            variants = (annotation, *get_args(annotation))
            bound = next((meta for each in variants for meta in getattr(each, "__metadata__", ())), Meta())
            choices = (bound.extra or {}).get("choices")
            said = f"no such choice.{nearest(str(values), choices)}" if choices else bound.description or str(error)
            raise ConfigError(f"{key}={values}: {said}") from error


def _check_relations(config: Any) -> None:
    if config.tuning.search and not config.tuning.selection_seeds:
        raise ConfigError("tuning.search: hyperparameters are tuned on held-out seeds; set tuning.selection_seeds=[…]")
    if config.training.decay != "none" and config.training.max_seconds is not None:
        raise ConfigError(f"training.decay={config.training.decay}: a budget in seconds has no known last step")
    cores = os.cpu_count() or 1
    if config.threads > cores:
        raise ConfigError(f"threads={config.threads}: this machine has {cores} cores")
    for group, options in (("cell", config.cell), ("task", config.task)):
        if "_target_" not in options:
            raise ConfigError(f"{group}: has no _target_; name a class, as the files in conf/{group} do")
        _check_bounds(options.get("name"), Name, f"{group}.name")
    # The usual one cannot be wrong, and torch takes seconds to import.
    if config.training.optimizer != Training.optimizer or config.training.optimizer_options:
        import torch

        from bench.spec.optimizer import make_optimizer

        make_optimizer(config.training, [torch.nn.Parameter(torch.zeros(1))])
