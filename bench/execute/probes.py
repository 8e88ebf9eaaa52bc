"""Probes of finished runs, made from their weights: which are missing, and making them."""

import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from bench.execute.leases import holding
from bench.probe import CannotStep, probe
from bench.record.errors import ConfigError, one_line, printable
from bench.record.fence import LeaseLost
from bench.record.files import Damaged
from bench.record.records import TRAINED, Probes
from bench.record.store import WEIGHTS, RunFolder, StoredRun
from bench.session import say_once
from bench.spec.config import Diagnostics, Execution, Settings
from bench.spec.identity import from_stored
from bench.train.process import configure_process, limited_memory, memory_limit
from bench.train.weights import unpack

UPDATES = "updates"  # the kind of diagnostics that needs the optimiser's state too


class NoWeights(ConfigError):
    """Probes are missing, and there are no weights to make them from."""


def lacks_probes(stored: StoredRun, execution: Execution) -> bool:
    """Tell whether a finished run lacks probes that a configuration asks for and that its weights can give.

    Raises:
        ConfigError: what is asked for needs another training, of which the message says why.
        NoWeights: so does it since no weights were kept.
    """
    return any(missing_probes(stored, execution))


def asked_probes(execution: Execution) -> tuple[list[str], list[int]]:
    """Return the kinds of diagnostics, and the factors of the length trained for, that a configuration asks for. At
    factor 1 a longer length is compared with the one trained for."""
    return execution.diagnostics.kinds, sorted({1, *execution.lengthen}) if execution.lengthen else []


def missing_probes(stored: StoredRun, execution: Execution, again: bool = False) -> tuple[list[str], list[int]]:
    """Return the kinds of diagnostics, and the factors of the length trained for, that `lacks_probes` speaks of.

    Args:
        again: whether those that failed are missing too.

    Raises:
        ConfigError, NoWeights: as `lacks_probes`.
    """
    if stored.result.status not in TRAINED:
        return [], []
    name, asked, trained = stored.result.run_id, execution.diagnostics, stored.config.get("diagnostics") or {}
    if asked.kinds and asked.every is not None and asked.every <= (stored.result.steps or 0):
        _check_watched(name, asked, trained)
    probes = stored.probes or Probes()
    made = {kind: found.sequences for kind, found in probes.diagnostics.items()}
    if not made and any(reading.moment != "training" for reading in stored.readings):  # of a version without probes
        made = dict.fromkeys(trained["kinds"], trained["sequences"])
    for kind in asked.kinds:
        if made.get(kind, asked.sequences) != asked.sequences:
            raise ConfigError(
                f"{name}: its {kind} were made with diagnostics.sequences={made[kind]}, and {asked.sequences} is asked "
                f"for; ask for {made[kind]}, or use another name=…"
            )
    known = {*probes.lengthened, *(at.factor for at in stored.result.lengthened or ())}
    wanted, lengths = asked_probes(execution)
    failed = probes.failed if again else {}
    kinds = [kind for kind in wanted if kind not in made or kind in failed]
    factors = [factor for factor in lengths if factor not in known or str(factor) in failed]
    if UPDATES in kinds and UPDATES not in (trained.get("kinds") or ()):
        kinds.remove(UPDATES)
        if asked.kinds == [UPDATES]:
            raise ConfigError(f"{name}: {_without_optimizer()}")
    if (kinds or factors) and stored.weights is None:
        damage = f"{stored.damage}, and " if stored.damage else ""
        raise NoWeights(
            f"{damage}{name}: has no weights, from which {_said(kinds, factors)} could be made; use another name=…, or "
            f"remove the run's folder to train it again"
        )
    return kinds, factors


def with_all_probes(configs: Iterable[tuple[str, Settings]]) -> dict[str, Settings]:
    """Return the last configuration of each run, by its run_id, with the probes that all of its configurations ask for:
    parts of a sweep may have runs in common.

    Raises:
        ConfigError: two of them ask for diagnostics that one run cannot have together.
    """
    found: dict[str, Settings] = {}
    for key, config in configs:
        found[key] = _with_probes_of(found[key].execution, config) if key in found else config
    return found


def _with_probes_of(other: Execution, config: Settings) -> Settings:
    asked, before = config.execution.diagnostics, other.diagnostics
    if not (asked.kinds and before.kinds):
        asked = asked if asked.kinds else before
    elif (asked.every, asked.sequences) != (before.every, before.sequences):
        raise ConfigError(
            f"diagnostics: parts of this sweep have {config.run}, seed {config.run.seed}, in common and ask for others "
            "of it; give them the same diagnostics.every and diagnostics.sequences"
        )
    asked = replace(asked, kinds=list(dict.fromkeys([*before.kinds, *asked.kinds])))
    lengthen = sorted({*other.lengthen, *config.execution.lengthen})
    return replace(config, execution=replace(config.execution, diagnostics=asked, lengthen=lengthen))


