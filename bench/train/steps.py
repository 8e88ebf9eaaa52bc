"""Training steps, of a run alone or of several side by side: a fresh batch each, gradients, clipping, the optimiser.

Runs that differ in nothing but the seed share what costs the same however many they are: a call of the compiled
kernel, a pass of autograd, a step of the optimiser. Everything else is done run by run, and all arithmetic is: each
run ends with the bits that it has alone."""

import math
from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from bench.train.adam import FusedAdam
from bench.train.process import is_out_of_memory
from bench.train.trainer import Trainer
from tasks import Batch

# What came of a step: what is wrong if the numbers are no longer finite, or what was raised.
StepResult: TypeAlias = str | BaseException | None
Ended = TypeVar("Ended")
Course: TypeAlias = Generator[Trainer, str | None, Ended]  # yields a trainer whenever it is to take a step


class Steps:
    """Takes the steps of trainers that differ in nothing but the seed, side by side if their cell has a kernel."""

    def __init__(self) -> None:
        self._most: int | None = None  # trainers whose gradients fit into memory at once
        self._members: list[Trainer] = []
        self._adam: FusedAdam | None = None  # that takes the steps of the members' optimisers

    def take(self, trainers: Sequence[Trainer]) -> list[StepResult]:
        """Train each on a fresh batch; one whose loss or gradient is not finite, or raises, takes no step. Each is
        charged an equal share of the time."""
        start = perf_counter()
        wrong: dict[Trainer, StepResult] = {}
        ready: list[tuple[Trainer, Batch]] = []
        for trainer in trainers:
            trainer.step += 1
            try:
                ready.append((trainer, trainer.sample()))
            except (Exception, SystemExit) as error:  # a user's task
                wrong[trainer] = error
        losses: dict[Trainer, Tensor] = {}
        for (trainer, _), loss in zip(ready, self._losses(ready), strict=True):
            if isinstance(loss, BaseException):
                wrong[trainer] = loss
            else:
                losses[trainer] = loss
        going: list[Trainer] = []
        for trainer, norm in zip(losses, clip([*losses]), strict=True):
            value = losses[trainer].item()
            if math.isfinite(value) and math.isfinite(norm):
                going.append(trainer)
                trainer.recent.append((value, norm))
            else:
                wrong[trainer] = f"loss {value} and gradient norm {norm} at step {trainer.step}"
        if going:
            self._update(going)
        share = (perf_counter() - start) / len(trainers)
        for trainer in trainers:
            trainer.seconds, trainer.sharing = trainer.seconds + share, len(trainers)
        return [wrong.get(trainer) for trainer in trainers]

    def _losses(self, ready: Sequence[tuple[Trainer, Batch]]) -> list[Tensor | BaseException]:
        """Return the losses of batches, and leave their gradients in the parameters; in place of a loss what it
        raised. What cannot be done for all at once is done for half of them, and so on."""
        if self._most and len(ready) > self._most:
            starts = range(0, len(ready), self._most)
            return [each for start in starts for each in self._losses(ready[start : start + self._most])]
        if not ready:
            return []
        try:
            return [*take_gradients(ready)]
        except (Exception, SystemExit) as error:
            if len(ready) == 1:
                return [error]
            if is_out_of_memory(error):
                self._most = len(ready) // 2
        half = len(ready) // 2  # not within the handler: what the exception refers to may be the memory that is missing
        return self._losses(ready[:half]) + self._losses(ready[half:])

    def _update(self, trainers: list[Trainer]) -> None:
        """Have the optimiser of each take its step: all at once if it is Adam and their learning rate is the same."""
        for trainer in trainers:
            trainer.optimizer.param_groups[0]["lr"] = trainer.rate
        if self._members != trainers:
            self._members, self._adam = trainers, None
        if self._adam is None:
            self._adam = FusedAdam.of([trainer.optimizer for trainer in trainers])
        alike = len({trainer.rate for trainer in trainers}) == 1
        if not (self._adam and alike and self._adam.step(trainers[0].rate)):
            for trainer in trainers:
                trainer.optimizer.step()


def take_gradients(ready: Sequence[tuple[Trainer, Batch]]) -> list[Tensor]:
    """Leave the gradients of batches' losses in the parameters, and return the losses."""
    for trainer, _ in ready:
        for parameter in trainer.parameters:
            parameter.grad = None
    first, _ = ready[0]
    if first.kernel is None:
        losses = [trainer.loss(trainer.model.answer(batch), batch) for trainer, batch in ready]
        torch.autograd.backward(losses)
        return losses
    cells: list[Any] = [trainer.model.cell for trainer, _ in ready]
    inputs, targets = [batch.inputs for _, batch in ready], [batch.targets for _, batch in ready]
    if first.learn is not None:
        readouts = [trainer.model.readout for trainer, _ in ready]
        return [*first.learn(cells, readouts, inputs, str(first.task.torch_loss), targets)]
    hidden, differentiate = first.kernel(cells, inputs)
    read = [cell.read(each) for cell, each in zip(cells, hidden, strict=True)]
    outputs = [trainer.model.readout(each) for (trainer, _), each in zip(ready, read, strict=True)]
    losses = [trainer.loss(each, batch) for (trainer, batch), each in zip(ready, outputs, strict=True)]
    torch.autograd.backward(losses)
    differentiate([each.grad for each in hidden])
    return losses


def clip(trainers: Sequence[Trainer]) -> list[float]:
    """Clip each one's gradient by its own norm, as `torch.nn.utils.clip_grad_norm_` does; return the norms before."""
    gradients = [[each.grad for each in trainer.parameters if each.grad is not None] for trainer in trainers]
    if len({len(each) for each in gradients}) != 1:
        return [norm for trainer in trainers for norm in clip([trainer])]
    norms = torch._foreach_norm([gradient for several in gradients for gradient in several])
    totals = torch.linalg.vector_norm(torch.stack(norms).view(len(trainers), -1), dim=1)
    found, most = totals.tolist(), trainers[0].training.clip_norm
    if most is not None and any(norm > 0.99 * most for norm in found):
        factors = (most / (totals + 1e-6)).clamp(max=1.0)
        pairs = zip(gradients, factors.unbind(), factors.tolist(), strict=True)
        clipped = [(gradient, factor) for several, factor, value in pairs if value != 1.0 for gradient in several]
        if clipped:
            torch._foreach_mul_([gradient for gradient, _ in clipped], [factor for _, factor in clipped])
    return found


def advance(course: Course[Ended], result: StepResult) -> Trainer:
    """Tell a course what came of a step; return whose step is next.

    Raises:
        StopIteration: none is; with what the course returns.
    """
    if isinstance(result, BaseException):
        return course.throw(result)
    return course.send(result)


def finish(course: Course[Ended]) -> Ended:
    """Take all steps that a course asks for, alone, and return what it returns."""
    steps, result = Steps(), None
    try:
        while True:
            (result,) = steps.take([advance(course, result)])
    except StopIteration as end:
        return end.value
