"""What all cells of a comparison have in common: their hidden size, parameters, FLOPs, or the time they may take."""

import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from bench.cost.flops import count_flops, extrapolate
from bench.execute.apart import Worker, WorkerDied
from bench.record.errors import ConfigError
from bench.record.fairness import NO_LIMIT, TOLERANCE
from bench.spec.config import RunSpec, Settings
from bench.train.model import count_parameters, make_model, make_task

REFERENCE = {"_target_": "cells.LSTM", "name": "lstm"}
SAMPLED_SIZES = (8, 16, 24, 32)  # through whose costs the polynomial in the hidden size goes
LARGEST = 65_536  # hidden size that is tried
SUGGESTED_WITHIN = 64  # of the hidden size asked for


def matched(config: Settings, worker: Worker) -> Settings:
    """Return the configuration with what `match` and a budget in FLOPs settle.

    The reference of a match is the LSTM of `cell.hidden_size` units on the same task; the cell gets the hidden size
    that comes nearest. With match=time sizes stay, and seconds are the budget: steps have no limit but that. A budget
    in FLOPs becomes one in steps.

    Raises:
        ConfigError: something that this needs is missing.
    """
    training = config.run.training
    if config.sweep.match in TOLERANCE:
        size, _ = _nearest_size(config, worker)
        config = config.with_run(cell={**config.run.cell, "hidden_size": size})
    elif config.sweep.match == "time":
        if training.max_seconds is None:
            raise ConfigError("match=time: every run gets the same time; set training.max_seconds")
        config = config.with_run(training=replace(training, max_steps=NO_LIMIT))
    if training.max_flops is not None:
        try:
            flops = worker.call(config.run, count_flops, config.run)
        except WorkerDied:
            flops = None
        if flops is None or not flops[1]:
            raise ConfigError(f"training.max_flops: the FLOPs of {config.run.cell['name']} cannot be counted")
        steps = max(1, min(config.run.training.max_steps, int(training.max_flops // flops[1])))
        config = config.with_run(training=replace(config.run.training, max_steps=steps))
    return config


def check_matches(requested: Iterable[Settings], worker: Worker) -> None:
    """Check that every cell of a sweep can be matched as closely as is promised.

    Args:
        requested: configurations before `matched`.

    Raises:
        ConfigError: some cannot; the message says at which hidden size all could.
    """
    distinct = {
        (config.sweep.match, str(config.run.cell), str(config.run.task)): config
        for config in requested
        if config.sweep.match in TOLERANCE
    }
    configs = list(distinct.values())
    for config in configs:
        size, off = _nearest_size(config, worker)
        if off > (allowed := _allowed(config)):
            asked, match = config.run.cell["hidden_size"], config.sweep.match
            near = sorted(
                range(max(1, asked - SUGGESTED_WITHIN), asked + SUGGESTED_WITHIN), key=lambda h: abs(h - asked)
            )
            at = next((h for h in near if all(_fits(other, h, worker) for other in configs)), None)
            advice = f"cell.hidden_size={at} would do" if at else "try a larger cell.hidden_size, or match_within"
            raise ConfigError(
                f"match={match}: at {size} units {config.run.cell['name']} is {off:.1%} away from the LSTM of "
                f"{asked}, and {allowed:.0%} is allowed; {advice}"
            )


def _fits(config: Settings, hidden_size: int, worker: Worker) -> bool:
    sized = config.with_run(cell={**config.run.cell, "hidden_size": hidden_size})
    return _nearest_size(sized, worker)[1] <= _allowed(config)


def _allowed(config: Settings) -> float:
    """Return the share of the reference's cost by which a matched cell may differ."""
    return config.sweep.match_within or TOLERANCE[config.sweep.match]


def _nearest_size(config: Settings, worker: Worker) -> tuple[int, float]:
    """Return the hidden size whose cost is nearest to the reference's, and how far from it, as a share of it;
    ConfigError where there is no cost."""
    try:
        return worker.call(config.run, search_size, config.run, config.sweep.match)
    except RuntimeError as error:  # WorkerDied is one
        raise ConfigError(f"match={config.sweep.match}: {config.run.cell['name']} cannot be built ({error})") from error


def search_size(spec: RunSpec, match: str) -> tuple[int, float]:
    """Do as `_nearest_size`, in this process."""
    known = {"cell": spec.cell, "task": spec.task, "dtype": spec.dtype, "device": spec.device}
    return _search_alike(json.dumps(known), match)


@functools.cache
def _search_alike(known: str, match: str) -> tuple[int, float]:
    """Search for all runs with some fields of `RunSpec`, as JSON: many runs of a plan are alike."""
    spec = RunSpec(**json.loads(known))
    costs: dict[str, Callable[[RunSpec, int], float]] = {"parameters": _parameters, "flops": _flops}
    cost = costs[match]
    reference = replace(spec, cell={**REFERENCE, "hidden_size": spec.cell["hidden_size"]})
    target = cost(reference, spec.cell["hidden_size"])
    own = partial(cost, spec)
    low, high = 0, 1
    while high < LARGEST and own(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if own(middle) < target else (low, middle)
    size = min((size for size in (low, high) if size), key=lambda size: abs(own(size) - target))
    return size, abs(own(size) / target - 1)


def _parameters(spec: RunSpec, hidden_size: int) -> float:
    sized = replace(spec, cell={**spec.cell, "hidden_size": hidden_size})
    return float(count_parameters(make_model(sized, make_task(sized), device="meta")))


def _flops(spec: RunSpec, hidden_size: int) -> float:
    """Return the FLOPs of a training step for one sequence, by the polynomial in the hidden size where there is one."""
    single = replace(spec, training=replace(spec.training, batch_size=1))

    def counted(size: int) -> float:
        flops = count_flops(replace(single, cell={**spec.cell, "hidden_size": size}))
        if flops is None or not flops[1]:
            raise ConfigError(f"match=flops: the FLOPs of {spec.cell['name']} cannot be counted")
        return flops[1]

    found = extrapolate(SAMPLED_SIZES, [counted(size) for size in SAMPLED_SIZES], hidden_size)
    return counted(hidden_size) if found is None else found
