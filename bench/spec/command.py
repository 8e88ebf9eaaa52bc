"""A command as Hydra composes it, once: the jobs of a sweep, and the configuration of each."""

import copy
import os
import re
from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from bench.record.errors import ConfigError, nearest
from bench.spec.checks import from_hydra, from_plain, plain_values
from bench.spec.config import Settings, SweepSpec, register_settings
from bench.spec.explain import explain
from bench.spec.ineffective import check_axes, check_horizon, check_that_all_matter

MOST_RUNS = 1_000_000  # of a sweep
OF_A_CHOICE = re.compile(r"\+{0,2}~?(cell|task)\.")  # what is set on the cell or the task


def compose(arguments: Namespace) -> DictConfig:
    """Have Hydra compose what a command's arguments say.

    Raises:
        ConfigError: there is no such folder of configurations, or a run and a sweep are asked for at once.
        HydraException, OmegaConfBaseException, and whatever else Hydra makes of some command lines.
    """
    version.setbase("1.3")
    search_path = create_config_search_path("pkg://conf")
    if arguments.config_dir is not None:
        folder = os.path.abspath(arguments.config_dir)
        if not os.path.isdir(folder):
            raise ConfigError(f"--config-dir: '{folder}' is not a folder")
        register_settings(Path(folder))
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("recurrent-bench", search_path)

    def composed(mode: RunMode, overrides: list[str], is_final: bool = True) -> DictConfig:
        return hydra.compose_config(
            arguments.config_name or "config", overrides, mode, validate_sweep_overrides=is_final
        )

    # The cell and the task of a sweep are each run's own, and so is what is set on them: not every one has every key.
    general = [override for override in arguments.overrides if not OF_A_CHOICE.match(override)]
    said = composed(RunMode.MULTIRUN, general, is_final=False).hydra.mode
    if arguments.multirun and arguments.run:
        raise ConfigError("--run and --multirun: give only one of them")
    mode = said if said is not None and not arguments.multirun else RunMode[("RUN", "MULTIRUN")[arguments.multirun]]
    added = [] if mode == said else [f"hydra.mode={mode.name}"]
    if mode != RunMode.MULTIRUN:
        return composed(mode, [*arguments.overrides, *added])
    master = composed(mode, [*general, *added])
    with read_write(master), open_dict(master):
        master.hydra.overrides.task = [each for each in arguments.overrides if each not in master.hydra.overrides.hydra]
    return master


def runs_here(launcher: Any) -> bool:
    """Tell whether a launcher's jobs have what this process has: GPUs, environment, limits."""
    return str(launcher.get("_target_")).endswith((".BasicLauncher", ".JoblibLauncher"))


def is_new(master: DictConfig) -> bool:
    """Tell whether a composed command will train here, as far as its names say: no run of this cell, task and seed is
    stored, or of a sweep none at all."""
    try:
        if master.dry_run or not master.train:
            return False
        runs = Path(str(master.results_dir)) / str(master.name) / "runs"
        if master.hydra.mode == RunMode.MULTIRUN:
            return runs_here(master.hydra.launcher) and not runs.exists()
        return not any(runs.glob(f"{master.cell.name}-{master.task.name}-s{master.seed}-*"))
    except Exception:  # whatever is wrong with it is told by whoever checks it
        return False


def tool_of(master: DictConfig) -> str | None:
    """Return the tool by which the runs of a composed command are tracked, as far as it says."""
    try:
        return str(master.tracking.tool) if master.tracking.mode != "disabled" else None
    except Exception:  # as above
        return None


