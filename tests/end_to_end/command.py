"""Whole commands in processes of their own, and what they leave behind."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
SWEEP = (
    "-m", "name=k", "cell=lstm,gru", "task=adding", "seed=0,1", "task.length=20", "cell.hidden_size=32",
    "training.max_steps=1000", "timing=none", "tracking=none",
)  # fmt: skip
TIMES = ["seconds", "step_ms", "seconds_to_solve"]


def start(folder: Path, *arguments: str, python: Sequence[str] = ("-m", "bench")) -> subprocess.Popen[str]:
    """Start `python -m bench` in a process group of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *python, f"results_dir={folder}", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip


def finish(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run it to its end; returns what it said."""
    process = start(folder, *arguments)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    assert "Traceback" not in said, said
    return said


def tables(folder: Path, name: str = "k") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and curves of a sweep, without times and without what tells where they were made."""
    results = pd.read_parquet(folder / name / "results.parquet").drop(columns=[*TIMES, "environment"])
    return results, pd.read_parquet(folder / name / "curves.parquet").drop(columns="seconds")


def assert_same(one: Path, other: Path) -> None:
    for expected, found in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(found, expected)


def workers_of(folder: Path) -> list[int]:
    """The workers' processes of a command whose results go to `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"bench.execute.worker" in (process / "cmdline").read_bytes()
                and Path(os.readlink(process / "cwd")) == folder
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float = 300.0) -> None:  # for what hangs: a busy machine takes its time
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
