"""Delayed recall in noise: keep what the first steps said."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import flag, positive, share, whole
from tasks.classification import Classification, guessing, half_squared_error
from tasks.endings import at, cut, drawn_ends
from tasks.task import Batch


class NoisyRecall(Classification):
    """Keep a bit through noise on the same channel: the two-sequence problem (Bengio et al. 1994; in the form of
    Hochreiter & Schmidhuber 1997, tasks 3a and 3b).

    The first `cues` inputs are 1 for class 1 and −1 for class 0, all later ones Gaussian with mean 0; with
    `noisy_cues` the cues have that noise too (task 3b). With three cues and T = 8:

        inputs  1 1 1 0.3 −0.5 0.1 0.2 −0.4  → class 1

    The answer is read at the last step, whose input is noise: without memory both classes are equally likely, ln 2.

    In the paper sequences are between T and T + T/10 steps long, as with `extra` = T/10, and the answer is the number
    of a logistic unit, 0 or 1. With `logistic` each class has such a unit, and `solved_error` limits how far these are
    off on average; else the mean probability of the wrong class.

    Args:
        length: T, more than `cues`.
        cues: steps that tell the class, at least 1.
        noise_variance: above 0; 0.2 in the paper.
        noisy_cues: whether cues are noisy too.
        extra: by how many steps at most a sequence is longer than T, all numbers equally likely.
        logistic: see `Classification`.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).
        solved_error: mean error below which it does, too; None: any.
    """

    input_size = 1
    offline = True
    output_size = 2
    distance = "length"

    def __init__(
        self,
        length: int = 100,
        cues: int = 3,
        noise_variance: float = 0.2,
        noisy_cues: bool = False,
        extra: int = 0,
        logistic: bool = False,
        *,
        solved_accuracy: float = 0.99,
        solved_error: float | None = None,
    ) -> None:
        self.cues = whole("cues", cues, 1)
        self.shortest, self.extra = whole("length", length, cues + 1), whole("extra", extra, 0)
        self.length = length + extra
        self.noise_variance, self.noisy_cues = (
            positive("noise_variance", noise_variance),
            flag("noisy_cues", noisy_cues),
        )
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.solved_error = None if solved_error is None else positive("solved_error", solved_error)
        self.logistic = flag("logistic", logistic)
        self.baseline_loss = guessing(2) if logistic else math.log(2)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "length": self.shortest}

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`: share of right answers; with `solved_error` also `error`: mean probability of the wrong class, or
        how far `logistic` units are off."""
        score = super().score(outputs, batch)
        if self.solved_error is None:
            return score
        answers = self.answers(outputs, batch)
        units = answers.sigmoid() if self.logistic else answers.softmax(dim=-1)
        return {**score, "error": (units - F.one_hot(batch.targets, 2)).abs().double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return super().solved(score) and (self.solved_error is None or score["error"] < self.solved_error)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        classes = torch.randint(2, (batch_size,), generator=generator, device=device)
        inputs = math.sqrt(self.noise_variance) * torch.randn(
            self.length, batch_size, generator=generator, device=device
        )
        signal = (2.0 * classes - 1).expand(self.cues, batch_size)
        inputs[: self.cues] = inputs[: self.cues] + signal if self.noisy_cues else signal
        inputs = inputs.unsqueeze(-1)
        if self.extra:
            inputs = torch.where(inputs == 0, 1e-30, inputs)  # a zero is what comes after a sequence
            inputs = cut(inputs, drawn_ends(self.shortest, self.extra, batch_size, generator))
        return Batch(inputs, classes)

    def cue(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        step = torch.full_like(batch.targets, self.cues - 1)
        return (2.0 * batch.targets - 1).to(batch.inputs.dtype).unsqueeze(-1), step


class NoisyTargets(NoisyRecall):
    """Keep a bit through noise, with noise on the answers of training too (Hochreiter & Schmidhuber 1997, task 3c).

    Inputs are as in `NoisyRecall`. Targets are 0.2 for class 0 and 0.8 for class 1, with Gaussian noise of the variance
    0.1: what is to be learned is their mean. An answer is right if it is off by less than 0.1 from the target without
    noise, and the mean of how far it is off counts, too. Without memory the best answer is 0.5, and the loss is the
    variance of the targets, 0.1 + 0.3².

    Args:
        length: T, more than `cues`.
        cues: steps that tell the class, at least 1.
        noise_variance: of inputs, above 0; 0.2 in the paper.
        extra: by how many steps at most a sequence is longer than T, all numbers equally likely; at least 1.
        logistic: whether the output is a logistic unit, and the loss half the squared error, as in the paper.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1); fewer than 6 of 256
            are wrong by default, as in task 3b. Of task 3c the paper asks that none is.
        solved_error: mean distance from the target without noise below which it does, too.
    """

    output_size = 1

    def __init__(
        self,
        length: int = 100,
        cues: int = 3,
        noise_variance: float = 0.2,
        extra: int = 10,
        logistic: bool = False,
        *,
        solved_accuracy: float = 250 / 256,
        solved_error: float = 0.015,
    ) -> None:
        super().__init__(
            length, cues, noise_variance, False, whole("extra", extra, 1), logistic, solved_accuracy=solved_accuracy,
            solved_error=solved_error,
        )  # fmt: skip
        self.baseline_loss = (0.1 + 0.3**2) * (0.5 if logistic else 1)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        batch = super().sample(batch_size, generator)
        noise = torch.randn(batch_size, generator=generator, device=generator.device)
        return Batch(batch.inputs, self._clean(batch) + math.sqrt(0.1) * noise)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error at each sequence's last step, or half of it (`logistic`); targets are (B)."""
        answers = self.answers(outputs, batch)
        if self.logistic:
            return half_squared_error(answers.sigmoid(), batch.targets.unsqueeze(-1))
        return F.mse_loss(answers[:, 0], batch.targets)

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`: share of answers off by less than 0.1 from the target without noise; `error`: by how much."""
        answers = self.answers(outputs, batch)[:, 0]
        error = ((answers.sigmoid() if self.logistic else answers) - self._clean(batch)).abs()
        return {"accuracy": (error < 0.1).double().mean(), "error": error.double().mean()}

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        step = torch.full((batch.inputs.shape[1],), self.cues - 1, device=batch.inputs.device)
        return at(batch.inputs, step), step

    def _clean(self, batch: Batch) -> Tensor:
        """Return the targets (B) without noise, which the first cue tells."""
        return 0.5 + 0.3 * batch.inputs[0, :, 0].sign()
