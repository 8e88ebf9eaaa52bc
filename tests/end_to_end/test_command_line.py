"""The program as a user runs it: whole commands, most of them in forks of one process, which saves their imports."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.forks import Forks
from tests.python import ROOT, python

TINY = ["tracking=none", "training.batch_size=4", "training.max_steps=4", "training.evaluate_every=2", "timing=none"]


Command = Callable[..., subprocess.CompletedProcess[str]]


def in_its_own_process(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench` with results in `folder`; it must end with this exit code."""
    return python("-m", "bench", f"results_dir={folder}", *arguments, code=code, cwd=folder, COLUMNS="200")


@pytest.fixture
def bench(forks: Forks) -> Command:
    """Runs `python -m bench` with results in a folder, in a fork."""

    def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return forks.run(folder, f"results_dir={folder}", *arguments, code=code, environment={"COLUMNS": "200"})

    return run


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("smoke")
    return folder, forks.run(folder, f"results_dir={folder}", "+sweep=smoke", environment={"COLUMNS": "200"})


def test_a_terminal_shows_at_once_that_a_command_is_planning(tmp_path: Path):
    reader, terminal = os.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "bench", f"results_dir={tmp_path}", "dry_run=true"], stdout=terminal
    )
    try:
        assert os.read(reader, 8) == b"planning"
    finally:
        command.kill()
        command.wait()
        os.close(terminal)
        os.close(reader)


def test_half_a_gib_is_enough_for_a_small_run(tmp_path: Path, bench: Command):
    bench(tmp_path, "task.length=5", "memory_gb=0.5", *TINY)
    assert pd.read_parquet(tmp_path / "scratch" / "results.parquet")["status"].tolist() == ["unsolved"]


def test_a_folder_in_the_place_of_a_table_is_told_in_a_line(tmp_path: Path, bench: Command):
    path = tmp_path / "scratch" / "results.parquet"
    path.mkdir(parents=True)
    done = bench(tmp_path, "task.length=5", *TINY, code=2)
    assert done.stderr == f"error: {path}: is a folder, and a file is to be written there; move it away\n"


class TestSmokeSweep:
    def test_it_ends_by_printing_the_reports_path(self, smoke):
        folder, done = smoke
        assert done.stdout.splitlines()[-1] == str(folder / "smoke" / "report" / "README.md")
        assert "10, of which 0 are finished" in done.stdout
        assert "Traceback" not in done.stderr

    def test_there_is_a_row_a_run_and_all_cells_are_in_the_report(self, smoke):
        folder, _ = smoke
        results = pd.read_parquet(folder / "smoke" / "results.parquet")
        cells = {"rnn", "lstm", "peephole_lstm", "gru", "attention_lstm"}
        assert set(zip(results["cell"], results["task"], strict=True)) == {
            (c, t) for c in cells for t in ("copy", "adding")
        }
        report = (folder / "smoke" / "report" / "README.md").read_text()
        assert all(report.count(f"| {cell} ") >= 3 for cell in cells)
        for name in ("learning_curves", "step_time"):  # no run of these is solved
            assert f"({name}.png)" in report
        timing = pd.read_parquet(folder / "smoke" / "timing.parquet")
        assert timing.groupby(["cell", "task"])["quantity"].nunique().eq(8).all()
        assert len(list((folder / "smoke" / "wandb").iterdir())) == 11  # a run each, and the sweep's own

    def test_the_same_command_again_runs_nothing(self, bench, smoke):
        folder, _ = smoke
        before = {path: path.stat().st_mtime_ns for path in folder.glob("smoke/runs/*/*")}
        timing = (folder / "smoke" / "timing.parquet").stat().st_mtime_ns
        report = (folder / "smoke" / "report" / "README.md").read_bytes()
        done = bench(folder, "+sweep=smoke")
        assert "10, of which 10 are finished" in done.stdout
        assert {path: path.stat().st_mtime_ns for path in folder.glob("smoke/runs/*/*")} == before
        assert (folder / "smoke" / "timing.parquet").stat().st_mtime_ns == timing
        # The second command names another results_dir in no way: the report is the same but for nothing.
        assert (folder / "smoke" / "report" / "README.md").read_bytes() == report

    def test_overrides_narrow_and_widen_it(self, bench, smoke):
        folder, _ = smoke
        done = bench(folder, "+sweep=smoke", "cell=gru", "task=copy", "seed=0,1", "tracking=none")
        assert "2, of which 1 are finished" in done.stdout
        assert len(pd.read_parquet(folder / "smoke" / "results.parquet")) == 11


