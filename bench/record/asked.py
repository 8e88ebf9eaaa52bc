"""What was asked of a sweep, beside its runs: the commands, the runs that they planned, and how to report them.

A run's own configuration says how it was trained. What a report compares with what, and which seeds select
hyperparameters, is the sweep's: it can be asked anew when all runs are finished, and the last word counts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.record.encoding import R, flat, read_record
from bench.record.errors import ConfigError, explain_os, printable
from bench.record.files import Damaged, write_sealed
from bench.record.records import Commands, Looks, Planned, Question, Runs

COMMANDS_FILE, PLAN_FILE, LOOKS_FILE = "sweep.json", "plan.json", "looks.json"
UNKNOWN_LOOKS = "restore it, or delete it and give the sweep's command again, which fixes looks anew"
SEEN = ("results.parquet", "report/README.md")  # what a command leaves when it has told its outcome
COMMANDS_BYTES, PLAN_BYTES = 8 << 20, 256 << 20  # a million runs with names of full length


@dataclass(frozen=True)
class Asked:
    """What is known of a sweep besides its runs.

    Attributes:
        commands: that were given, oldest first.
        report: `reference` (a mapping), `selection_seeds` and `search` (lists) as last asked; None where no command
            said it for all its runs alike, as those of older versions: then each run's configuration says it.
        runs: cell, task and seed of every run that any command planned, by run_id.
        looks: at which further runs are planned, with `seeds=auto` or `seeds=frontier`; None without either.
        added: how many seeds there were each time when seeds were added after outcomes had been shown.
    """

    commands: list[str] = field(default_factory=list)
    report: dict[str, Any] | None = None
    runs: Runs = field(default_factory=dict)
    looks: Looks | None = None
    added: list[int] = field(default_factory=list)


def widest(commands: list[str]) -> str | None:
    """Return the command with the fewest overrides, the latest of these: it can be narrowed to any single run."""
    given = [command for command in reversed(commands) if command.startswith("python -m bench ")]
    return min(given, key=lambda command: len(command.split()), default=None)


@dataclass(frozen=True)
class Undecided:
    """What the runs of a sweep do not decide by a look.

    Attributes:
        runs: the run_ids of contenders, on a problem each, that it is a matter of.
        open, total: how many comparisons, or claims, are not decided, and how many there are.
    """

    runs: frozenset[str]
    open: int
    total: int


def record_asked(
    sweep: Path,
    command: str,
    report: dict[str, Any] | None = None,
    runs: Runs | None = None,
) -> None:
    """Remember a command that was given for this sweep, once, and what it asks for.

    Args:
        sweep: the sweep's folder.
        command: as typed.
        report: see `Asked`.
        runs: see `Asked`; those of this command.

    Raises:
        ConfigError: the folder belongs to a newer version.
        OSError: it cannot be written.
    """
    before = read_asked(sweep)
    commands = before.commands if command in before.commands else [*before.commands, command]
    added = (
        [*before.added, *_seeds_before(before.runs, runs or {})]
        if any((sweep / name).exists() for name in SEEN)
        else before.added
    )
    if (commands, report, added) != (before.commands, before.report, before.added):
        about = Commands(commands, Question(**report) if report else None, added)
        write_sealed(sweep / COMMANDS_FILE, flat(about))
    planned = {**before.runs, **(runs or {})}
    if planned != before.runs:
        write_sealed(sweep / PLAN_FILE, flat(Planned(planned)))


def read_asked(sweep: Path) -> Asked:
    """Return what was asked of a sweep; of a file that is not there or was damaged, nothing.

    Raises:
        ConfigError: the folder belongs to a newer version, or its looks were damaged.
    """
    about, plan = _read(sweep / COMMANDS_FILE, COMMANDS_BYTES, Commands), _read(sweep / PLAN_FILE, PLAN_BYTES, Planned)
    commands = [" ".join(printable(command).split()) for command in about.commands]
    return Asked(commands, flat(about.report) if about.report else None, plan.runs, read_looks(sweep), about.added)


def _seeds_before(before: Runs, runs: Runs) -> list[int]:
    """Return how many seeds of a cell on a task there were, if some of these runs add seeds to them; else nothing."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for cell, task, seed in before.values():
        seeds.setdefault((cell, task), set()).add(seed)
    grown = [
        len(seeds[cell, task])
        for cell, task, seed in runs.values()
        if (cell, task) in seeds and seed not in seeds[cell, task]
    ]
    return [max(grown)] if grown else []


def fix_looks(sweep: Path, seeds: list[list[int]], lengths: list[int] | None = None, choosing: int = 0) -> None:
    """Keep the seeds of each look, before any of them is run, and with `seeds=frontier` the lengths that they can be
    run at and how many looks choose a learning rate; once looks are kept, they stand.

    Raises:
        OSError: they cannot be written.
    """
    if read_looks(sweep) is None:
        finished = sum(1 for _ in sweep.glob("runs/*/result.json"))
        write_sealed(sweep / LOOKS_FILE, flat(Looks(seeds, lengths or [], choosing, finished)))


def read_looks(sweep: Path) -> Looks | None:
    """Return the looks that a sweep keeps; None if it keeps none.

    Raises:
        ConfigError: they cannot be read. Without them, p-values would not be corrected for looks.
    """
    try:
        looks = read_record(Looks, sweep / LOOKS_FILE, PLAN_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        said = explain_os(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{said}; {UNKNOWN_LOOKS}") from error
    if not looks.seeds:
        raise ConfigError(f"{sweep / LOOKS_FILE}: has no seeds; {UNKNOWN_LOOKS}")
    return looks


def _read(path: Path, limit: int, kind: type[R]) -> R:
    try:
        return read_record(kind, path, limit)
    except (OSError, Damaged):
        return kind()
