"""Sweeps that are stopped, killed, run twice at once or lose a worker: nothing is lost, doubled or changed."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.command import SWEEP, assert_same, finish, start, wait_for, workers_of
from tests.end_to_end.forks import Forks


@pytest.mark.parametrize("launch", ["serial", "parallel"])
def test_a_sweep_killed_at_random_moments_ends_as_one_that_was_not(
    tmp_path: Path, whole: Path, forks: Forks, launch: str
):
    moments = random.Random(launch)
    # The command alone, then all its processes at once: as the system kills, and as a machine that fails.
    for kill in (os.kill, os.killpg):
        process = start(tmp_path, *SWEEP, f"+launch={launch}")
        wait_for(lambda: list(tmp_path.glob("k/runs/*")))
        try:
            process.wait(moments.uniform(0, 3))
        except subprocess.TimeoutExpired:
            kill(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
    said = continued(forks, tmp_path)
    assert "set aside" not in said
    assert_same(whole, tmp_path)
    wait_for(lambda: not workers_of(tmp_path))
    assert list((tmp_path / "k" / "leases").iterdir()) == []


def continued(forks: Forks, folder: Path) -> str:
    """Give the sweep's command again, in a fork, and return what it said."""
    done = forks.run(folder, f"results_dir={folder}", *SWEEP, "+launch=serial")
    return done.stdout + done.stderr


@pytest.mark.parametrize(("launch", "name"), [("serial", "SIGTERM"), ("parallel", "SIGINT")])
def test_asked_to_stop_it_saves_and_says_how_to_continue(
    tmp_path: Path, whole: Path, forks: Forks, launch: str, name: str
):
    process = start(tmp_path, *SWEEP, f"+launch={launch}", "checkpoint=none")
    number = signal.Signals[name]
    wait_for(lambda: list(tmp_path.glob("k/runs/*/metrics.jsonl")))
    time.sleep(0.5)
    if launch == "parallel" and name == "SIGINT":
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said, said
    assert "stopping: finishing the current steps and saving" in said
    assert f"The same command continues:\n  python -m bench results_dir={tmp_path} -m name=k cell=lstm,gru" in said
    assert workers_of(tmp_path) == []
    assert list((tmp_path / "k" / "leases").iterdir()) == []
    saved = list(tmp_path.glob("k/runs/*/checkpoint.pt"))
    finished = list(tmp_path.glob("k/runs/*/result.json"))
    assert saved or finished
    assert len(list(tmp_path.glob("k/runs/*"))) == len(saved) + len(finished)  # whatever had begun is kept
    continued(forks, tmp_path)
    assert_same(whole, tmp_path)


def test_asked_twice_it_stops_at_once_and_loses_nothing_finished(tmp_path: Path):
    slow = ["cell=lstm", "task.length=3000", "training.batch_size=64", "training.evaluate_every=1"]
    process = start(tmp_path, "name=k", "task=adding", "tracking=none", *slow)
    wait_for(lambda: list(tmp_path.glob("k/runs/*/metrics.jsonl")))
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    wait_for(lambda: not workers_of(tmp_path))


def test_runs_of_a_command_that_was_killed_are_taken_over(tmp_path: Path, whole: Path):
    """One command is killed while another one, that came later, waits for its run."""
    first = start(tmp_path, *SWEEP, "+launch=serial")
    wait_for(lambda: list(tmp_path.glob("k/leases/*")))
    second = start(tmp_path, *SWEEP, "+launch=serial")
    time.sleep(2)
    for pid in [first.pid, *workers_of(tmp_path)]:
        os.kill(pid, signal.SIGKILL)
    said, _ = second.communicate(timeout=300)
    first.communicate()
    if second.returncode:  # its own worker was among those killed, twice: impossible, they are killed once
        pytest.fail(said)
    assert_same(whole, tmp_path)


