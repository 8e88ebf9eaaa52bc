"""Compiled recurrences for the CPU. cells/compiler generates the point-wise part of each cell; everything else is in
engine.h, forward.h, backward.h and matmul.h. Causal attention is in attention.cpp. Here are the calls that torch
differentiates."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from cells.native.build import NativeUnavailable, library

__all__ = [
    "Call",
    "Kernel",
    "NativeUnavailable",
    "RunEach",
    "attend",
    "call",
    "instructions",
    "is_transformed",
    "learn_each",
    "library",
    "run",
    "run_each",
]

# H, inputs (T, B, I), states (B, H), matrices (·H, I or H), vectors (·H) → outputs (T, B, H), last states
Call = Callable[[int, Tensor, Sequence[Tensor], list[Tensor], list[Tensor]], tuple[Tensor, list[Tensor]]]
# several modules and their inputs → outputs, and what takes the gradients of these
RunEach = Callable[
    [Sequence[nn.Module], Sequence[Tensor]], tuple[list[Tensor], Callable[[Sequence[Tensor | None]], None]]
]
# several modules, a readout each, inputs, criterion and targets → losses
LearnEach = Callable[
    [Sequence[nn.Module], Sequence[nn.Linear], Sequence[Tensor], str, Sequence[Tensor]], Sequence[Tensor]
]
DTYPES = (torch.float32, torch.float64)


class Parameter(Protocol):
    """What a kernel takes of a module: one of its parameters, or something computed from these."""

    def evaluate(self, module: nn.Module, known: dict[Any, Any]) -> Tensor: ...


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel, and what it takes.

    Attributes:
        name: under which it is registered.
        input_size, hidden: I, H of the cell.
        widths: of the parts of its state, in units of H.
        matrices, vectors: its parameters.
    """

    name: str
    input_size: int
    hidden: int
    widths: tuple[int, ...]
    matrices: tuple[Parameter, ...]
    vectors: tuple[Parameter, ...]

    def parameters(self, module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """Return a module's matrices and vectors."""
        known: dict[Any, Any] = {}
        matrices = [matrix.evaluate(module, known) for matrix in self.matrices]
        return matrices, [vector.evaluate(module, known) for vector in self.vectors]


def supports(parameter: Tensor) -> bool:
    """Tell whether compiled kernels may exist for parameters of this device and dtype."""
    return parameter.device.type == "cpu" and parameter.dtype in DTYPES


def is_transformed(inputs: Tensor, parameter: Tensor) -> bool:
    """Tell whether a call is not just computed: torch.func's transforms, forward-mode derivatives, compilation, export
    and tracing need every operation by itself, and under autocast inputs may have another dtype than parameters. No
    kernel can be used then, but the loop."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or (inputs.dtype != parameter.dtype and torch.is_autocast_enabled(inputs.device.type))
    )


def instructions() -> str:
    """Return which vector instructions the compiled kernels were built for."""
    return str(torch.ops.recurrent_bench.instructions())


def run(
    kernel: Kernel, module: nn.Module, inputs: Tensor, state: Sequence[Tensor], called: Call | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Run a module's kernel over a sequence.

    Args:
        inputs: (T, B, I).
        state: its parts, (B, width·H) each.
        called: computes it; None for `call`, the CPU's.

    Returns:
        The outputs (T, B, H) and the parts of the last state.

    Raises:
        TypeError: tensors of different dtypes.
        RuntimeError: in backward, if asked for a graph of its own (a second derivative).
    """
    called = called or functools.partial(call, kernel.name)
    matrices, vectors = kernel.parameters(module)
    if all(width == 1 for width in kernel.widths):
        return called(kernel.hidden, inputs, state, matrices, vectors)
    units = [unit for part in state for unit in part.split(kernel.hidden, dim=-1)]
    outputs, last = called(kernel.hidden, inputs, units, matrices, vectors)
    remaining = iter(last)
    return outputs, [torch.cat([next(remaining) for _ in range(width)], dim=-1) for width in kernel.widths]


def call(
    name: str, hidden: int, inputs: Tensor, states: Sequence[Tensor], matrices: list[Tensor], vectors: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Call a kernel: inputs (T, B, I), states (B, H), matrices (·H, I or H) and vectors (·H)."""
    tensors = (inputs, *states, *matrices, *vectors)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        counts = (len(states), len(matrices), len(vectors))
        outputs, *last = _Recurrence.apply(name, hidden, counts, *tensors)  # type: ignore[no-untyped-call]
        return outputs, last
    outputs, last, *_ = torch.ops.recurrent_bench.forward(name, hidden, [inputs], states, matrices, vectors, False)
    return outputs[0][1:], last


class _Recurrence(torch.autograd.Function):
    """Backpropagation through time, in C++."""

    @staticmethod
    def forward(ctx: Any, name: str, hidden: int, counts: tuple[int, ...], inputs: Tensor, *tensors: Any) -> Any:
        states, matrices, vectors = _divided(tensors, counts)
        (outputs,), last, series, (records,), slices = torch.ops.recurrent_bench.forward(
            name, hidden, [inputs], states, matrices, vectors, True
        )
        ctx.call, ctx.counts = (name, hidden, slices), (counts[1], counts[2], len(series))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs, *matrices, *vectors, *series, records)
        return (outputs[1:], *last)

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor | None, *of_last: Tensor | None) -> tuple[Any, ...]:
        if of_outputs is None and all(each is None for each in of_last):
            return (None,) * len(ctx.needs_input_grad)
        _refuse_second_derivative()
        name, hidden, slices = ctx.call
        # Hooks on what is saved may give it back with other strides.
        inputs, *rest, records = (tensor.contiguous() for tensor in ctx.saved_tensors)
        of_inputs = ctx.needs_input_grad[3]
        of_x, *of_others = torch.ops.recurrent_bench.backward(
            name, hidden, [inputs], *_divided(rest, ctx.counts), [records], slices, [of_outputs], of_last, of_inputs
        )
        gradients = [gradient for several in of_others for gradient in several]
        return (None, None, None, of_x[0] if of_inputs else None, *gradients)


def attend(queries: Tensor, keys: Tensor, values: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Return causal attention: for each query the mean of the values seen, weighted by the softmax of scale·score.

    Args:
        queries: (T, N, D), N sequences or heads of them.
        keys: (S, N, D), S ≥ T; the last query sees all of them, each earlier one a key less.
        values: (S, N, E); the keys if None.

    Returns:
        (T, N, E).

    Raises:
        TypeError: tensors of different dtypes.
        ValueError: tensors of other shapes.
        RuntimeError: in backward, if asked for a graph of its own (a second derivative).
    """
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (queries, keys, values)):
        return _Attention.apply(queries, keys, values, scale)  # type: ignore[no-any-return, no-untyped-call]
    return torch.ops.recurrent_bench.attend(queries, keys, values, scale)[0]  # type: ignore[no-any-return]


class _Attention(torch.autograd.Function):
    """Attention whose weights backward computes again."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor | None, scale: float) -> Tensor:
        contexts, log_sums = torch.ops.recurrent_bench.attend(queries, keys, values, scale)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(queries, keys, values, contexts, log_sums)
        return contexts  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, of_contexts: Tensor | None) -> tuple[Any, ...]:
        if of_contexts is None:
            return (None,) * 4
        _refuse_second_derivative()
        queries, keys, values, contexts, log_sums = (
            None if tensor is None else tensor.contiguous() for tensor in ctx.saved_tensors
        )
        gradients = torch.ops.recurrent_bench.attend_backward(
            queries, keys, values, ctx.scale, contexts, log_sums, of_contexts
        )
        return (*gradients, None)


def run_each(
    kernel: Kernel, modules: Sequence[nn.Module], inputs: Sequence[Tensor]
) -> tuple[list[Tensor], Callable[[Sequence[Tensor | None]], None]]:
    """Run the kernel of several modules, which is the same, over a sequence each, from states of zero: in one call, and
    to the last bit as `run` does it for each of them.

    Args:
        inputs: (T, B, I) each.

    Returns:
        The outputs (T, B, H) each, which require gradients and know of no operation that they come from; and a function
        that takes their gradients, or None where there is none, and adds those of the modules' parameters to these.

    Raises:
        TypeError: tensors of different dtypes.
    """
    parameters = _parameters(kernel, modules)
    states = [zero for each in inputs for zero in [each.new_zeros(each.shape[1], kernel.hidden)] * sum(kernel.widths)]
    name, hidden = kernel.name, kernel.hidden
    with torch.no_grad():
        outputs, _, *kept = torch.ops.recurrent_bench.forward(name, hidden, inputs, states, *parameters, True)

    def differentiate(of_outputs: Sequence[Tensor | None]) -> None:
        with torch.no_grad():
            _, _, *of_parameters = torch.ops.recurrent_bench.backward(
                name, hidden, inputs, *parameters, *kept, of_outputs, [None] * len(states), False
            )
        _add_gradients(parameters, of_parameters)

    return [each[1:].detach().requires_grad_() for each in outputs], differentiate


def learn_each(
    kernel: Kernel, modules: Sequence[nn.Module], readouts: Sequence[nn.Linear], inputs: Sequence[Tensor],
    criterion: str, targets: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    """Run the kernel of several modules and a readout each, compare what comes out at the last steps with targets, and
    add the gradients of these losses to the parameters: in one call, and to the last bit as `run`, torch and its
    autograd do it for each of them.

    Args:
        inputs: (T, B, I) each.
        criterion: "mse", of the last step's first output, or "cross_entropy".
        targets: (B) each; classes may be (S, B), of the last S steps.

    Returns:
        The losses, scalars.

    Raises:
        TypeError: tensors of different dtypes.
    """
    parameters = _parameters(kernel, modules)
    parameters += [[each.weight for each in readouts], [each.bias for each in readouts]]
    with torch.no_grad():
        losses, *gradients = torch.ops.recurrent_bench.learn(
            kernel.name, kernel.hidden, inputs, *parameters, criterion, targets
        )
    _add_gradients(parameters, gradients)
    return losses  # type: ignore[no-any-return]


def _parameters(kernel: Kernel, modules: Sequence[nn.Module]) -> list[list[Tensor]]:
    """Return the matrices and the vectors of all modules, one module after the other."""
    parameters: list[list[Tensor]] = [[], []]
    for module in modules:
        for several, its in zip(parameters, kernel.parameters(module), strict=True):
            several += its
    return parameters


def _add_gradients(parameters: Sequence[Sequence[Tensor]], gradients: Sequence[Sequence[Tensor]]) -> None:
    derived: list[tuple[Tensor, Tensor]] = []
    for several, of_several in zip(parameters, gradients, strict=True):
        for tensor, gradient in zip(several, of_several, strict=True):
            if not tensor.requires_grad:
                continue
            hooks = tensor._backward_hooks or tensor._post_accumulate_grad_hooks
            if tensor.is_leaf and tensor.grad is None and not hooks:  # as autograd would, without its detour
                tensor.grad = gradient
            else:
                derived.append((tensor, gradient))
    if derived:
        torch.autograd.backward([tensor for tensor, _ in derived], [gradient for _, gradient in derived])


def _refuse_second_derivative() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("native kernels have no second derivative (create_graph=True): use backend=loop")


def _divided(tensors: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    remaining = iter(tensors)
    return [[next(remaining) for _ in range(count)] for count in counts]