class Command:
    """A composed command: its jobs, each the overrides of a run, and the configuration of each.

    Hydra composes a choice of groups once. Single values are set on what came of it, as Hydra too does after that;
    where one is plain and nothing refers to it, on plain values, which takes no time.

    Attributes:
        master: the command's own configuration, which is that of a single run.
        is_sweep: whether it is one; a single run has one job, without overrides.
        jobs: of a sweep, those of all its parts.
        selects: whether jobs that select settings are to be added.
    """

    def __init__(self, master: DictConfig) -> None:
        """Take what Hydra composed: one run, or a sweep's own configuration.

        Raises:
            ConfigError: it is no sweep that can be run.
        """
        self.master = master
        self.is_sweep = master.hydra.mode == RunMode.MULTIRUN
        self._loader = loader() if self.is_sweep else None
        self._parser = OverridesParser.create(config_loader=self._loader)
        self._given = self._parser.parse_overrides(_given(master))
        self._parsed: dict[str, Override] = {}
        self._groups: dict[tuple[str, ...], DictConfig] = {}  # composed, by the groups that a job chooses
        self._examples: dict[tuple[str, ...], DictConfig] = {}  # of these with more set on it, where references matter
        self._plain: dict[tuple[str, ...], tuple[dict[str, Any], set[str]]] = {}
        self._checked: dict[tuple[str, ...], tuple[Settings, bool]] = {}
        self.jobs = _jobs(master, self._parser) if self.is_sweep else [[]]
        self.selects = self.is_sweep and bool(master.tuning.search)

    def config(self, job: list[str]) -> Settings:
        """Return the configuration of a job, given its overrides; of jobs that differ in their seed alone, one is
        composed and checked.

        Raises:
            ConfigError: Hydra cannot compose it, or it cannot be run.
        """
        if not self.is_sweep:
            return from_hydra(self.master)
        subject = tuple(override for override in job if not override.startswith("seed="))
        known = self._checked.get(subject)
        if known is not None and known[1] and len(subject) == len(job) - 1:
            seed = self._parse(next(override for override in job if override.startswith("seed="))).value()
            if type(seed) is int and 0 <= seed < 2**63:
                return known[0].with_run(seed=seed)
        values, is_free = self._values(job)
        config = from_plain(values)
        self._checked[subject] = config, is_free
        return config

    def check_that_all_matter(self, configs: Collection[Settings]) -> None:
        """Raise ConfigError for a setting given that matters to none of the runs, of which `configs` are all."""
        examples = list({**self._groups, **self._examples}.values()) if self.is_sweep else [self.master]
        check_that_all_matter(self._given, configs, self.is_sweep)
        check_horizon(self._given, examples)

    def check_axes(self, runs: Sequence[tuple[list[str], str]]) -> None:
        """Raise ConfigError for an axis given with values that lead to the same runs, each a job and its id."""
        check_axes(self._given, runs)

    def check_directories(self, sweep: Path) -> None:
        """Raise ConfigError if Hydra was told to write elsewhere than the sweep's folder."""
        hydra = self.master.hydra
        told = {"hydra.sweep.dir": hydra.sweep.dir, "hydra.run.dir": hydra.run.dir}
        for key, value in told.items():
            if Path(str(value)) != sweep:
                raise ConfigError(f"{key}={value}: results_dir and name decide where results go")
        if hydra.sweep.subdir != "runs" or hydra.output_subdir is not None or hydra.job.chdir:
            raise ConfigError("hydra.sweep.subdir, hydra.output_subdir and hydra.job.chdir cannot be set here")

    def _values(self, job: list[str]) -> tuple[dict[str, Any], bool]:
        """Return a job's plain values, references resolved; and whether its seed is referred to by none."""
        groups: list[str] = []
        plain: list[Override] = []
        others: list[Override] = []
        assert self._loader is not None
        for override in map(self._parse, job):
            if override.is_hydra_override() or self._loader.repository.group_exists(override.key_or_group):
                groups.append(str(override.input_line))
            else:
                (plain if _is_plain(override) and not others else others).append(override)
        try:
            values, references = self._base((*groups,))
            reached = [override for override in plain if not _can_be_set(values, override, references)]
            is_free = not others and not _is_referred_to("seed", references)
            if reached or others:
                composed = copy.deepcopy(self._compose_groups((*groups,)))
                ConfigLoaderImpl._apply_overrides_to_config([*plain, *others], composed)
                self._examples[*groups,] = composed
                return plain_values(composed), is_free
        except HydraException as error:
            raise ConfigError(explain(error)) from error
        for override in plain:
            values = _with(values, override.key_or_group.split("."), override.value())
        return values, is_free

    def _base(self, groups: tuple[str, ...]) -> tuple[dict[str, Any], set[str]]:
        """Return the plain values of a choice of groups, and what references in it name."""
        if groups not in self._plain:
            composed = self._compose_groups(groups)
            references = {
                name for text in _references(OmegaConf.to_container(composed)) for name in re.findall(r"[\w.]+", text)
            }
            self._plain[groups] = plain_values(composed), references
        return self._plain[groups]

    def _compose_groups(self, groups: tuple[str, ...]) -> DictConfig:
        if groups not in self._groups:
            assert self._loader is not None
            composed = self._loader.load_sweep_config(self.master, list(groups))
            with open_dict(composed):
                del composed["hydra"]
            self._groups[groups] = composed
        return self._groups[groups]

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]