def test_seeds_are_added_alike_however_often_a_command_is_killed_and_however_many_there_are(
    tmp_path: Path, forks: Forks
):
    """Two commands at once divide the runs, and the times are measured by one of them."""
    auto = [
        "-m", "name=k", "cell=lstm,peephole_lstm", "task=adding", "seed=range(6)", "seeds=auto", "task.length=8",
        "cell.hidden_size=8", "training.max_steps=300", "training.evaluate_every=20", "tracking=none",
    ]  # fmt: skip
    forks.run(tmp_path, f"results_dir={tmp_path / 'whole'}", *auto, "timing=none", "+launch=serial")
    assert len(list(tmp_path.glob("whole/k/runs/*"))) > 2 * 5  # more than the first look
    process = start(tmp_path / "killed", *auto, "timing.rounds=2", "+launch=serial")
    wait_for(lambda: len(list(tmp_path.glob("killed/k/runs/*/result.json"))) >= 8)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    two = [
        start(tmp_path / "killed", *auto, "timing.rounds=2", f"+launch={launch}") for launch in ("serial", "parallel")
    ]
    said = [process.communicate(timeout=300)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    assert not any("Traceback" in text for text in said)
    assert_same(tmp_path / "whole", tmp_path / "killed")
    killed = tmp_path / "killed" / "k"
    assert (tmp_path / "whole" / "k" / "looks.json").read_text() == (killed / "looks.json").read_text()
    assert list((killed / "set_aside").glob("*")) == []
    timing = pd.read_parquet(killed / "timing.parquet")
    assert (timing[timing["quantity"] == "training_step"].groupby("case").size() == 2).all()  # measured once


def test_workers_of_a_killed_command_begin_no_more_runs(tmp_path: Path):
    many = [*SWEEP, "seed=range(0,100)", "task.length=5", "training.max_steps=200", "+launch=parallel"]
    process = start(tmp_path, *many)
    wait_for(lambda: len(list(tmp_path.glob("k/runs/*/result.json"))) >= 3)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not workers_of(tmp_path))
    assert len(list(tmp_path.glob("k/runs/*/result.json"))) < 100
    process.communicate()


@pytest.fixture
def own_cells(tmp_path: Path) -> Sequence[str]:
    """Cells that take their process with them, as a user's own."""
    folder = tmp_path / "conf" / "cell"
    folder.mkdir(parents=True)
    for name, options in {
        "dying": {"_target_": "Killed", "log": tmp_path / "dying", "times": 99},
        "mortal": {"_target_": "Killed", "log": tmp_path / "mortal", "times": 1},
        "growing": {"_target_": "Growing"},
        "leaving": {"_target_": "Leaving"},
        "deadly": {"_target_": "Deadly"},
    }.items():
        lines = [f"{key}: {value}" for key, value in options.items()]
        text = "\n".join([f"name: {name}", "hidden_size: 3", *lines]).replace("_: ", "_: tests.bench.broken.")
        (folder / f"{name}.yaml").write_text(text)
    return ["--config-dir", str(folder.parent)]


TINY = ("training.batch_size=4", "training.max_steps=40", "training.evaluate_every=20", "tracking=none", "timing=none")
OWN = ("-m", "name=own", "task.length=5", "memory_gb=2.5", *TINY)


def test_what_ends_its_process_is_an_outcome_and_can_be_tried_again(tmp_path: Path, forks: Forks, own_cells):
    """And others live, in processes beside it and after it."""
    arguments = [*own_cells, *OWN]
    said = finish(
        tmp_path / "r", *arguments, "cell=dying,mortal,growing,leaving,deadly,lstm", "+launch=parallel", code=1
    )
    results = pd.read_parquet(tmp_path / "r" / "own" / "results.parquet").set_index("cell")
    assert results["status"].to_dict() == {
        "dying": "failed", "mortal": "unsolved", "growing": "out_of_memory", "leaving": "failed", "deadly": "failed",
        "lstm": "unsolved",
    }  # fmt: skip
    assert "SIGKILL" in results.loc["dying", "error"]
    assert "exit code 0" in results.loc["deadly", "error"]
    assert (tmp_path / "dying").read_text() == "xx"  # tried twice
    report = (tmp_path / "r" / "own" / "report" / "README.md").read_text()
    assert "its process was ended by SIGKILL" in report
    assert "retry=failed" in said
    # Asked for again: what failed, and nothing else.
    (tmp_path / "dying").write_text("x" * 99)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("r/own/runs/*lstm*/*")}
    assert before
    words = [*arguments, "cell=dying,growing,lstm", "+launch=serial", "+retry=failed"]
    done = forks.run(tmp_path / "r", f"results_dir={tmp_path / 'r'}", *words, "dry_run=true")
    assert "retry  2 that ended failed or out_of_memory" in done.stdout
    forks.run(tmp_path / "r", f"results_dir={tmp_path / 'r'}", *words, "cell=dying,lstm")
    again = pd.read_parquet(tmp_path / "r" / "own" / "results.parquet").set_index("cell")
    assert again["status"].to_dict() == results["status"].to_dict() | {"dying": "unsolved"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("r/own/runs/*lstm*/*")} == before
