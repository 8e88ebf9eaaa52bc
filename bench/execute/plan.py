"""What a command is going to run: every configuration, checked, before the first one starts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.cost.timing import case_key
from bench.execute.apart import Worker, WorkerDied
from bench.execute.frontier import take_lengths
from bench.execute.matching import check_matches, matched
from bench.execute.probes import asked_probes, lacks_probes, with_all_probes
from bench.execute.seeds import Deciding, Seeds, selects, take_seeds
from bench.execute.tuning import plan_round
from bench.record.errors import ConfigError
from bench.record.files import Damaged
from bench.record.store import RunFolder
from bench.spec.command import Command
from bench.spec.config import RETRY, RunSpec, Settings
from bench.spec.identity import difference, run_ids
from bench.track.tracker import check_installed
from bench.train.model import count_parameters, make_model, make_task
from bench.train.process import memory_bytes


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, by run_id, in the order in which they will start.

    Attributes:
        sweep: the sweep's folder.
        configs: all runs.
        example: the overrides of one of them; of a single run, none.
        finished: the ids of those whose result was stored before.
        retried: the ids of those of them that are asked for again, by `retry`; None if it is not set.
        to_come: how many further runs there will be, which depend on how these end.
        timed: what is timed and not trained, by `bench.cost.timing.case_key`; if nothing is, all runs are timed.
        lacking: the ids of finished runs that lack probes which are asked for.
        seeds: which of the seeds are run by now, with `seeds=auto` or `seeds=frontier`; else None.
        keep: writes down what a search asked for, which planning does not; returns whether that is still so.
    """

    sweep: Path
    configs: dict[str, Settings]
    example: list[str]
    finished: frozenset[str]
    retried: frozenset[str] | None = None
    to_come: int = 0
    timed: dict[str, Settings] = field(default_factory=dict)
    lacking: frozenset[str] = frozenset()
    seeds: Seeds | None = None
    keep: Callable[[], bool] = lambda: True

    @property
    def pending(self) -> dict[str, Settings]:
        """The runs to do."""
        if self.retried is not None:
            return {key: self.configs[key] for key in self.configs if key in self.retried}
        return {key: config for key, config in self.configs.items() if key not in self.finished - self.lacking}

    @property
    def first(self) -> Settings:
        return next(iter([*self.configs.values(), *self.timed.values()]))

    def is_done(self, key: str) -> bool:
        """Tell whether a run has its result by now, and the probes that are asked for."""
        execution = self.configs[key].execution
        if not self.has_result(key) or not any(asked_probes(execution)):
            return self.has_result(key)
        try:
            stored = RunFolder(self.sweep, key).read()
            return stored is not None and not lacks_probes(stored, execution)
        except (Damaged, ConfigError):
            return True  # what is wrong with it is told elsewhere

    def has_result(self, key: str) -> bool:
        """Tell whether a run has a result by now, damaged or not."""
        return (self.sweep / "runs" / key / "result.json").exists()


def make_plan(
    command: Command,
    worker: Worker,
    watch: Callable[[list[list[str]]], Iterable[list[str]]] = iter,
    deciding: Deciding | None = None,
) -> Plan:
    """Compose and check every run of a command.

    Args:
        command: a single run or a sweep.
        worker: for what a user's class may do to its process.
        watch: iterates over the runs' overrides, and may show how far it is.
        deciding: what decides, with `seeds=auto` or `seeds=frontier`, which seeds are run; None: nothing, so that all
            are.

    Raises:
        ConfigError: any of the runs cannot be run.
    """
    jobs, to_come, keep = _with_selection(command, worker)
    requested = [command.config(job) for job in watch(jobs)]
    command.check_that_all_matter(requested)
    check_installed(requested[0].execution.tracking)
    check_matches(requested, worker)
    every = [matched(config, worker) for config in requested]
    buildable: set[tuple[str, int]] = set()
    for config in every:
        if (case := (case_key(config), config.run.training.evaluation_size)) not in buildable:
            _check_buildable(config, worker)
            buildable.add(case)
    names = run_ids(config.run for config in every)
    keys = [name if config.sweep.train else case_key(config) for name, config in zip(names, every, strict=True)]
    command.check_axes(list(zip(jobs, keys, strict=True)))
    configs = with_all_probes((key, config) for key, config in zip(keys, every, strict=True) if config.sweep.train)
    timed = {key: config for key, config in zip(keys, every, strict=True) if not config.sweep.train}
    first = every[0]
    if len({config.sweep.folder for config in every}) > 1:
        raise ConfigError("name and results_dir must be the same for all runs of a sweep")
    sweep = first.sweep.folder
    command.check_directories(sweep)
    states = {key: stored_state(RunFolder(sweep, key), config) for key, config in configs.items()}
    statuses = {key: status for key, (status, _) in states.items()}
    seeds = None
    if deciding is not None and first.sweep.seeds == "frontier" and configs:
        if command.selects:
            raise ConfigError("seeds=frontier: chooses the learning rate itself; set tuning=none and sweep the rates")
        seeds = take_lengths(sweep, dict(zip(keys, jobs, strict=True)), configs, statuses, deciding)
        configs = {key: each for key, each in configs.items() if key in seeds.runs}
        to_come = seeds.to_come
    if deciding is not None and first.sweep.seeds == "auto" and configs:
        if to_come:  # settings are selected for all before any of them is reported
            configs = {key: each for key, each in configs.items() if selects(each)}
        elif not all(map(selects, configs.values())):
            seeds = take_seeds(sweep, configs, {key for key in configs if statuses[key]}, deciding)
            configs = {key: each for key, each in configs.items() if key in seeds.runs}
            to_come = seeds.to_come
    retried = _retried(first.sweep.retry, sweep, statuses) if first.sweep.retry else None
    finished = frozenset(key for key in configs if statuses[key])
    if retried is not None and configs and not retried | finished:
        raise ConfigError(f"retry={first.sweep.retry}: none of these runs has ended yet; without it, they are run")
    lacking = frozenset(key for key in configs if states[key][1])
    return Plan(sweep, configs, jobs[0], finished, retried, to_come, timed, lacking, seeds, keep)


