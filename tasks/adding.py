"""The adding problem: add two marked numbers in a long list."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import positive, whole
from tasks.endings import at
from tasks.task import Batch, Task


class Adding(Task):
    """Add the two marked numbers of a list (Hochreiter & Schmidhuber 1997; in the form of Arjovsky
    et al. 2016, section 5.2).

    Each step has a value, uniform in [0, 1), and a marker, which is one at two steps: one drawn
    from the first ⌊T/2⌋ steps, one from the rest. For T=6 an input and its answer are

        values   0.3 0.9 0.1 0.6 0.4 0.7
        markers   0   1   0   0   1   0     → 0.9 + 0.4 = 1.3

    The answer is read at the last step; the loss is the mean squared error. Always answering the
    mean, 1, costs the variance of a sum of two uniforms, 2·1/12 = 1/6. Without memory a little more
    is known: with probability 1/⌈T/2⌉ the last step itself is marked. Its value v is then seen, and
    the best answer, v + 1/2, errs by 1/12 only: together, 1/6 − 1/(12·⌈T/2⌉).

    Args:
        length: T, at least 2.
        solved_mse: mean squared error below which the task counts as solved, above 0.
    """

    input_size = 2
    offline = True
    output_size = 1
    torch_loss = "mse"
    distance = "length"

    def __init__(self, length: int = 100, *, solved_mse: float = 0.01) -> None:
        self.length, self.solved_mse = whole("length", length, 2), positive("solved_mse", solved_mse)
        self.baseline_loss = 1 / 6 - 1 / (12 * (length - length // 2))

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device, half = generator.device, self.length // 2
        values = torch.rand(self.length, batch_size, generator=generator, device=device)
        first = torch.randint(half, (1, batch_size), generator=generator, device=device)
        second = torch.randint(half, self.length, (1, batch_size), generator=generator, device=device)
        marked = torch.cat([first, second])
        markers = torch.zeros_like(values).scatter_(0, marked, 1.0)
        return Batch(torch.stack([values, markers], dim=-1), values.gather(0, marked).sum(dim=0))

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        step = batch.inputs[..., 1].argmax(dim=0)
        return at(batch.inputs, step)[:, :1], step

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error at the last step; targets are (B)."""
        return F.mse_loss(outputs[-1, :, 0], batch.targets)

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`mse`, and `accuracy`: share of answers off by less than 0.04 (Hochreiter & Schmidhuber 1997)."""
        error = outputs[-1, :, 0] - batch.targets
        return {"mse": error.square().mean(), "accuracy": (error.abs() < 0.04).double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return score["mse"] < self.solved_mse