def loader() -> ConfigLoaderImpl:
    """Return what loads configurations in the Hydra application of this process."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None, "planned outside a Hydra application"
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    return hydra.config_loader


def _is_plain(override: Override) -> bool:
    """Tell whether an override sets a single value that refers to nothing; Hydra judges additions (+key)."""
    if override.is_add() or override.is_delete() or override.is_sweep_override() or override.package is not None:
        return False
    value = override.value()
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and "$" not in value)


def _can_be_set(values: dict[str, Any], override: Override, references: set[str]) -> bool:
    """Tell whether a setting is there, is no mapping, and is referred to by none."""
    at: Any = values
    for name in override.key_or_group.split("."):
        if not (isinstance(at, dict) and name in at):
            return False
        at = at[name]
    return not isinstance(at, dict | list) and not _is_referred_to(override.key_or_group, references)


def _is_referred_to(key: str, references: set[str]) -> bool:
    """Tell whether a reference names a setting, what it is in, or something relative to where the reference is."""
    return any(
        name.startswith(".") or f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.")
        for name in references
    )


def _references(value: Any) -> Iterator[str]:
    """Yield all texts in nested values that refer to something."""
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _references(child)
    elif isinstance(value, str) and "$" in value:
        yield value


def _with(values: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Return nested values with another one at a path."""
    return {**values, path[0]: _with(values[path[0]], path[1:], value) if len(path) > 1 else value}


def _given(master: DictConfig) -> list[str]:
    """Return the overrides of the command line, references in them as they are: each run resolves its own."""
    given: Any = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
    return given


def _jobs(master: DictConfig, parser: OverridesParser) -> list[list[str]]:
    """Return the overrides of every job of a sweep: of each of its parts, the product of all axes."""
    jobs: dict[tuple[str, ...], None] = {}
    for params, given in _parts(master, parser):
        overrides = {
            override.get_key_element(): override
            for override in [*parser.parse_overrides([f"{key}={value}" for key, value in params.items()]), *given]
        }
        _check_number(list(overrides.values()))
        axes = [
            [f"{key}={value}" for value in override.sweep_string_iterator()]
            if override.is_sweep_override()
            else [f"{key}={override.get_value_element_as_str()}"]
            for key, override in overrides.items()
        ]
        jobs.update(dict.fromkeys(product(*axes)))
    return _without_excluded([list(job) for job in jobs], master)


def _check_number(overrides: list[Override]) -> None:
    """Raise ConfigError if a sweep has more runs than anyone would wait for."""
    runs = 1
    for override in overrides:
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise ConfigError(f"{override.input_line}: has no end; give values, or a range")
            try:
                runs *= sum(1 for _ in islice(override.sweep_iterator(), MOST_RUNS + 1))
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{override.input_line}: {error}") from error
            if not runs:
                raise ConfigError(f"{override.input_line}: has no values")
            if runs > MOST_RUNS:
                raise ConfigError(f"{override.key_or_group}: makes this a sweep of more than {MOST_RUNS:,} runs")


def _without_excluded(jobs: list[list[str]], master: DictConfig) -> list[list[str]]:
    """Return the jobs but for those that have all values of one of the combinations in `exclude`; ConfigError if
    that is no list of combinations, or leaves nothing."""
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
    """Yield of each part of a sweep that is asked for what it sweeps, and what the command line says of all parts;
    ConfigError for no such part or scale. A sweep without parts is a single one."""
    given = parser.parse_overrides(_given(master))
    chosen = [override for override in given if override.key_or_group == "part"]
    given = [override for override in given if override.key_or_group != "part"]
    params = _mapping("hydra.sweeper.params", master.hydra.sweeper.get("params"))
    parts = {name: _mapping(f"parts.{name}", part) for name, part in _mapping("parts", master.parts).items()}
    scales = {name: _mapping(f"scales.{name}", scale) for name, scale in _mapping("scales", master.scales).items()}
    if master.scale != SweepSpec.scale and master.scale not in scales:
        raise ConfigError(
            f"scale={master.scale}: this sweep has no such scale."
            f"{nearest(str(master.scale), [SweepSpec.scale, *scales])}"
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
    """Return a part of the configuration as a mapping, empty if it is not set; ConfigError if it is something else."""
    plain = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    if plain is not None and not isinstance(plain, dict):
        raise ConfigError(f"{key}: must be a mapping, as {{long: {{horizon: '100,200'}}}}")
    return {str(name): value for name, value in (plain or {}).items()}
