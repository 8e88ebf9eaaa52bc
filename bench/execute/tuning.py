"""Selecting settings: a cell and task is tried with several on selection seeds, and reported with the best on others.

What is tried is a grid, or is asked from Optuna, a study for each cell and task, kept in the sweep's folder. A sweep
goes in rounds: what can be run now is planned and run, then the next round, until all is run. Which
round it is follows from the stored results alone."""

import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.execute.leases import alone
from bench.record.errors import ConfigError
from bench.record.fairness import selection_score
from bench.record.files import Damaged
from bench.record.store import RunFolder
from bench.spec.config import Settings, Tuning
from bench.spec.identity import run_id

Job = list[str]  # the overrides of a run


@dataclass(frozen=True)
class Round:
    """What can be run now.

    Attributes:
        jobs: of all rounds so far.
        is_last: whether these are all.
        total: how many there will be in the end.
    """

    jobs: list[Job]
    is_last: bool
    total: int


def plan_round(jobs: list[Job], tuning: Tuning, config_of: Callable[[Job], Settings], keep: bool = True) -> Round:
    """Return the runs of a sweep that selects settings, as far as they are known.

    Args:
        jobs: the sweep's as Hydra would run them, without what is selected.
        tuning: what is selected.
        config_of: composes and checks a job.
        keep: whether the sweep's folder keeps what Optuna is asked now; else nothing is written, and the same is asked
            for when it does.

    Raises:
        ConfigError: the search makes no sense, or Optuna is missing.
    """
    subjects: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        subjects.setdefault(tuple(override for override in job if not override.startswith("seed=")), []).append(job)
        if config_of(job).run.seed in tuning.selection_seeds:
            raise ConfigError(f"tuning.selection_seeds: seed {config_of(job).run.seed} is reported too; tune on others")
    grid = _grid(tuning.search)
    planned: list[Job] = []
    is_last, trials_each = True, len(grid) if grid is not None else tuning.trials
    for subject, reported in subjects.items():
        ranges = [override for override in subject if override.partition("=")[0] in tuning.search]
        if ranges:
            raise ConfigError(f"{ranges[0]}: is selected by tuning.search; give it there, or set tuning=none")
        trial = _Trials(list(subject), tuning, config_of)
        trials = grid if grid is not None else _ask_optuna(trial, config_of(reported[0]), keep)
        planned += [[*subject, *overrides, f"seed={seed}"] for overrides in trials for seed in tuning.selection_seeds]
        values = [value for value in map(trial.value, trials) if value is not None]
        if len(values) < trials_each:
            is_last = False
            continue
        best = trials[values.index(min(values))]
        planned += [[*job, *best] for job in reported]
    total = len(jobs) + len(subjects) * trials_each * len(tuning.selection_seeds)
    return Round(planned, is_last, total)


@dataclass(frozen=True)
class _Trials:
    """What the store knows of one cell on one task."""

    subject: Job
    tuning: Tuning
    config_of: Callable[[Job], Settings]

    def value(self, overrides: Job) -> float | None:
        """Return the mean selection score of a trial's runs; None while any is not finished."""
        scores = []
        for seed in self.tuning.selection_seeds:
            config = self.config_of([*self.subject, *overrides, f"seed={seed}"])
            try:
                result = RunFolder(config.sweep.folder, run_id(config.run)).read_result()
            except Damaged:  # it will be run again
                return None
            if result is None:
                return None
            training = config.run.training
            spent: float | None = result.steps_to_solve
            budget = float(training.max_steps)
            if config.sweep.match == "time":
                spent, budget = result.seconds_to_solve, training.max_seconds or math.inf
            scores.append(selection_score(result.status, spent, budget, result.final_loss, result.baseline_loss))
        return statistics.fmean(scores)


def _grid(search: dict[str, Any]) -> list[Job] | None:
    """Return all points of a grid; None if any setting has a range instead of values, ConfigError if it has neither."""
    for key, values in search.items():
        is_range = isinstance(values, dict) and {"low", "high"} <= set(values) <= {"low", "high", "log"}
        if is_range and not (
            _is_number(values["low"]) and _is_number(values["high"]) and values["low"] < values["high"]
        ):
            raise ConfigError(f"tuning.search.{key}: low={values['low']} and high={values['high']} are not a range")
        if is_range and values.get("log") and values["low"] <= 0:
            raise ConfigError(f"tuning.search.{key}: low must be above 0 with log")
        if not is_range and not (isinstance(values, list) and values):
            raise ConfigError(f"tuning.search.{key}: must be a list of values or {{low: …, high: …, log: true}}")
        if not re.fullmatch(r"(training|cell)\.\w+", key):
            raise ConfigError(f"tuning.search.{key}: only settings of training and cell can be selected")
    if any(isinstance(values, dict) for values in search.values()):
        return None
    return [
        [f"{key}={value}" for key, value in zip(search, point, strict=True)]
        for point in itertools.product(*search.values())
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ask_optuna(trials: _Trials, config: Settings, keep: bool) -> list[Job]:
    """Return the trials that Optuna asked for so far, after telling it how they ended; ConfigError without Optuna."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage
    except ImportError as error:
        raise ConfigError(f"tuning.search: ranges need the extra `optuna` ({error}); give lists of values") from error

    tuning, folder = trials.tuning, config.sweep.folder / "tuning"
    about = repr((sorted(trials.subject), sorted(tuning.selection_seeds), sorted(map(str, tuning.search.items()))))
    name = f"{config.run.cell['name']}-{config.run.task['name']}-{sha256(about.encode()).hexdigest()[:10]}"
    distributions = {key: _distribution(optuna, values) for key, values in tuning.search.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # One at a time: two would ask for twice as many trials.
    with alone(config.sweep.folder, "tuning") if keep else nullcontext(), _log(folder / f"{name}.log", keep) as path:
        storage = JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        waiting = []
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            value = trials.value(_overrides(trial.params))
            if value is None:
                waiting.append(trial)
            else:
                study.tell(trial.number, value)
        asked = len(study.trials)
        if not waiting and asked < tuning.trials:
            # Seeded anew by how much is known, so that a resumed study asks what an uninterrupted one would.
            seed = int(sha256(f"{name}{asked}".encode()).hexdigest()[:8], 16)
            study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(1, tuning.trials // 2))
            for _ in range(min(tuning.at_once, tuning.trials - asked)):
                study.ask(distributions)
        return [_overrides(trial.params) for trial in study.trials]


@contextmanager
def _log(path: Path, keep: bool) -> Iterator[Path]:
    """Yield where Optuna's log is, or a copy that is thrown away."""
    if keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        if path.exists():
            copy.write_bytes(path.read_bytes())
        yield copy


def _overrides(params: dict[str, Any]) -> Job:
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]


def _distribution(optuna: Any, values: Any) -> Any:
    kinds = optuna.distributions
    if isinstance(values, list):
        return kinds.CategoricalDistribution(values)
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    kind = kinds.IntDistribution if whole else kinds.FloatDistribution
    return kind(values["low"], values["high"], log=bool(values.get("log")))
