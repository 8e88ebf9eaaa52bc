"""What a command is going to run: every configuration, checked, before the first one starts."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.config import RETRY, Config, from_hydra, from_plain, plain_values
from bench.errors import ConfigError, explain, nearest
from bench.files import Damaged
from bench.identity import difference, run_id
from bench.ineffective import check_axes, check_horizon, check_that_all_matter
from bench.matching import check_matches, matched
from bench.model import count_parameters, make_model, make_task
from bench.process import memory_bytes
from bench.store import RunFolder
from bench.timing import case_key
from bench.tuning import plan_round
from bench.worker import WorkerDied, apart

MOST_RUNS = 1_000_000  # of a sweep


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, by run_id, in the order in which they will start.

    Attributes:
        sweep: the sweep's folder.
        configs: all runs.
        jobs: each run's overrides; of a single run, none.
        finished: the ids of those whose result was stored before.
        retried: the ids of those of them that are asked for again, by `retry`; None if it is not set.
        to_come: how many further runs there will be, which depend on how these end.
        timed: what is timed and not trained, by `bench.timing.case_key`; if nothing is, all runs are timed.
        keep: writes down what a search asked for, which planning does not; returns whether that is still so.
    """

    sweep: Path
    configs: dict[str, Config]
    jobs: dict[str, list[str]]
    finished: frozenset[str]
    retried: frozenset[str] | None = None
    to_come: int = 0
    timed: dict[str, Config] = field(default_factory=dict)
    keep: Callable[[], bool] = lambda: True

    @property
    def pending(self) -> dict[str, Config]:
        """The runs to do."""
        if self.retried is not None:
            return {key: self.configs[key] for key in self.configs if key in self.retried}
        return {key: config for key, config in self.configs.items() if key not in self.finished}

    @property
    def first(self) -> Config:
        return next(iter([*self.configs.values(), *self.timed.values()]))


def make_plan(master: DictConfig, watch: Callable[[list[list[str]]], Iterable[list[str]]] = iter) -> Plan:
    """Compose and check every run of a composed command.

    Args:
        master: what Hydra hands to a callback: one run, or the sweep's own configuration.
        watch: iterates over the runs' overrides, and may show how far it is.

    Raises:
        ConfigError: any of the runs cannot be run.
    """
    composer = _Composer.of(master)
    parser = OverridesParser.create() if composer is None else composer.parser
    given = parser.parse_overrides(_given(master))
    if composer is None:
        runs: list[tuple[list[str], Config]] = [([], from_hydra(master))]
        to_come, keep = 0, Plan.keep
    else:
        jobs, to_come, keep = _all_jobs(master, composer)
        runs = [(job, composer.config(job)) for job in watch(jobs)]
    check_that_all_matter(given, [config for _, config in runs], is_sweep=composer is not None)
    check_horizon(given, [master] if composer is None else composer.composed())
    check_matches(config for _, config in runs)
    configs: dict[str, Config] = {}
    timed: dict[str, Config] = {}
    overrides: dict[str, list[str]] = {}
    identified: list[tuple[list[str], str]] = []
    buildable: set[tuple[str, int]] = set()
    for job, requested in runs:
        config = matched(requested)
        if (case := (case_key(config), config.training.evaluation_size)) not in buildable:
            _check_buildable(config)
            buildable.add(case)
        key = run_id(config) if config.train else case_key(config)
        identified.append((job, key))
        if config.train:
            configs[key], overrides[key] = config, job
        else:
            timed[key] = config
    check_axes(given, identified)
    every = [*configs.values(), *timed.values()]
    first = every[0]
    if len({(config.name, config.results_dir) for config in every}) > 1:
        raise ConfigError("name and results_dir must be the same for all runs of a sweep")
    sweep = Path(first.results_dir) / first.name
    _check_directories(master, sweep)
    statuses = {key: stored_status(RunFolder(sweep, key), config) for key, config in configs.items()}
    retried = _retried(first.retry, sweep, statuses) if first.retry else None
    finished = frozenset(key for key in configs if statuses[key])
    if retried is not None and configs and not retried | finished:
        raise ConfigError(f"retry={first.retry}: none of these runs has ended yet; without it, they are run")
    return Plan(sweep, configs, overrides, finished, retried, to_come, timed, keep)


def stored_status(folder: RunFolder, config: Config) -> str | None:
    """Return how a stored run ended; None if it did not, or if what is stored of it is damaged.

    Raises:
        ConfigError: it is another run than the configuration asks for, by a setting that its name does not tell.
    """
    try:
        stored = folder.read()
    except Damaged:
        return None
    if stored is not None and (setting := difference(config, stored.config)):
        raise ConfigError(
            f"{folder.path.name}: is stored with {setting}, which nobody set: the class's default has changed. Set it, "
            "or use another name=…"
        )
    return stored.result["status"] if stored else None


def _given(master: DictConfig) -> list[str]:
    """Return the overrides of the command line, references in them as they are: each run resolves its own."""
    given: Any = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
    return given


def _retried(retry: str, sweep: Path, statuses: dict[str, str | None]) -> frozenset[str]:
    """Return the runs whose outcome is asked for again, and those that were and did not get to one."""
    return frozenset(
        key
        for key, status in statuses.items()
        if status in RETRY[retry] or (status is None and RunFolder(sweep, key).was_set_aside())
    )


