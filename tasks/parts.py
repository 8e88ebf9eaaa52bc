"""Parts of data: which sequences train, validate and test, and batches of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tasks.endings import at
from tasks.task import Batch

TRAINING, VALIDATION, TEST = range(3)
NAMES = ("training", "validation", "test")


@dataclass(frozen=True)
class PaddedBatch(Batch):
    """Sequences that differ in length, with zeros behind them.

    Attributes:
        inputs: (T, B, I).
        targets: (B) or (B, O).
        lengths: (B), steps of each, at least 1.
    """

    lengths: Tensor

    def last(self, outputs: Tensor) -> Tensor:
        """Return the outputs (T, B, O) at each sequence's last step, (B, O)."""
        return at(outputs, self.lengths - 1)


class Part(ABC):
    """A part of data, from which batches are taken. A dataclass, whose tensors `to` moves."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many sequences there are."""

    @abstractmethod
    def take(self, chosen: Tensor) -> Batch:
        """Return some of the sequences, by their indices (B)."""

    def to(self, device: torch.device) -> Self:
        """Return the same on a device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Whole(Part):
    """Whole sequences.

    Attributes:
        inputs: (T, N, I), float32, zeros behind a sequence's end.
        targets: (N) or (N, O).
        lengths: (N).
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, chosen: Tensor) -> Batch:
        return PaddedBatch(self.inputs[:, chosen], self.targets[chosen], self.lengths[chosen])


def padded(values: Sequence[np.ndarray], length: int) -> tuple[Tensor, Tensor]:
    """Return sequences (T_i, I) as a tensor (T, N, I), float32, with zeros behind them, and their lengths (N)."""
    inputs = np.zeros((length, len(values), values[0].shape[1]), dtype=np.float32)
    for i, each in enumerate(values):
        inputs[: len(each), i] = each
    return torch.from_numpy(inputs), torch.tensor([len(each) for each in values])


def split(
    count: int, validation: float, test: float, seed: int, alike: np.ndarray | None, groups: np.ndarray | None
) -> np.ndarray:
    """Return the part (N) of each of N sequences. The same arguments give the same parts.

    Args:
        validation, test: the share of each; training has the rest.
        alike: classes (N) whose shares the parts are to have, as far as their numbers allow.
        groups: to which sequences belong (N); a group is never split, and then `alike` counts for nothing.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
    unit = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    if groups is not None:
        first = np.unique(unit[order], return_index=True)[1]  # where each group comes first
        order = order[np.argsort(first[unit[order]], kind="stable")]
    elif alike is not None:
        order = order[np.argsort(alike[order], kind="stable")]
    # A sequence is for testing where test·(number so far) passes a whole number: of a row of equals, each share is met
    # to within one.
    parts = np.full(count, TRAINING)
    if groups is None:
        position = np.arange(count)
        parts[order[_passes(position, test)]] = TEST
        rest = order[parts[order] == TRAINING]
        parts[rest[_passes(np.arange(len(rest)), validation / (1 - test))]] = VALIDATION
        return parts
    # Groups as they come, until each part has its share; sequences of a group have the place of its first.
    sizes = np.bincount(unit)
    begun = np.zeros(len(sizes))
    in_order = list(dict.fromkeys(unit[order].tolist()))
    begun[in_order] = np.cumsum(sizes[in_order]) - sizes[in_order]
    parts[begun[unit] < (test + validation) * count] = VALIDATION
    parts[begun[unit] < test * count] = TEST
    if len(np.unique(parts)) < len(NAMES) <= len(sizes):  # a large group came first: small ones to test and validation
        rank = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
        smallest = np.cumsum(np.sort(sizes)) - np.sort(sizes)
        of_test = min(max(1, int(np.searchsorted(smallest, test * count))), len(sizes) - 2)
        of_both = min(max(of_test + 1, int(np.searchsorted(smallest, (test + validation) * count))), len(sizes) - 1)
        parts = np.where(rank[unit] < of_test, TEST, np.where(rank[unit] < of_both, VALIDATION, TRAINING))
    return parts


def _passes(position: np.ndarray, share: float) -> np.ndarray:
    return np.floor((position + 1) * share + 0.5) > np.floor(position * share + 0.5)


def standardisation(training: np.ndarray, wanted: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (F) of the training part's values (N, F), those that are missing left out; of
    a constant or unknown feature 1 in the place of the latter. Unless it is wanted, zeros and ones."""
    if not wanted:
        return np.zeros(training.shape[1]), np.ones(training.shape[1])
    known = ~np.isnan(training)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, training, 0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt(np.where(known, (training - mean) ** 2, 0).sum(axis=0, dtype=np.float64) / count)
    return mean, np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1), spread, 1.0)
