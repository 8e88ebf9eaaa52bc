"""With `seeds=auto`, how many of a sweep's seeds are run: those of each look, until what it compares is decided.

What is decided follows from the stored results alone, look by look, so that any command, whenever it was stopped, comes
to the same runs."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.record.asked import Undecided, read_looks
from bench.record.errors import ConfigError
from bench.spec.config import Settings, to_plain


@dataclass(frozen=True)
class Deciding:
    """What decides over seeds, which is the report's business.

    Attributes:
        counts: after how many seeds to look, with so many primary comparisons or by which claims, whether runs are
            compared in pairs, and of at most so many seeds.
        undecided: what the given runs of a sweep do not decide.
        halfway: estimates the length that half of the runs solve; takes the lengths that could be tried, and for each
            run its length and whether it solved its task.
    """

    counts: Callable[[int, str | None, bool, int], list[int]]
    undecided: Callable[[Path, Collection[str]], Undecided]
    halfway: Callable[[Collection[float], Collection[tuple[float, bool]]], float]


@dataclass(frozen=True)
class Seeds:
    """The seeds that a plan takes.

    Attributes:
        looks: the seeds of each look.
        at: how many looks the runs are for that are taken.
        runs: the run_ids that are taken.
        to_come: how many runs can follow.
        open, total: what was not decided by the last look, and all that is to be.
        fixed: whether the looks are to be kept: there are several, and something is compared.
        lengths, choosing: with `seeds=frontier` what a seed can be run at, and how many looks choose a learning rate.
    """

    looks: list[list[int]]
    at: int
    runs: frozenset[str]
    to_come: int
    open: int
    total: int
    fixed: bool
    lengths: list[int] = field(default_factory=list)
    choosing: int = 0


def take_seeds(sweep: Path, configs: Mapping[str, Settings], finished: Collection[str], deciding: Deciding) -> Seeds:
    """Return which runs of a sweep are to be taken by now.

    Args:
        sweep: its folder, which may keep looks that were fixed before.
        configs: all runs, by run_id.
        finished: the run_ids of those that have a result.
        deciding: what decides.

    Raises:
        ConfigError: the sweep keeps looks that have other seeds.
    """
    selecting = {key for key, config in configs.items() if selects(config)}
    reported = {key: config for key, config in configs.items() if key not in selecting}
    subjects: dict[str, dict[int, str]] = {}  # the runs of each contender on a problem, by seed
    for key, config in reported.items():
        subjects.setdefault(_without_seed(config), {})[config.run.seed] = key
    if kept := read_looks(sweep):
        if kept.lengths:
            raise ConfigError(f"seeds=auto: {sweep}/looks.json was fixed by seeds=frontier; use another name=…")
        looks, fixed = kept.seeds, True
        _check_seeds(sweep, looks, reported)
    else:
        looks, fixed = _looks(reported, subjects, deciding)
    taken, open_, total = set(selecting), 0, 0
    active = [*subjects.values()]
    for at, seeds in enumerate(looks, start=1):
        taken |= {runs[seed] for runs in active for seed in seeds if seed in runs}
        later = sum(seed in runs for runs in active for seeds in looks[at:] for seed in seeds)
        if not taken <= {*finished} or at == len(looks):
            break
        left = deciding.undecided(sweep, taken - selecting)
        open_, total = left.open, left.total
        active = [runs for runs in active if left.runs & {*runs.values()}]
        if not active:
            later = 0
            break
    return Seeds(looks, at, frozenset(taken), later, open_, total, fixed)


def _check_seeds(sweep: Path, looks: list[list[int]], reported: Mapping[str, Settings]) -> None:
    known = {seed for seeds in looks for seed in seeds}
    if others := {config.run.seed for config in reported.values()} - known:
        raise ConfigError(
            f"seeds=auto: {sweep}/looks.json fixed its seeds ({min(known)} to {max(known)}) before the first run; "
            f"{min(others)} is not one of them. Use another name=…, or add seeds=all to run it beside the looks"
        )


def _looks(
    reported: Mapping[str, Settings], subjects: Mapping[str, Mapping[int, str]], deciding: Deciding
) -> tuple[list[list[int]], bool]:
    """Return the seeds of each look, and whether they are to be kept."""
    seeds = list(dict.fromkeys(config.run.seed for config in reported.values()))
    on: dict[str, list[str]] = {}  # the cells of all contenders on each task
    for runs in subjects.values():
        run = reported[next(iter(runs.values()))].run
        on.setdefault(json.dumps(run.task, sort_keys=True, default=str), []).append(run.cell["name"])
    paired = all(len(set(cells)) == 1 < len(cells) for cells in on.values())
    claims, comparisons = next(iter(reported.values())).sweep.claims, len(subjects) - len(on)
    counts = deciding.counts(max(1, comparisons), claims, paired, len(seeds))
    looks = [seeds[low:high] for low, high in zip([0, *counts], counts, strict=False)]
    return looks, len(looks) > 1 and (comparisons > 0 or claims is not None)


def selects(config: Settings) -> bool:
    """Tell whether a run selects settings, and is not reported."""
    return config.run.seed in config.sweep.tuning.selection_seeds


def _without_seed(config: Settings) -> str:
    return json.dumps({**to_plain(config), "seed": None}, sort_keys=True, default=str)
