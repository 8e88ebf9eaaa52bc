"""The streams of randomness of a run, all derived from its seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from bench.spec.neutral import FIRST_FILLED_SEED

STATE_WORDS = 624  # of 32 bits, in a Mersenne Twister


@dataclass(eq=False)
class Streams:
    """Independent streams: what initialisation is drawn from, generators for training and evaluation data, and for the
    sequences that diagnostics look at.

    None depends on the cell, so that at one seed all cells meet the same data, in the same order. The generators that
    are not passed around (torch's, numpy's and Python's) are one stream more; of runs side by side, each has states of
    its own for these, and `enter` exchanges them.
    """

    initialization: "Source"
    training: torch.Generator
    evaluation: torch.Generator
    diagnostics: torch.Generator
    _left: "_Globals | None" = field(
        default=None, init=False
    )  # the global generators, while those of other streams are in force

    def seed_globals(self) -> None:
        """Seed the generators that are not passed around, from which parameters are drawn and from which a
        user's cell may draw: torch's, numpy's and Python's."""
        _Globals.exchange(self)
        self.initialization.seed_globals()

    def enter(self) -> None:
        """Have the global generators go on from where these streams left them."""
        if self._left is not None:
            state, self._left = self._left, None
            _Globals.exchange(self)
            state.restore()

    def leave(self) -> None:
        """Keep the states of the global generators, which others are to use."""
        self._left = _Globals.now(self.training.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all generators, the global ones too, as tensors and plain values."""
        self.enter()
        now = _Globals.now(self.training.device)
        name, keys, *rest = now.of_numpy
        version, internal, gauss = now.of_python
        return {
            "training": self.training.get_state(),
            "evaluation": self.evaluation.get_state(),
            "torch": now.of_torch,
            "cuda": now.of_cuda,
            "numpy": [name, keys.tolist(), *rest],
            "python": [version, internal, gauss],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put all generators into the state that `state_dict` returned."""
        self.enter()
        self.training.set_state(state["training"])
        self.evaluation.set_state(state["evaluation"])
        name, keys, *rest = state["numpy"]
        version, internal, gauss = state["python"]
        for_numpy, for_python = (name, np.array(keys, dtype=np.uint32), *rest), (version, tuple(internal), gauss)
        _Globals(self.training.device, state["torch"], state["cuda"], for_numpy, for_python).restore()


@dataclass(frozen=True)
class _Globals:
    """States of the global generators of torch (of the CPU and, if it is a GPU, of `device`), numpy and Python."""

    device: torch.device
    of_torch: torch.Tensor
    of_cuda: torch.Tensor | None
    of_numpy: Any
    of_python: Any

    entered: ClassVar[Streams | None] = None  # whose states they have

    @classmethod
    def now(cls, device: torch.device) -> "_Globals":
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(device, torch.get_rng_state(), cuda, np.random.get_state(legacy=True), random.getstate())

    @classmethod
    def exchange(cls, streams: Streams | None) -> None:
        """Take note whose states follow; who had them before keeps them."""
        if cls.entered is not None and cls.entered is not streams:
            cls.entered.leave()
        cls.entered = streams

    def restore(self) -> None:
        torch.set_rng_state(self.of_torch)
        if self.of_cuda is not None:
            torch.cuda.set_rng_state(self.of_cuda, self.device)
        np.random.set_state(self.of_numpy)
        random.setstate(self.of_python)


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
    before, _Globals.entered, entered = _Globals.now(torch.device(device)), None, _Globals.entered
    try:
        yield
    finally:
        before.restore()
        _Globals.entered = entered


def _with_key(state: torch.Tensor, key: np.ndarray) -> torch.Tensor:
    """Return the state of a CPU generator that was just seeded, with another key (624) in it. It is, in bytes: the seed
    (8), how many words are left (4), whether there is a seed (4), the next word (8), the key (624 · 8), and what is
    kept of normal numbers."""
    state = state.clone()
    state[24 : 24 + 8 * STATE_WORDS] = torch.from_numpy(key.astype(np.uint64).view(np.uint8))
    return state
