"""Sequential digits: small real images, a pixel a step."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from tasks.arguments import flag, share
from tasks.classification import Classification, one_hot
from tasks.task import Batch

SIDE, CLASSES, GREYS = 8, 10, 17
TEST_SHARE = 5  # one image of a class in so many is for testing


class Digits(Classification):
    """Tell a handwritten digit whose 8×8 pixels come one by one, row by row or permuted (after Le et al. 2015, who
    do it with the 28×28 pixels of MNIST; the images are those of Alpaydin & Kaynak 1998 that come with scikit-learn).

    Inputs are the 64 grey values, 0 to 16, divided by 16, as floating point of size 1; targets are the digits. Of the
    1,797 images every fifth of each digit is for evaluation, always the same ones, 34 to 36 of a digit, and training
    never sees them; a batch is drawn from the others, with replacement. The answer is read at the last step. The best
    answer without memory knows the last pixel: its cross-entropy is the entropy of the digit given that pixel, over all
    images.

    Args:
        permuted: whether pixels come in one fixed random order, which takes neighbours apart.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).

    Raises:
        ValueError: an argument out of its range, or scikit-learn is not installed.
    """

    input_size = 1
    offline = True
    output_size = CLASSES
    length = SIDE * SIDE
    version = 2  # in 1, every fifth image of all was for evaluation: 21 ones and 52 threes

    def __init__(self, permuted: bool = False, *, solved_accuracy: float = 0.9) -> None:
        self.permuted = flag("permuted", permuted)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.order = torch.arange(self.length)
        if permuted:
            self.order = torch.randperm(self.length, generator=torch.Generator().manual_seed(0))
        images, digits = _load()
        count = one_hot(digits, CLASSES).cumsum(dim=0).gather(1, digits.unsqueeze(1)).squeeze(1)  # among its like
        is_test = count % TEST_SHARE == 0
        sequences = images[:, self.order].T.unsqueeze(-1) / (GREYS - 1)
        self.training = Batch(sequences[:, ~is_test], digits[~is_test])
        self.testing = Batch(sequences[:, is_test], digits[is_test])
        self.baseline_loss = _conditional_entropy(digits, images[:, self.order[-1]])

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        count = self.training.inputs.shape[1]
        chosen = torch.randint(count, (batch_size,), generator=generator, device=generator.device)
        return _choose(self.training, chosen)

    def held_out(self, size: int, generator: torch.Generator) -> Batch:
        """Return the first `size` test images in a random order, all of them if it is more."""
        count = self.testing.inputs.shape[1]
        return _choose(self.testing, torch.randperm(count, generator=generator, device=generator.device)[:size])

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the digit, which is to be gathered from all pixels, as if it were shown at the first."""
        step = torch.zeros_like(batch.targets)
        return one_hot(batch.targets.unsqueeze(0), CLASSES)[0], step


@functools.cache
def _load() -> tuple[Tensor, Tensor]:
    """Return all images (1797, 64), grey values 0…16, and their digits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("the images come with scikit-learn: pip install 'recurrent-bench[digits]'") from error
    digits: Any = load_digits()
    return torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target, dtype=torch.long)


def _choose(batch: Batch, chosen: Tensor) -> Batch:
    return Batch(batch.inputs.to(chosen.device)[:, chosen], batch.targets.to(chosen.device)[chosen])


def _conditional_entropy(digits: Tensor, pixel: Tensor) -> float:
    """Return the entropy, in nats, of the digit given one pixel, by their frequencies."""
    counts = torch.zeros(GREYS, CLASSES, dtype=torch.float64)
    counts.index_put_((pixel.long(), digits), torch.ones(len(digits), dtype=torch.float64), accumulate=True)
    of_pixel = counts.sum(dim=1, keepdim=True)
    shares = counts / of_pixel.clamp(min=1)
    entropies = -(shares * shares.clamp(min=1e-300).log()).sum(dim=1)
    entropy = float((of_pixel.squeeze(1) * entropies).sum() / len(digits))
    assert math.isfinite(entropy)
    return entropy
