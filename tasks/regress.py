"""Sequences of a file, and a number of each."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.linear import MOST_SEQUENCES, best_of, last_window, ridge
from tasks.own_data import OwnData, Source, check_files, check_names, prepare
from tasks.parts import TEST, TRAINING, VALIDATION, PaddedBatch, Whole, standardisation
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


class Regress(Numbers):
    """Tell a number, or several, of each sequence of a file, at its last step.

    The arguments are those of `tasks.Classify`; the target is a column of numbers, or an array (N) or (N, O). The best
    constant answer is the training part's mean.

    Raises:
        ValueError: an argument out of its range, or what is wrong with a file, in one line.
    """

    offline = True

    def __init__(
        self,
        file: str | None = None,
        validation_file: str | None = None,
        test_file: str | None = None,
        target: str = "target",
        sequence: str | None = None,
        time: str | None = None,
        group: str | None = None,
        inputs: Any = None,
        validation: float = 0.2,
        test: float = 0.2,
        split_seed: int = 0,
        strategy: str = "forward_fill",
        standardise: bool = True,
        content: str | None = None,
    ) -> None:
        paths = (file, validation_file, test_file)
        check_files(content, paths)
        names = check_names("inputs", inputs)
        self.source = Source(
            paths, content, sequence, target, time, group, names, validation, test, split_seed, strategy, standardise
        )
        read = prepare(self.source, by_class=False)
        targets = [_numbers(*about, target) for about in zip(read.targets, read.names, read.paths, strict=True)]
        if len({each.shape[1] for each in targets}) > 1:
            raise ValueError(f"{test_file or validation_file}: has another number of targets than {file}")
        mean, spread = standardisation(targets[TRAINING])
        self.scale = torch.from_numpy(spread)
        self.training: Whole
        self.validation: Whole
        self.testing: Whole
        self.training, self.validation, self.testing = (
            Whole(inputs_, torch.from_numpy(((each - mean) / spread).astype(np.float32)), lengths)
            for inputs_, each, lengths in zip(read.inputs, targets, read.lengths, strict=True)
        )
        self.input_size, self.output_size = read.inputs[0].shape[2], targets[TRAINING].shape[1]
        self.length = len(read.inputs[0])
        self.baseline_loss = float(self.loss_of(self._mean(VALIDATION), self.validation.targets))
        self.shown = read.facts

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        assert isinstance(batch, PaddedBatch)
        return batch.last(outputs)

    def baselines(self) -> dict[str, dict[str, Tensor]]:
        """The training part's mean, and ridge regression on the last steps."""
        parts = (self.training, self.validation, self.testing)
        training, validation, testing = (last_window(part.inputs, part.lengths) for part in parts)
        training, targets = training[:MOST_SEQUENCES], self.training.targets[:MOST_SEQUENCES]
        linear = best_of(
            lambda penalty: ridge(training, targets, penalty),
            lambda answers: self.loss_of(answers, self.validation.targets),
            validation,
        )
        answers = {"mean": self._mean(TEST), "linear on the last steps": linear(testing)}
        return {name: self.scored(each, self.testing.targets) for name, each in answers.items()}

    def _mean(self, part: int) -> Tensor:
        return torch.zeros(len((self.training, self.validation, self.testing)[part]), self.output_size)


def _numbers(targets: np.ndarray, names: list[str], path: str, column: str) -> np.ndarray:
    """Return targets as numbers (N, O).

    Raises:
        ValueError: one is none.
    """
    targets = targets.reshape(len(targets), -1)
    try:
        found = targets.astype(np.float64)
    except ValueError:
        found = np.array([[_number(value) for value in row] for row in targets])
    if not np.isfinite(found).all():
        i, k = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(f"{path}: {names[i]}, column {column}: {str(targets[i, k])[:40]!r} is no number")
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        return np.nan
