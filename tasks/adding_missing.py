"""The adding problem with missing values, under the common ways to go on without them."""

import math

import torch
from torch import Tensor

from tasks.adding import Adding
from tasks.arguments import share
from tasks.missing import fill, known_strategy
from tasks.missing_baseline import missing_baseline
from tasks.task import Batch


class AddingMissing(Adding):
    """The adding problem (see `Adding`) in which each value is missing with probability p, the marked ones too; markers
    are always there, and the target is the sum of the true values.

    What the network is shown in the place of a missing value is the `strategy`. For values 0.3 ? 0.9 ? 0.5:

        zero            0.3 0   0.9 0   0.5
        forward_fill    0.3 0.3 0.9 0.9 0.5    the last value there was; before the first, 1/2
        interpolation   0.3 0.6 0.9 0.7 0.5    linear between neighbours; beyond the ends, the nearest
        mask            0.3 0   0.9 0   0.5    with a third feature that is 1 where the value is missing
        deletion        0.3 0.9 0.5            the whole step is left out, its marker too; zeros in front instead

    At one seed all strategies meet the same values, the same missing, so that they can be compared in pairs.
    Values are uniform on [0, 1); with `correlation` ρ > 0 they are smooth in time, v_t = Φ(z_t) of a Gaussian
    autoregression z_t = ρ z_{t−1} + √(1 − ρ²) ε_t, and their neighbours tell of what is missing.

    Always answering the mean, 1, costs the variance of the sum of the two values. The best answer from the last input
    alone costs less, `baseline_loss`: see `tasks.missing_baseline`. Independent values that are missing are unknown:
    their variance, p·2/12 = p/6, is an error that no strategy avoids, and `solved_mse` is what may come on top of it.

    Args:
        length: T, at least 2.
        missing: p, in [0, 1).
        strategy: one of those above.
        correlation: ρ, in [0, 1).
        solved_mse: mean squared error above p/6 below which the task counts as solved, above 0.
    """

    def __init__(
        self,
        length: int = 100,
        missing: float = 0.2,
        strategy: str = "zero",
        correlation: float = 0.0,
        *,
        solved_mse: float = 0.01,
    ) -> None:
        super().__init__(length, solved_mse=solved_mse)
        self.missing, self.correlation = share("missing", missing), share("correlation", correlation)
        self.strategy = known_strategy(strategy)
        self.input_size = 3 if strategy == "mask" else 2
        self.baseline_loss = missing_baseline(self.length, missing, strategy, correlation)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        whole = super().sample(batch_size, generator)
        device = generator.device
        values, markers = whole.inputs.unbind(dim=-1)
        targets = whole.targets
        if self.correlation:
            values = self._smooth(batch_size, generator)
            targets = (values * markers).sum(dim=0)
        gone = torch.rand(self.length, batch_size, generator=generator, device=device) < self.missing
        return Batch(self._show(values, markers, gone), targets)

    def solved(self, score: dict[str, float]) -> bool:
        return score["mse"] < self.missing / 6 + self.solved_mse

    def _smooth(self, batch_size: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(self.length, batch_size, generator=generator, device=generator.device)
        scale = math.sqrt(1 - self.correlation**2)
        steps = [noise[0]]
        for epsilon in noise[1:]:
            steps.append(self.correlation * steps[-1] + scale * epsilon)
        return torch.special.ndtr(torch.stack(steps))

    def _show(self, values: Tensor, markers: Tensor, gone: Tensor) -> Tensor:
        """Return the inputs (T, B, I) for values and markers (T, B), of which those `gone` (T, B) are missing."""
        if self.strategy == "deletion":
            # A stable sort that puts the steps that are gone in front, and keeps the order of the others.
            order = gone.to(torch.int8).argsort(dim=0, descending=True, stable=True)
            kept = ~gone.gather(0, order)
            return torch.stack([part.gather(0, order) * kept for part in (values, markers)], dim=-1)
        shown = [fill(values, gone, self.strategy, unknown=0.5), markers]
        return torch.stack([*shown, gone.to(values.dtype)] if self.strategy == "mask" else shown, dim=-1)