def test_parallel_runs_give_the_results_of_serial_ones(bench: Command, tmp_path: Path):
    frames = []
    for launch, run in (("serial", bench), ("parallel", in_its_own_process)):
        run(
            tmp_path, "+sweep=smoke", f"+launch={launch}", f"name={launch}", "cell=gru,peephole_lstm", "timing=none",
            "tracking=none", "training.batch_size=64",
        )  # fmt: skip
        frames.append(pd.read_parquet(tmp_path / launch / "results.parquet"))
    same = [column for column in frames[0] if column not in ("sweep", "seconds", "step_ms", "seconds_to_solve")]
    pd.testing.assert_frame_equal(frames[0][same], frames[1][same])


def test_a_sweep_without_a_file(bench: Command, tmp_path: Path):
    bench(tmp_path, "-m", "cell=rnn,gru", "name=mine", "task.length=5", *TINY)
    assert len(pd.read_parquet(tmp_path / "mine" / "results.parquet")) == 2


@pytest.mark.parametrize("several", [[], ["-m", "seed=0,1"]])
def test_a_dry_run_leaves_nothing_behind(bench: Command, tmp_path: Path, several: list[str]):
    done = bench(tmp_path, *several, "cell=lstm", "task.length=5", *TINY, "dry_run=true")
    assert "Nothing was run or stored" in done.stdout
    assert re.search(r"runs   [12], of which 0 are finished", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_it_knows_its_version():
    assert re.fullmatch(r"recurrent-bench \d+\.\d+\.\d+\n", python("-m", "bench", "--version").stdout)


def test_a_shell_can_complete_what_is_installed(tmp_path: Path):
    script = Path(sys.executable).with_name("recurrent-bench")
    if not script.exists():
        pytest.skip("the package is not installed")
    for line, expected in (("cell=gr", "cell=gru"), ("+sweep=claims_q", "+sweep=claims_quick")):
        done = subprocess.run(
            [script, "-sc", "query=bash"], capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, "COMP_LINE": f"recurrent-bench {line}"},
        )  # fmt: skip
        assert done.stdout.split() == [expected]


TINY_SWEEP = " ".join(["-m", "seed=0,1", "task.length=5", *TINY])
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("command", "code", "environment"),
    [
        ("reports list | true", 2, {}),
        (f"bench {TINY_SWEEP} | true", 0, {}),
        (f"bench {TINY_SWEEP} >&- 2>&- <&-", 0, {}),
        ("bench cell=lstmm 2>&-", 2, {}),
        ("bench --help >/dev/null", 0, {"PYTHONIOENCODING": "latin-1"}),
        (f"bench {TINY_SWEEP} >/dev/null", 0, ASCII),
    ],
)
def test_it_works_whatever_its_output_is_connected_to(
    tmp_path: Path, command: str, code: int, environment: dict[str, str]
):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m {command}; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True,
        check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    for alarm in ("Traceback", "Broken pipe", "Exception ignored", "Error:"):
        assert alarm not in done.stderr
    assert (TINY_SWEEP in command) == (tmp_path / "results" / "scratch" / "report" / "README.md").exists()


