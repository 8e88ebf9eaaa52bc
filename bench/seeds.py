"""The streams of randomness of a run, all derived from its seed."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """Independent streams: a seed for initialisation, generators for training and evaluation data, and for the
    sequences that diagnostics look at.

    None depends on the cell, so that at one seed all cells meet the same data, in the same order.
    """

    initialization: int
    training: torch.Generator
    evaluation: torch.Generator
    diagnostics: torch.Generator

    def seed_globals(self) -> None:
        """Seed the generators that are not passed around, from which parameters are drawn and from which a
        user's cell may draw: torch's, numpy's and Python's."""
        torch.manual_seed(self.initialization)
        np.random.seed(self.initialization % 2**32)
        random.seed(self.initialization)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all generators, the global ones too, as tensors and plain values."""
        name, keys, *rest = np.random.get_state(legacy=True)
        assert isinstance(keys, np.ndarray)
        return {
            "training": self.training.get_state(),
            "evaluation": self.evaluation.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.training.device) if self.training.device.type == "cuda" else None,
            "numpy": [name, keys.tolist(), *rest],
            "python": list(random.getstate()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put all generators into the state that `state_dict` returned."""
        self.training.set_state(state["training"])
        self.evaluation.set_state(state["evaluation"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.training.device)
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


def make_streams(seed: int, device: str) -> Streams:
    """Derive a run's streams from its seed (at least 0) by numpy's SeedSequence; generators on `device`."""
    children = np.random.SeedSequence(seed).spawn(4)
    initialization, training, evaluation, diagnostics = (
        int(child.generate_state(1, np.uint64)[0]) for child in children
    )
    return Streams(
        initialization,
        torch.Generator(device).manual_seed(training),
        torch.Generator(device).manual_seed(evaluation),
        torch.Generator(device).manual_seed(diagnostics),
    )
