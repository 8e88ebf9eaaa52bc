"""A run or a sweep from Python is the command's."""

import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import pytest

import bench
from bench.execute import progress
from bench.record.errors import ConfigError
from reports import load

TINY = (
    "cell=gru", "cell.hidden_size=4", "task=adding", "task.length=5", "training.batch_size=4", "training.max_steps=4",
    "training.evaluate_every=2", "tracking=none",
)  # fmt: skip


def test_it_returns_what_is_stored_and_pandas_reads_it(tmp_path: Path):
    result = bench.run(*TINY, f"results_dir={tmp_path}", "seed=3")
    stored = json.loads((Path(result["folder"]) / "result.json").read_text())
    del stored["sha256"]
    assert {key: result[key] for key in stored} == stored
    assert (result["status"], result["steps"]) == ("unsolved", 4)
    again = bench.run(*TINY, f"results_dir={tmp_path}", "seed=3")
    assert again["seconds"] == result["seconds"]  # and was not run again
    runs, curves, timing = load(tmp_path / "scratch")
    assert list(runs["seed"]) == [3]
    assert set(curves["step"]) == {0, 1, 2, 4}
    assert timing.empty


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["cell=grru"], "Did you mean 'gru'"),
        (["cell.hidden_size=0"], "at least 1"),
        (["+sweep=smoke"], "use bench.run_sweep"),
        (["cell=gru,lstm"], "several values make a sweep"),
        (["train=false"], "this trains"),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(tmp_path: Path, overrides: list[str], says: str):
    with pytest.raises(ConfigError, match=says) as raised:
        bench.run(f"results_dir={tmp_path}", *overrides)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


SWEEP = (*TINY, "hydra.mode=MULTIRUN", "name=two", "seed=0,1", "timing.enabled=false")


def test_a_sweep_returns_its_folder_and_shows_what_the_command_says(tmp_path: Path, capsys):
    folder = bench.run_sweep(*SWEEP, f"results_dir={tmp_path}")
    assert folder == tmp_path / "two"
    assert list(load(folder).results["seed"]) == [0, 1]
    said = capsys.readouterr().out
    assert "[2/2] gru-adding-s1-" in said
    assert said.splitlines()[-1] == str(folder / "report" / "README.md")


def test_a_sweep_that_cannot_be_run_is_told_in_a_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^cell=grru: .*Did you mean 'gru'") as raised:
        bench.run_sweep("+sweep=quick", "cell=grru", f"results_dir={tmp_path}")
    assert "\n" not in str(raised.value)


def test_an_interrupted_sweep_has_saved_and_ended(tmp_path: Path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs lack

    def interrupt() -> None:
        while not list(tmp_path.glob("two/runs/*/metrics.jsonl")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    long = [each for each in SWEEP if not each.startswith("training.max_steps")]
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.run_sweep(*long, "training.max_steps=10000000", "task.solved_mse=1e-12", f"results_dir={tmp_path}")
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.glob("two/runs/*/checkpoint.pt"))
    assert not list(tmp_path.glob("two/leases/*"))


def test_a_notebook_shows_one_bar_in_place_of_lines(monkeypatch: pytest.MonkeyPatch, capsys):
    shown = []
    handle = types.SimpleNamespace(update=shown.append)
    fake = types.ModuleType("IPython.display")
    fake.HTML = str
    fake.display = lambda html, display_id: (shown.append(html), handle)[1]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(progress.console, "is_jupyter", True)
    lines = progress.Lines()
    for line in ("sweep quick → results/quick", "[1/3] one: solved  about 0:20 left", "[2/3] two: unsolved  "):
        lines.show(line)
    assert capsys.readouterr().out == "sweep quick → results/quick\n"
    assert len(shown) == 2
    assert "1/3" in shown[0]
    assert "about 0:20 left" in shown[0]
    assert all(each in shown[1] for each in ("2/3", "one: solved", "two: unsolved"))
