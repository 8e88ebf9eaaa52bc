"""Stored sweeps are probed by a command, and by their own with more asked for."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.forks import Forks

SWEEP = (
    "-m", "name=s", "cell=lstm,gru", "seed=0", "task.length=5", "cell.hidden_size=4", "tracking=none", "timing=none",
    "training.batch_size=4", "training.max_steps=4", "training.evaluate_every=2",
)  # fmt: skip
INSIDE = "diagnostics.kinds=[gates,jacobian]"


@pytest.fixture(scope="module")
def trained(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = forks.run(folder, *SWEEP)
    assert "  keep   weights of 2 runs, about 0.0 MiB in all\n" in done.stdout
    return folder


@pytest.fixture
def sweep(trained: Path, tmp_path: Path) -> Path:
    """A copy of a stored sweep, results/s in a folder of its own."""
    shutil.copytree(trained / "results", tmp_path / "results")
    return tmp_path / "results" / "s"


def results(sweep: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(sweep.glob("runs/*/result.json"))]


def test_a_stored_sweep_is_probed_and_reported_again(forks: Forks, sweep: Path):
    before, report = results(sweep), (sweep / "report" / "README.md").read_text()
    done = forks.run(sweep.parents[1], "probe", "results/s", "lengthen=[2]", INSIDE)
    assert done.stdout == "results/s/report/README.md\n"
    assert "Probing 2/2" in done.stderr
    assert results(sweep) == before
    assert pd.read_parquet(sweep / "results.parquet")["at_2x.loss"].notna().all()
    assert set(pd.read_parquet(sweep / "diagnostics.parquet")["moment"]) == {"start", "end"}
    new = (sweep / "report" / "README.md").read_text()
    assert new != report
    assert "python -m bench probe results/s 'lengthen=[2]' 'diagnostics.kinds=[gates,jacobian]'" in new
    probes = {path: path.stat().st_mtime_ns for path in sweep.glob("runs/*/probe.json")}
    assert len(probes) == 2
    # Nothing is missing any more, by this command or by the sweep's own.
    for arguments in (("probe", "results/s", "lengthen=[2]"), (*SWEEP, "lengthen=[2]", INSIDE)):
        done = forks.run(sweep.parents[1], *arguments)
    assert "  runs   2, of which 2 are finished\nresults/s/report" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in sweep.glob("runs/*/probe.json")} == probes


def test_the_sweeps_own_command_probes_what_is_finished(forks: Forks, sweep: Path):
    before = results(sweep)
    done = forks.run(sweep.parents[1], *SWEEP, "lengthen=[2,3]", "diagnostics=standard")
    assert "  runs   2, of which 2 are finished\n  probe  2 finished runs, from stored weights\n" in done.stdout
    assert results(sweep) == before
    assert pd.read_parquet(sweep / "results.parquet")["at_3x.loss"].notna().all()


def test_runs_without_weights_are_named_and_the_others_probed(forks: Forks, sweep: Path):
    done = forks.run(sweep.parents[1], *SWEEP[:2], "cell=rnn", *SWEEP[3:], "keep=nothing")
    assert "  keep" not in done.stdout
    assert "lstm" in pd.read_parquet(sweep / "results.parquet")["cell"].tolist()
    done = forks.run(sweep.parents[1], "probe", "results/s", "lengthen=[2]")
    assert "1 of 3 trained runs have no weights and cannot be probed: rnn-adding-s0-" in done.stderr
    assert pd.read_parquet(sweep / "results.parquet")["at_2x.loss"].notna().tolist() == [True, True, False]


def test_damaged_weights_are_a_line(forks: Forks, sweep: Path):
    next(sweep.glob("runs/lstm*/weights.pt")).write_bytes(b"PK")
    done = forks.run(sweep.parents[1], "probe", "results/s", "lengthen=[2]", code=1)
    assert done.stdout == "results/s/report/README.md\n"
    assert "Traceback" not in done.stderr
    assert "its weights are damaged" in done.stderr
    assert pd.read_parquet(sweep / "results.parquet")["at_2x.loss"].notna().sum() == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "probe: takes the folder of one stored sweep, as python -m bench probe results/NAME lengthen=[2,4]"),
        (["results/s", "results/t", "lengthen=[2]"], "takes the folder of one"),
        (["results/t", "lengthen=[2]"], "results/t: holds no stored sweep"),
        (["results/s"], "nothing is asked for; add lengthen=[2,4]"),
        (["results/s", "lengthen=[]"], "asks for nothing"),
        (["results/s", "lengthen=[1]"], "lengthen=1: must be at least 2"),
        (["results/s", "lengthen=[x]"], "lengthen"),
        (["results/s", "lengthen=2,3"], "a probe of stored runs takes lengthen, diagnostics, "),
        (["results/s", "cell=gru"], "cell=gru: a probe of stored runs takes lengthen, diagnostics, "),
        (["results/s", "diagnostics=standard", "diagnostics.every=3"], "diagnostics.every=3: a probe of stored runs"),
        (["results/s", "diagnostics.kinds=[gate]"], "no such choice. Did you mean 'gates'"),
        (["results/s", "lengthen=[2]", "diagnostics.sequences=3"], "diagnostics.sequences: makes no difference"),
        (["results/s", "diagnostics=standrd"], "standard"),
        (["results/s", "lengthen=[2"], "lengthen=[2"),
    ],
)
def test_what_cannot_be_probed_is_told_in_a_line(forks: Forks, trained: Path, arguments: list[str], says: str):
    done = forks.run(trained, "probe", *arguments, code=2)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(trained.glob("results/s/runs/*/probe.json"))


def test_none_with_weights_or_another_training_is_refused(forks: Forks, sweep: Path):
    for path in sweep.glob("runs/gru*"):
        shutil.rmtree(path)
    done = forks.run(sweep.parents[1], *SWEEP, "lengthen=[2]", "diagnostics=standard", "diagnostics.every=2", code=2)
    assert "was trained without these diagnostics every 2 steps" in done.stderr
    (path,) = sweep.glob("runs/lstm*")
    shutil.rmtree(path)
    forks.run(sweep.parents[1], *SWEEP, "keep=nothing")
    for arguments, says in (
        (("probe", "results/s", "lengthen=[2]"), "none of its 2 trained runs has weights to be probed: gru-adding-s0-"),
        (
            (*SWEEP, "lengthen=[2]"),
            "has no weights, from which evaluations at 1, 2 times the length could be made",
        ),
    ):
        done = forks.run(sweep.parents[1], *arguments, code=2)
        assert says in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_dry_run_says_what_weights_take_and_what_is_probed(forks: Forks, sweep: Path):
    wide = ("cell=lstm,gru,rnn", "lengthen=[2]", "dry_run=true")
    done = forks.run(sweep.parents[1], *SWEEP[:2], *SWEEP[3:], *wide)
    assert "  keep   weights of 1 run," in done.stdout
    assert "  probe  2 finished runs" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("adding")]
    assert [row.split()[1:3] for row in rows] == [["rnn", "1"]]
    assert json.loads((sweep / "sweep.json").read_text())["commands"] != []
