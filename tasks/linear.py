"""Linear models of the last steps: what recurrence is to be better than."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS, MOST_FEATURES, MOST_SEQUENCES = 32, 512, 5000  # read at most, so that a baseline takes seconds
RIDGES = (1.0, 30.0, 1000.0)  # of standardised features


def last_window(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the last steps of sequences (T, N, I) as features (N, S·I), zeros before a sequence's beginning."""
    steps = max(1, min(STEPS, MOST_FEATURES // inputs.shape[2]))
    index = lengths - torch.arange(steps, 0, -1).unsqueeze(1)  # (S, N)
    found = inputs[index.clamp(min=0), torch.arange(inputs.shape[1])]
    return found.masked_fill(index.unsqueeze(-1) < 0, 0.0).movedim(0, 1).flatten(1)


def ridge(features: Tensor, targets: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
    """Fit targets (N, O) by features (N, P) linearly, with an unpenalised constant; returns the fitted function."""
    x, y = features.double(), targets.double()
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    x = x - mean_x
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.lstsq(gram, x.T @ (y - mean_y), driver="gelsd").solution
    return lambda other: (other.double() - mean_x) @ weight + mean_y


def logistic(features: Tensor, classes: Tensor, count: int, penalty: float) -> Callable[[Tensor], Tensor]:
    """Fit classes (N) by features (N, P): multinomial logistic regression; returns the function to log-odds (…, K)."""
    x = F.pad(features, (0, 1), value=1.0)
    weight = torch.zeros(x.shape[1], count, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight, classes) + penalty / len(x) * weight[:-1].square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    found = weight.detach()
    return lambda other: F.pad(other, (0, 1), value=1.0) @ found


def best_of(
    fit: Callable[[float], Callable[[Tensor], Tensor]], loss: Callable[[Tensor], Tensor], validation: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the function fitted with that of `RIDGES` whose answers on the validation features lose least."""
    return min((fit(penalty) for penalty in RIDGES), key=lambda function: float(loss(function(validation))))
