"""From a cell's equations, as it states them in PyTorch, to a kernel that runs them over a sequence.

`trace` records one step, `program` takes it apart and differentiates it, `emit` writes C++, `check` holds the compiled
kernel to the step. A kernel is built once for its equations and kept beside the engine (`cells.native.build`), with its
source; cells with the same equations share it."""

import ctypes
import functools
import hashlib
import os
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from cells import native
from cells.compiler.check import differs
from cells.compiler.program import Parts, derive, take_apart
from cells.compiler.trace import Untraceable, trace
from cells.native import build

__all__ = ["Compilable", "Equations", "Untraceable", "equations", "kernel_of", "prepare", "reason"]

class Compilable(Protocol):
    """A module that the compiler can ask for its step."""

    input_size: int
    hidden_size: int

    @property
    def state_widths(self) -> list[int]:
        """The parts of its state, in units of H."""

    def advance(self, x_t: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Advance one step: x(t) (B, I) and the parts of the state, (B, width·H) each, to the output and new parts."""


@dataclass(frozen=True)
class Equations:
    """A cell's step, taken apart, and the kernel that is or could be built for it."""

    title: str
    parts: Parts
    kernel: native.Kernel

    @property
    def folder(self) -> Path:
        return build.folder() / self.kernel.name

    def source(self) -> str:
        """Return the kernel's C++.

        Raises:
            Untraceable: it computes something for which kernels have no function.
        """
        from cells.compiler.emit import emit

        return emit(derive(self.parts), self.title, self.kernel.name)


def equations(cell: Compilable) -> Equations:
    """Trace a cell's step.

    Raises:
        Untraceable: it is of no form that the engine runs; the message says why, in a line.
    """
    assert isinstance(cell, nn.Module)
    parts = take_apart(trace(cell.advance, cell, cell.input_size, cell.hidden_size, cell.state_widths))
    known = hashlib.sha256(parts.text(named=False).encode() + _sources())
    matrices, vectors = parts.statics()
    kernel = native.Kernel(
        f"kernel_{known.hexdigest()[:12]}", cell.input_size, cell.hidden_size, tuple(cell.state_widths),
        tuple(matrices), tuple(vectors),
    )  # fmt: skip
    return Equations(_title(cell), parts, kernel)


def _title(cell: Compilable) -> str:
    return str(getattr(cell, "title", type(cell).__name__))


@functools.cache
def _sources() -> bytes:
    """Return a hash of the compiler."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).digest()


_found: weakref.WeakKeyDictionary[nn.Module, native.Kernel | str] = weakref.WeakKeyDictionary()


def kernel_of(cell: Compilable) -> native.Kernel | None:
    """Return a cell's kernel, built if need be; None if it has none here: `reason` says why."""
    assert isinstance(cell, nn.Module)
    if cell not in _found:
        prepare([cell])
    found = _found[cell]
    return None if isinstance(found, str) else found


def reason(cell: Compilable) -> str | None:
    """Return why a cell has no kernel, in a line; None if it has one."""
    kernel_of(cell)
    found = _found[cell]  # type: ignore[index]
    return found if isinstance(found, str) else None


def prepare(cells: Iterable[Compilable]) -> None:
    """Build the kernels that cells need and do not have, side by side."""
    traced: dict[nn.Module, Equations] = {}
    for cell in cells:
        assert isinstance(cell, nn.Module)
        try:
            traced[cell] = equations(cell)
        except Untraceable as error:
            _found[cell] = f"{_title(cell)} has no native kernel: {error}"
    if not traced:
        return
    if not (engine := native.library()).loaded:
        _found.update(dict.fromkeys(traced, engine.reason or "no engine"))
        return
    first = {found.kernel.name: (cell, found) for cell, found in traced.items()}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        outcomes = dict(zip(first, pool.map(_loaded, first.values()), strict=True))
    for cell, found in traced.items():
        outcome = outcomes[found.kernel.name]
        _found[cell] = found.kernel if outcome is None else outcome


_one_at_a_time = threading.Lock()  # torch traces in one thread only


def _loaded(pair: tuple[Compilable, Equations]) -> str | None:
    """Load a kernel, building it first if need be.

    Returns:
        Why there is none; None if there is.
    """
    cell, found = pair
    verdict = found.folder / "verdict"  # empty, or why the kernel is not used

    def make(verdict: Path) -> None:
        source, path = found.folder / "kernel.cpp", found.folder / "kernel.so"
        try:
            with _one_at_a_time:
                source.write_text(found.source())
        except Untraceable as error:
            return _write(verdict, str(error))
        build.compile_kernel(source, path)
        with _one_at_a_time:
            ctypes.CDLL(str(path))
            wrong = differs(found.kernel, found.parts, cell, lambda module: module.advance)
        _write(verdict, "" if wrong is None else f"the kernel is not used, because {wrong}")

    try:
        build.build_once(verdict, make, f"a native kernel for {found.title}, once")
        refusal = verdict.read_text()
        if not refusal:
            ctypes.CDLL(str(found.folder / "kernel.so"))
    except (OSError, RuntimeError) as error:
        build.warn(refusal := build.one_line(error))
        return refusal
    return f"{found.title} has no native kernel: {refusal}" if refusal else None


def _write(path: Path, text: str) -> None:
    """Write a file that appears whole."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)
