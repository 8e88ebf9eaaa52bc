"""A command as Hydra composed it: the jobs of a sweep, and the configuration of each."""

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.record.errors import ConfigError, nearest
from bench.spec.config import Config, from_hydra, from_plain, plain_values
from bench.spec.explain import explain
from bench.spec.ineffective import check_axes, check_horizon, check_that_all_matter

MOST_RUNS = 1_000_000  # of a sweep


class Command:
    """A composed command: its jobs, each the overrides of a run, and the configuration of each.

    Jobs are composed as Hydra does it, but a choice of groups once: Hydra too sets single values after that.

    Attributes:
        is_sweep: whether it is one; a single run has one job, without overrides.
        jobs: of a sweep found as Hydra's own sweeper finds them.
        selects: whether jobs that select settings are to be added.
    """

    def __init__(self, master: DictConfig) -> None:
        """Take what Hydra hands to a callback: one run, or the sweep's own configuration.

        Raises:
            ConfigError: it is no sweep that can be run.
        """
        self._master = master
        self.is_sweep = master.hydra.mode == RunMode.MULTIRUN
        self._loader = _loader() if self.is_sweep else None
        self._parser = OverridesParser.create(config_loader=self._loader)
        self._given = self._parser.parse_overrides(_given(master))
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._checked: dict[str, Config] = {}
        self._examples: dict[tuple[str, ...], tuple[str, ...]] = {}  # a job of each choice of groups
        self.jobs = _jobs(master, self._parser) if self.is_sweep else [[]]
        self.selects = self.is_sweep and bool(master.tuning.search)

    def config(self, job: list[str]) -> Config:
        """Return the configuration of a job, given its overrides; of jobs that differ in their seed alone, one is
        checked.

        Raises:
            ConfigError: Hydra cannot compose it, or it cannot be run.
        """
        if not self.is_sweep:
            return from_hydra(self._master)
        values = plain_values(self.compose(job))
        key = repr({name: value for name, value in values.items() if name != "seed"})
        seed = values.get("seed")
        if key not in self._checked or type(seed) is not int or not 0 <= seed < 2**63:
            self._checked[key] = from_plain(values)
            return copy.deepcopy(self._checked[key])
        return replace(copy.deepcopy(self._checked[key]), seed=seed)

    def compose(self, job: list[str]) -> DictConfig:
        """Return the configuration of a job, given its overrides, without Hydra's own part.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        try:
            return self._compose(job)
        except HydraException as error:
            raise ConfigError(explain(error)) from error

    def check_that_all_matter(self, configs: Collection[Config]) -> None:
        """Raise ConfigError for a setting given that matters to none of the runs, of which `configs` are all."""
        examples = [self.compose(list(job)) for job in self._examples.values()] if self.is_sweep else [self._master]
        check_that_all_matter(self._given, configs, self.is_sweep)
        check_horizon(self._given, examples)

    def check_axes(self, runs: Sequence[tuple[list[str], str]]) -> None:
        """Raise ConfigError for an axis given with values that lead to the same runs, each a job and its id."""
        check_axes(self._given, runs)

    def check_directories(self, sweep: Path) -> None:
        """Raise ConfigError if Hydra was told to write elsewhere than the sweep's folder."""
        hydra = self._master.hydra
        found = {"hydra.sweep.dir": hydra.sweep.dir, "hydra.run.dir": hydra.run.dir}
        for key, value in found.items():
            if Path(str(value)) != sweep:
                raise ConfigError(f"{key}={value}: where results go is said by results_dir and name")
        if hydra.sweep.subdir != "runs" or hydra.output_subdir is not None or hydra.job.chdir:
            raise ConfigError("hydra.sweep.subdir, hydra.output_subdir and hydra.job.chdir cannot be set here")

    def _compose(self, job: list[str]) -> DictConfig:
        assert self._loader is not None
        groups: list[Override] = []
        values: list[Override] = []
        for override in map(self._parse, job):
            group = override.is_hydra_override() or self._loader.repository.group_exists(override.key_or_group)
            (groups if group else values).append(override)
        chosen = tuple(str(override.input_line) for override in groups)
        self._examples.setdefault(chosen, tuple(job))
        composed = copy.deepcopy(self._compose_groups(chosen))
        ConfigLoaderImpl._apply_overrides_to_config(values, composed)
        return composed

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]

    def _compose_groups(self, groups: tuple[str, ...]) -> DictConfig:
        if groups not in self._composed:
            assert self._loader is not None
            composed = self._loader.load_sweep_config(self._master, list(groups))
            with open_dict(composed):
                del composed["hydra"]
            self._composed[groups] = composed
        return self._composed[groups]


