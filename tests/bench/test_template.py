"""Workers as forks of a template: what becomes of each is told, and neither outlives whom it works for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.execute.apart import Worker, WorkerDied

SECONDS = 60.0  # for what hangs: a busy machine takes its time


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + SECONDS
    while is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ends_by(worker: Worker, function, *arguments) -> int | None:
    with pytest.raises(WorkerDied) as death:
        worker.call_apart(function, *arguments)
    return death.value.code


def test_how_a_process_ended_is_told_and_the_next_one_is_a_fork_of_the_same_template(worker: Worker):
    first = worker.call_apart(os.getpid)
    template = parent_of(first)
    assert worker.call_apart(os.getpid) == first  # it goes on
    assert first == os.getpgid(first)  # a terminal's Ctrl-C does not reach it
    assert ends_by(worker, os.kill, first, signal.SIGKILL) == -signal.SIGKILL
    second = worker.call_apart(os.getpid)
    assert second != first
    assert parent_of(second) == template
    assert ends_by(worker, os._exit, 3) == 3
    worker.close()
    assert not is_alive(second)
    assert not is_alive(template)


def test_a_process_outlives_its_template_and_is_followed_by_one_of_another(worker: Worker):
    first = worker.call_apart(os.getpid)
    template = parent_of(first)
    worker.call_apart(os.kill, template, signal.SIGKILL)
    wait_until_gone(template)
    second = worker.call_apart(os.getpid)
    assert parent_of(second) != template
    wait_until_gone(first)  # nobody asks it any more


def test_how_a_process_ended_nobody_knows_where_its_template_ended_first(worker: Worker):
    pid = worker.call_apart(os.getpid)
    assert ends_by(worker, kill_both) is None
    assert worker.call_apart(os.getpid) != pid


def kill_both() -> None:
    """End the process that this is called in, once its template has ended."""
    template = os.getppid()
    os.kill(template, signal.SIGKILL)
    while os.getppid() == template:
        time.sleep(0.01)
    os._exit(5)


def test_forks_of_a_borrowed_template_are_told_apart_and_leave_it_alone(worker: Worker):
    with Worker(worker.lend()) as one, Worker(worker.lend()) as other:
        pids = [each.call_apart(os.getpid) for each in (one, other)]
        assert len({*pids, parent_of(pids[0]), parent_of(pids[1])}) == 3
        template = parent_of(pids[0])
        assert ends_by(one, os._exit, 4) == 4
        assert other.call_apart(os.getpid) == pids[1]
    assert not any(map(is_alive, pids))
    assert is_alive(template)
    with Worker(worker.lend()) as again:  # it keeps nothing of what forks did
        assert parent_of(again.call_apart(os.getpid)) == template


def test_where_a_borrowed_template_is_gone_a_worker_has_its_own():
    with Worker("/nowhere/template") as worker:
        assert worker.call_apart(os.getpid) > 0


LEFT = """
import os, sys
from bench.execute.apart import Worker
worker = Worker()
pid = worker.call_apart(os.getpid)
print(pid, open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1], os.path.dirname(worker.lend()), flush=True)
pid = worker.call_apart(os.getpid)
os.kill(os.getpid(), 9)
"""


def test_when_the_command_is_killed_all_end():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    fork, template, folder = done.stdout.split()
    for pid in (int(fork), int(template)):
        wait_until_gone(pid)
    assert not Path(folder).exists()


NO_GPU = """
import torch

def refuse(*_):
    raise AssertionError("CUDA is started, which forks cannot use then")

for name in ("is_available", "device_count", "init", "_lazy_init", "current_device"):
    setattr(torch.cuda, name, refuse)
import bench.execute.worker
import bench.execute.cohort, bench.track.wandb
"""


def test_what_a_template_imports_starts_no_gpu():
    done = subprocess.run([sys.executable, "-c", NO_GPU], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
