"""What a run's files hold, and checks that they do: outcomes, configurations, evaluations, diagnostics.

A file from elsewhere may hold anything; what passes these checks cannot mislead more than by wrong numbers."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from bench.record.files import Damaged, parse_json

FORMAT = 2  # 1 had no checksums and no configuration in result.json; it is still read
UNSEALED_FORMAT = 1
TRAINED = ("solved", "unsolved")  # outcomes that leave a model to be probed
DECIDED = (*TRAINED, "diverged")  # outcomes that say something of the architecture
FAILED = ("out_of_memory", "failed")
STATUSES = DECIDED + FAILED
MOMENTS = ("start", "training", "end")  # of a run, at which there are diagnostics
NAME = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}"


def parse_records(text: bytes, path: Path) -> list[dict[str, Any]]:
    """Return a JSON-lines file's records.

    Raises:
        Damaged: a line is no record.
    """
    records = [parse_json(line, path) for line in text.splitlines()]
    for record in records:
        for key in ("step", "samples", "seconds"):
            if not _is(record.get(key), int, float):
                raise Damaged(f"{path}: a record has no {key}")
        if not all(_is(value, int, float, bool, type(None)) for value in record.values()):
            raise Damaged(f"{path}: a record has values that are no numbers")
    return records


def parse_readings(text: bytes, path: Path) -> list[dict[str, Any]]:
    """Return the diagnostics in a JSON-lines file.

    Raises:
        Damaged: a line is no reading.
    """
    readings = [parse_json(line, path) for line in text.splitlines()]
    if not all(map(is_reading, readings)):
        raise Damaged(f"{path}: holds a line that is no reading")
    return readings


def is_reading(reading: dict[str, Any]) -> bool:
    """Tell whether an object is a reading: a kind and a part by name, and a curve or grid of finite numbers."""
    numbers = [reading.get(key) for key in ("x", "y", "value")]
    lengths = {len(column) for column in numbers if isinstance(column, list) and column}
    return (
        all(isinstance(column, list) and all(_is(item, int, float) for item in column) for column in numbers)
        and len(lengths) == 1
        and len(numbers[0] or ()) == len(numbers[2] or ())
        and reading.get("moment") in MOMENTS
        and _is(reading.get("step"), int)
        and all(isinstance(reading.get(key), str) and re.fullmatch(NAME, reading[key]) for key in ("kind", "part"))
    )


# What a result must hold for tables and reports to be made of it.
_NUMBER, _COUNT, _TEXT = (int, float, type(None)), (int, type(None)), (str, type(None))
_RESULT = {
    **dict.fromkeys(("steps_to_solve", "steps", "samples", "parameters", "cell_parameters", "threads"), _COUNT),
    **dict.fromkeys(("seconds_to_solve", "seconds", "step_ms", "flops_step", "final_loss", "baseline_loss"), _NUMBER),
    **dict.fromkeys(("error", "backend", "allocator", "traceback"), _TEXT),
    "solved": (bool,),
    "environment": (dict, type(None)),
}


UNKNOWN: dict[str, Any] = dict.fromkeys(_RESULT)  # what a run does not know that came to nothing


def check_result(result: dict[str, Any], path: Path) -> None:
    """Check that an outcome has what every reader relies on.

    Raises:
        Damaged: it lacks something.
    """
    wrong = [key for key, kinds in _RESULT.items() if not _is(result.get(key), *kinds)]
    wrong += [key for key, value in result.items() if key.startswith("final_score.") and not _is(value, *_NUMBER)]
    lengthened = result.get("lengthened") or []  # before format had probe.json
    wrong += [] if isinstance(lengthened, list) and all(map(is_evaluation, lengthened)) else ["lengthened"]
    names = {key: result.get(key) for key in ("backend", "allocator")}
    wrong += [key for key, value in names.items() if isinstance(value, str) and not re.fullmatch(NAME, value)]
    wrong += [] if result.get("status") in STATUSES else ["status"]
    named = result.get("run_id") == path.parent.name and re.fullmatch(NAME, path.parent.name)
    wrong += [] if named else ["run_id"]
    if result.get("format") != UNSEALED_FORMAT:
        wrong += [key for key in ("config", "files") if not isinstance(result.get(key), dict)]
    if result.get("status") in DECIDED and not all(_is(result.get(key), int, float) for key in ("steps", "seconds")):
        wrong += ["steps"]
    if result.get("status") == "solved" and not _is(result.get("steps_to_solve"), int):
        wrong += ["steps_to_solve"]
    if wrong:
        raise Damaged(f"{path}: holds no result of this run ({wrong[0]})")


def is_evaluation(found: Any) -> bool:
    """Tell whether a value is an evaluation at a longer length: its factor, loss and scores, and if it is solved."""
    return (
        isinstance(found, dict)
        and _is(found.get("factor"), int)
        and _is(found.get("loss"), *_NUMBER)
        and _is(found.get("solved"), bool)
        and isinstance(found.get("score"), dict)
        and all(isinstance(name, str) and _is(value, *_NUMBER) for name, value in found["score"].items())
    )


def _is_tuning(found: Any) -> bool:
    """Tell whether a value is a configuration's group `tuning`, as far as readers rely on it; results of before have
    none."""
    return found is None or (
        isinstance(found, dict)
        and isinstance(found.get("selection_seeds"), list | None)
        and isinstance(found.get("search"), dict | list | None)
        and all(_is(seed, int) for seed in found.get("selection_seeds") or [])
        and all(isinstance(key, str) for key in found.get("search") or ())
    )


def is_asked(found: Any) -> bool:
    """Tell whether a value is what a sweep's command asks of its report: a reference, and what selects settings."""
    return _is_tuning(found) and isinstance(found, dict) and isinstance(found.get("reference"), dict)


