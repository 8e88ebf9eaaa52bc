"""One writer for a folder, at any time: the process that entered it last.

A lease alone does not ensure that. A process can be suspended between a look at its lease and a write, for longer than
the lease lasts; another process has taken over when the write is done. A folder therefore holds a folder of its
writer's own, through which every write goes, and whoever enters moves all others' away, in one rename each. A late
write then fails, because the file that it would rename into place is gone, or it reaches a file that no longer has a
name. That needs no locks, only that renames are atomic, which network file systems ensure too."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

from bench.record.files import Fill, force_to_disk, naming, write_atomic


class LeaseLost(RuntimeError):
    """Another process has taken over what this one has been at, while this one was suspended."""


OWN = ".writer-"  # how a writer's own folder is called


class Fence:
    """What a process writes a folder through. Nothing is written before `enter`, nor after another one's.

    All methods raise OSError as writing does, and LeaseLost where another process has entered the folder since.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Path | None = None
        self._open: list[Appended] = []

    @property
    def own(self) -> Path:
        """This writer's own folder; it exists for as long as this is the writer."""
        assert self._own is not None, "writes before it has entered"
        return self._own

    @property
    def is_entered(self) -> bool:
        """Tell whether `enter` was called, and not yet `leave`."""
        return self._own is not None

    def enter(self) -> None:
        """Make the folder, if it is not there, and become its one writer."""
        with naming(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            own = self._own = self._folder / f"{OWN}{token_hex(8)}"
            own.mkdir()
            # Of two that enter at once, at least one sees the other: both made their own before they look.
            for other in left_by_writers(self._folder):
                if other != own:
                    with contextlib.suppress(FileNotFoundError):
                        other.rename(own / other.name)
                    shutil.rmtree(own / other.name, ignore_errors=True)
        if not own.is_dir():
            raise LeaseLost

    def leave(self) -> None:
        """Stop being the writer; what was half written goes."""
        for file in self._open:
            file.close()
        self._open = []
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        self._own = None

    def write(self, path: Path, fill: Fill, durable: bool = True) -> None:
        """Do as `write_atomic`."""
        with self.guarding(path):
            write_atomic(path, fill, self.own, durable)

    def remove(self, path: Path) -> None:
        """Remove what is at `path`, a file or a whole folder, if anything is. No link is followed."""
        gone = self.own / token_hex(8)
        with contextlib.suppress(FileNotFoundError), self.guarding(path):
            path.rename(gone)
        with contextlib.suppress(OSError):
            shutil.rmtree(gone) if gone.is_dir() and not gone.is_symlink() else gone.unlink(missing_ok=True)

    def append_to(self, path: Path, content: bytes = b"") -> "Appended":
        """Replace what is at `path` by a new file with this content, which only this writer can append to."""
        files: list[Appended] = []
        with self.guarding(path):
            try:
                write_atomic(path, lambda each: files.append(Appended(each, content)), self.own, durable=bool(content))
            finally:
                self._open += files
        return files[0]

    @contextlib.contextmanager
    def guarding(self, path: Path) -> Iterator[None]:
        """Let an OSError within name this file, or be LeaseLost if this process is no longer the writer."""
        try:
            with naming(path):
                yield
        except OSError as error:
            if self._folder.is_dir() and not self.own.is_dir():
                raise LeaseLost from error
            raise


class Appended:
    """A new file that is appended to, kept open: it stays the same file, whatever comes to have its name.

    It knows by its own count what is in it, so that what others do to the file is noticed."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._file = path.open("wb", buffering=0)
        self._known, self._bytes = hashlib.sha256(), 0
        self.append(content)

    def append(self, content: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: as writing does; a part of them may be in the file then.
        """
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        self._known.update(content)
        self._bytes += len(content)

    def force_to_disk(self) -> None:
        """Return when all that was appended would survive a power failure."""
        force_to_disk(self._file.fileno())

    def state(self) -> dict[str, Any]:
        """Return the length in bytes and the SHA-256 of all that was appended."""
        return {"bytes": self._bytes, "sha256": self._known.hexdigest()}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def left_by_writers(folder: Path) -> list[Path]:
    """Return the folders of their own that writers of a folder have, or left when they died."""
    with os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if entry.name.startswith(OWN)]
