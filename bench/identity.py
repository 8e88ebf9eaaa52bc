"""What a run is called: a readable slug and a hash of everything that determines its result."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from bench.config import Config, Training
from bench.seeds import FIRST_FILLED_SEED
from bench.targets import non_defaults, version_of


def identity(config: Config) -> dict[str, Any]:
    """Return what determines a run's result: cell, task, their versions, training, seed, device type and
    dtype, the lengths at which it is evaluated in the end, and what is looked at inside.

    Settings at their default are left out, so that a new option does not change the identity of old
    runs, and so are first versions; and folders, tracking, launcher, threads and allocator.
    """
    defaults = asdict(Training())
    training = {key: value for key, value in asdict(config.training).items() if value != defaults[key]}
    parts: dict[str, Any] = {
        "cell": non_defaults(config.cell),
        "task": non_defaults(config.task),
        "training": training,
        "seed": config.seed,
        "device": config.device_type,
    }
    versions = {group: version_of(options) for group, options in (("cell", config.cell), ("task", config.task))}
    if later := {group: version for group, version in versions.items() if version != 1}:
        parts["versions"] = later
    if config.seed >= FIRST_FILLED_SEED:  # streams of before began from 32 bits there too
        parts["streams"] = 2
    if config.dtype != Config.dtype:
        parts["dtype"] = config.dtype
    if config.diagnostics.kinds:  # a run without them has nothing to show
        parts["diagnostics"] = asdict(config.diagnostics)
    if config.lengthen:
        parts["lengthen"] = sorted(config.lengthen)
    return parts


def run_id(config: Config) -> str:
    """Return e.g. "gru-copy-s0-1f2e3d4c5b": cell, task, seed, and ten hex digits of the identity's SHA-256."""
    text = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{config.cell['name']}-{config.task['name']}-s{config.seed}-{digest}"