def _check_watched(name: str, asked: Diagnostics, trained: dict[str, Any]) -> None:
    """Raise ConfigError if a run was trained without the diagnostics while training that are asked for."""
    same = all(trained.get(key) == getattr(asked, key) for key in ("every", "sequences"))
    if not (same and set(asked.kinds) <= set(trained.get("kinds") or ())):
        raise ConfigError(
            f"{name}: was trained without these diagnostics every {asked.every} steps, which weights cannot give; use "
            "another name=…, or diagnostics.every=null for those before and after training"
        )


def make_missing(folder: RunFolder, config: Settings, is_held: Callable[[], bool], again: bool = False) -> StoredRun:
    """Make the probes that a finished run lacks and store them beside those that it has.

    Args:
        folder: of the run; it is entered here.
        config: of the run, with the probes that are asked for.
        is_held: tells whether the lease on the run is still this process's.
        again: whether those that failed are made again.

    Returns:
        The run as it is stored then. If its weights are damaged a line says so, and it is as it was.

    Raises:
        ConfigError: as `lacks_probes`.
        LeaseLost: another process has taken the run over.
        Damaged: the run itself is damaged.
        OSError: the probes cannot be written.
    """
    with folder.entered():
        stored = folder.read()
        if stored is None:
            raise LeaseLost  # it is being trained anew
        kinds, factors = missing_probes(stored, config.execution, again)
        if not (kinds or factors):
            return stored
        if stored.damage:
            _say(f"{stored.damage}; made again")
        if UPDATES in set(config.execution.diagnostics.kinds) - {*kinds, *(stored.probes or Probes()).diagnostics}:
            say_once("no-updates", f"no updates: {_without_optimizer()}")
        try:
            state = unpack(folder.read_weights(stored.weights or ""), folder.path / WEIGHTS)
            found = probes_of(config, state, stored.weights, (stored.result.steps or 0), kinds, factors)
        except Damaged as error:
            _say(f"{error}; its probes cannot be made; remove {folder.path} to have it trained again")
            return stored
        if not is_held():
            raise LeaseLost
        folder.write_probes((stored.probes or Probes()).with_more(found))
        return folder.read() or stored


def probes_of(
    config: Settings, state: dict[str, Any], weights: str | None, steps: int, kinds: list[str], factors: list[int]
) -> Probes:
    """Make probes of a state of `bench.train.weights.state_of`, as this run may use the process; each failure is a
    line.

    Args:
        weights: the SHA-256 of the state as it is stored.
    """

    def say(what: str, error: Exception) -> None:
        if isinstance(error, CannotStep):  # as all runs of this contender
            cell = config.run.cell["name"]
            say_once(f"no-{what}-{cell}", printable(f"{config.run}: no {what}: {error}"))
            return
        _say(f"{config.run}, seed {config.run.seed}: no {what}: {one_line(error)}")

    configure_process(config.execution)
    with limited_memory(memory_limit(config.execution)):
        return structs.replace(
            probe(config.run, state, steps, config.execution.diagnostics.sequences, kinds, factors, say),
            weights=weights,
        )


def probe_finished(sweep: Path, run_id: str, asked: Diagnostics, lengthen: list[int]) -> str | None:
    """Make the probes that a finished run lacks, whatever command trained it, and again those that failed: there may be
    more memory now.

    Returns:
        None if it lacks none any more, else why it does, in a few words.

    Raises:
        ConfigError, Damaged, OSError: as `make_missing`.
    """
    folder = RunFolder(sweep, run_id)
    with contextlib.suppress(LeaseLost), holding(sweep, run_id) as lease:
        if lease is not None:
            stored = folder.read()
            if stored is None:
                return "is not finished any more"
            config = from_stored(stored.config, diagnostics=vars(asked), lengthen=lengthen)
            made = make_missing(folder, config, lease.is_held, again=True)
            return "its weights are damaged" if lacks_probes(made, config.execution) else None
    return "another command is at it"


def _said(kinds: list[str], factors: list[int]) -> str:
    """Return in words what is missing."""
    parts = [", ".join(kinds)] if kinds else []
    parts += [f"evaluations at {', '.join(map(str, factors))} times the length"] if factors else []
    return " and ".join(parts)


def _without_optimizer() -> str:
    return (
        "step sizes need the optimiser's state, which is kept of runs that ask for diagnostics.kinds=[updates] when "
        "they are trained; use another name=…"
    )


def _say(message: str) -> None:
    print(printable(message), file=sys.stderr, flush=True)
