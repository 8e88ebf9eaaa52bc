"""Sequences of a file, and the class of each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import flag
from tasks.linear import logistic
from tasks.own_data import WholeSequences
from tasks.parts import NAMES, TRAINING, Whole
from tasks.tables import is_number, listed
from tasks.task import Batch


class Classify(WholeSequences):
    """Name the class of each sequence of a file, at its last step. Each class has its share of every part, as far as
    numbers allow. The loss is cross-entropy in nats; the best constant answer gives each class its frequency in the
    training part.

    Args:
        permuted: whether steps come in one fixed random order, the same for all sequences, which takes neighbours
            apart (Le et al. 2015); sequences are then of one length.
        Others: see `tasks.own_data.WholeSequences`; `target` is the column of the class.
    """

    by_class, named = True, "majority"

    def __init__(self, file: str | None = None, *, permuted: bool = False, **options: Any) -> None:
        super().__init__(file, **options)
        read, self.source = self.read, (self.source, flag("permuted", permuted))
        order = torch.arange(self.length)
        if permuted:
            if read.facts["shortest"] != read.facts["longest"]:
                lengths = f"{read.facts['shortest']} to {read.facts['longest']}"
                raise ValueError(f"{file}: sequences of {lengths} steps have no one order")
            order = torch.randperm(self.length, generator=torch.Generator().manual_seed(0))
        of_parts = _classes(read.targets)
        found = [np.unique(targets) for targets in of_parts]
        self.classes = sorted(set().union(*(each.tolist() for each in found)), key=_as_number)
        if len(found[TRAINING]) < 2:
            raise ValueError(f"{file}: the training part has the class {found[TRAINING][0]} only; two are needed")
        for number, its in enumerate(found):
            if not set(its) & set(found[TRAINING]):
                said = f"{listed(list(its))}, and the training part has {listed(list(found[TRAINING]))}"
                raise ValueError(f"{read.paths[number]}: the {NAMES[number]} part has the classes {said}")
        index = {name: k for k, name in enumerate(self.classes)}
        named = [torch.tensor([index[name] for name in targets]) for targets in of_parts]
        ordered = [inputs[order] if permuted else inputs for inputs in read.inputs]
        parts = [Whole(*each) for each in zip(ordered, named, read.lengths, strict=True)]
        self.training, self.validation, self.testing = parts
        self.output_size = len(self.classes)
        counts = torch.stack([torch.bincount(part.targets, minlength=len(self.classes)) for part in parts])
        self.frequencies = (counts[TRAINING] + 0.5) / (counts[TRAINING] + 0.5).sum()
        self.baseline_loss = float(self.loss_of(self.constant(len(self.validation)), self.validation.targets))
        self.shown = {
            **read.facts,
            "classes": len(self.classes),
            **{
                f"class/{name}/{part}": int(counts[number, k])
                for k, name in enumerate(self.classes)
                for number, part in enumerate(NAMES)
            },
        }

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

    def constant(self, count: int) -> Tensor:
        return self.frequencies.log().expand(count, -1)

    def linear(self, features: Tensor, targets: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
        return logistic(features, targets, self.output_size, penalty)


def _classes(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the names of classes in each part: where all are numbers, 1 and 1.0 are one, unless a file has both."""
    texts = [targets.astype(str) for targets in parts]
    if not all(is_number(text) for text in np.unique(np.concatenate(texts))):
        return texts
    plain = [np.array([f"{float(text):.15g}" for text in its]) for its in texts]
    alike = all(len(np.unique(one)) == len(np.unique(other)) for one, other in zip(texts, plain, strict=True))
    return plain if alike else texts


def _as_number(name: str) -> tuple[bool, float, str]:
    """Return a sort key: numbers by their size, before texts."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
