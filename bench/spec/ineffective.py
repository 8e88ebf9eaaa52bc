"""Settings that a command gives and that make no difference to what it runs: they are refused by name, since whoever
gave them believes that they do. A sweep's file may have what only some of its parts use, and a command what only some
of its runs do: reports tell how to run one of them again by the whole command and a narrower choice."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bench.record.errors import ConfigError
from bench.spec.config import Settings, SweepSpec, to_plain
from bench.spec.targets import load_target


@dataclass(frozen=True)
class _Rule:
    keys: str  # a regular expression
    matters: Callable[[Settings], bool]  # to a run; it is enough if it does to one
    otherwise: str


def _can_be_lengthened(config: Settings) -> bool:
    """Tell whether a run's task has a distance to lengthen, or lengthens itself."""
    from tasks.task import Task  # which imports torch

    task = load_target(config.run.task["_target_"])
    return getattr(task, "distance", None) is not None or getattr(task, "lengthened", None) is not Task.lengthened


RULES = (
    _Rule(r"lengthen", _can_be_lengthened, "no task here has a distance that could be lengthened"),
    _Rule(
        r"tuning\.(trials|at_once)",
        lambda config: any(isinstance(values, dict) for values in config.sweep.tuning.search.values()),
        "only a search within ranges, as {low: …, high: …}, has trials",
    ),
    _Rule(
        r"diagnostics\.(every|sequences)",
        lambda config: bool(config.execution.diagnostics.kinds),
        "there are no diagnostics; add diagnostics=standard",
    ),
    _Rule(
        r"timing\.(?!enabled$).+", lambda config: config.sweep.timing.enabled, "no times are measured (timing.enabled)"
    ),
    _Rule(
        r"tracking\.(project|entity|tags)",
        lambda config: config.execution.tracking.mode != "disabled",
        "nothing is tracked (tracking.mode)",
    ),
    _Rule(
        r"tracking\.(mode|entity)",
        lambda config: config.execution.tracking.tool == "wandb" or config.execution.tracking.mode == "disabled",
        "only W&B has it (tracking.tool)",
    ),
    _Rule(
        r"tracking\.(project|tags)",
        lambda config: config.execution.tracking.tool != "tensorboard",
        "TensorBoard has neither projects nor tags",
    ),
    _Rule(
        r"training\.max_steps",
        lambda config: config.sweep.match != "time",
        "with match=time the budget is training.max_seconds",
    ),
    _Rule(
        r"lengthen|keep|diagnostics(\..*)?|retry|training\.(max_(steps|samples|seconds)|evaluat.*|solved_evaluations)",
        lambda config: config.sweep.train,
        "nothing is trained (train=false)",
    ),
)
OF_SWEEPS = r"part|parts|scale|scales|exclude|launch|tuning(\.(search|trials|at_once))?"
AS_THEY_ARE = {"scale": SweepSpec.scale, "tuning": "none", "part": None}  # what single runs may be told all the same


def check_that_all_matter(given: Sequence[Override], configs: Collection[Settings], is_sweep: bool) -> None:
    """Raise ConfigError for a setting given on the command line that matters to no run."""
    rates: dict[object, set[float]] = defaultdict(set)
    for config in configs:
        rates[config.run.cell["name"], config.run.task["name"]].add(config.run.training.learning_rate)
    selects = any(config.sweep.tuning.search for config in configs) or any(len(each) > 1 for each in rates.values())
    for override in given:
        key = override.key_or_group
        if key == "tuning.selection_seeds" and not selects:
            raise ConfigError(
                f"{_text(override)}: nothing is selected; sweep training.learning_rate or set tuning.search"
            )
        value = None if override.is_delete() or override.is_sweep_override() else override.value()
        if not is_sweep and re.fullmatch(OF_SWEEPS, key) and (key not in AS_THEY_ARE or value != AS_THEY_ARE[key]):
            raise ConfigError(f"{_text(override)}: only sweeps have that; name one with +sweep=…, or add -m")
        if value == {} and any(_at(to_plain(config), key) for config in configs):
            raise ConfigError(f"{_text(override)}: makes no difference; mappings add to what there is")
        for rule in RULES:
            if re.fullmatch(rule.keys, key) and not any(map(rule.matters, configs)):
                raise ConfigError(f"{_text(override)}: makes no difference; {rule.otherwise}")


def _at(values: Any, key: str) -> Any:
    """Return a setting by its dotted name; None if there is none."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def check_horizon(given: Sequence[Override], composed: Iterable[DictConfig]) -> None:
    """Raise ConfigError if a horizon is given that no composed configuration reads."""
    for override in given:
        if override.key_or_group == "horizon" and not override.is_delete():
            texts = (OmegaConf.to_yaml(one) for one in composed)
            if not any(re.search(r"\$\{[^}]*\bhorizon\b", text) for text in texts):
                raise ConfigError(
                    f"{_text(override)}: makes no difference; no run here uses horizon. Set task.length or task.delay "
                    f"instead"
                )


def check_axes(given: Sequence[Override], runs: Sequence[tuple[list[str], str]]) -> None:
    """Raise ConfigError for an axis given with values that lead to the same runs, whatever the others are.

    Args:
        given: what the command line overrides.
        runs: the overrides of each run, and its id.
    """
    axes = [override for override in given if override.is_sweep_override()]
    for axis in axes:
        values = list(map(str, axis.sweep_string_iterator()))
        twice = next((value for value in values if values.count(value) > 1), None) if len(values) < 1000 else None
        if twice is not None:
            raise ConfigError(f"{_text(axis)}: has {twice} twice")
    if len({identifier for _, identifier in runs}) == len(runs):
        return
    for axis in axes:
        prefix = f"{axis.get_key_element()}="
        led_to: dict[str, dict[tuple[str, ...], str]] = {}
        for job, identifier in runs:
            own = next((each for each in job if each.startswith(prefix)), None)
            if own is not None:
                others = tuple(each for each in job if each is not own)
                led_to.setdefault(own.removeprefix(prefix), {})[others] = identifier
        for (one, its_runs), (other, other_runs) in combinations(led_to.items(), 2):
            if its_runs == other_runs:
                raise ConfigError(f"{_text(axis)}: makes no difference; with {one} and {other} the runs are the same")


def _text(override: Override) -> str:
    """Return an override as it was given, but for its sign."""
    value: Any = override.input_line
    return str(value).lstrip("+~") if value else override.key_or_group
