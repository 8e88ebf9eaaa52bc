"""All looks that are asked for, at one moment of training."""

import math
from collections.abc import Callable, Iterable

import torch

from bench.probe.attention import attention
from bench.probe.gates import gates
from bench.probe.gradients import gradient_flow
from bench.probe.jacobian import jacobian
from bench.probe.memory import memory
from bench.probe.subject import Reading, Subject
from bench.probe.updates import updates

KINDS: dict[str, Callable[[Subject], list[Reading]]] = {
    "gradient_flow": gradient_flow,
    "gates": gates,
    "memory": memory,
    "attention": attention,
    "jacobian": jacobian,
    "updates": updates,
}


def look(subject: Subject, kinds: Iterable[str], on_failure: Callable[[str, Exception], None]) -> list[Reading]:
    """Make each kind of look; what does not apply to the model finds nothing. Torch's global generator stays as it is.

    Args:
        on_failure: told of a kind that fails, as on a class that cannot be run step by step; the others go on.
    """
    device = subject.batch.inputs.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        readings = []
        for kind in kinds:
            try:
                readings += [reading for reading in KINDS[kind](subject) if _is_finite(reading)]
            except Exception as error:
                on_failure(kind, error)
    return readings


def _is_finite(reading: Reading) -> bool:
    """Tell whether a reading can be stored: JSON has no infinity, and gradients of what diverges have."""
    return all(map(math.isfinite, (*reading.x, *reading.value, *reading.y)))
