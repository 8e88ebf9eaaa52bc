"""What all cells of a comparison have in common: their hidden size, parameters, FLOPs, or the time they may take."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from bench.cost.flops import count_flops, extrapolate
from bench.execute.apart import Worker, WorkerDied
from bench.record.errors import ConfigError
from bench.record.fairness import NO_LIMIT, TOLERANCE
from bench.spec.config import Config
from bench.train.model import count_parameters, make_model, make_task

REFERENCE = {"_target_": "cells.LSTM", "name": "lstm"}
SAMPLED_SIZES = (8, 16, 24, 32)  # through whose costs the polynomial in the hidden size goes
LARGEST = 65_536  # hidden size that is tried
SUGGESTED_WITHIN = 64  # of the hidden size asked for


def matched(config: Config, worker: Worker) -> Config:
    """Return the configuration with what `match` and a budget in FLOPs settle.

    The reference of a match is the LSTM of `cell.hidden_size` units on the same task; the cell gets the hidden size
    that comes nearest. With match=time sizes stay, and seconds are the budget: steps have no limit but that. A budget
    in FLOPs becomes one in steps.

    Raises:
        ConfigError: something that this needs is missing.
    """
    training = config.training
    if config.match in TOLERANCE:
        size, _ = _nearest_size(config, worker)
        config = replace(config, cell={**config.cell, "hidden_size": size})
    elif config.match == "time":
        if training.max_seconds is None:
            raise ConfigError("match=time: every run gets the same time; set training.max_seconds")
        config = replace(config, training=replace(training, max_steps=NO_LIMIT))
    if training.max_flops is not None:
        try:
            flops = worker.call(count_flops, config)
        except WorkerDied:
            flops = None
        if flops is None or not flops[1]:
            raise ConfigError(f"training.max_flops: the FLOPs of {config.cell['name']} cannot be counted")
        steps = max(1, min(config.training.max_steps, int(training.max_flops // flops[1])))
        config = replace(config, training=replace(config.training, max_steps=steps))
    return config


def check_matches(requested: Iterable[Config], worker: Worker) -> None:
    """Check that every cell of a sweep can be matched as closely as is promised.

    Args:
        requested: configurations before `matched`.

    Raises:
        ConfigError: some cannot; the message says at which hidden size all could.
    """
    distinct = {
        (config.match, str(config.cell), str(config.task)): config for config in requested if config.match in TOLERANCE
    }
    configs = list(distinct.values())
    for config in configs:
        size, off = _nearest_size(config, worker)
        if off > TOLERANCE[config.match]:
            asked = config.cell["hidden_size"]
            near = sorted(
                range(max(1, asked - SUGGESTED_WITHIN), asked + SUGGESTED_WITHIN), key=lambda h: abs(h - asked)
            )
            at = next((h for h in near if all(_fits(other, h, worker) for other in configs)), None)
            advice = f"cell.hidden_size={at} would do" if at else "try a larger cell.hidden_size"
            raise ConfigError(
                f"match={config.match}: at {size} units {config.cell['name']} is {off:.1%} away from the LSTM of "
                f"{asked}, and {TOLERANCE[config.match]:.0%} is allowed; {advice}"
            )


def _fits(config: Config, hidden_size: int, worker: Worker) -> bool:
    sized = replace(config, cell={**config.cell, "hidden_size": hidden_size})
    return _nearest_size(sized, worker)[1] <= TOLERANCE[config.match]


def _nearest_size(config: Config, worker: Worker) -> tuple[int, float]:
    """Return the hidden size whose cost is nearest to the reference's, and how far from it, as a share of it.

    Raises:
        ConfigError: the cell cannot be built, or its FLOPs cannot be counted.
    """
    try:
        return worker.call(search_size, config)
    except RuntimeError as error:  # WorkerDied is one
        raise ConfigError(f"match={config.match}: {config.cell['name']} cannot be built ({error})") from error


def search_size(config: Config) -> tuple[int, float]:
    """Do as `_nearest_size`, in this process."""
    costs: dict[str, Callable[[Config, int], float]] = {"parameters": _parameters, "flops": _flops}
    cost = costs[config.match]
    reference = replace(config, cell={**REFERENCE, "hidden_size": config.cell["hidden_size"]})
    target = cost(reference, config.cell["hidden_size"])
    own = partial(cost, config)
    low, high = 0, 1
    while high < LARGEST and own(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if own(middle) < target else (low, middle)
    size = min((size for size in (low, high) if size), key=lambda size: abs(own(size) - target))
    return size, abs(own(size) / target - 1)


def _parameters(config: Config, hidden_size: int) -> float:
    sized = replace(config, cell={**config.cell, "hidden_size": hidden_size})
    return float(count_parameters(make_model(sized, make_task(sized), device="meta")))


def _flops(config: Config, hidden_size: int) -> float:
    """Return the FLOPs of a training step for one sequence, by the polynomial in the hidden size where there is one."""
    single = replace(config, training=replace(config.training, batch_size=1))

    def counted(size: int) -> float:
        flops = count_flops(replace(single, cell={**config.cell, "hidden_size": size}))
        if flops is None or not flops[1]:
            raise ConfigError(f"match=flops: the FLOPs of {config.cell['name']} cannot be counted")
        return flops[1]

    found = extrapolate(SAMPLED_SIZES, [counted(size) for size in SAMPLED_SIZES], hidden_size)
    return counted(hidden_size) if found is None else found
