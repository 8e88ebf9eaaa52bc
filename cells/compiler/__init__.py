"""From a cell's equations, as it states them in PyTorch, to a kernel that runs them over a sequence.

`trace` records one step, `program` takes it apart and differentiates it, `emit` writes C++, `check` holds the compiled
kernel to the step. A kernel is built once for its equations and kept beside the engine (`cells.native.build`), with its
source; cells with the same equations share it."""

import ctypes
import functools
import hashlib
import importlib.util
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cells import native
from cells.compiler.check import differs, differs_on_gpu
from cells.compiler.emit import emit
from cells.compiler.emit_triton import emit_triton
from cells.compiler.program import Parts, Program, derive, take_apart
from cells.compiler.trace import Untraceable, trace
from cells.native import build

__all__ = [
    "Compilable", "Equations", "Untraceable", "equations", "kernel_of", "load_triton", "prepare", "reason", "run",
    "triton_reason", "triton_runs",
]  # fmt: skip


# What a class overrides if its calls are more than its kernel and `read`; the first two belong together.
DECIDES_CALLS = (
    "run",
    "read",
    "forward",
    "forward_native",
    "initial_state",
    "_start",
    "split_state",
    "join_state",
    "__call__",
)


class Compilable(nn.Module):
    """A recurrent layer with interchangeable implementations, of which `active_backend` computes a call; the compiler
    can ask for its step."""

    input_size: int
    hidden_size: int
    backend: str

    @classmethod
    def available_backends(cls) -> tuple[str, ...]:
        """Return the names of the implementations that it has, fastest first."""
        raise NotImplementedError

    @property
    def active_backend(self) -> str:
        """The implementation that a call uses: the one asked for or, if it cannot be had here, the fastest that can."""
        if self.backend != "auto" and self.can_use(self.backend):
            return self.backend
        return next(name for name in self.available_backends() if self.can_use(name))

    def can_use(self, backend: str) -> bool:
        """Tell whether an implementation that it has can be had here: for the device and dtype of its parameters, with
        the compiler and packages that there are."""
        if backend == "native":
            return native.supports(self.like) and kernel_of(self) is not None
        if backend == "triton":
            return triton_runs(self.like) and triton_reason(self) is None
        return True

    @property
    def like(self) -> Tensor:
        """A parameter, whose device and dtype are those of all."""
        return next(self.parameters())

    @property
    def title(self) -> str:
        """What to call it."""
        return type(self).__name__

    @property
    def state_widths(self) -> list[int]:
        """The widths of the parts of its state, in units of H."""
        raise NotImplementedError

    def advance(self, x_t: Tensor, parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Advance one step by the equations: x(t) (B, I) and the parts of the state, (B, width·H) each, to the output
        (B, H) and the new parts. Kernels are compiled from this."""
        raise NotImplementedError

    def companions(self) -> "list[Compilable]":
        """Return what else of a call has kernels of its own."""
        return []

    def read(self, hidden: Tensor) -> Tensor:
        """Return the outputs of a whole sequence, begun in a state of zero, from what the kernel returns for it, both
        (T, B, H). Every class that defines `run` defines this beside it, if that is so."""
        raise NotImplementedError

    @property
    def run_each(self) -> native.RunEach | None:
        """Runs the kernel by which, and then by `read`, a call without a state is computed, for several cells that
        differ in their parameters alone (see `native.run_each`; on a GPU, results are those of one cell up to
        rounding). None if a call is computed in another way."""
        kinds = type(self).__mro__
        definers = [next((kind for kind in kinds if name in vars(kind)), None) for name in DECIDES_CALLS]
        own = all(kind is None or kind.__module__.partition(".")[0] in ("cells", "torch") for kind in definers)
        is_known = own and definers[0] is definers[1]
        hooks = self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
        backend = self.active_backend if is_known and not hooks else None
        if backend == "native" and (kernel := kernel_of(self)) is not None:
            return functools.partial(native.run_each, kernel)
        return functools.partial(_run_each_on_gpu, *_gpu_kernel(self)) if backend == "triton" else None


@dataclass(frozen=True)
class Equations:
    """A cell's step, taken apart, and the kernel that is or could be built for it."""

    title: str
    parts: Parts
    kernel: native.Kernel

    @property
    def folder(self) -> Path:
        return build.folder() / self.kernel.name

    def program(self) -> Program:
        """Differentiate the equations and lay them out for the engine.

        Raises:
            Untraceable: they compute something for which kernels have no function.
        """
        return derive(self.parts)

    def source(self) -> str:
        """Return the kernel's C++. Raises what `program` does."""
        return emit(self.program(), self.title, self.kernel.name)

    def triton_source(self) -> str:
        """Return the module that `cells.gpu` runs over a sequence. Raises what `program` does.

        Raises:
            Untraceable: they are of no form that these have.
        """
        return emit_triton(self.program(), self.title)


def equations(cell: Compilable) -> Equations:
    """Trace a cell's step.

    Raises:
        Untraceable: it is of no form that the engine runs; the message says why, in a line.
    """
    parts = take_apart(trace(cell.advance, cell, cell.input_size, cell.hidden_size, cell.state_widths))
    known = hashlib.sha256(parts.text(named=False).encode() + _sources())
    matrices, vectors = parts.statics()
    kernel = native.Kernel(
        f"kernel_{known.hexdigest()[:12]}", cell.input_size, cell.hidden_size, tuple(cell.state_widths),
        tuple(matrices), tuple(vectors),
    )  # fmt: skip
    return Equations(cell.title, parts, kernel)


@functools.cache
def _sources() -> bytes:
    """Return a hash of the compiler."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).digest()


_PLAIN = bool | int | float | str | None
_traced_with: weakref.WeakKeyDictionary[Compilable, dict[str, Any]] = weakref.WeakKeyDictionary()


def _is_fixed(kind: type) -> bool:
    """Tell whether steps of a class depend on nothing but tensors once it is made: this package's do."""
    return kind.__module__.partition(".")[0] == "cells"


def _mode(cell: Compilable) -> bool:
    """Tell whether a cell trains, as far as that matters: a step may drop units then."""
    return cell.training or _is_fixed(type(cell))


def _changed(cell: Compilable) -> str | None:
    """Name, in a line, an attribute of a cell that has changed since its step was traced: the kernel keeps the old
    value."""
    if _is_fixed(type(cell)):
        return None
    now = {
        name: value for name, value in vars(cell).items()
        if isinstance(value, _PLAIN) and name not in ("training", "backend") and not name.startswith("_")
    }  # fmt: skip
    before = _traced_with.setdefault(cell, now)
    for name, value in now.items():
        was = before.get(name, getattr(type(cell), name, value))
        if was is not value and was != value:
            return (
                f"{cell.title} has no kernel: its step was traced when {name} was {was!r}, and it is {value!r}; what "
                "changes should be a buffer, a tensor of one number"
            )
    return None


_found: weakref.WeakKeyDictionary[Compilable, dict[bool, native.Kernel | str]] = weakref.WeakKeyDictionary()


def _kernel_or_reason(cell: Compilable) -> native.Kernel | str:
    if (changed := _changed(cell)) is not None:
        return changed
    if _mode(cell) not in _found.get(cell, {}):
        prepare([cell])
    return _found[cell][_mode(cell)]


def kernel_of(cell: Compilable) -> native.Kernel | None:
    """Return a cell's kernel, built if need be; None if it has none here: `reason` says why."""
    kernel = _kernel_or_reason(cell)
    return None if isinstance(kernel, str) else kernel


def reason(cell: Compilable) -> str | None:
    """Return why a cell has no kernel, in a line; None if it has one."""
    kernel = _kernel_or_reason(cell)
    return kernel if isinstance(kernel, str) else None


def prepare(cells: Iterable[Compilable]) -> None:
    """Build the kernels that cells need and do not have, side by side."""
    traced: dict[Compilable, Equations] = {}

    def know(cell: Compilable, outcome: native.Kernel | str) -> None:
        _found.setdefault(cell, {})[_mode(cell)] = outcome

    every = itertools.chain.from_iterable((cell, *cell.companions()) for cell in cells)
    for cell in every:
        _changed(cell)  # which remembers what it is traced with
        try:
            traced[cell] = equations(cell)
        except Untraceable as error:
            know(cell, f"{cell.title} has no native kernel: {error}")
    if not traced:
        return
    if not (engine := native.library()).loaded:
        for cell in traced:
            know(cell, engine.reason or "no engine")
        return
    first = {step.kernel.name: (cell, step) for cell, step in traced.items()}
    outcomes: dict[str, str | None] = {}
    if len(first) == 1:  # here: a thread has memory of its own, of which a run may have little
        outcomes = {name: _loaded(pair) for name, pair in first.items()}
    else:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            outcomes = dict(zip(first, pool.map(_loaded, first.values()), strict=True))
    for cell, step in traced.items():
        outcome = outcomes[step.kernel.name]
        know(cell, step.kernel if outcome is None else outcome)


class Incomparable(Exception):
    """A comparison of a kernel with its step failed. Its reason, such as full memory, may pass: it is no verdict."""


def _refusal(compare: Callable[[], str | None]) -> str:
    """Compare a kernel with its step.

    Returns:
        Why the kernel is not used, in a line; nothing if it is.

    Raises:
        Incomparable: the comparison fails.
    """
    unused = "the kernel is not used, because"
    try:
        wrong = compare()
    except Exception as error:  # the step is the user's
        raise Incomparable(f"{unused} comparing it with its step fails: {build.one_line(error)}") from error
    return "" if wrong is None else f"{unused} {wrong}"


_one_at_a_time = threading.Lock()  # torch traces in one thread only


def _loaded(pair: tuple[Compilable, Equations]) -> str | None:
    """Load a kernel, building it first if need be.

    Returns:
        Why there is none; None if there is.
    """
    cell, step = pair
    verdict = step.folder / "verdict"  # empty, or why the kernel is not used

    def make(verdict: Path) -> None:
        source, path = step.folder / "kernel.cpp", step.folder / "kernel.so"
        try:
            if not path.exists():  # else it was built, but not compared
                with _one_at_a_time:
                    source.write_text(step.source())
                build.compile_kernel(source, path)
        except Untraceable as error:
            _write(verdict, str(error))
            return
        with _one_at_a_time:
            ctypes.CDLL(str(path))
            _write(verdict, _refusal(lambda: differs(step.kernel, step.parts, cell)))

    try:
        build.build_once(verdict, make, f"a native kernel for {step.title}, once")
        refusal = verdict.read_text()
        if not refusal:
            ctypes.CDLL(str(step.folder / "kernel.so"))
    except Incomparable as error:
        refusal = str(error)
    except (OSError, RuntimeError) as error:
        build.warn(refusal := build.one_line(error))
        return refusal
    return f"{step.title} has no native kernel: {refusal}" if refusal else None


_GpuKernel = tuple[native.Kernel, Any]  # and the generated module
_for_gpu: weakref.WeakKeyDictionary[Compilable, dict[bool, _GpuKernel | str]] = weakref.WeakKeyDictionary()


def run(cell: Compilable, backend: str, inputs: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Run a cell's kernel, "native" or "triton", which it must have: see `native.run`."""
    if backend == "native":
        kernel = kernel_of(cell)
        assert kernel is not None
        return native.run(kernel, cell, inputs, state)
    from cells import gpu  # which imports Triton

    kernel, module = _gpu_kernel(cell)
    return native.run(kernel, cell, inputs, state, functools.partial(gpu.call, module))


def _run_each_on_gpu(
    kernel: native.Kernel, module: Any, cells: Sequence[nn.Module], inputs: Sequence[Tensor]
) -> tuple[list[Tensor], Callable[[Sequence[Tensor | None]], None]]:
    from cells import gpu

    matrices, vectors = zip(*(kernel.parameters(cell) for cell in cells), strict=True)
    states = [[each.new_zeros(each.shape[1], kernel.hidden)] * sum(kernel.widths) for each in inputs]
    computed = [outputs for outputs, _ in gpu.call_each(module, kernel.hidden, inputs, states, matrices, vectors)]

    def differentiate(of_outputs: Sequence[Tensor | None]) -> None:
        pairs = [(each, of_each) for each, of_each in zip(computed, of_outputs, strict=True) if of_each is not None]
        torch.autograd.backward([each for each, _ in pairs], [of_each for _, of_each in pairs])

    return [each.detach().requires_grad_() for each in computed], differentiate


def _gpu_kernel(cell: Compilable) -> _GpuKernel:
    made = _for_gpu[cell][_mode(cell)]
    assert not isinstance(made, str)
    return made


def triton_reason(cell: Compilable) -> str | None:
    """Return why a cell has no kernels for GPUs, in a line; None if it has them. They are made, and checked, if need
    be, for which Triton must run here (`triton_runs`)."""
    if (changed := _changed(cell)) is not None:
        return changed
    made = _for_gpu.setdefault(cell, {})
    if _mode(cell) not in made:
        made[_mode(cell)] = _made_for_gpu(cell)
    outcome = made[_mode(cell)]
    return f"{cell.title} has no GPU kernel: {outcome}" if isinstance(outcome, str) else None


def _made_for_gpu(cell: Compilable) -> _GpuKernel | str:
    """Write a cell's module, unless it is there, and check the kernels that are made from it, once on such a device."""
    from cells import gpu  # which imports Triton

    try:
        step = equations(cell)
        path = step.folder / "gpu.py"
        if not path.exists():
            source = step.triton_source()
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, source)
        module = load_triton(path)
        verdict = path.with_name(f"gpu_{_checked_with(next(cell.parameters()).device)}")  # empty, or why it is not used
        if not verdict.exists():
            called = functools.partial(gpu.call, module)
            _write(verdict, _refusal(lambda: differs_on_gpu(step.kernel, cell, called)))
        return verdict.read_text() or (step.kernel, module)
    except (OSError, Untraceable, Incomparable) as error:
        return build.one_line(error)


@functools.cache
def load_triton(path: Path) -> Any:
    """Load a generated module: Triton reads the source of a function from its file."""
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checked_with(device: torch.device) -> str:
    """Return what a check of kernels holds for, as part of a file's name."""
    import triton

    from cells import fused, gpu

    where = "interpreter" if device.type == "cpu" else "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    versions = f"{triton.__version__} {torch.__version__}".encode()
    known = hashlib.sha256(versions + Path(fused.__file__).read_bytes() + Path(gpu.__file__).read_bytes())
    return f"{where}_{known.hexdigest()[:12]}"


def triton_runs(parameter: Tensor) -> bool:
    """Tell whether Triton can compute with a parameter: on a GPU that has TensorFloat-32, or on a CPU by its
    interpreter."""
    if parameter.is_cuda:
        device = torch.cuda.get_device_capability(parameter.device) >= (8, 0)
    else:
        device = parameter.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    return device and parameter.dtype in native.DTYPES and _has_triton()


@functools.cache
def _has_triton() -> bool:
    """Tell whether there is a Triton in which the kernels were tried."""
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 6)


def _write(path: Path, text: str) -> None:
    """Write a file that appears whole."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)
