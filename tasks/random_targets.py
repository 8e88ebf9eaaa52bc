"""A worked example: learn by heart a few random sequences."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import positive, whole
from tasks.task import Batch, Task


class RandomTargets(Task):
    """Memorise random targets for a few random sequences: the worked example of an article on LSTMs, whose
    network, LSTM(50) under a dense output, is trained for 100 epochs on inputs and targets of shape (10, 10, 1) with
    Adam, mean squared error and batches of 32.

    With ten sequences a batch of 32 is all of them, and an epoch one step. The article's code as printed does not run:
    it calls a function that Keras does not have, and its targets are of a shape that does not fit its
    return_sequences; here there is a target at every step, which with return_sequences=True is what fits.
    `+sweep=article` has its settings. From the same weights a test gets Keras's own loss curve, to five digits if
    Adam's epsilon plays no part and to 0.2 % with Keras's 1e-7, which Keras adds before a bias correction and PyTorch
    after it.

    Nothing can be learned from this but these numbers: inputs and targets are uniform on [0, 1) and independent, drawn
    once from `data_seed`, and evaluation is on the same. Without memory, and without learning them by heart, the best
    answer is 1/2, whose error is the variance 1/12.

    Args:
        sequences: how many, at least 1.
        length: steps of each, at least 1.
        data_seed: of the sequences; the same for all runs. At least 0, below 2³².
        solved_mse: mean squared error below which the task counts as solved, above 0.
    """

    input_size = 1
    output_size = 1
    baseline_loss = 1 / 12

    def __init__(self, sequences: int = 10, length: int = 10, data_seed: int = 0, *, solved_mse: float = 0.01) -> None:
        self.sequences, self.length = whole("sequences", sequences, 1), whole("length", length, 1)
        # Of a longer number torch's generator would take the lowest 32 bits.
        self.data_seed = whole("data_seed", data_seed, 0, below=2**32)
        self.solved_mse = positive("solved_mse", solved_mse)
        generator = torch.Generator().manual_seed(self.data_seed)
        self.inputs, self.targets = torch.rand(2, length, sequences, 1, generator=generator).unbind(0)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Return `batch_size` of the sequences in a random order, or all of them if there are no more."""
        device = generator.device
        chosen = torch.randperm(self.sequences, generator=generator, device=device)[:batch_size]
        return Batch(self.inputs.to(device)[:, chosen], self.targets.to(device)[:, chosen])

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error over all steps; targets are (T, B, 1)."""
        return F.mse_loss(outputs, batch.targets)

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`mse`."""
        return {"mse": F.mse_loss(outputs, batch.targets)}

    def solved(self, score: dict[str, float]) -> bool:
        return score["mse"] < self.solved_mse
