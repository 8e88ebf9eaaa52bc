"""What a run is called: a readable slug and a hash of everything that determines its result."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from bench.record.errors import ConfigError
from bench.spec import neutral
from bench.spec.checks import from_plain
from bench.spec.config import RunSpec, Settings, to_plain
from bench.spec.targets import composed, constructor_defaults, files_of, version_of

CLASSES = ("cell", "task")  # groups that name a class
# Of a stored configuration, what its model and task are made from, and what they may take.
KEPT = ("name", *CLASSES, "training", "seed", "device", "dtype", "threads", "allocator", "memory_gb")


def identity(spec: RunSpec) -> dict[str, Any]:
    """Return what determines a run's result: cell, task, their versions, training, seed, device type and dtype.

    Neutral values (`bench.spec.neutral`) are left out, so that a new option does not change the identity of old
    runs, and so are first versions.
    """
    return {**_of_all_seeds(spec), **_of_seed(spec.seed)}


def run_id(spec: RunSpec) -> str:
    """Return e.g. "gru-copy-s0-1f2e3d4c5b": cell, task, seed, and ten hex digits of the identity's SHA-256."""
    return _named(spec, identity(spec))


def run_ids(specs: Iterable[RunSpec]) -> list[str]:
    """Return the names of many runs; what differs in the seed alone is looked into once."""
    known: dict[str, dict[str, Any]] = {}
    names = []
    for spec in specs:
        alike = repr((spec.cell, spec.task, spec.training, spec.device, spec.dtype))
        if alike not in known:
            known[alike] = _of_all_seeds(spec)
        names.append(_named(spec, {**known[alike], **_of_seed(spec.seed)}))
    return names


def _of_all_seeds(spec: RunSpec) -> dict[str, Any]:
    parts: dict[str, Any] = {
        **{group: _not_neutral(getattr(spec, group)) for group in CLASSES},
        "training": _without(asdict(spec.training), neutral.TRAINING),
        "device": spec.device,
    }
    if later := {group: version for group, version in _versions(spec).items() if version != 1}:
        parts["versions"] = later
    if spec.dtype != neutral.DTYPE:
        parts["dtype"] = spec.dtype
    return parts


def _of_seed(seed: int) -> dict[str, Any]:
    # Streams of before began from 32 bits beyond that seed too.
    return {"seed": seed, **({"streams": 2} if seed >= neutral.FIRST_FILLED_SEED else {})}


def _named(spec: RunSpec, parts: dict[str, Any]) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{spec.cell['name']}-{spec.task['name']}-s{spec.seed}-{digest}"


def as_stored(settings: Settings) -> dict[str, Any]:
    """Return settings as results keep them: with `versions` of cell and task, and with `defaults`, what nobody set
    and a class decided."""
    return {
        **to_plain(settings),
        "versions": _versions(settings.run),
        "defaults": {group: _defaults(getattr(settings.run, group)) for group in CLASSES},
    }


def from_stored(stored: Mapping[str, Any], **changes: Any) -> Settings:
    """Return the configuration of a stored run, as far as its model and task need it, with what their classes decided
    then where nothing was set.

    Args:
        stored: what `as_stored` returned.
        changes: other values of its keys.

    Raises:
        ConfigError: it cannot be run here, or a class computes something else since.
    """
    defaults = stored.get("defaults") or {}
    values = {key: stored[key] for key in KEPT if key in stored}
    values |= {group: {**(defaults.get(group) or {}), **stored[group]} for group in CLASSES}
    settings = from_plain({**values, **changes})
    before = stored.get("versions") or {}
    for group, version in _versions(settings.run).items():
        if before.get(group, 1) != version:
            raise ConfigError(
                f"{getattr(settings.run, group)['name']}: is of version {version} now, and the run was trained with "
                f"version {before.get(group, 1)}"
            )
    return settings


def difference(settings: Settings, stored: Mapping[str, Any]) -> str | None:
    """Return a setting in which a stored configuration, as `as_stored` made it, is another one than here; None if
    none is. A setting that was not stored had its neutral value; where that is not known, nothing is said of it.

    A name alone does not tell: the default of a user's class may have changed since."""
    paths = {f"task.{name}" for name in files_of(settings.run.task)}
    asked, known = (
        {key: value for key, value in _determining(each) if key not in paths} for each in (as_stored(settings), stored)
    )
    neutral_values = {
        **{
            f"{group}.{key}": value for group in CLASSES for key, value in _frozen(getattr(settings.run, group)).items()
        },
        **{f"training.{key}": value for key, value in neutral.TRAINING.items()},
    }
    for key in sorted(set(asked) & (set(known) | set(neutral_values))):
        before = known.get(key, neutral_values.get(key))
        if before != asked[key]:
            return f"{key}={before}, and {asked[key]} is asked for"
    return None


def _determining(stored: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a stored configuration that determine a run's result, by their full names, as JSON has
    them."""
    defaults = stored.get("defaults") or {}
    groups = {group: {**(defaults.get(group) or {}), **stored[group]} for group in CLASSES}
    for group, values in {**groups, "training": stored["training"]}.items():
        for key, value in values.items():
            yield f"{group}.{key}", json.loads(json.dumps(value, default=repr))
    for key in ("seed", "dtype"):
        yield key, stored[key]


def _without(values: Mapping[str, Any], left_out: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in left_out or value != left_out[key]}


def _versions(spec: RunSpec) -> dict[str, int | str]:
    return {group: version_of(getattr(spec, group)) for group in CLASSES}


def _not_neutral(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a class's options, set or not, that have no neutral value or another one. Paths of files are left out:
    their content is an option of its own."""
    left_out = _frozen(options) or constructor_defaults(str(options["_target_"]))
    stacked = {key: neutral.COMPOSITION[key] for key in composed(dict(options))}
    others = _without({**_defaults(options), **options}, {**left_out, **stacked})
    files = files_of(dict(options))
    return {key: value for key, value in others.items() if key not in files}


def _frozen(options: Mapping[str, Any]) -> dict[str, Any]:
    return neutral.CLASSES.get(str(options["_target_"]), {})


def _defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a class decides of its options that are not set, as far as JSON can hold it."""
    plain, decided = (bool, int, float, str, type(None)), constructor_defaults(str(options["_target_"]))
    return {key: value for key, value in decided.items() if key not in options and isinstance(value, plain)}
