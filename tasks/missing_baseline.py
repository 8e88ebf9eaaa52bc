"""What the last step alone tells of the answer to the adding problem with missing values."""

import functools
import math

import torch
from torch import Tensor

NEGLIGIBLE = 1e-17  # a probability, beside others


@functools.cache
def missing_baseline(length: int, missing: float, strategy: str, correlation: float) -> float:
    """Return the mean squared error of the best answer from the last input alone, in `tasks.AddingMissing`.

    Values are v_t = Φ(z_t), z a stationary Gaussian sequence with correlations ρ^|i−j|. For standard normal z and z'
    with correlation r, E[v' | z] = Φ(r z/√(2 − r²)), and the covariance of v and v' is arcsin(r/2)/(2π).

    The last input shows the value of some step q: the last itself, or the last that is not missing. Of the sum S it
    tells E[S | z_q] = Σ_d w_d Φ(ρ^d z/√(2 − ρ^2d)), where w_d is how many marked steps are to be expected at a distance
    of d from q, given the marker that is shown; with q unknown, w is the mean over all q. The variance of that,

        Σ_d Σ_d' w_d w_d' arcsin(ρ^(d+d')/2)/(2π),

    averaged over the two markers, is what is gained on the variance of S, 1/6 + 2·Cov. If no value is shown, nothing
    is gained. Interpolation has nothing after the last step, and shows there what forward-filling does.
    """
    total = 1 / 6 + 2 * _covariance(length, correlation)
    half, gained = length // 2, 0.0
    last = length - 1
    for marked in (False, True):
        probability, expected = 0.0, torch.zeros(length, dtype=torch.float64)
        for q, chance in _shown_steps(length, missing, strategy):
            step = q if strategy == "deletion" else last  # whose marker is shown
            own, other = ((0, half), (half, length)) if step < half else ((half, length), (0, half))
            size = own[1] - own[0]
            chance *= 1 / size if marked else 1 - 1 / size
            if chance == 0:
                continue
            places = torch.zeros(length, dtype=torch.float64)
            places[slice(*other)] = 1 / (other[1] - other[0])
            if marked:
                places[step] = 1
            else:
                places[slice(*own)] = 1 / (size - 1)
                places[step] = 0
            probability += chance
            expected[: length - q] += chance * places[q:]
            expected[1 : q + 1] += chance * places[:q].flip(0)
        if probability > 0:
            gained += probability * _variance(expected / probability, correlation)
    return total - gained


def _shown_steps(length: int, missing: float, strategy: str) -> list[tuple[int, float]]:
    """Return of which steps the last input can show the value, and with what probability."""
    if strategy in ("zero", "mask"):
        return [(length - 1, 1 - missing)]
    shown, chance = [], 1 - missing
    for q in range(length - 1, -1, -1):
        if chance > NEGLIGIBLE:
            shown.append((q, chance))
        chance *= missing
    return shown


def _variance(expected: Tensor, correlation: float) -> float:
    """Return the double sum above; the pairs of distances that add up to n are the convolution of w with itself."""
    double = 2 * len(expected)
    pairs = torch.fft.irfft(torch.fft.rfft(expected, n=double).square(), n=double)
    powers = torch.pow(torch.tensor(correlation, dtype=torch.float64), torch.arange(double))
    return float((pairs * (powers / 2).arcsin()).sum() / (2 * math.pi))


def _covariance(length: int, correlation: float) -> float:
    """Return the covariance of the two marked values, whose steps are uniform in either half."""
    half, rest = length // 2, length - length // 2
    total = 0.0
    for apart in range(1, length) if correlation else ():
        pairs = min(half, apart) - max(0, apart - rest)  # of steps that are so far apart, one in each half
        total += pairs * math.asin(correlation**apart / 2) / (2 * math.pi)
    return total / (half * rest)
