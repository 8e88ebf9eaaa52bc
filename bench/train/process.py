"""Settings of the process that trains or measures: threads and memory allocator; and what machine it runs on."""

import contextlib
import ctypes
import functools
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.spec.config import Execution
from bench.version import __version__
from cells import native

# glibc's mallopt parameters. By default glibc maps and unmaps every large tensor, and the page faults
# cost torch.nn.LSTM up to a third of its time on virtual machines; these keep the memory instead.
_TUNED = {-3: 1 << 30, -1: (1 << 31) - 1, -2: 256 << 20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


def configure_process(execution: Execution) -> str:
    """Set torch's threads and GPU, and the allocator of this process, which stays tuned once it is.

    Returns:
        The allocator in effect: "tuned", or "system" also where glibc is missing.
    """
    torch.set_num_threads(execution.threads)
    # The sweep says once that there are no native kernels, and results and report say it again.
    warnings.simplefilter("ignore", native.NativeUnavailable)
    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32, and is comparable between backends
        if ":" in execution.device:  # what a run is specified by is just "cuda"
            torch.cuda.set_device(execution.device)
    return "tuned" if execution.allocator == "tuned" and _tune_malloc() else "system"


@contextlib.contextmanager
def limited_memory(gib: float | None) -> Iterator[None]:
    """Let allocations of this process fail beyond `gib` GiB, rather than have the system kill some process. Where
    several blocks overlap, the limit of the first stands until the last ends."""
    import resource

    if not _limiting:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if gib is not None:
            limit = round(gib * 2**30)
            resource.setrlimit(
                resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
            )
        _limiting.append((soft, hard))
    else:
        _limiting.append(_limiting[-1])
    try:
        yield
    finally:
        before = _limiting.pop()
        if not _limiting:
            resource.setrlimit(resource.RLIMIT_DATA, before)


_limiting: list[tuple[int, int]] = []  # an entry a block of `limited_memory`: the limit before all of them


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on a GPU or a CPU."""
    told = ("can't allocate memory", "bad_alloc", "Cannot allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in told)
    )


@functools.cache
def _tune_malloc() -> bool:
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    accepted = [mallopt(parameter, value) == 1 for parameter, value in _TUNED.items()]
    return all(accepted)


def emulates_bfloat16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 by way of float32, which is no faster."""
    if torch.device(device).type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    return not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def engine_failure() -> str | None:
    """Make the engine of compiled kernels ready, for runs on the CPU; return why it cannot be had, if it cannot."""
    with warnings.catch_warnings(action="ignore", category=native.NativeUnavailable):
        return native.library().reason


def memory_limit(execution: Execution) -> float | None:
    """Return the GiB that a run may have. A GPU's driver reserves far more addresses than it uses memory."""
    if execution.memory_gb is None and execution.device == "cpu":
        return memory_bytes() / 2**30
    return execution.memory_gb


def memory_bytes() -> int:
    """Return the memory in bytes that this machine, or the container that this process is in, may use."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [physical]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int(Path(path).read_text()))
    return min(limits)


@functools.cache
def environment(device: str) -> dict[str, Any]:
    """Return what a result's times and last digits may depend on: versions, hardware, commit."""
    packages = ("torch", "numpy", "hydra-core", "wandb", "pandas")
    facts = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_bytes() / 2**30, 1),
        "git_commit": _git_commit(),
        "native_kernels": _native_kernels(device),
        **{f"version_{name}": version(name) for name in packages},
        "version_recurrent-bench": __version__,
    }
    if device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
        facts["cudnn"] = torch.backends.cudnn.version()
        with contextlib.suppress(ImportError):
            facts["triton"] = import_module("triton").__version__
    return facts


def _native_kernels(device: str) -> str | None:
    if device != "cpu":
        return None
    reason = engine_failure()
    return "none: " + reason if reason else native.instructions()


def _cpu_name() -> str:
    """Return the processor's name and what torch takes it for; virtual machines give many generations one name, which
    family and model tell apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = said.get("model name") or platform.processor() or "unknown"
    generation = (
        f", family {said['cpu family']} model {said['model']}" if {"cpu family", "model"} <= said.keys() else ""
    )
    return f"{name}{generation} ({torch.backends.cpu.get_cpu_capability()})"


def _git_commit() -> str | None:
    """Return the commit of the code that runs, with "+" if the checkout differs from it; None outside one."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit, changes = git("rev-parse", "--short=10", "HEAD"), git("status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def command_line() -> str:
    """Return the command that started this process, as a user would type it again."""
    import shlex

    return shlex.join(["python", "-m", "bench", *sys.argv[1:]])
