"""The optimiser that a configuration names, without torch's compiler."""

import functools
import inspect
from typing import Any

import torch
from torch.optim import Optimizer

from bench.record.errors import ConfigError, nearest
from bench.spec.config import Training

# Methods that torch.optim wraps so that torch.compile leaves them alone. Their first call imports the compiler, which
# takes longer than a short run, and nothing here is compiled.
WRAPPED = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")


def make_optimizer(training: Training, parameters: Any) -> Optimizer:
    """Build the optimiser that the configuration names, a class of torch.optim.

    Raises:
        ConfigError: no such optimiser, or options that it does not take.
    """
    known: dict[str, Any] = {
        name: value
        for name, value in vars(torch.optim).items()
        # LBFGS evaluates the loss several times a step, which a stream of fresh batches cannot offer.
        if isinstance(value, type) and issubclass(value, Optimizer) and name not in ("Optimizer", "LBFGS")
    }
    name = training.optimizer
    if name not in known:
        raise ConfigError(f"training.optimizer={name}: no such optimiser.{nearest(name, known)}")
    options = training.optimizer_options or {}
    if not isinstance(options, dict):
        raise ConfigError(f"training.optimizer_options={options}: must be a mapping, as {{weight_decay: 0.01}}")
    # One kernel for all parameters, where the optimiser has it: torch's default costs more than a small cell.
    decided = set(options) & {"foreach", "fused", "differentiable"}
    fused: dict[str, Any] = (
        {"fused": True} if not decided and "fused" in inspect.signature(known[name]).parameters else {}
    )
    kind: Any = known[name] if options.get("differentiable") else _uncompiled(known[name])
    try:
        made: Optimizer = kind(parameters, lr=training.learning_rate, **fused, **options)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix(f"{name}.__init__() ")
        raise ConfigError(f"training.optimizer_options={options}: {name} {reason}") from error
    return made


@functools.cache
def _uncompiled(kind: type[Optimizer]) -> type[Optimizer]:
    """Return an optimiser's class with the methods that it wraps for torch.compile as they are inside."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {**methods, "step": step, "__module__": __name__})
