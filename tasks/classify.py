"""Sequences of a file, and the class of each."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import flag
from tasks.linear import MOST_SEQUENCES, best_of, last_window, logistic
from tasks.own_data import OwnData, Source, check_files, check_names, prepare
from tasks.parts import NAMES, TEST, TRAINING, VALIDATION, PaddedBatch, Whole
from tasks.task import Batch


class Classify(OwnData):
    """Name the class of each sequence of a file, at its last step.

    `tasks.tables.read_sequences` says which files there are. Each class has its share of every part, as far as numbers
    allow. Inputs are standardised by the training part, their missing values filled. The loss is cross-entropy in nats;
    the best constant answer gives each class its frequency in the training part.

    Args:
        file: of the data: .csv, .parquet, .npz or .ts.
        validation_file, test_file: of the same form; None: a share of `file`.
        target: column of the class.
        sequence: column that tells sequences apart; None: "sequence" if there is one, else each row is a sequence.
        time: column that puts a sequence's rows in order; None: they are in order.
        group: column of what sequences belong to, as a patient; no group is in two parts. None: none.
        inputs: list of the features' columns; None: all others.
        validation, test: shares of `file`.
        split_seed: of the parts; it is the same for all seeds of runs.
        strategy: for missing values, one of `tasks.missing.STRATEGIES`.
        standardise: whether each feature gets mean 0 and standard deviation 1 over the training part.
        permuted: whether steps come in one fixed random order, the same for all sequences, which takes neighbours
            apart (Le et al. 2015); sequences are then of one length.
        content: of the files, as `tasks.tables.content_of`; None: whatever it is.

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
        permuted: bool = False,
        content: str | None = None,
    ) -> None:
        paths = (file, validation_file, test_file)
        check_files(content, paths)
        names = check_names("inputs", inputs)
        source = Source(
            paths, content, sequence, target, time, group, names, validation, test, split_seed, strategy, standardise
        )
        read = prepare(source, by_class=True)
        self.source = (source, flag("permuted", permuted))
        self.length = len(read.inputs[0])
        order = torch.arange(self.length)
        if permuted:
            if read.facts["shortest"] != self.length:
                lengths = f"{read.facts['shortest']} to {self.length}"
                raise ValueError(f"{file}: sequences of {lengths} steps have no one order")
            order = torch.randperm(self.length, generator=torch.Generator().manual_seed(0))
        found = [np.unique(targets.astype(str)) for targets in read.targets]
        self.classes = sorted(set().union(*(each.tolist() for each in found)), key=_as_number)
        if read.targets[TRAINING].ndim != 1:
            raise ValueError(f"{file}: targets have the shape {read.targets[TRAINING].shape}; one class each is needed")
        if len(found[TRAINING]) < 2:
            raise ValueError(f"{file}: the training part has the class {found[TRAINING][0]} only; two are needed")
        index = {name: k for k, name in enumerate(self.classes)}
        named = [torch.tensor([index[name] for name in targets.astype(str)]) for targets in read.targets]
        ordered = [inputs[order] if permuted else inputs for inputs in read.inputs]
        parts = [Whole(*each) for each in zip(ordered, named, read.lengths, strict=True)]
        self.training: Whole
        self.validation: Whole
        self.testing: Whole
        self.training, self.validation, self.testing = parts
        self.input_size, self.output_size = read.inputs[0].shape[2], len(self.classes)
        counts = torch.stack([torch.bincount(part.targets, minlength=len(self.classes)) for part in parts])
        self.frequencies = (counts[TRAINING] + 0.5) / (counts[TRAINING] + 0.5).sum()
        self.baseline_loss = float(self.loss_of(self._constant(VALIDATION), self.validation.targets))
        self.shown = {
            **read.facts,
            "classes": len(self.classes),
            **{
                f"class/{name}/{part}": int(counts[number, k])
                for k, name in enumerate(self.classes)
                for number, part in enumerate(NAMES)
            },
        }

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        assert isinstance(batch, PaddedBatch)
        return batch.last(outputs)

    def loss_of(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(answers, targets)

    def scores_of(self, answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`accuracy`: share of right answers; `balanced_accuracy`: mean over classes of the share of right answers."""
        right = (answers.argmax(dim=-1) == targets).double()
        counts = torch.bincount(targets, minlength=self.output_size)
        of_class = torch.zeros(self.output_size, dtype=right.dtype, device=right.device).index_add_(0, targets, right)
        present = counts > 0
        return {"accuracy": right.mean(), "balanced_accuracy": (of_class[present] / counts[present]).mean()}

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the class, which is to be gathered from all steps, as if it were shown at the first."""
        return F.one_hot(batch.targets, self.output_size).to(batch.inputs.dtype), torch.zeros_like(batch.targets)

    def baselines(self) -> dict[str, dict[str, Tensor]]:
        """The training part's frequencies, and logistic regression on the last steps."""
        parts = (self.training, self.validation, self.testing)
        training, validation, testing = (last_window(part.inputs, part.lengths) for part in parts)
        training, classes = training[:MOST_SEQUENCES], self.training.targets[:MOST_SEQUENCES]
        linear = best_of(
            lambda penalty: logistic(training, classes, self.output_size, penalty),
            lambda answers: self.loss_of(answers, self.validation.targets),
            validation,
        )
        answers = {"majority": self._constant(TEST), "linear on the last steps": linear(testing)}
        return {name: self.scored(each, self.testing.targets) for name, each in answers.items()}

    def _constant(self, part: int) -> Tensor:
        count = len((self.training, self.validation, self.testing)[part])
        return self.frequencies.log().expand(count, -1)


def _as_number(name: str) -> tuple[bool, float, str]:
    """Return a sort key: numbers by their size, before texts."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