def _given(master: DictConfig) -> list[str]:
    """Return the overrides of the command line, references in them as they are: each run resolves its own."""
    given: Any = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
    return given


def _loader() -> ConfigLoaderImpl:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None, "planned outside a Hydra application"
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    return hydra.config_loader


def _jobs(master: DictConfig, parser: OverridesParser) -> list[list[str]]:
    """Return the overrides of every job of a sweep."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    jobs: list[list[str]] = []
    for params, given in _parts(master, parser):
        overrides = parser.parse_overrides([f"{key}={value}" for key, value in params.items()]) + given
        _check_number(overrides)
        jobs += BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    return _without_excluded([list(job) for job in dict.fromkeys(map(tuple, jobs))], master)


def _check_number(overrides: list[Override]) -> None:
    """Raise ConfigError if a sweep has more runs than anyone would wait for."""
    runs = 1
    for override in overrides:
        if override.is_sweep_override():
            try:
                runs *= sum(1 for _ in islice(override.sweep_iterator(), MOST_RUNS + 1))
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{override.input_line}: {error}") from error
            if not runs:
                raise ConfigError(f"{override.input_line}: has no values")
            if runs > MOST_RUNS:
                raise ConfigError(f"{override.key_or_group}: makes this a sweep of more than {MOST_RUNS:,} runs")


def _without_excluded(jobs: list[list[str]], master: DictConfig) -> list[list[str]]:
    """Return the jobs but for those that have all values of one of the combinations in `exclude`.

    Raises:
        ConfigError: `exclude` is no list of combinations, or leaves nothing.
    """
    combinations = OmegaConf.to_container(master.exclude)
    if not (isinstance(combinations, list) and all(isinstance(each, dict) and each for each in combinations)):
        raise ConfigError("exclude: must be a list of mappings, as [{cell: rnn, initialization: [chrono, forget_0]}]")
    wanted = [
        {key: {str(value) for value in (values if isinstance(values, list) else [values])} for key, values in each}
        for each in (dict(combination).items() for combination in combinations)
    ]

    def is_excluded(job: list[str]) -> bool:
        values = dict(override.split("=", 1) for override in job if "=" in override)
        return any(all(values.get(key) in allowed for key, allowed in each.items()) for each in wanted)

    left = [job for job in jobs if not is_excluded(job)]
    if not left:
        raise ConfigError("exclude: leaves out every run of this sweep")
    return left


def _parts(master: DictConfig, parser: OverridesParser) -> Iterator[tuple[dict[str, Any], list[Override]]]:
    """Yield of each part of a sweep that is asked for what it sweeps, and what the command line says of all parts.

    A sweep without parts is a single one.

    Raises:
        ConfigError: no such part or scale, or one that is no mapping.
    """
    given = parser.parse_overrides(_given(master))
    chosen = [override for override in given if override.key_or_group == "part"]
    given = [override for override in given if override.key_or_group != "part"]
    params = _mapping("hydra.sweeper.params", master.hydra.sweeper.get("params"))
    parts = {name: _mapping(f"parts.{name}", part) for name, part in _mapping("parts", master.parts).items()}
    scales = {name: _mapping(f"scales.{name}", scale) for name, scale in _mapping("scales", master.scales).items()}
    if master.scale != Config.scale and master.scale not in scales:
        raise ConfigError(
            f"scale={master.scale}: this sweep has no such scale.{nearest(str(master.scale), [Config.scale, *scales])}"
        )
    scale = scales.get(master.scale, {})
    names = [str(name) for override in chosen for name in _choices(override) if name is not None]
    for name in dict.fromkeys(names or list(parts) or [""]):
        if name not in parts and (name or names):
            there = nearest(name, parts) if parts else " It has no parts."
            raise ConfigError(f"part={name}: this sweep has no such part.{there}")
        yield {**params, **parts.get(name, {}), **_mapping(f"scales.{master.scale}.{name}", scale.get(name))}, given


def _choices(override: Override) -> list[Any]:
    value = [*override.sweep_iterator()] if override.is_sweep_override() else override.value()
    return value if isinstance(value, list) else [value]


def _mapping(key: str, found: Any) -> dict[str, Any]:
    """Return a part of the configuration as a mapping; an empty one if there is none.

    Raises:
        ConfigError: it is something else.
    """
    plain = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    if plain is not None and not isinstance(plain, dict):
        raise ConfigError(f"{key}: must be a mapping, as {{long: {{horizon: '100,200'}}}}")
    return {str(name): value for name, value in (plain or {}).items()}