def stored_state(folder: RunFolder, config: Settings) -> tuple[str | None, bool]:
    """Return how a stored run ended, None if it did not, or if what is stored of it is damaged; and whether it lacks
    probes that are asked for.

    Raises:
        ConfigError: it is another run than the configuration asks for, by a setting that its name does not tell, or it
            cannot give the probes that are asked for.
    """
    try:
        stored = folder.read()
    except Damaged:
        return None, False
    if stored is not None and (setting := difference(config, stored.config)):
        raise ConfigError(
            f"{folder.path.name}: is stored with {setting}, which nobody set: the class's default has changed. Set it, "
            "or use another name=…"
        )
    return (stored.result.status, lacks_probes(stored, config.execution)) if stored else (None, False)


def _with_selection(command: Command, worker: Worker) -> tuple[list[list[str]], int, Callable[[], bool]]:
    """Return a command's jobs, how many will follow from them, and `keep` of a plan. Where settings are selected, the
    jobs of that are among them, as far as they are known."""
    jobs = command.jobs
    if not command.selects:
        return jobs, 0, Plan.keep
    tuning = command.config(jobs[0]).sweep.tuning
    known: dict[tuple[str, ...], Settings] = {}

    def config_of(job: list[str]) -> Settings:
        if tuple(job) not in known:
            known[tuple(job)] = matched(command.config(job), worker)
        return known[tuple(job)]

    planned = plan_round(jobs, tuning, config_of, keep=False)

    def keep() -> bool:
        return plan_round(jobs, tuning, config_of).jobs == planned.jobs

    return planned.jobs, 0 if planned.is_last else planned.total - len(planned.jobs), keep


def _retried(retry: str, sweep: Path, statuses: dict[str, str | None]) -> frozenset[str]:
    """Return the runs whose outcome is asked for again, and those that were set aside for that and not finished since;
    one that is damaged has a result."""

    def was_retried(folder: RunFolder) -> bool:
        return folder.was_set_aside() and not (folder.path / "result.json").exists()

    return frozenset(
        key
        for key, status in statuses.items()
        if status in RETRY[retry] or (status is None and was_retried(RunFolder(sweep, key)))
    )


def _check_buildable(config: Settings, worker: Worker) -> None:
    """Raise ConfigError now, by building task and model without storage, if they refuse their settings, or the run
    cannot fit into memory."""
    try:
        need = worker.call(config.run, least_memory, config.run)
    except ConfigError:
        raise
    except Exception as error:  # a user's class that needs storage to be built, or ends its process: its run will tell
        if not config.sweep.train and isinstance(error, WorkerDied):  # times are measured in this process
            raise ConfigError(f"{config.run}: cannot be built ({error})") from error
        return
    if config.execution.device == "cpu" and need > memory_bytes():
        raise ConfigError(
            f"{config.run}: needs at least {need / 2**30:,.0f} GiB, this machine has "
            f"{memory_bytes() / 2**30:,.0f}; make cell.hidden_size, the batch or the sequence smaller"
        )


def least_memory(spec: RunSpec) -> int:
    """Return the bytes that a run needs at the least: parameters, gradients and Adam's two moments; inputs and outputs
    of all steps."""
    task = make_task(spec)
    model = make_model(spec, task, device="meta")
    rows = max(spec.training.batch_size, spec.training.evaluation_size)
    steps = task.length * rows * (task.input_size + spec.cell["hidden_size"])
    return torch.finfo(spec.torch_dtype).bits // 8 * (4 * count_parameters(model) + steps)
