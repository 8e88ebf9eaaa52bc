"""Runs under `faults.c`: a run that is stopped and resumed, with each of its file operations failing in turn.

    LD_PRELOAD=faults.so python -m tests.bench.faults FOLDER faults.so FIRST STRIDE

tries every STRIDE-th case. Prints a line of JSON for each: what was told, and whether afterwards the store was whole
and the run could be finished as if nothing had happened."""

import ctypes
import errno
import io
import json
import os
import shutil
import sys
import time
import traceback
from contextlib import redirect_stderr
from pathlib import Path

from bench.execute.run import run
from bench.record.errors import explain_os
from bench.record.frames import write_frames
from bench.record.layout import read_runs
from tests.bench.conftest import make_config
from tests.bench.test_resume import StopAfter, stored

# Error (0: a short write), and whether all later operations fail too: a disk that is full stays full.
KINDS = [(errno.ENOSPC, True), (errno.ENOSPC, False), (errno.EIO, False), (errno.EACCES, False), (0, False)]


def act(results: Path) -> str:
    """Do what is to be disturbed; returns what a user would read."""
    config = make_config(results, checkpoint={"steps": 6}, lengthen=[2])
    told = io.StringIO()
    with redirect_stderr(told):
        try:
            run(config, StopAfter(9))
            run(config)
            write_frames(results / "scratch")
        except OSError as error:
            print(f"error: {explain_os(error)}", file=sys.stderr)
    return told.getvalue()


def examine(results: Path, neighbour: tuple, whole: tuple) -> dict[str, object]:
    """Look at the store after a fault, and finish the run without one."""
    runs, wrong = read_runs(results / "scratch")
    intact = stored(make_config(results, seed=1)) == neighbour
    end = time.monotonic() + 100
    # A lease whose file could not be written is free again when it has not been touched for some time.
    while (result := run(make_config(results, lengthen=[2])))["status"] == "leased" and time.monotonic() < end:
        time.sleep(0.2)
    write_frames(results / "scratch")
    left = sorted(path.name for path in (results / "scratch" / "runs").glob("*/*"))
    return {
        "wrong": wrong,
        "runs": len(runs),
        "intact": intact,
        "status": result["status"],
        "same": stored(make_config(results)) == whole,
        "left": sorted(set(left)),
    }


def main() -> None:
    """Fork a process for each operation and kind of fault: all see the same program state."""
    folder = Path(sys.argv[1])
    faults = ctypes.CDLL(sys.argv[2])
    run(make_config(folder / "before", seed=1, lengthen=[2]))
    run(make_config(folder / "whole", lengthen=[2]))
    neighbour, whole = stored(make_config(folder / "before", seed=1)), stored(make_config(folder / "whole"))

    def attempt(n: int, code: int, forever: bool) -> dict[str, object]:
        results = folder / "results"
        shutil.rmtree(results, ignore_errors=True)
        shutil.copytree(folder / "before", results)
        faults.faults_arm(os.fsencode(results), n, code, int(forever))
        told = act(results)
        seen = faults.faults_seen()
        faults.faults_arm(b"", -1, 0, 0)
        return {"n": n, "code": code, "forever": forever, "seen": seen, "told": told} | examine(
            results, neighbour, whole
        )

    total = json.loads(forked(lambda: attempt(-1, 0, False)))["seen"]
    cases = [(n, code, forever) for n in range(1, total + 1) for code, forever in KINDS]
    for n, code, forever in cases[int(sys.argv[3]) :: int(sys.argv[4])]:
        print(forked(lambda n=n, code=code, forever=forever: attempt(n, code, forever)), flush=True)


def forked(call) -> str:  # type: ignore[no-untyped-def]
    """Return what a call finds, as JSON, from a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = json.dumps(call())
        except BaseException as error:
            text = json.dumps({"raised": "".join(traceback.format_exception(error))[-3000:]})
        os.write(writing, text.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


if __name__ == "__main__":
    main()