def is_planned(found: Any) -> bool:
    """Tell whether a value holds planned runs: cell, task and seed of each, by run_id."""

    def is_name(text: object) -> bool:
        return isinstance(text, str) and re.fullmatch(NAME, text) is not None

    return isinstance(found, dict) and all(
        is_name(key)
        and isinstance(about, list)
        and len(about) == 3
        and is_name(about[0])
        and is_name(about[1])
        and _is(about[2], int)
        for key, about in found.items()
    )


def check_config(config: Any, path: Path) -> None:
    """Check that a configuration has what every reader relies on.

    Raises:
        Damaged: it lacks something.
    """
    groups = [config.get(group) for group in ("cell", "task", "training")] if isinstance(config, dict) else [None]
    if not all(isinstance(group, dict) and all(isinstance(key, str) for key in group) for group in groups):
        raise Damaged(f"{path}: is no configuration")
    names = [config.get("name"), config["cell"].get("name"), config["task"].get("name")]
    plain = (str, int, float, bool, type(None), list, dict)
    if not (
        all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names)
        and all(_is(value, *plain) for group in groups if group for value in group.values())
        and _is(config.get("seed"), int)
        and _is_tuning(config.get("tuning"))
        and _is(config["cell"].get("hidden_size"), *_COUNT)
        and _is(config["training"].get("learning_rate"), *_NUMBER)
        and all(isinstance(config.get(key), str) and re.fullmatch(NAME, config[key]) for key in ("device", "dtype"))
    ):
        raise Damaged(f"{path}: is no configuration of a run")


def _is(value: object, *kinds: type) -> bool:
    """Tell whether a value is of one of the kinds, a bool being no number and a number one that a table can hold."""
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return (int in kinds or float in kinds) and -(2**63) <= value < 2**63
    return isinstance(value, kinds)


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML as the store writes it: no tags, and no aliases, which can make megabytes of a line."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def parse_yaml(text: bytes, path: Path) -> Any:
    """Return what a YAML file of the store holds.

    Raises:
        Damaged: it is no YAML, or more than that.
    """
    try:
        found = yaml.load(text, Loader=_PlainLoader)
        json.dumps(found, ensure_ascii=False, default=str, skipkeys=True).encode()  # half a surrogate pair is no text
        return found
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Damaged(f"{path}: is no YAML ({str(error).splitlines()[0][:100]})") from error
