"""The streams of randomness of a run, all derived from its seed."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """Independent streams: a seed for initialisation, generators for training and evaluation data.

    None depends on the cell, so that at one seed all cells meet the same data, in the same order.
    """

    initialization: int
    training: torch.Generator
    evaluation: torch.Generator


def make_streams(seed: int, device: str) -> Streams:
    """Derive a run's streams from its seed (at least 0) by numpy's SeedSequence; generators on `device`."""
    children = np.random.SeedSequence(seed).spawn(3)
    initialization, training, evaluation = (int(child.generate_state(1, np.uint64)[0]) for child in children)
    return Streams(
        initialization,
        torch.Generator(device).manual_seed(training),
        torch.Generator(device).manual_seed(evaluation),
    )
