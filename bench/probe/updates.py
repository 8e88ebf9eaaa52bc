"""Step sizes: how far the next optimiser step would move each parameter, as a share of it."""

import copy
import math

import torch

from bench.probe.subject import Reading, Subject
from bench.spec.optimizer import make_optimizer


def updates(subject: Subject) -> list[Reading]:
    """Return ‖Δw‖ / ‖w‖ of the step that training would take on these sequences, for each parameter and for all
    together ("all"). It is taken by a copy. Around 1e-3 is usual; far more, and training jumps about, far less, and
    it stands still."""
    model = copy.deepcopy(subject.model)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = [parameter for _, parameter in named]
    optimizer = make_optimizer(subject.training, parameters)
    optimizer.load_state_dict(copy.deepcopy(subject.optimizer))
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.enable_grad():
        subject.task.loss(model.answer(subject.batch), subject.batch).backward()
    clip_norm = subject.training.clip_norm
    torch.nn.utils.clip_grad_norm_(parameters, math.inf if clip_norm is None else clip_norm)
    optimizer.step()
    moved = [
        (float((after.detach() - old).double().norm()), float(old.double().norm()))
        for after, old in zip(parameters, before, strict=True)
    ]
    found = [
        Reading("updates", name, [0.0], [step / size])
        for (name, _), (step, size) in zip(named, moved, strict=True)
        if size > 0 and math.isfinite(step)
    ]
    step, size = (math.sqrt(sum(value**2 for value in column)) for column in zip(*moved, strict=True))
    whole = [Reading("updates", "all", [0.0], [step / size])] if size > 0 and math.isfinite(step) else []
    return [*whole, *found]
