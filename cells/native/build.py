"""The compiled kernels: where they are kept, how they are built, and why there are none if there are none.

The library is built once for a version of its source, of torch and of the processor, with torch's own
extension loader, in torch's own folder for extensions (`TORCH_EXTENSIONS_DIR`, by default
~/.cache/torch_extensions)."""

import contextlib
import ctypes
import functools
import hashlib
import io
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

SOURCES = Path(__file__).parent
FLAGS = [
    "-std=c++20",  # which torch itself asks for only from 2.13 on
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-fopenmp",
    "-Wno-ignored-attributes",
]
REMEMBERED = 3600  # seconds that a failed build is not tried again: its reason may pass, such as a full disk


class NativeUnavailable(RuntimeWarning):
    """The compiled kernels cannot be had; the next backend is used instead."""


@dataclass(frozen=True)
class Library:
    """Whether the compiled kernels are loaded, and if not, why."""

    loaded: bool
    reason: str | None = None


@functools.cache
def library() -> Library:
    """Load the engine that all kernels share, building it first if need be. The first failure of a process is a
    warning."""
    try:
        path = folder() / "recurrent_bench.so"
        build_once(path, _build, "the engine of native kernels, once, half a minute")
        torch.ops.load_library(str(path))
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)  # kernels call its functions
    except (OSError, RuntimeError, ImportError, subprocess.SubprocessError) as error:
        reason = one_line(error)
        warn(reason)
        return Library(False, reason)
    return Library(True)


@functools.cache
def warn(reason: str) -> None:
    """Say, once in a process, why there are no kernels."""
    warnings.warn(f"no native kernels: {reason}; other backends are used", NativeUnavailable, stacklevel=3)


def one_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def folder() -> Path:
    """Return where the compiled engine and its kernels are kept."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions"
    return Path(root) / f"recurrent_bench_{_key()}"


def _key() -> str:
    """Return a hash of all that the compiled engine depends on, the processor's instructions included: a home
    folder may be shared between machines."""
    known = hashlib.sha256("\n".join([torch.__version__, platform.machine(), *FLAGS]).encode())
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known.update(next((line for line in lines if line.startswith(("flags", "Features"))), "").encode())
    for path in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")]):
        known.update(path.name.encode() + path.read_bytes())
    return known.hexdigest()[:12]


def build_once(path: Path, build: Callable[[Path], None], what: str) -> None:
    """Build a file in a folder of its own, or wait for the process that does.

    Args:
        path: the file; there when it is built.
        build: makes it, whole or not at all.
        what: is built, for the user, who waits.

    Raises:
        OSError: the folder cannot be written.
        RuntimeError: no compiler, or it fails.
    """
    if path.exists():
        return
    compiler = _compiler()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent / "lock"):
        if path.exists():
            return
        failed = path.parent / "failed"
        if (
            failed.exists()
            and failed.read_text().startswith(compiler)
            and time.time() - failed.stat().st_mtime < REMEMBERED
        ):
            raise RuntimeError(f"an earlier build failed, see {failed} (delete it to try again now)")
        print(f"building {what} …", file=sys.stderr, flush=True)
        try:
            build(path)
        except (RuntimeError, ImportError, subprocess.SubprocessError) as error:
            failed.write_text(f"{compiler}\n{error}")
            raise RuntimeError(f"the build failed, see {failed}") from error
        failed.unlink(missing_ok=True)


def compile_kernel(source: Path, path: Path) -> None:
    """Compile a kernel against the engine.

    Raises:
        RuntimeError: the compiler fails; with what it says.
    """
    link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    command = [os.environ.get("CXX", "c++"), *FLAGS, "-shared", "-fPIC", *link, f"-I{SOURCES}", str(source)]
    with tempfile.TemporaryDirectory(dir=path.parent) as made:
        built = Path(made) / path.name
        done = subprocess.run([*command, "-o", str(built)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr or f"{command[0]} ends with {done.returncode}")
        built.replace(path)


def _compiler() -> str:
    """Return the first line that the C++ compiler says of itself.

    Raises:
        RuntimeError: there is none.
    """
    name = os.environ.get("CXX", "c++")
    if shutil.which(name) is None:
        raise RuntimeError(f"no C++ compiler ({name})")
    return subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that the system takes back from a process that dies."""
    import fcntl

    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(path: Path) -> None:
    import ninja  # its command must be found by torch's loader, also outside an activated environment

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that a GPU is missing is no matter here
    from torch.utils import cpp_extension

    with tempfile.TemporaryDirectory(dir=path.parent) as folder, contextlib.redirect_stdout(io.StringIO()):
        before = os.environ["PATH"]
        os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, before])
        try:
            cpp_extension.load(
                "recurrent_bench",
                [str(source) for source in sorted(SOURCES.glob("*.cpp"))],
                extra_cflags=FLAGS,
                extra_ldflags=["-fopenmp"],
                build_directory=folder,
                is_python_module=False,
            )
        finally:
            os.environ["PATH"] = before
        (Path(folder) / "recurrent_bench.so").replace(path)  # appears whole or not at all
