"""A process that has imported what runs need, and forks itself for each worker that is asked of it: a worker starts in
milliseconds, not seconds. Launchers import this module, so it imports nothing heavy."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from bench.startup import module_path

LONGEST_FOLDER = 60  # characters: a socket's path has room for some hundred


class Template:
    """The process, seen from the one that starts it and ends with it. Whoever knows its address may ask it for forks.

    Attributes:
        address: the path of the socket on which it listens.
    """

    def __init__(self, tool: str | None = None) -> None:
        """Start it.

        Args:
            tool: the one that runs are tracked by, which it imports too.
        """
        place = tempfile.gettempdir()
        place = place if len(place) <= LONGEST_FOLDER else "/tmp"
        self._folder = tempfile.mkdtemp(prefix="recurrent-bench-template-", dir=place)
        self.address = f"{self._folder}/template"
        # It must find the same modules as this process does, a user's own among them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(module_path())}
        self._life, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            numbers = [listener.fileno(), theirs.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bench.execute.worker", *map(str, numbers), self._folder, tool or ""],
                pass_fds=numbers,
                process_group=0,  # a terminal's Ctrl-C is for the command, which tells the worker
                env=environment,
                stdin=subprocess.DEVNULL,
            )

    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it; its forks live on."""
        self._process.kill()  # it has nothing to save, and may be importing torch
        self._process.wait()
        self._life.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Fork:
    """A worker's process.

    Attributes:
        connection: to it; it ends when this is closed.
        pid: its process id; None until it is known.
    """

    def __init__(self, address: str) -> None:
        """Ask a template for a fork, without waiting for it.

        Raises:
            OSError: there is no template at this address.
        """
        self.pid: int | None = None
        self.connection, theirs = Pipe()
        self._told, telling = Pipe(duplex=False)  # its pid, then its exit code
        with theirs, telling, socket.socket(socket.AF_UNIX) as request:
            request.connect(address)
            socket.send_fds(request, [b" "], [theirs.fileno(), telling.fileno()])

    def is_alive(self) -> bool:
        """Tell whether it has not ended, or not begun, as far as is known."""
        if self.pid is None and self._told.poll():
            self._receive()
        return not self._told.poll()

    def wait(self) -> int | None:
        """Return its exit code, or minus the signal, once it has ended; None if its template ended before."""
        if self.pid is None:
            self._receive()
        return self._receive()

    def _receive(self) -> int | None:
        try:
            number: int = self._told.recv()
        except (EOFError, OSError):
            return None
        if self.pid is None:
            self.pid = number
        return number


def fork_when_asked(listener: socket.socket, life: socket.socket, folder: str) -> Connection:
    """Be a template: fork for everyone who asks, tell them how their forks ended, and end when `life` does. Returns in
    forks only, with the connection to who asked.

    Args:
        listener: takes requests.
        life: the connection to who started this process.
        folder: the listener's, which is removed at the end.
    """
    telling: dict[int, Connection] = {}  # by pid of those that live, where their ends are told
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing is written to the pipe
    while True:
        ready = wait([listener, life, awake])
        if life in ready:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)
        if awake in ready:
            os.read(awake, 4096)
            _tell_ends(telling)
        if listener not in ready:
            continue
        request, _ = listener.accept()
        with request:
            _, numbers, _, _ = socket.recv_fds(request, 1, 2)
        if len(numbers) < 2:  # who asked has died
            continue
        connection, told = Connection(numbers[0]), Connection(numbers[1], readable=False)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forking beside threads, which
            try:  # wait for work here: those of libraries that expect it
                pid = os.fork()
            except OSError:  # the connections close, which tells who asked
                connection.close()
                told.close()
                continue
        if pid == 0:
            break
        connection.close()
        telling[pid] = told
        with contextlib.suppress(OSError):
            told.send(pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener.close()
    life.close()
    for each in (told, *telling.values()):
        each.close()
    for number in (awake, wake):
        os.close(number)
    os.setpgid(0, 0)
    return connection


def _tell_ends(telling: dict[int, Connection]) -> None:
    """Tell those whose forks have ended how."""
    while telling:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with telling.pop(pid) as told, contextlib.suppress(OSError):  # nobody may be left to be told
            told.send(os.waitstatus_to_exitcode(status))
