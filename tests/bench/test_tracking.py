"""W&B offline, read back with its own reader; and what happens when it fails."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from hydra import compose, initialize_config_module
from wandb.util import get_core_path

from bench.execute.run import run
from bench.record.store import RunFolder
from bench.session import session
from bench.spec.checks import from_hydra
from bench.spec.config import register_with_hydra
from bench.spec.identity import run_id
from tests.bench.conftest import make_config
from tests.python import python

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_command() -> Iterator[None]:
    with session():
        yield


def inspect(folder: Path, *flags: str) -> str:
    """What `wandb leet inspect` says of an offline run, from the program that the command starts."""
    (log,) = folder.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *flags, "--run-file", log, folder]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def read_back(folder: Path) -> dict:
    return json.loads(inspect(folder, "--summary"))


def history(folder: Path) -> list[dict]:
    return [record for record in map(json.loads, inspect(folder).splitlines()) if record.get("type") == "history"]


def test_a_run_is_stored_offline_without_account_or_network(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    result = run(make_config(tmp_path, tracking={"mode": "offline", "tags": ["mine"]}))
    (folder,) = (tmp_path / "scratch" / "wandb").iterdir()
    assert folder.name.startswith("offline-run-")  # all that `wandb sync results/NAME/wandb/*` will meet
    summary = read_back(folder)
    text = json.dumps(summary)
    assert result["run_id"] in text
    for expected in ('"status": "unsolved"', '"loss', "final_score/mse", '"hidden_size'):
        assert expected in text or expected.replace(": ", ":") in text, expected
    assert set(summary["config"]) == {"seed", "device", "dtype", "cell", "task", "training"}
    assert summary["summary"]["solved"] == 0
    records = [record["history"]["item"] for record in history(folder)]
    assert [record["step"] for record in records] == [0, 10, 20]
    assert {"loss", "score/mse", "train/loss", "train/grad_norm"} <= set(records[-1])


OFFLINE = """
import sys
from pathlib import Path
from bench.execute.run import run
from tests.bench.conftest import make_config
print(run(make_config(Path(sys.argv[1]), tracking={"mode": "offline"}))["status"])
print(*(name for name in sys.modules if name.startswith("wandb.sdk.launch.agent")))
"""


def test_of_an_offline_run_nothing_is_sent_and_launch_is_not_imported(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert python("-c", OFFLINE, tmp_path).stdout.split() == ["unsolved"]
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()
    (log,) = (tmp_path / "scratch" / "wandb").glob("*/logs/debug.log")
    assert "Problem" not in log.read_text()  # such as with inputs of Launch


def test_what_was_found_inside_has_an_axis_of_its_own(tmp_path: Path):
    inside = {"kinds": ["gradient_flow"], "sequences": 8}
    config = make_config(tmp_path, tracking={"mode": "offline"}, diagnostics=inside)
    run(config)
    (folder,) = (tmp_path / "scratch" / "wandb").iterdir()
    stored = RunFolder(tmp_path / "scratch", run_id(config.run)).read()
    curves = {
        (reading.part, reading.moment): dict(zip(reading.x, reading.value, strict=True))
        for reading in stored.readings
        if reading.kind == "gradient_flow"
    }
    rows = [record["history"]["item"] for record in history(folder)]
    rows = [row for row in rows if "gradient_flow/distance" in row]
    assert len(rows) == 6  # steps of the task
    for row in rows:
        for part in ("h", "c"):
            for moment, name in (("start", "before"), ("end", "after")):
                assert row[f"gradient_flow/{part}_{name}"] == curves[part, moment][row["gradient_flow/distance"]]
    assert 0 < read_back(folder)["summary"]["decay/h_before"] < 2


@pytest.mark.parametrize("method", ["init", "log", "finish"])
def test_a_failing_wandb_fails_no_run(tmp_path: Path, monkeypatch, capsys, method: str):
    def fail(*_, **__):
        raise ConnectionError("no\nroute")

    if method == "init":
        monkeypatch.setattr(wandb, "init", fail)
    else:
        monkeypatch.setattr(wandb.Run, method, fail)
    result = run(make_config(tmp_path, tracking={"mode": "offline"}))
    assert result["status"] == "unsolved"
    said = capsys.readouterr().err
    assert said.count("tracking failed") == 1
    assert "ConnectionError: no" in said
    if method != "init":
        monkeypatch.undo()
        wandb.teardown()


def test_a_server_that_never_answers_is_said_once_and_runs_are_kept_offline(tmp_path: Path, monkeypatch, capfd):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr("bench.track.wandb.INIT_SECONDS", 1)
        for seed in range(2):
            result = run(make_config(tmp_path, seed=seed, tracking={"mode": "online"}))
            assert result["status"] == "unsolved"
        wandb.teardown()
    said = capfd.readouterr().err
    assert said.count("runs are kept offline") == 1
    assert said.count("\n") == 1
    folders = sorted((tmp_path / "scratch" / "wandb").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("offline-run-") and len(history(folder)) == 3 for folder in folders)


@pytest.mark.parametrize("variable", ["WANDB_MODE", "WANDB_BASE_URL", "WANDB_API_KEY"])
def test_a_misconfigured_wandb_is_said_once(tmp_path: Path, monkeypatch, capfd, variable: str):
    monkeypatch.setenv(variable, "nonsense")
    for seed in range(2):
        assert run(make_config(tmp_path, seed=seed, tracking={"mode": "online"}))["status"] == "unsolved"
    wandb.teardown()
    said = capfd.readouterr().err
    assert said.count("W&B cannot be reached") == 1
    assert said.count("\n") == 1


def test_none_writes_nothing(tmp_path: Path):
    run(make_config(tmp_path))
    assert not (tmp_path / "scratch" / "wandb").exists()
    assert "WANDB_RUN_ID" not in os.environ


def test_what_identifies_runs_is_not_taken_from_the_environment(tmp_path: Path):
    """In processes of its own: W&B reads its variables once a process."""
    identity = {"WANDB_RUN_ID": "leak1", "WANDB_NAME": "leak2", "WANDB_RUN_GROUP": "leak3", "WANDB_RESUME": "must",
                "WANDB_JOB_TYPE": "leak4", "WANDB_SWEEP_ID": "leak5", "WANDB_DIR": str(tmp_path / "leak6")}  # fmt: skip
    tiny = ["task.length=5", "training.max_steps=4", "training.evaluate_every=2", "training.batch_size=4"]

    def command(name: str, **environment: str) -> list[Path]:
        python("-m", "bench", f"results_dir={tmp_path}", f"name={name}", *tiny, cwd=tmp_path, **environment)
        return sorted((tmp_path / name).glob("wandb/*"))

    tracked = command("tracked", **identity, WANDB_PROJECT="mine")
    assert len(tracked) == 1
    assert not [folder for folder in tracked if "leak" in folder.name]
    for folder in tracked:
        text = json.dumps(read_back(folder))
        assert "leak" not in text
        assert "mine" in text
    assert command("disabled", WANDB_DISABLED="true") == []


@pytest.mark.parametrize(
    ("variables", "given", "mode"),
    [
        ({}, [], "offline"),
        ({"WANDB_MODE": "disabled"}, [], "disabled"),
        ({"WANDB_MODE": "dryrun"}, [], "offline"),
        ({"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, [], "disabled"),
        ({"WANDB_DISABLED": "false"}, [], "offline"),
        ({"WANDB_MODE": "online"}, ["tracking.mode=offline"], "offline"),
        ({"WANDB_MODE": "online"}, ["tracking=none"], "disabled"),
    ],
)
def test_wandbs_mode_holds_where_none_is_configured(monkeypatch, variables, given, mode: str):
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_DISABLED", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    register_with_hydra()
    with initialize_config_module("conf", version_base="1.3"):
        assert from_hydra(compose("config", given)).execution.tracking.mode == mode
