"""Who works on what, among all processes that share a sweep's folder, on one machine or on many.

A lease is a file in <sweep>/leases/ that its owner keeps fresh. The lease of a process that died on this machine can
be taken at once, that of a machine that fell silent after `LEASE_SECONDS`. It is filelock's `SoftFileLease`, which
needs no more of a file system than that a file can be created exclusively."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from bench.record.files import naming

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 3.0
POLL_SECONDS = 1.0


class Lease:
    """A lease on one thing in a sweep, e.g. on a run."""

    def __init__(self, sweep: Path, name: str) -> None:
        self._path = sweep / "leases" / name
        self._lease = SoftFileLease(
            self._path, lease_duration=LEASE_SECONDS, heartbeat_interval=HEARTBEAT_SECONDS, thread_local=False
        )
        self._seen: tuple[object, float] = (None, 0.0)  # what its file looked like, and since when

    def acquire(self) -> bool:
        """Take it if nobody living has it. Asked again and again, this notices when its owner has died.

        Raises:
            OSError: the folder cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A second look at once: where a dead owner's file cannot be exchanged, the first one only removes it.
            with naming(self._path):
                self._lease.acquire(timeout=0.02, poll_interval=0.01)
        except (Timeout, LeaseSettingsMismatch):
            self._clear_if_abandoned()
            return False
        return True

    def _clear_if_abandoned(self) -> None:
        """Remove a file that says nothing and that nobody keeps fresh: its owner died over it before it could write
        its name, or it was damaged. filelock leaves those alone."""
        try:
            stat = self._path.lstat()
        except OSError:
            return
        looks, now = (stat.st_mtime_ns, stat.st_ino, stat.st_size), time.monotonic()
        if looks != self._seen[0]:
            self._seen = looks, now
        elif now - self._seen[1] > 2 * LEASE_SECONDS:
            self._lease.force_break()

    def is_free(self) -> bool:
        """Tell whether nobody living has it; that of the dead is removed."""
        if taken := self.acquire():
            self.release()
        return taken

    def is_held(self) -> bool:
        """Tell whether it is still ours: a process that was suspended may find that it has lost it."""
        return self._lease.is_locked and self._lease.compromise is None and self._lease.is_lock_held_by_us

    def is_local(self) -> bool:
        """Tell whether somebody on this machine has it."""
        owner = self._lease.owner
        return owner is not None and owner.hostname.partition("?")[0] == os.uname().nodename

    def release(self) -> None:
        """Give it back, if it is ours."""
        # A folder that vanished or cannot be written: the lease ends with this process.
        with contextlib.suppress(OSError):
            self._lease.release()


@contextlib.contextmanager
def holding(sweep: Path, name: str) -> Iterator[Lease | None]:
    """Hold a lease to the end of the block; yields None if somebody living has it.

    Raises:
        OSError: the folder cannot be written.
    """
    lease = Lease(sweep, name)
    taken = lease.acquire()
    try:
        yield lease if taken else None
    finally:
        if taken:
            lease.release()


@contextlib.contextmanager
def alone(sweep: Path, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Do something that one process at a time must do; another one waits.

    Args:
        sweep: the sweep's folder.
        name: what it is called there.
        on_wait: called once if there is to be waited.
    """
    lease = Lease(sweep, name)
    if not lease.acquire():
        on_wait()
        while not lease.acquire():
            time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lease.release()


def is_leased(sweep: Path, name: str) -> bool:
    """Tell whether there is a lease on something in a sweep, be it of a dead owner."""
    return (sweep / "leases" / name).exists()


def leased(sweep: Path) -> list[str]:
    """Return the names of all leases on things in a sweep, those of dead owners too."""
    try:
        return sorted(path.name for path in (sweep / "leases").iterdir() if ".break." not in path.name)
    except OSError:
        return []
