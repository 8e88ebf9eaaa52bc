"""Sequences of a file, and a number of each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.linear import ridge
from tasks.own_data import OwnData, WholeSequences
from tasks.parts import TRAINING, Whole, standardisation
from tasks.tables import LARGEST
from tasks.task import Batch


class Numbers(OwnData):
    """A task on files that asks for numbers. The loss is the mean squared error of targets that have mean 0 and
    standard deviation 1 over the training part.

    Attributes:
        scale: standard deviation of the targets (O) over the training part, in their own units.
    """

    scale: Tensor

    def loss_of(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(answers, targets)

    def scores_of(self, answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`rmse` and `mae`: root mean squared and mean absolute error, in the target's own unit if there is one target,
        of several in their standard deviations; `r2`: 1 − mean squared error / variance of these targets."""
        error = (answers - targets).double()
        square, unit = error.square().mean(), self.scale[0].item() if len(set(self.scale.tolist())) == 1 else 1.0
        variance = targets.double().var(dim=0, correction=0).mean()
        return {"rmse": unit * square.sqrt(), "mae": unit * error.abs().mean(), "r2": 1 - square / variance}

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the targets, which are to be gathered from all steps, as if they were shown at the first."""
        return batch.targets, torch.zeros(len(batch.targets), dtype=torch.long, device=batch.targets.device)


class Regress(Numbers, WholeSequences):
    """Predict a number, or several, for each sequence of a file, at its last step. The best constant answer is the
    training part's mean.

    Args: see `tasks.own_data.WholeSequences`; `target` is a column of numbers, or an array (N) or (N, O).
    """

    by_class, named = False, "mean"

    def __init__(self, file: str | None = None, *, target: str = "target", **options: Any) -> None:
        super().__init__(file, target=target, **options)
        read = self.read
        targets = [_numbers(*about, target) for about in zip(read.targets, read.names, read.paths, strict=True)]
        if len({each.shape[1] for each in targets}) > 1:
            other = next(i for i, each in enumerate(targets) if each.shape[1] != targets[TRAINING].shape[1])
            raise ValueError(f"{read.paths[other]}: has another number of targets than {file}")
        mean, spread = standardisation(targets[TRAINING])
        self.scale = torch.from_numpy(spread)
        self.training, self.validation, self.testing = (
            Whole(inputs_, torch.from_numpy(((each - mean) / spread).astype(np.float32)), lengths)
            for inputs_, each, lengths in zip(read.inputs, targets, read.lengths, strict=True)
        )
        self.output_size = targets[TRAINING].shape[1]
        self.baseline_loss = float(self.loss_of(self.constant(len(self.validation)), self.validation.targets))
        self.shown = read.facts

    def constant(self, count: int) -> Tensor:
        return torch.zeros(count, self.output_size)

    def linear(self, features: Tensor, targets: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
        return ridge(features, targets, penalty)


def _numbers(targets: np.ndarray, names: list[str], path: str, column: str) -> np.ndarray:
    """Return targets as numbers (N, O); ValueError if one is none."""
    targets = targets.reshape(len(targets), -1)
    try:
        found = targets.astype(np.float64)
    except ValueError:
        found = np.array([[_number(value) for value in row] for row in targets])
    if (wrong := ~(np.abs(found) <= LARGEST)).any():
        i, k = np.argwhere(wrong)[0]
        what = "is not a number" if np.isnan(found[i, k]) else "is not finite, or beyond single precision"
        raise ValueError(f"{path}: {names[i]}, column {column}: {str(targets[i, k])[:40]!r} {what}")
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        return np.nan