def test_as_installed_it_runs_anywhere(tmp_path: Path):
    """Also from an editable installation, in which Hydra does not find plugins by itself. It leaves no temporary files,
    of W&B's neither."""
    (temporary := tmp_path / "temporary").mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["TMPDIR"] = str(temporary)
    command = [sys.executable, "-m", "bench", "-m", "cell=lstm", "task.length=5", "tracking=wandb", *TINY[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "scratch" / "report" / "README.md").exists()
    assert not [*temporary.iterdir()]


def test_a_single_run(bench: Command, tmp_path: Path):
    optimizer = ["training.optimizer=SGD", "training.optimizer_options={momentum: 0.5}"]
    done = bench(tmp_path, "cell=gru", "task=adding", "task.length=5", *TINY, *optimizer)
    (folder,) = (tmp_path / "scratch" / "runs").iterdir()
    assert done.stdout.splitlines()[-1] == str(folder)
    outcome, advice = done.stderr.splitlines()[-2:]
    assert re.fullmatch(rf"{folder.name}: unsolved after 4 steps, [\d.]+ s; loss [\d.]+, baseline [\d.]+", outcome)
    assert advice == f"a report, if wanted: python -m reports {tmp_path / 'scratch'}"
    assert not (tmp_path / "scratch" / "report").exists()
    table = tmp_path / "scratch" / "results.parquet"
    (row,) = pd.read_parquet(table).to_dict("records")
    assert (row["cell"], row["status"], row["steps"]) == ("gru", "unsolved", 4)
    written = table.stat().st_mtime_ns
    again = bench(tmp_path, "cell=gru", "task=adding", "task.length=5", *TINY, *optimizer)
    assert again.stdout.splitlines()[-1] == str(folder)
    assert again.stderr.splitlines() == [outcome, advice]
    assert table.stat().st_mtime_ns == written  # nothing has changed
    table.unlink()
    bench(tmp_path, "cell=gru", "task=adding", "task.length=5", *TINY, *optimizer)
    assert len(pd.read_parquet(table)) == 1


@pytest.fixture
def own_cells(tmp_path: Path) -> Path:
    """A user's configuration folder with cells of their own."""
    folder = tmp_path / "mine" / "cell"
    folder.mkdir(parents=True)
    for name in ("Minimal", "Exploding"):
        (folder / f"{name.lower()}.yaml").write_text(
            f"_target_: tests.bench.broken.{name}\nname: {name.lower()}\nhidden_size: 3\n"
        )
    return folder.parent


def test_a_users_cell_joins_by_yaml_and_a_failing_one_does_not_end_the_sweep(
    bench: Command, tmp_path: Path, own_cells: Path
):
    arguments = [
        "--config-dir",
        str(own_cells),
        "-m",
        "cell=exploding,minimal,lstm",
        "name=own",
        "task.length=5",
        *TINY,
    ]
    done = bench(tmp_path, *arguments, "+launch=serial", code=1)
    assert "exploding-adding-s0" in done.stderr
    assert "this cell" in done.stderr
    results = pd.read_parquet(tmp_path / "own" / "results.parquet").set_index("cell")
    assert results["status"].to_dict() == {"exploding": "failed", "minimal": "unsolved", "lstm": "unsolved"}
    assert results.loc["minimal", "backend"] == "own"
    report = (tmp_path / "own" / "report" / "README.md").read_text()
    assert r"RuntimeError: this cell \| always" in report


@pytest.mark.parametrize("search", ["[0.001,0.05]", "{low: 0.0001, high: 0.1, log: true}"])
def test_settings_are_selected_in_rounds_of_one_command(bench: Command, tmp_path: Path, search: str):
    if search.startswith("{"):
        pytest.importorskip("optuna")
    arguments = [
        "-m", "cell=lstm,gru", "task.length=6", "cell.hidden_size=4", "seed=0,1", "tuning.selection_seeds=[7]",
        f"tuning.search={{training.learning_rate: {search}}}", *TINY,
    ]  # fmt: skip
    if search.startswith("{"):
        arguments += ["tuning.trials=2", "tuning.at_once=1"]
        bench(tmp_path, *arguments, "dry_run=true")
        assert list(tmp_path.iterdir()) == []
    done = bench(tmp_path, *arguments)
    assert "Traceback" not in done.stderr
    assert "select training.learning_rate, by" in done.stdout
    results = pd.read_parquet(tmp_path / "scratch" / "results.parquet")
    assert results.groupby(["cell", "selection"]).size().to_dict() == {
        (cell, selection): 2 for cell in ("lstm", "gru") for selection in (False, True)
    }
    chosen = results[~results["selection"]].groupby("cell")["learning_rate"].nunique()
    assert (chosen == 1).all()
    again = bench(tmp_path, *arguments)
    assert "runs   8, of which 8 are finished" in again.stdout


def test_seeds_are_added_until_they_decide(bench: Command, tmp_path: Path):
    several = ["--multirun", "cell=lstm,gru", "seed=range(6)", "seeds=auto", "task.length=5", *TINY]
    dry = bench(tmp_path, *several, "dry_run=true")
    assert "looks  after 5, 6 seeds, until all comparisons are decided" in dry.stdout, dry.stderr
    assert not (tmp_path / "scratch").exists()
    done = bench(tmp_path, *several)
    folder = tmp_path / "scratch"
    assert json.loads((folder / "looks.json").read_text())["seeds"] == [[0, 1, 2, 3, 4], [5]]
    table = pd.read_parquet(folder / "results.parquet")
    decided = "1 of 1 decided" in done.stdout
    assert len(table) == (10 if decided else 12)
    assert set(table["looks"]) == {"5,6"}
    assert table.loc[table["seed"] == 4, "look"].tolist() == [1, 1]
    report = (folder / "report" / "README.md").read_text()
    assert "at looks after 5, 6 seeds. The looks were fixed before the first run" in report
    again = bench(tmp_path, *several)
    assert "solved after" not in again.stdout + again.stderr
    assert (folder / "report" / "README.md").read_text() == report
    wrong = bench(tmp_path, *several, "seed=range(7)", code=2)
    assert "looks.json fixed its seeds (0 to 5) before the first run; 6 is not one of them" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


def test_each_seed_is_run_at_the_length_that_half_solve(bench: Command, tmp_path: Path):
    several = [
        "--multirun", "cell=lstm,gru", "horizon=3,5,7,9", "training.learning_rate=0.001,0.01", "seed=range(6)",
        "task.length=${horizon}", "seeds=frontier", *TINY,
    ]  # fmt: skip
    done = bench(tmp_path, *several)
    assert "looks  after 1, 2, 3, 4, 5, 6 seeds, each at the length that half solve" in done.stdout
    assert "look   6 of 6: 2 more runs" in done.stdout
    folder = tmp_path / "scratch"
    looks = json.loads((folder / "looks.json").read_text())
    assert (looks["lengths"], looks["choosing"]) == ([3, 5, 7, 9], 2)
    table = pd.read_parquet(folder / "results.parquet")
    assert len(table) == 2 * (2 * 2 + 4)
    assert (table["horizon"] == table["task.length"]).all()
    assert not table.duplicated(["cell", "learning_rate", "seed"]).any()
    report = (folder / "report" / "README.md").read_text()
    assert "**On adding, half of the runs of " in report
    assert (folder / "report" / "frontier_rates.png").exists()
    again = bench(tmp_path, *several)
    assert f"runs   {len(table)}, of which {len(table)} are finished" in again.stdout
    assert (folder / "report" / "README.md").read_text() == report
    wrong = bench(tmp_path, *several, "tuning=learning_rate", code=2)
    assert len(wrong.stderr.splitlines()) == 1


def test_sizes_are_matched_and_stored(bench: Command, tmp_path: Path):
    bench(tmp_path, "-m", "cell=lstm,gru", "match=parameters", "cell.hidden_size=75", "task.length=6", *TINY)
    results = pd.read_parquet(tmp_path / "scratch" / "results.parquet").set_index("cell")
    assert results.loc["lstm", "hidden_size"] == 75
    assert abs(results.loc["gru", "parameters"] / results.loc["lstm", "parameters"] - 1) <= 0.01
    assert (results["flops_step"] > 0).all()


def test_times_only(bench: Command, tmp_path: Path):
    bench(
        tmp_path, "+sweep=timing", "training.batch_size=2", "timing.rounds=2", "part=length,size", "cell=lstm,gru",
        "++parts.length={horizon:'4,8,16',cell.hidden_size:4}", "++parts.size={horizon:4,cell.hidden_size:'4,8,16'}",
        "tracking=none",
    )  # fmt: skip
    report = (tmp_path / "timing" / "report" / "README.md").read_text()
    assert "Cost over length" in report
    assert "(scaling.png)" in report
    assert "(share_of_peak.png)" in report
    assert not (tmp_path / "timing" / "runs").exists()


RULES = """
claims:
  solves:
    claim: An LSTM learns to add.
    source: nobody
    tests: [{statistic: share_solved, of: {cell: lstm}, where: {task: adding}, above: 0.5, refuted_below: 0.5}]
"""


def test_rules_are_those_of_before_the_first_run(bench: Command, tmp_path: Path):
    """Another seed is another plan, of which nothing is finished; what was seen of the first counts all the same."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    sweep = ["-m", "name=told", f"claims={rules}", "cell=lstm", "task=adding", "task.length=5", *TINY]
    done = bench(tmp_path, *sweep, "seed=0")
    assert "fixed before the first run" in (tmp_path / "told" / "report" / "README.md").read_text()
    rules.write_text(RULES.replace("0.5", "0.1"))
    done = bench(tmp_path, *sweep, "seed=1")
    assert f"warning: claims={rules} has changed since the first runs" in done.stderr
    report = (tmp_path / "told" / "report" / "README.md").read_text()
    assert "supports above 50%, refutes below 50%" in report
    assert "0/2 = 0.0%" in report
    rules.write_text("claims: {")
    done = bench(tmp_path, *sweep, "seed=2", code=2)
    assert done.stderr.startswith(f"error: claims={rules}: no YAML")


def test_mappings_can_be_given_as_any_other_value(bench: Command, tmp_path: Path):
    words = ["cell=rnn,lstm", "task=adding", "reference={cell: lstm}", "training.optimizer_options={amsgrad: true}"]
    bench(tmp_path, "+sweep=smoke", *words, *TINY)
    results = pd.read_parquet(tmp_path / "smoke" / "results.parquet")
    assert set(results["reference"]) == {'{"cell": "lstm"}'}
    command = json.loads((tmp_path / "smoke" / "sweep.json").read_text())["commands"][-1]
    assert "'reference={cell: lstm}'" in command  # as it was given
    assert "++" not in command


def test_names_tell_a_terminal_nothing(bench: Command, tmp_path: Path):
    odd = "a\x1b[31m\x07b\nc"
    for words in (["dry_run=true"], []):
        done = bench(tmp_path, f"results_dir='{odd}'", "task.length=5", *TINY, *words)
        said = done.stdout + done.stderr
        assert "a [31m b c" in said
        assert not {"\x1b", "\x07"} & set(said)
    assert (tmp_path / odd / "scratch" / "results.parquet").exists()


def test_a_cell_that_ends_its_process_when_it_is_built_has_no_size_to_match(tmp_path: Path, own_cells: Path):
    (own_cells / "cell" / "deadly.yaml").write_text(
        "_target_: tests.bench.broken.Deadly\nname: deadly\nhidden_size: 3\n"
    )
    own = ["--config-dir", str(own_cells), "-m", "cell=deadly,lstm", "task.length=5", *TINY]
    refused = in_its_own_process(tmp_path, *own, "match=parameters", code=2)
    assert refused.stdout == ""
    assert refused.stderr.startswith("error: match=parameters: deadly cannot be built (its process ended by itself")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bench", "probe", "--help"], "python -m bench probe results/NAME"),
        (["bench", "export", "-h"], "python -m bench export results/NAME/runs/RUN_ID model.onnx"),
        (["reports", "show", "--help"], "usage: python -m reports show RUN_ID"),
        (["cells", "compile", "--help"], "usage: python -m cells compile"),
    ],
)
def test_each_command_has_its_own_help(arguments: list[str], says: str):
    done = python("-m", *arguments)
    assert done.stdout.startswith(says)
    assert len(done.stdout.splitlines()) < 20


def test_help_lists_what_there_is():
    done = python("-m", "bench", "--help")
    for expected in ("+sweep=quick", "cell=attention_lstm", "task=adding", "+launch=ray", "Exit codes"):
        assert expected in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith(("  +sweep=", "  cell=", "  task=", "  +launch=")):
            assert len(line.split(maxsplit=1)) == 2, f"no description: {line}"


MISTAKES: list[tuple[Sequence[str], str]] = [
    (["match=parameter"], "match=parameter: no such choice. Did you mean"),
    (["-m", "cell=lstm,gru", "match=parameters", "cell.hidden_size=16"], "cell.hidden_size="),
    (["match=time"], "set training.max_seconds"),
    (["+tuning.search={training.learning_rate: [0.1]}"], "set tuning.selection_seeds"),
    (["tuning.search={training.learning_rate: [0.1]}"], "set tuning.selection_seeds"),
    (["tuning=learning_rate"], "tuning=learning_rate: only sweeps have that"),
    (["-m", "seed=0,1", "tuning=learning_rate", "tuning.search={}"], "tuning.search={}: makes no difference"),
    (["-m", "seed=0,1", "tuning=learning_rate", "tuning.selection_seeds=[1]"], "seed 1 is reported too"),
    (
        ["-m", "seed=0,1", "tuning=learning_rate", "tuning.search={training.learning_rate: 1}"],
        "must be a list of values",
    ),
    (["cell=lstmm"], "cell=lstmm: no such cell. Did you mean 'lstm'"),
    (["task=adder"], "task=adder: no such task."),
    (["sweep=quick"], "sweep=quick: is added, with a plus; write +sweep=quick"),
    (["launch=ray"], "write +launch=ray"),
    (["+sweep=quik"], "sweep=quik: no such sweep. Did you mean 'quick'?"),
    (["+launch=slrum"], "launch=slrum: no such launcher. Did you mean 'slurm'?"),
    (["cell.hiden_size=3"], "hidden_size"),
    (["-m", "seed=0,1", "+cell.name=mine"], "An item is already at 'cell.name'"),
    (["cell.alpah=3"], "cell.alpah: lstm has no such option."),
    (["-m", "task=copy,adding", "task.span=4"], "task.span: adding has no such option."),
    (["+cell.depth=3"], "cell.depth: lstm has no such option."),
    (["trainin.batch_size=3"], "training"),
    (["lr=0.1"], "lr: no such key. Did you mean 'training.learning_rate'"),
    (["training.steps=9"], "training.steps: no such key. Did you mean 'max_steps'"),
    (["hidden_size=32"], "hidden_size: no such key. Did you mean 'cell.hidden_size'"),
    (["delay=9", "task=copy"], "delay: no such key. Did you mean 'task.delay'"),
    (["+sed=3"], "sed: no such key. Did you mean 'seed'"),
    (["+training.batchsize=3"], "training.batchsize: no such key. Did you mean 'batch_size'"),
    (["training.learning_rate=abc"], "training.learning_rate=abc: must be a number"),
    (["seed=1.5x"], "seed=1.5x: must be a whole number"),
    (["+sweep=smoke", "~training"], "~training: every run has one; training=… chooses another"),
    (["training.learning_rate=-1"], "training.learning_rate=-1.0: must be a finite number above 0"),
    (["cell.hidden_size=1000000"], "GiB"),
    (["seed=1.5"], "seed"),
    (["+sweep=smoke", "seed=0,x"], "seed"),
    (["device=cuda:99"], "device=cuda:99"),
    (["gru"], "gru: is not an override; write cell=gru"),
    (["quick"], "quick: is not an override; write +sweep=quick"),
    (["-cn", "quick"], "--config-name=quick: no such file; write +sweep=quick"),
    (["cell=LSTM"], "cell=LSTM: no such cell. Did you mean 'lstm'?"),
    (["task=mnist"], "MNIST's own files are read by task=classify"),
    (["seed=0-4"], "seed=0-4: write seed=range(0,5)"),
    (["+sweep=smoke", "reference=lstm"], "reference: must be a mapping; write for example 'reference={cell: lstm}'"),
    (["lengthen=2"], "lengthen: must be a list; write lengthen=[…]"),
    (["+sweep=smoke", "exclude={cell: rnn}"], "exclude: must be a list; write 'exclude=[{…}]'"),
    (["+sweep=smoke,quick"], "a command runs one sweep"),
    (["~training.max_steps"], "~training.max_steps: every run has one"),
    (["--config-dir", "nowhere", "--cells"], "--config-dir nowhere: no such folder"),
    (["--cells", "--nope"], "--nope: no such flag"),
    (["--sweep=quick"], "--sweep=quick: no such flag; write +sweep=…"),
    (["--seed", "3"], "--seed: no such flag; write seed=…"),
    (["cell", "=", "gru"], "without spaces"),
    (["prob", "results/quick"], "prob: no such command; write python -m bench probe results/NAME"),
    (["report", "results/quick"], "report: no such command; write python -m reports results/NAME"),
    (["cell=gru,lstm"], "cell=gru,lstm: several values make a sweep; add -m"),
    (["~cell"], "~cell: every run has one"),
    (["cell="], "cell"),
    (["+sweep=smoke", "cell=gru,lstn"], "lstn"),
    (["results_dir=/proc/nowhere"], "cannot write to /proc/nowhere"),
    (["cell=null"], "cell=null: must be the name of a cell"),
    (["cell=[lstm,gru]"], "cell=[lstm,gru]: a run has one; several make a sweep, as -m cell=lstm,gru"),
    (["cell=日本"], "cell=日本: cannot be read"),
    (["cell.hidden_size=99999999999999999999999"], "cell=lstm: "),
    (["=3"], "=3: has no key"),
    (["~task"], "~task: every run has one"),
    (["seed=range(0,10)"], "seed=range(0,10): several values make a sweep; add -m"),
    (["-m", "seed=range(3,3)"], "seed=range(3,3): has no values"),
    (["-m", "seed=range(0,10,0)"], "seed=range(0,10,0): range() arg 3"),
    (["+sweep=quick", "+sweep=smoke"], "sweep: is given twice"),
    (["+sweep=smoke", "cell=rnn,gru", "nothing.here=1"], "nothing: no such key"),
    (["+sweep=claims_quick", "part="], "part=: this sweep has no such part"),
    (["+sweep=smoke", "claims=nope"], "claims=nope: no such file"),
    (["claims=nope", "dry_run=true"], "claims=nope: no such file"),
    (["results_dir="], "results_dir=: must name a folder"),
    (["setting=x"], "setting=x: follows from sweep and task"),
    (["horizon=25"], "horizon=25: makes no difference"),
    (["+launch=slurm"], "launch=slurm: only sweeps have that"),
    (["reference={cell"], "reference={cell: cannot be read"),
    (["name=a\x1b[31mb"], "name=a [31mb: cannot be read"),
    (["--package", "nope", "--cfg", "job"], "--package nope: the configuration has no such part"),
    (["--config-name=nope"], "--config-name=nope: no such file"),
    (["--experimental-rerun=/nowhere"], "--experimental-rerun: "),
]


@pytest.mark.parametrize(
    ("arguments", "says"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_answered_in_one_line(bench: Command, tmp_path: Path, arguments: list[str], says: str):
    done = bench(tmp_path, *arguments, code=2)
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []  # and nothing is left behind


def test_a_mistake_is_answered_so_by_the_command_itself(tmp_path: Path):
    done = in_its_own_process(tmp_path, "cell=lstmm", code=2)
    assert done.stderr == "error: cell=lstmm: no such cell. Did you mean 'lstm' or 'slstm'?\n"
