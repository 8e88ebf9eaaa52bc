"""What a task is: the interface between a problem and whoever trains on it."""

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Sequences and their answers.

    Attributes:
        inputs: (T, B, I), floating point.
        targets: what the task's loss compares with; batch along the last or only free axis, see each task.
    """

    inputs: Tensor
    targets: Tensor

    def to(self, dtype: torch.dtype) -> Self:
        """Return the same batch with floating-point tensors in `dtype`; class indices stay."""

        def convert(tensor: Tensor) -> Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        if convert(self.inputs) is self.inputs and convert(self.targets) is self.targets:
            return self
        return replace(self, inputs=convert(self.inputs), targets=convert(self.targets))

    def on(self, device: torch.device) -> Self:
        """Return the same batch on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in vars(self).items()})


class Task(ABC):
    """A generator of sequences with a loss, a score and an analytic baseline.

    Constructors raise ValueError, in one line, for an argument out of its range and a file that cannot be used.

    Attributes:
        input_size: I, features of an input step.
        output_size: O, features that a model must produce at each step.
        length: T, steps of a sequence.
        baseline_loss: the loss of the best answer that remembers nothing, derived analytically: each answer of a
            sequence is the best that can be told from the input of its own step alone.
        offline: whether no input that matters comes after the first answer that is scored, so that a model may read a
            sequence from both ends. Tasks that ask while a sequence is read leave it False.
        version: of what `sample` and `held_out` draw and of what the loss and the scores are of it. Another version
            gives runs other ids, and so sets them apart from stored ones.
        distance: the option that says over how many steps something is to be remembered; None: none does.
        files: options that name files. What determines a run is their content, which option `content` tells (as
            `tasks.files.content_of`), and not where they are.
    """

    input_size: int
    output_size: int
    length: int
    baseline_loss: float
    offline: ClassVar[bool] = False
    version: ClassVar[int] = 1
    distance: ClassVar[str | None] = None
    files: ClassVar[tuple[str, ...]] = ()

    @property
    def torch_loss(self) -> str | None:
        """What `loss` is, where it is one of torch's losses of the outputs at the last steps, which are asked for their
        targets: "cross_entropy", targets being classes (B) or, of the last S steps, (S, B); or "mse", of the last
        step's first output, targets (B). Training then takes gradients without calling `loss`. None: anything else."""
        return None

    @property
    def longest_memory(self) -> int:
        """Over how many steps something is to be remembered: what gates are made for by chrono initialisation."""
        return self.length

    def lengthened(self, factor: int) -> Self:
        """Return the same problem over a distance to remember that is `factor` times as long.

        Raises:
            NotImplementedError: a task that has no `distance`.
        """
        if self.distance is None:
            raise NotImplementedError
        options = self.options()
        return type(self)(**options | {self.distance: factor * options[self.distance]})

    def options(self) -> dict[str, Any]:
        """Return the constructor's arguments, which attributes of the same names hold."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what each sequence first gives to be remembered, and at which step: (B, F) and (B).

        Diagnostics ask for how long it can be read from a cell's state. By default it is the first input."""
        first = batch.inputs[0]
        return first, torch.zeros(len(first), dtype=torch.long, device=first.device)

    def held_out(self, size: int, generator: torch.Generator) -> Batch:
        """Draw sequences on which training is evaluated; by default as in training, of which there is no end."""
        return self.sample(size, generator)

    def test_part(self, device: torch.device) -> Batch | None:
        """Return the sequences, on a device, that neither training nor any choice sees. They are scored once, with the
        weights of the evaluation whose held-out loss was the lowest. None for a task that draws without end."""
        return None

    def facts(self) -> dict[str, str | int | float]:
        """Return what reports tell of a task's data, by name: numbers of sequences as "test", of a class as
        "class/NAME/test", and scores of simple answers on the test part as "baseline/NAME/SCORE"."""
        return {}

    def preview(self) -> dict[str, str | int | float]:
        """Return those of `facts` that are known without fitting anything."""
        return {}

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw `batch_size` independent sequences (float32) on the generator's device; what is drawn
        depends on the generator alone."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss, a scalar, of a model's outputs (T, B, O)."""

    @abstractmethod
    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar scores of outputs (T, B, O), each a mean over sequences."""

    @abstractmethod
    def solved(self, score: dict[str, float]) -> bool:
        """Tell whether scores on held-out sequences count as having solved the task."""
