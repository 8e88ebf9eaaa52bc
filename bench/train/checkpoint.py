"""Checkpoints of an unfinished run: when one is due, how it is written, and how it is read without trusting it."""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import torch

from bench.record.files import Damaged, Write, open_plain, write_atomic
from bench.spec.config import Checkpoint
from bench.train.process import is_out_of_memory

MAX_SHARE = 0.01  # of the time, at most, goes into checkpoints, whatever the interval
LIMIT_BYTES = 64 << 30


class Schedule:
    """Tells when a checkpoint is due: every so many steps or seconds, but less often where each takes long."""

    def __init__(self, settings: Checkpoint) -> None:
        self._settings = settings
        self._last = perf_counter()
        self._cost = 0.0

    def is_due(self, step: int, sharing: int = 1) -> bool:
        """Tell whether it is time, `step` steps having been taken; `sharing` runs have this process to themselves, each
        of which takes that many times as long as alone."""
        steps, seconds = self._settings.steps, self._settings.seconds
        if steps is not None and step % steps == 0:
            return True
        if seconds is None:
            return False
        return perf_counter() - self._last >= sharing * max(seconds, self._cost / MAX_SHARE)

    def wrote(self, cost: float) -> None:
        """Take note of a checkpoint, or of an attempt at one, that took `cost` seconds."""
        self._cost, self._last = cost, perf_counter()


def write_checkpoint(path: Path, state: dict[str, Any], write: Write = write_atomic) -> None:
    """Write a state of tensors and plain values, atomically, with a checksum of it by which damage is noticed.

    Raises:
        OSError: it cannot be written; the one of before is still there.
    """

    # By way of memory, because torch tells of a full disk no more than that something went wrong.
    content = io.BytesIO()
    torch.save({"state": state, "sha256": _digest(state)}, content)
    write(path, lambda temporary: temporary.write_bytes(content.getbuffer()))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint, on the CPU. Nothing in it is executed.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        MemoryError: memory does not suffice; nothing is wrong with the file.
        Damaged: it is not what was written.
    """
    with open_plain(path, LIMIT_BYTES) as file:
        stored = load_plain(file, path)
    try:
        state = stored["state"] if stored["sha256"] == _digest(stored["state"]) else None
    except (KeyError, TypeError) as error:
        raise Damaged(f"{path}: cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise Damaged(f"{path}: its checksum does not match")
    return state


def load_plain(file: IO[bytes], path: Path) -> Any:
    """Return the tensors and plain values in a file of `torch.save`, on the CPU. Nothing in it is executed.

    Raises:
        MemoryError: memory does not suffice; nothing is wrong with the file.
        Damaged: it is no such file; the message names `path`.
    """
    with warnings.catch_warnings(action="ignore"):
        try:
            with zipfile.ZipFile(file) as archive:  # torch does not compress: nothing here grows when it is read
                if any(item.compress_type for item in archive.infolist()):
                    raise Damaged(f"{path}: is compressed")
                if archive.testzip() is not None:  # else what is damaged may look like more than memory holds
                    raise Damaged(f"{path}: its checksum does not match")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except Damaged:
            raise
        except Exception as error:  # whatever zip and unpickling make of garbage
            if is_out_of_memory(error):
                raise MemoryError(f"{path}: memory does not suffice to read it") from error
            raise Damaged(f"{path}: cannot be read ({type(error).__name__})") from error


def _digest(state: dict[str, Any]) -> str:
    """Return a hash of all tensors and values in a state."""
    known = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            known.update(f"{item.dtype}{list(item.shape)}".encode())
            known.update(item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(item, dict):
            for key, value in item.items():
                known.update(repr(key).encode())
                add(value)
        elif isinstance(item, list | tuple):
            known.update(f"[{len(item)}".encode())
            for value in item:
                add(value)
        else:
            known.update(repr(item).encode())

    add(state)
    return known.hexdigest()
