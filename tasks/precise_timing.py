"""Precise timing: how long it was between two spikes."""

import math

import torch
from torch import Tensor

from tasks.arguments import share, whole
from tasks.classification import Classification, one_hot
from tasks.task import Batch


class PreciseTiming(Classification):
    """Tell whether two spikes are `delay` steps apart or one more (after Gers et al. 2002, measuring spike delays).

    The one input is 1 at two steps and 0 at all others. The first spike comes at a step that is uniform in [0,
    `onset`); the second comes `delay` + k steps later, k uniform in [0, `intervals`), and at that step k is asked for.
    With delay 4 and k = 1:

        inputs   0 0 1 0 0 0 0 1 0 0
        answer                 1

    The paper's sequences are streams of many spikes and its targets real numbers; its hardest case tells 49 from 50
    steps, which are the defaults here. A spike looks the same whatever came before: without memory all k are equally
    likely, and the cross-entropy is ln `intervals`.

    Who forgets the first spike but counts steps from the beginning knows a little more. Of the `onset` · K pairs of
    a first step and a k, K = `intervals`, c = min(n + 1, `onset`, K, `onset` + K − 1 − n) have the second spike at step
    `delay` + n, 0 ≤ n < `onset` + K − 1, and are equally likely. So the best guess from that step is right with
    probability (`onset` + K − 1)/(`onset` · K), 0.55 by default, and its cross-entropy is Σ c ln c/(`onset` · K),
    0.9·ln 2 by default. With an onset of 1 it is always right: where counting alone would solve the task, its
    settings are refused.

    Attributes:
        counting_accuracy, counting_loss: of the best guess from the step of the second spike alone.

    Args:
        delay: the shorter delay, steps, at least 1.
        intervals: how many delays there are, at least 2.
        onset: steps at which the first spike may come, at least 1.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).

    Raises:
        ValueError: an argument out of its range, or a `counting_accuracy` above `solved_accuracy`.
    """

    input_size = 1
    torch_loss = None  # answers are not the last ones
    offline = True
    distance = "delay"

    def __init__(self, delay: int = 49, intervals: int = 2, onset: int = 10, *, solved_accuracy: float = 0.99) -> None:
        self.delay, self.intervals = whole("delay", delay, 1), whole("intervals", intervals, 2)
        self.onset = whole("onset", onset, 1)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.counting_accuracy, self.counting_loss = self._count()
        if self.counting_accuracy > self.solved_accuracy:
            raise ValueError(
                f"onset={onset}: the step of the second spike alone gives an accuracy of {self.counting_accuracy:.3g}, "
                f"which solved_accuracy={solved_accuracy} counts as solved; make onset larger"
            )
        self.length = onset + delay + intervals - 1
        self.output_size = intervals
        self.baseline_loss = math.log(intervals)

    @property
    def longest_memory(self) -> int:
        return self.delay

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        first = torch.randint(self.onset, (1, batch_size), generator=generator, device=device)
        interval = torch.randint(self.intervals, (1, batch_size), generator=generator, device=device)
        spikes = torch.zeros(self.length, batch_size, device=device)
        spikes.scatter_(0, torch.cat([first, first + self.delay + interval]), 1.0)
        return Batch(spikes.unsqueeze(-1), interval.squeeze(0))

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the outputs (B, O) at each sequence's second spike."""
        steps = torch.arange(self.length, device=outputs.device).unsqueeze(1)
        second = (batch.inputs[..., 0] * steps).argmax(dim=0)
        return outputs[second, torch.arange(len(second), device=outputs.device)]

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        first = batch.inputs[..., 0].argmax(dim=0)  # of equal values, the first
        return one_hot(first.unsqueeze(0), self.onset)[0], first

    def _count(self) -> tuple[float, float]:
        """Return accuracy and cross-entropy in nats of the best guess from the step of the second spike alone."""
        onset, intervals = self.onset, self.intervals
        steps, pairs = onset + intervals - 1, onset * intervals
        ways = (min(n + 1, onset, intervals, steps - n) for n in range(steps))
        return steps / pairs, sum(c * math.log(c) for c in ways) / pairs
