"""Delayed recall in noise: keep what the first steps said."""

import math
from typing import Self

import torch

from tasks.arguments import flag, positive, share, whole
from tasks.classification import Classification
from tasks.task import Batch


class NoisyRecall(Classification):
    """Keep a bit through noise on the same channel: the two-sequence problem (Bengio et al. 1994; in the form of
    Hochreiter & Schmidhuber 1997, tasks 3a and 3b).

    The first `cues` inputs are 1 for class 1 and −1 for class 0, all later ones Gaussian with mean 0; with
    `noisy_cues` the cues have that noise too (task 3b). With three cues and T = 8:

        inputs  1 1 1 0.3 −0.5 0.1 0.2 −0.4  → class 1

    The answer is read at the last step, whose input is noise: without memory both classes are equally likely, ln 2.

    Args:
        length: T, more than `cues`.
        cues: steps that tell the class, at least 1.
        noise_variance: above 0; 0.2 in the paper.
        noisy_cues: whether cues are noisy too.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).

    Raises:
        ValueError: an argument out of its range.
    """

    input_size = 1
    offline = True
    output_size = 2
    baseline_loss = math.log(2)

    def __init__(
        self,
        length: int = 100,
        cues: int = 3,
        noise_variance: float = 0.2,
        noisy_cues: bool = False,
        *,
        solved_accuracy: float = 0.99,
    ) -> None:
        self.cues = whole("cues", cues, 1)
        self.length = whole("length", length, cues + 1)
        self.noise_variance, self.noisy_cues = (
            positive("noise_variance", noise_variance),
            flag("noisy_cues", noisy_cues),
        )
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)

    def lengthened(self, factor: int) -> Self:
        options = (self.cues, self.noise_variance, self.noisy_cues)
        return type(self)(self.length * factor, *options, solved_accuracy=self.solved_accuracy)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        classes = torch.randint(2, (batch_size,), generator=generator, device=device)
        inputs = math.sqrt(self.noise_variance) * torch.randn(
            self.length, batch_size, generator=generator, device=device
        )
        signal = (2.0 * classes - 1).expand(self.cues, batch_size)
        inputs[: self.cues] = inputs[: self.cues] + signal if self.noisy_cues else signal
        return Batch(inputs.unsqueeze(-1), classes)

    def cue(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        step = torch.full_like(batch.targets, self.cues - 1)
        return (2.0 * batch.targets - 1).to(batch.inputs.dtype).unsqueeze(-1), step
