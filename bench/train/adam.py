"""Adam's step for the parameters of one run or of several: by torch's fused kernel, over lists that are kept between
steps. `torch.optim.Adam.step` collects them anew each time, which takes longer than a small cell's kernel."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor


class FusedAdam:
    """The next steps of optimisers that differ in their parameters alone, whose states it advances."""

    def __init__(
        self, options: dict[str, Any], decoupled: bool, parameters: list[Tensor], states: list[dict[str, Tensor]]
    ) -> None:
        """Take a group's options, whether its weight decay is decoupled, its parameters and the state of each."""
        self._parameters, self._counts = parameters, [state["step"] for state in states]
        self._ones = [torch.ones_like(self._counts[0])] * len(states)
        moments = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        self._moments = [[state[name] for state in states if name in state] for name in moments]
        self._kernel: Any = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self._options = {name: options[name] for name in ("weight_decay", "eps", "amsgrad", "maximize")}
        self._options["beta1"], self._options["beta2"] = options["betas"]

    @classmethod
    def of(cls, optimizers: Sequence[torch.optim.Optimizer]) -> Self | None:
        """Return None for optimisers that must take their own steps: of another class, or before their first."""
        kinds = torch.optim.Adam | torch.optim.AdamW
        if not all(isinstance(each, kinds) and each.defaults["fused"] for each in optimizers):
            return None
        pairs = [(each.state, parameter) for each in optimizers for parameter in each.param_groups[0]["params"]]
        alike = len({(parameter.dtype, parameter.device) for _, parameter in pairs}) == 1
        if not alike or not all(parameter in state for state, parameter in pairs):
            return None
        options, is_adamw = optimizers[0].param_groups[0], isinstance(optimizers[0], torch.optim.AdamW)
        decoupled = options.get("decoupled_weight_decay", is_adamw)  # an option since torch 2.7
        parameters = [parameter for _, parameter in pairs]
        return cls(options, decoupled, parameters, [state[parameter] for state, parameter in pairs])

    @torch.no_grad()
    def step(self, rate: float) -> bool:
        """Take a step at a learning rate, with the gradients that the parameters have now; returns False, and takes
        none, if one of them has no gradient."""
        gradients = [parameter.grad for parameter in self._parameters]
        if any(gradient is None for gradient in gradients):
            return False
        torch._foreach_add_(self._counts, self._ones)
        self._kernel(
            self._parameters, gradients, *self._moments, self._counts, lr=rate, **self._options, grad_scale=None,
            found_inf=None,
        )  # fmt: skip
        return True