def _check_directories(master: DictConfig, sweep: Path) -> None:
    """Raise ConfigError if Hydra was told to write elsewhere than the sweep's folder."""
    hydra = master.hydra
    found = {"hydra.sweep.dir": hydra.sweep.dir, "hydra.run.dir": hydra.run.dir}
    for key, value in found.items():
        if Path(str(value)) != sweep:
            raise ConfigError(f"{key}={value}: where results go is said by results_dir and name")
    if hydra.sweep.subdir != "runs" or hydra.output_subdir is not None or hydra.job.chdir:
        raise ConfigError("hydra.sweep.subdir, hydra.output_subdir and hydra.job.chdir cannot be set here")


def _all_jobs(master: DictConfig, composer: "_Composer") -> tuple[list[list[str]], int, Callable[[], bool]]:
    """Return the overrides of every job, found as Hydra's own sweeper finds them, how many will follow from them, and
    `keep` of a plan.

    Where settings are selected, the jobs of that are among them, as far as they are known."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    jobs: list[list[str]] = []
    for params, given in _parts(master, composer):
        overrides = composer.parser.parse_overrides([f"{key}={value}" for key, value in params.items()]) + given
        _check_number(overrides)
        jobs += BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    jobs = _without_excluded([list(job) for job in dict.fromkeys(map(tuple, jobs))], master)
    if not master.tuning.search:
        return jobs, 0, Plan.keep
    tuning = composer.config(jobs[0]).tuning
    known: dict[tuple[str, ...], Config] = {}

    def config_of(job: list[str]) -> Config:
        if tuple(job) not in known:
            known[tuple(job)] = matched(composer.config(job))
        return known[tuple(job)]

    found = plan_round(jobs, tuning, config_of, keep=False)

    def keep() -> bool:
        return plan_round(jobs, tuning, config_of).jobs == found.jobs

    return found.jobs, 0 if found.is_last else found.total - len(found.jobs), keep


class _Composer:
    """Composes the jobs of a sweep as Hydra does, a choice of groups once: Hydra too sets single values after that."""

    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self.parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._checked: dict[str, Config] = {}
        self._examples: dict[tuple[str, ...], tuple[str, ...]] = {}  # a job of each choice of groups

    @classmethod
    def of(cls, master: DictConfig) -> "_Composer | None":
        """Return the composer of a sweep; None for a single run, which is composed already."""
        if master.hydra.mode != RunMode.MULTIRUN:
            return None
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None, "planned outside a Hydra application"
        loader = hydra.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        return cls(loader, master)

    def config(self, job: list[str]) -> Config:
        """Return the configuration of a job, given its overrides; of jobs that differ in their seed alone, one is
        checked.

        Raises:
            ConfigError: Hydra cannot compose it, or it cannot be run.
        """
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

    def composed(self) -> list[DictConfig]:
        """Return what was composed so far, of each choice of groups with single values one."""
        return [self.compose(list(job)) for job in self._examples.values()]

    def _compose(self, job: list[str]) -> DictConfig:
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
            self._parsed[text] = self.parser.parse_override(text)
        return self._parsed[text]

    def _compose_groups(self, groups: tuple[str, ...]) -> DictConfig:
        if groups not in self._composed:
            composed = self._loader.load_sweep_config(self._master, list(groups))
            with open_dict(composed):
                del composed["hydra"]
            self._composed[groups] = composed
        return self._composed[groups]


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


def _parts(master: DictConfig, composer: "_Composer") -> Iterator[tuple[dict[str, Any], list[Override]]]:
    """Yield of each part of a sweep that is asked for what it sweeps, and what the command line says of all parts.

    A sweep without parts is a single one.

    Raises:
        ConfigError: no such part or scale, or one that is no mapping.
    """
    given = composer.parser.parse_overrides(_given(master))
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


def _check_buildable(config: Config) -> None:
    """Build the run's task and model without storage, so that what cannot be built is known now.

    Raises:
        ConfigError: the task or cell refuses its settings, or the run cannot fit into memory.
    """
    try:
        need = _least_memory(config)
    except ConfigError:
        raise
    except Exception as error:  # a user's class that needs storage to be built, or ends its process: its run will tell
        if not config.train and isinstance(error, WorkerDied):  # times are measured in this process
            raise ConfigError(f"{config.cell['name']} on {config.task['name']}: cannot be built ({error})") from error
        return
    if config.device == "cpu" and need > memory_bytes():
        raise ConfigError(
            f"{config.cell['name']} on {config.task['name']}: needs at least {need / 2**30:,.0f} GiB, this machine has "
            f"{memory_bytes() / 2**30:,.0f}; make cell.hidden_size, the batch or the sequence smaller"
        )


@apart
def _least_memory(config: Config) -> int:
    """Return the bytes that a run needs at the least: parameters, gradients and Adam's two moments; inputs and outputs
    of all steps."""
    task = make_task(config)
    model = make_model(config, task, device="meta")
    rows = max(config.training.batch_size, config.training.evaluation_size)
    steps = task.length * rows * (task.input_size + config.cell["hidden_size"])
    return torch.finfo(config.torch_dtype).bits // 8 * (4 * count_parameters(model) + steps)
