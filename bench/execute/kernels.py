"""The compiled kernels of a sweep's cells, made ready before anything is trained or measured."""

import contextlib
import json
import warnings
from collections.abc import Sequence

import torch

from bench.execute.apart import Worker
from bench.execute.plan import Plan
from bench.spec.config import RunSpec
from bench.spec.targets import is_built_in
from bench.train.model import make_model, make_task
from bench.train.process import emulates_bfloat16, engine_failure
from cells import compiler, native

SIZES = ("name", "hidden_size")  # settings of a cell on which its kernel does not depend


def prepare_kernels(plan: Plan, worker: Worker) -> list[str]:
    """Build the kernels that the plan's runs may use, side by side, those of users' classes in the worker's process.

    Returns:
        What there is to say of cells without a kernel, in lines.
    """
    device = plan.first.execution.device
    if plan.first.run.is_mixed:
        emulated = emulates_bfloat16(device)
        return [f"dtype=bfloat16: {device} emulates it here, which takes longer than float32"] if emulated else []
    if device != "cpu":
        return []
    if (reason := engine_failure()) is not None:
        return [f"no native kernels ({reason}); cells use their next backend"]
    specs: dict[str, RunSpec] = {}
    for config in (*plan.configs.values(), *plan.timed.values()):
        settings = {key: value for key, value in config.run.cell.items() if key not in SIZES}
        specs.setdefault(json.dumps(settings, sort_keys=True, default=str), config.run)
    ours = {key: spec for key, spec in specs.items() if is_built_in(str(spec.cell["_target_"]))}
    said = build_kernels(list(ours.values()))
    for key, spec in specs.items():
        if key not in ours:
            with contextlib.suppress(Exception):  # its runs will say so too
                said += worker.call(spec, build_kernels, [spec])
    return [f"{reason}; its next backend is used" for reason in dict.fromkeys(said)]


def build_kernels(specs: Sequence[RunSpec]) -> list[str]:
    """Build the kernels of cells that runs are specified by; return why cells have none."""
    cells: list[compiler.Compilable] = []
    for spec in specs:
        with contextlib.suppress(Exception), torch.random.fork_rng(devices=()):  # its run will say so too
            model = make_model(spec, make_task(spec))
            cells += [
                cell
                for cell in model.modules()
                if isinstance(cell, compiler.Compilable) and getattr(cell, "backend", "auto") in ("auto", "native")
            ]
    with warnings.catch_warnings(action="ignore", category=native.NativeUnavailable):
        compiler.prepare(cells)
        return [reason for reason in map(compiler.reason, cells) if reason is not None]
