"""The streams of randomness of a run, all derived from its seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.spec.neutral import FIRST_FILLED_SEED

STATE_WORDS = 624  # of 32 bits, in a Mersenne Twister


@dataclass(frozen=True)
class Streams:
    """Independent streams: what initialisation is drawn from, generators for training and evaluation data, and for the
    sequences that diagnostics look at.

    None depends on the cell, so that at one seed all cells meet the same data, in the same order.
    """

    initialization: "Source"
    training: torch.Generator
    evaluation: torch.Generator
    diagnostics: torch.Generator

    def seed_globals(self) -> None:
        """Seed the generators that are not passed around, from which parameters are drawn and from which a
        user's cell may draw: torch's, numpy's and Python's."""
        self.initialization.seed_globals()

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


@dataclass(frozen=True)
class Source:
    """What the generators of one stream begin from.

    Attributes:
        sequence: numpy's, from which numbers and states come.
        filled: whether a Mersenne Twister's whole state comes from it, or only 32 bits of its seed.
    """

    sequence: np.random.SeedSequence
    filled: bool

    @property
    def word(self) -> int:
        """The stream's 64-bit seed. A GPU's generator takes all of it, torch's for the CPU the lower half."""
        return int(self.sequence.generate_state(1, np.uint64)[0])

    def generator(self, device: str) -> torch.Generator:
        """Return a new generator on `device` at the beginning of the stream."""
        generator = torch.Generator(device).manual_seed(self.word)
        if self.filled and generator.device.type == "cpu":
            generator.set_state(_with_key(generator.get_state(), self._keys()[0]))
        return generator

    def seed_globals(self) -> None:
        """Put the global generators of torch, numpy and Python at the beginning of the stream."""
        torch.manual_seed(self.word)
        if not self.filled:
            np.random.seed(self.word % 2**32)
            random.seed(self.word)
            return
        for_torch, for_numpy, for_python = self._keys()
        torch.set_rng_state(_with_key(torch.get_rng_state(), for_torch))
        np.random.set_state(("MT19937", for_numpy, STATE_WORDS, 0, 0.0))
        random.seed(for_python.tobytes())

    def _keys(self) -> np.ndarray:
        """Return states of three Mersenne Twisters, (3, 624)."""
        keys = self.sequence.generate_state(3 * STATE_WORDS, np.uint32).reshape(3, STATE_WORDS)
        keys[:, 0] = 1 << 31  # as numpy does: of this word only the highest bit counts, and no state may be all zero
        return keys


def make_streams(seed: int, device: str) -> Streams:
    """Derive a run's streams from its seed (at least 0) by numpy's SeedSequence; generators on `device`."""
    initialization, *others = (
        Source(sequence, filled=seed >= FIRST_FILLED_SEED) for sequence in np.random.SeedSequence(seed).spawn(4)
    )
    return Streams(initialization, *(source.generator(device) for source in others))


@contextmanager
def kept_globals(device: str) -> Iterator[None]:
    """Leave the global generators of torch (those of the CPU and of `device`), numpy and Python as they were before."""
    for_numpy, for_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[] if torch.device(device).type == "cpu" else [device]):
        try:
            yield
        finally:
            np.random.set_state(for_numpy)
            random.setstate(for_python)


def _with_key(state: torch.Tensor, key: np.ndarray) -> torch.Tensor:
    """Return the state of a CPU generator that was just seeded, with another key (624) in it. It is, in bytes: the seed
    (8), how many words are left (4), whether there is a seed (4), the next word (8), the key (624 · 8), and what is
    kept of normal numbers."""
    state = state.clone()
    state[24 : 24 + 8 * STATE_WORDS] = torch.from_numpy(key.astype(np.uint64).view(np.uint8))
    return state
