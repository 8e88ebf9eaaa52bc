"""Tasks on data files: parts that never mix, batches of them, and what is told of them."""

import functools
import hashlib
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks.arguments import flag, share, whole
from tasks.files import content_of
from tasks.linear import MOST_SEQUENCES, best_of, last_window
from tasks.missing import fill, known_strategy
from tasks.parts import NAMES, TEST, TRAINING, VALIDATION, PaddedBatch, Part, Whole, padded, split, standardisation
from tasks.sequences import Sequences, read_sequences
from tasks.task import Batch, Task

MOST_SHUFFLED = 1 << 17  # of more sequences than these a batch is drawn with replacement: a shuffle takes milliseconds
Facts = dict[str, str | int | float]
_FACTS: dict[Any, Facts] = {}  # of a process's tasks, whose baselines take seconds to fit


class OwnData(Task):
    """A task on files. A run trains on the training part, is evaluated on the validation part, and is scored once, with
    the weights of its best evaluation, on the test part. It has no criterion of being solved.

    Attributes:
        training, validation, testing: the parts.
        source: what was read and how; two tasks of one class and source are alike.
        shown: what `facts` tells, but for the sizes of parts and the baselines.
        baseline_loss: the validation loss of the best constant answer, from the training part.
    """

    files: ClassVar[tuple[str, ...]] = ("file", "validation_file", "test_file")
    training: Part
    validation: Part
    testing: Part
    source: Hashable
    shown: Facts

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Return `batch_size` training sequences in a random order, or all of them if there are no more."""
        return _drawn(self.training, batch_size, generator)

    def held_out(self, size: int, generator: torch.Generator) -> Batch:
        """Return `size` validation sequences in a random order, or all of them if there are no more."""
        return _drawn(self.validation, size, generator)

    def test_part(self, device: torch.device) -> Batch:
        return self.testing.take(torch.arange(len(self.testing))).on(device)

    def facts(self) -> Facts:
        key = (type(self), self.source)
        if key not in _FACTS:
            _FACTS[key] = self._facts()
        return _FACTS[key]

    def preview(self) -> Facts:
        sizes = {
            name: len(part) for name, part in zip(NAMES, (self.training, self.validation, self.testing), strict=True)
        }
        return {**sizes, **self.shown}

    def _facts(self) -> Facts:
        scores: dict[str, float] = {}
        for name, of_test in self.baselines().items():
            scores |= {f"baseline/{name}/{score}": float(value) for score, value in of_test.items()}
        return {**self.preview(), **{name: value for name, value in scores.items() if math.isfinite(value)}}

    @abstractmethod
    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the outputs that answer, of a model's outputs (T, B, O)."""

    @abstractmethod
    def loss_of(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of answers, a scalar."""

    @abstractmethod
    def scores_of(self, answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return named scores of answers."""

    @abstractmethod
    def baselines(self) -> dict[str, dict[str, Tensor]]:
        """Return loss and scores on the test part of simple methods, fitted to the training part, by their names."""

    def scored(self, answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return loss and scores of answers."""
        return {"loss": self.loss_of(answers, targets), **self.scores_of(answers, targets)}

    def asked(self, batch: Batch) -> Tensor:
        """Return the targets that answers are held to."""
        return batch.targets

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self.loss_of(self.answers(outputs, batch), self.asked(batch))

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.scores_of(self.answers(outputs, batch), self.asked(batch))

    def solved(self, score: dict[str, float]) -> bool:
        """There is no criterion: a run ends with its budget, or by `training.patience`."""
        return False


def _drawn(part: Part, size: int, generator: torch.Generator) -> Batch:
    if len(part) > MOST_SHUFFLED:
        chosen = torch.randint(len(part), (size,), generator=generator, device=generator.device)
    else:
        chosen = torch.randperm(len(part), generator=generator, device=generator.device)[:size]
    return _on(part, chosen.device).take(chosen)


@functools.lru_cache(maxsize=8)
def _on(part: Part, device: torch.device) -> Part:
    return part.to(device)


def check_files(content: str | None, paths: Sequence[str | None]) -> tuple[str, ...]:
    """Return the files that are given, the first of which must be.

    Raises:
        ValueError: it is not, two have one content, or it is not what it was when the run was specified.
    """
    if not paths[0]:
        raise ValueError("needs a file of data; set task.file=…")
    given = tuple(path for path in paths if path)
    for one, other in itertools.combinations(given, 2):
        if content_of([one]) == content_of([other]):
            raise ValueError(f"{other}: holds the same as {one}: scores on it would be no evidence of generalisation")
    if content is not None and (found := content_of(given)) != content:
        raise ValueError(f"{', '.join(given)}: has changed: its content is {found}, and {content} is asked for")
    return given


def check_names(option: str, names: Any) -> tuple[str, ...] | None:
    """Check a list of columns' names; one may stand alone.

    Raises:
        ValueError: it is none.
    """
    if names is None:
        return None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{option} must be a list of columns, as [a,b], not {names!r}")
    return tuple(names)


def check_shares(validation: float, test: float) -> tuple[float, float]:
    """Check the shares of validation and test.

    Raises:
        ValueError: one is no share above 0, or none is left for training.
    """
    validation, test = share("validation", validation), share("test", test)
    if not (validation and test and validation + test < 1):
        raise ValueError(f"validation={validation} and test={test} must be above 0 and leave a share for training")
    return validation, test


@dataclass(frozen=True)
class Source:
    """What is read of files of sequences, and how it is prepared.

    Attributes:
        paths: of data, of validation and of test; the last two may be None, and are then parts of the first.
        content: of the files.
        sequence, target, time, group, inputs: see `tasks.sequences.read_sequences`.
        validation, test, split_seed: how the first file is split.
        strategy: for missing values.
        standardise: whether features get the training part's mean 0 and standard deviation 1.
    """

    paths: tuple[str | None, ...]
    content: str | None
    sequence: str | None
    target: str
    time: str | None
    group: str | None
    inputs: tuple[str, ...] | None
    validation: float
    test: float
    split_seed: int
    strategy: str
    standardise: bool

    def __post_init__(self) -> None:
        check_shares(self.validation, self.test)
        known_strategy(self.strategy)
        flag("standardise", self.standardise)
        whole("split_seed", self.split_seed, 0, below=2**32)


@dataclass(frozen=True)
class Prepared:
    """Sequences in parts.

    Attributes:
        inputs: of each part, (T, N, I), float32.
        lengths: of each part, (N).
        targets: of each part, as they are in the file (N, …).
        names: of each part's sequences, for messages.
        path: of the file of each part.
        facts: what is told of them.
    """

    inputs: list[Tensor]
    lengths: list[Tensor]
    targets: list[np.ndarray]
    names: list[list[str]]
    paths: list[str]
    facts: Facts


class WholeSequences(OwnData):
    """A task on whole sequences of files, answered at each one's last step.

    `tasks.sequences.read_sequences` says which files there are. Inputs are standardised by the training part, their
    missing values filled.

    Args:
        file: of the data: .csv, .parquet, .npz or .ts.
        validation_file, test_file: of the same form; None: a share of `file`.
        target: column of what is asked for.
        sequence: column that tells sequences apart; None: "sequence" if there is one, else each row is a sequence.
        time: column that puts a sequence's rows in order; None: they are in order.
        group: column of what sequences belong to, as a patient; no group is in two parts. None: none.
        inputs: list of the features' columns; None: all others.
        validation, test: shares of `file`.
        split_seed: of the parts; it is the same for all seeds of runs.
        strategy: for missing values, one of `tasks.missing.STRATEGIES`.
        standardise: whether each feature gets mean 0 and standard deviation 1 over the training part.
        content: of the files, as `tasks.files.content_of`; None: whatever it is.

    Attributes:
        read: the sequences and their targets, from which a subclass makes the parts.
    """

    offline = True
    by_class: ClassVar[bool]  # whether targets are classes, whose shares the parts are to have
    named: ClassVar[str]  # the constant answer
    training: Whole
    validation: Whole
    testing: Whole

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
        given = check_files(content, paths)
        content = content or content_of(given)
        names = check_names("inputs", inputs)
        source = Source(
            paths, content, sequence, target, time, group, names, validation, test, split_seed, strategy, standardise
        )
        self.source, self.read = source, prepare(source, self.by_class)
        self.length, _, self.input_size = self.read.inputs[TRAINING].shape

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        assert isinstance(batch, PaddedBatch)
        return batch.last(outputs)

    @abstractmethod
    def constant(self, count: int) -> Tensor:
        """Return the best constant answer of the training part, (count, O)."""

    @abstractmethod
    def linear(self, features: Tensor, targets: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
        """Fit a linear model to features (N, P); returns the function from features to answers."""

    def baselines(self) -> dict[str, dict[str, Tensor]]:
        """The best constant answer, and a linear model of the last steps."""
        parts = (self.training, self.validation, self.testing)
        training, validation, testing = (last_window(part.inputs, part.lengths) for part in parts)
        training, targets = training[:MOST_SEQUENCES], self.training.targets[:MOST_SEQUENCES]
        linear = best_of(
            lambda penalty: self.linear(training, targets, penalty),
            lambda answers: self.loss_of(answers, self.validation.targets),
            validation,
        )
        answers = {self.named: self.constant(len(self.testing)), "linear on the last steps": linear(testing)}
        return {name: self.scored(each, self.testing.targets) for name, each in answers.items()}


@functools.lru_cache(maxsize=4)
def prepare(source: Source, by_class: bool) -> Prepared:
    """Read, split, standardise and fill the sequences of files.

    Standardisation and everything else that is fitted knows the training part alone. Missing values are filled within
    their own sequence.

    Args:
        source: what is read.
        by_class: whether targets are classes, whose shares the parts are to have.

    Raises:
        ValueError: what is wrong with a file, in one line.
    """

    def read(path: str) -> Sequences:
        return read_sequences(path, source.sequence, source.target, source.time, source.group, source.inputs)

    path, validation_path, test_path = source.paths
    assert path is not None
    first = read(path)
    shares = 0.0 if validation_path else source.validation, 0.0 if test_path else source.test
    assert first.targets is not None
    if by_class and first.targets.ndim != 1:
        raise ValueError(f"{path}: targets have the shape {first.targets.shape}; one class each is needed")
    part = split(len(first.values), *shares, source.split_seed, first.targets if by_class else None, first.groups)
    parts = [_some(first, np.flatnonzero(part == number)) for number in (TRAINING, VALIDATION, TEST)]
    for number, other in ((VALIDATION, validation_path), (TEST, test_path)):
        if other:
            parts[number] = read(other)
            if parts[number].features != first.features:
                raise ValueError(f"{other}: has other features than {path}: {', '.join(parts[number].features)[:200]}")
    for number, name in enumerate(NAMES):
        if not parts[number].values:
            of = "" if first.groups is None else f" of {len(np.unique(first.groups))} groups"
            raise ValueError(f"{path}: {len(first.values)} sequences{of} leave none for {name}; more are needed")
    _check_groups(parts)
    repeated = _repeated(parts)
    missing = np.concatenate([np.isnan(each).ravel() for its in parts for each in its.values]).mean()
    mean, spread = standardisation(np.concatenate(parts[TRAINING].values), source.standardise)
    shown = [[without_gaps((each - mean) / spread, source.strategy) for each in its.values] for its in parts]
    for its, values in zip(parts, shown, strict=True):
        for name, each in zip(its.names, values, strict=True):
            if not len(each):
                raise ValueError(f"{its.path}: {name} has no step without a missing value, and deletion leaves none")
    lengths = [len(each) for values in shown for each in values]
    tensors = [padded(values, max(map(len, values))) for values in shown]
    facts: Facts = {
        "unit": "sequences", "features": len(first.features), "shortest": min(lengths), "longest": max(lengths),
        "missing": float(missing), "repeated": repeated,
    }  # fmt: skip
    if first.groups is not None:
        facts["groups"] = len(np.unique(first.groups))
    return Prepared(
        [inputs for inputs, _ in tensors],
        [each for _, each in tensors],
        [np.asarray(its.targets) for its in parts],
        [its.names for its in parts],
        [str(its.path) for its in parts],
        facts,
    )


def _some(sequences: Sequences, at: np.ndarray) -> Sequences:
    def some(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[at]

    return Sequences(
        sequences.path, [sequences.values[i] for i in at], sequences.features, [sequences.names[i] for i in at],
        some(sequences.targets), some(sequences.groups),
    )  # fmt: skip


def _check_groups(parts: Sequence[Sequences]) -> None:
    """Refuse a group that is in two parts, as it may be where these are files of their own."""
    part_of: dict[str, str] = {}
    for name, its in zip(NAMES, parts, strict=True):
        for group in () if its.groups is None else np.unique(its.groups).tolist():
            if part_of.setdefault(group, name) != name:
                raise ValueError(f"{its.path}: group {group} is in the {part_of[group]} and in the {name} part")


def _repeated(parts: Sequence[Sequences]) -> int:
    """Return how many test sequences stand, value for value, in the training or validation part too."""

    def digest(values: np.ndarray) -> bytes:
        return hashlib.blake2b(values.tobytes(), digest_size=16).digest()

    known = {digest(each) for its in parts[:TEST] for each in its.values}
    return sum(digest(each) in known for each in parts[TEST].values)


def without_gaps(values: np.ndarray, strategy: str) -> np.ndarray:
    """Return a sequence (T, F) as a network is shown it: nothing is missing, and with "mask" (T, 2F), the second half 1
    where it was."""
    gone = np.isnan(values)
    if strategy == "deletion":
        return values[~gone.any(axis=1)]
    if gone.any():
        filled = fill(torch.from_numpy(np.where(gone, 0.0, values)), torch.from_numpy(gone), strategy, unknown=0.0)
        values = filled.numpy()
    return np.concatenate([values, gone], axis=1) if strategy == "mask" else values
