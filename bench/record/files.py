"""Files on disk: written so that a reader, or a crash, never meets half of one; read without trusting them."""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


class Damaged(ValueError):
    """A file that is there and cannot be what was written. The message names it and says why, in one line."""


Fill = Callable[[Path], object]  # writes the content of a file that is to appear, into a temporary one
Write = Callable[[Path, Fill], None]  # has a file appear: `write_atomic`, or one that is fenced


def write_atomic(path: Path, fill: Fill, staging: Path | None = None, durable: bool = True) -> None:
    """Let `fill` write a temporary file, force it to disk, and rename it into place.

    Args:
        path: the file to appear or to be replaced; its folder exists.
        fill: called with the temporary file's path.
        staging: the folder of the temporary file, on the same file system; by default that of `path`.
        durable: whether to wait for the disk; without, a power failure may leave anything at `path`.

    Raises:
        OSError: as writing does; `path` is then as it was.
    """
    with naming(path):
        handle, name = tempfile.mkstemp(dir=staging or path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            fill(temporary)
            if durable:
                force_to_disk(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            force_to_disk(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError within name this file: the system does not say which one it could not write to."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def force_to_disk(opened: Path | int) -> None:
    """Return when a file's content, or a folder's entries, would survive a power failure."""
    handle = os.open(opened, os.O_RDONLY) if isinstance(opened, Path) else opened
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such thing for folders
            raise
    finally:
        if isinstance(opened, Path):
            os.close(handle)


def move(source: Path, target: Path) -> None:
    """Rename a folder, or copy it and remove it where `target` is on another disk, as what a link leads to may be."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(source, target)


def write_text_atomic(path: Path, text: str, write: Write = write_atomic) -> None:
    """Write `text` as UTF-8; see `write_atomic`."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def open_plain(path: Path, limit: int) -> BinaryIO:
    """Open a plain file for reading: no link is followed, no pipe waited for, nothing huge accepted.

    Raises:
        FileNotFoundError: nothing there.
        OSError: it cannot be read.
        Damaged: it is not a plain file, or larger than `limit` bytes.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise Damaged(f"{path}: is not a plain file") from error
        raise
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
        return file
    file.close()
    if stat.S_ISREG(status.st_mode):
        raise Damaged(f"{path}: has {status.st_size:,} bytes, more than any such file")
    raise Damaged(f"{path}: is not a plain file")


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a plain file; see `open_plain`."""
    with open_plain(path, limit) as file:
        # A buffer of the file's size, not of the limit's: what is appended meanwhile is left for the next reader.
        return file.read(min(os.fstat(file.fileno()).st_size, limit))


def to_json(value: dict[str, Any], indent: int | None = None) -> str:
    """Return strict JSON, which has no NaN and no infinity: they become null."""

    def finite(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: finite(child) for key, child in item.items()}
        if isinstance(item, list | tuple):
            return [finite(child) for child in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def parse_json(text: bytes, where: Path) -> dict[str, Any]:
    """Return the object that strict JSON holds.

    Raises:
        Damaged: it is not that: broken, nested too deep, with NaN, or no object.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{where}: is not JSON ({str(error).splitlines()[0][:100]})") from error
    if not isinstance(value, dict):
        raise Damaged(f"{where}: holds no JSON object")
    return value


def write_sealed(path: Path, value: dict[str, Any], write: Write = write_atomic, indent: int | None = 2) -> None:
    """Write an object as JSON with a checksum of itself, `sha256`, by which damage is noticed."""
    write_text_atomic(path, to_json({**value, "sha256": _seal(value)}, indent) + "\n", write)


def read_sealed(path: Path, limit: int, unsealed_format: int) -> dict[str, Any]:
    """Return an object written by `write_sealed`, without its checksum.

    Args:
        path: the file.
        limit: of its size in bytes.
        unsealed_format: the newest `format` that had no checksum yet.

    Raises:
        OSError: as `read_bytes`.
        Damaged: it is not what was written.
    """
    value = parse_json(read_bytes(path, limit), path)
    seal = value.pop("sha256", None)
    if seal is None and value.get("format", unsealed_format) in range(1, unsealed_format + 1):
        return value
    if seal != _seal(value):
        raise Damaged(f"{path}: its checksum does not match")
    return value


def _seal(value: dict[str, Any]) -> str:
    return digest(json.dumps(json.loads(to_json(value)), sort_keys=True, ensure_ascii=False).encode())


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
