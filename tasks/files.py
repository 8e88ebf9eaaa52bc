"""Data files: that they are there, and what is in them, by a digest."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

MOST_BYTES = 4 << 30  # of a file, and of what it unpacks to
IMAGES = "idx3-ubyte"  # in the names of files of images, as MNIST has them


def files_of(path: str) -> list[str]:
    """Return the files that are read where one is named: beside images of the IDX format, their labels."""
    name = Path(path).name
    labels = name.replace("images", "labels").replace(IMAGES, "idx1-ubyte")
    return [path, str(Path(path).with_name(labels))] if IMAGES in name else [path]


def content_of(paths: Sequence[str]) -> str:
    """Return the first 16 hex digits of the SHA-256 of files' contents.

    Raises:
        ValueError: one cannot be read.
    """
    known = hashlib.sha256()
    for path in (each for named in paths for each in files_of(named)):
        about = checked_file(path).stat()
        known.update(_digest(path, about.st_size, about.st_mtime_ns))
    return known.hexdigest()[:16]


@functools.lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> bytes:
    """Return the SHA-256 of a file, told by size and time of its last change."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def checked_file(path: str) -> Path:
    """Return the path of a file that is there and not too large.

    Raises:
        ValueError: it is not.
    """
    found = Path(path)
    try:
        if not found.is_file():
            raise ValueError(f"{path}: no such file")
        size = found.stat().st_size
        with found.open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MOST_BYTES:
        raise ValueError(f"{path}: is larger than {MOST_BYTES >> 30} GiB")
    return found
