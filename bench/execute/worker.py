"""The process in which runs are executed: it answers one request after another, until whoever asks is gone.

It is forked from a template: a process that has imported torch and whatever else is slow to import."""

import contextlib
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from bench.execute.apart import ASKED_TO_END
from bench.execute.template import fork_when_asked
from bench.session import is_stopping, working
from bench.startup import importing, prepare_streams

HEEDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # Slurm's warning before it ends a job, too
GRACE_SECONDS = 120.0  # for the step under way when whoever asked for it is gone


def _serve(connection: Connection) -> None:
    """Answer requests until there are no more, or it is asked to end."""
    stop = threading.Event()
    inbox: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def on_signal(*_: Any) -> None:
        stop.set()
        inbox.put(None)

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                inbox.put(connection.recv())
        on_signal()
        time.sleep(GRACE_SECONDS)
        os._exit(1)

    for number in HEEDED:
        signal.signal(number, on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)
    threading.Thread(target=listen, daemon=True).start()
    while (request := inbox.get()) is not None:
        answer = _call(request) if "call" in request else {"answers": _answers(request, stop)}
        with contextlib.suppress(OSError):
            connection.send(answer)


def _call(request: dict[str, Any]) -> dict[str, Any]:
    """Call a function that `apart` would have called in this process."""
    from bench.record.errors import ConfigError, one_line

    module, name = request["call"]
    try:
        return {"value": getattr(import_module(module), name)(*request["arguments"])}
    except ConfigError as error:
        return {"error": ConfigError(str(error))}
    except (Exception, SystemExit) as error:
        return {"error": RuntimeError(one_line(error))}


def _answers(request: dict[str, Any], stop: threading.Event) -> list[dict[str, Any]]:
    """Take the runs that are asked for; whatever goes wrong in one is an answer too."""
    from bench.execute.cohort import run_cohort
    from bench.execute.run import store_failure
    from bench.record.errors import explain_os, one_line
    from bench.spec.checks import from_plain

    try:
        with working():
            if is_stopping():
                return [{"status": "interrupted"}]
            configs = [from_plain({**request["settings"], "seed": seed}) for seed in request["seeds"]]
            if request.get("give_up"):
                answers = [store_failure(config, request["died"]) for config in configs]
            else:
                answers = run_cohort(configs, request["share"], request["sole"], stop.is_set)
    except OSError as error:
        return [{"status": "unstored", "error": f"cannot store results: {explain_os(error)}"}]
    except Exception as error:
        return [{"status": "unstored", "error": one_line(error)}]
    return [
        {**answer, "status": "unstored", "error": f"{answer['run_id']}: its probes are not made"}
        if answer.get("unprobed")
        else {key: answer[key] for key in ("run_id", "status", "error") if key in answer}
        for answer in answers
    ]


def _import_ahead(folder: str, tool: str) -> None:
    """Import what runs need, and what the tool does by which they are tracked, if there is one. W&B makes temporary
    folders as it is imported: they go into the given one, which this process removes."""
    tempfile.tempdir = folder
    with importing(), contextlib.suppress(Exception):  # which the first request will raise again
        import_module("bench.execute.cohort")
        if tool:
            import_module(f"bench.track.{tool}")
    tempfile.tempdir = None


def main() -> None:
    """Be a template, and in its forks a worker. `sys.argv` has the numbers of a listening socket and of the connection
    to who started this process, the socket's folder, and the tool by which runs are tracked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)  # they are for workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_streams()
    listener, life = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for each in (listener, life):
        each.set_inheritable(False)
    _import_ahead(sys.argv[3], sys.argv[4])
    _serve(fork_when_asked(listener, life, sys.argv[3]))
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()
    sys.stdout.flush()
    os._exit(ASKED_TO_END)  # all is stored; Python would take a second to take torch apart, for which the command waits


if __name__ == "__main__":
    main()
