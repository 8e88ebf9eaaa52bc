"""With `seeds=frontier`, at which length each seed of a contender is run: near the one that half of its runs solve.

Where that is follows from the stored results alone, look by look, as with `seeds=auto`. The first looks try all
learning rates of a cell on a task; the others, whose seeds are new, go on with the rate that reached furthest in them,
so that its reach is estimated from runs that did not choose it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.execute.seeds import Deciding, Seeds
from bench.record.asked import read_looks
from bench.record.errors import ConfigError
from bench.record.records import DECIDED
from bench.spec.config import Settings

LOOKS, CHOOSING = 6, 2
RATE = "training.learning_rate="

Subject = tuple[str, ...]  # the overrides that a staircase's runs have in common


def take_lengths(
    sweep: Path,
    jobs: Mapping[str, list[str]],
    configs: Mapping[str, Settings],
    statuses: Mapping[str, str | None],
    deciding: Deciding,
) -> Seeds:
    """Return which runs of a sweep are to be taken by now.

    Args:
        sweep: its folder, which may keep looks that were fixed before.
        jobs: the overrides of each run, by run_id, which vary `horizon` and `seed`.
        configs: all runs, by run_id.
        statuses: how each run ended; None: not yet.
        deciding: what decides.

    Raises:
        ConfigError: runs do not have several lengths each, or the sweep keeps other looks.
    """
    at_length: dict[Subject, dict[tuple[int, int], str]] = {}  # the runs of each staircase, by seed and length
    for key, config in configs.items():
        subject = tuple(each for each in jobs[key] if not each.startswith(("seed=", "horizon=")))
        at_length.setdefault(subject, {})[config.run.seed, config.sweep.horizon or 0] = key
    lengths = sorted({length for runs in at_length.values() for _, length in runs})
    seeds = list(dict.fromkeys(config.run.seed for config in configs.values()))
    _check_lengths(lengths, seeds, at_length, configs)
    rates = _by_rate(at_length)
    chooses = any(len(each) > 1 for each in rates.values())
    looks, choosing = _looks(sweep, lengths, seeds, chooses)
    taken: dict[Subject, list[str]] = {subject: [] for subject in at_length}

    def halfway(subject: Subject) -> float:
        runs = {key: configs[key].sweep.horizon or 0 for key in taken[subject] if statuses[key] in DECIDED}
        return deciding.halfway(lengths, [(length, statuses[key] == "solved") for key, length in runs.items()])

    active, later = list(at_length), 0
    for at, look in enumerate(looks, start=1):
        if at == choosing + 1:
            active = [max(subjects, key=halfway) for subjects in rates.values()]
        for subject in active:
            length, runs = nearest(lengths, halfway(subject)), at_length[subject]
            taken[subject] += [runs[seed, length] for seed in look if (seed, length) in runs]
        later = sum(
            len(look) * (len(rates) if number > choosing else len(at_length))
            for number, look in enumerate(looks[at:], start=at + 1)
        )
        if any(statuses[key] is None for keys in taken.values() for key in keys):
            break
    every = frozenset(key for keys in taken.values() for key in keys)
    return Seeds(looks, at, every, later, 0, 0, True, lengths, choosing)


def nearest(lengths: Sequence[int], length: float) -> int:
    """Return the length nearest to another in its logarithm; of two, the shorter."""
    return min(sorted(lengths), key=lambda each: round(abs(math.log(each / length)), 6))


def _by_rate(subjects: Mapping[Subject, object]) -> dict[Subject, list[Subject]]:
    """Return the staircases that differ in their learning rate alone."""
    groups: dict[Subject, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(tuple(each for each in subject if not each.startswith(RATE)), []).append(subject)
    return groups


def _check_lengths(
    lengths: list[int],
    seeds: list[int],
    at_length: Mapping[Subject, Mapping[tuple[int, int], str]],
    configs: Mapping[str, Settings],
) -> None:
    if len(lengths) < 3:
        raise ConfigError("seeds=frontier: needs at least three lengths to choose from, as horizon=10,20,40,80")
    for subject, runs in at_length.items():
        if len({*runs.values()}) < len(seeds) * len(lengths):
            config = configs[next(iter(runs.values()))]
            raise ConfigError(
                f"seeds=frontier: {config.run} does not have all lengths ({' '.join(subject)}); its setting must read "
                "horizon, and nothing may exclude any"
            )


def _looks(sweep: Path, lengths: list[int], seeds: list[int], chooses: bool) -> tuple[list[list[int]], int]:
    """Return the seeds of each look, and how many looks choose learning rates: those that are kept, or new ones.

    Raises:
        ConfigError: those that are kept are others.
    """
    if kept := read_looks(sweep):
        known = {seed for look in kept.seeds for seed in look}
        if kept.lengths != lengths or not known >= {*seeds}:
            raise ConfigError(
                f"seeds=frontier: {sweep}/looks.json fixed other lengths or seeds before the first run; use another "
                "name=…"
            )
        return kept.seeds, kept.choosing
    count = min(LOOKS, len(seeds))
    ends = [round(len(seeds) * (look + 1) / count) for look in range(count)]
    looks = [seeds[low:high] for low, high in zip([0, *ends], ends, strict=False)]
    return looks, min(CHOOSING, count - 1) if chooses else 0
