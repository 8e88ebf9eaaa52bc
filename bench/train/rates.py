"""The learning rate over the course of a run: it may rise at the start, and fall until the end."""

import math

from bench.spec.config import Training


def rate_at(training: Training, step: int, last_step: int) -> float:
    """Return the learning rate of a step, as torch.optim.lr_scheduler's LinearLR and, after that, LinearLR to zero or
    CosineAnnealingLR have it.

    Args:
        step: from 1.
        last_step: at which the budget is spent.
    """
    if step <= training.warmup:
        return training.learning_rate * step / training.warmup
    done = (step - 1 - training.warmup) / (last_step - training.warmup)  # in [0, 1): the last step is not of rate zero
    if training.decay == "linear":
        return training.learning_rate * (1 - done)
    if training.decay == "cosine":
        return training.learning_rate * (1 + math.cos(math.pi * done)) / 2
    return training.learning_rate
