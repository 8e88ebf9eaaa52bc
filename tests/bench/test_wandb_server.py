"""Tracking over the network, at a server that keeps what W&B's client sends: what a W&B server would be told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import wandb

from bench.execute.run import run
from bench.record.errors import ConfigError
from bench.session import session
from bench.track.tracker import track_report
from reports import dashboard
from reports.load import load
from reports.report import summarize
from tests.bench.conftest import make_config
from tests.bench.wandb_server import ENTITY, Server, serving
from tests.reports.conftest import write_run

PNG = Path(__file__).parents[2] / "reports" / "gallery" / "quick" / "step_time.png"
PROJECT = "recurrent-bench"
LOGGED = {"loss", "score/mse", "train/loss", "train/grad_norm", "solved", "samples", "seconds", "step"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as found, session():
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield found
        wandb.teardown()
    assert not found.unknown


def check_run(server: Server, result: dict) -> None:
    """The server was told one run: its configuration, its evaluations, its outcome."""
    ((name, said),) = server.runs.items()
    assert said["displayName"] == result["run_id"]
    assert (said["project"], said["groupName"], said["jobType"]) == (PROJECT, "scratch", "run")
    assert said["tags"] == ["lstm", "adding"]
    settings = {key: value["value"] for key, value in json.loads(said["config"]).items() if key != "_wandb"}
    assert settings["cell"] == {"name": "lstm", "hidden_size": 4}
    assert settings["seed"] == 0
    lines = server.history[name]
    assert [line["step"] for line in lines] == [0, 10, 20]
    assert all(set(line) >= LOGGED for line in lines)
    summary = server.summary[name]
    assert summary["status"] == result["status"]
    assert summary["final_loss"] == lines[-1]["loss"] == result["final_loss"]
    assert summary["loss"] == {"min": min(line["loss"] for line in lines), "last": lines[-1]["loss"]}
    assert server.exits == {name: 0}
    assert (name, "config.yaml") in server.files


def test_a_run_online_and_the_report_of_its_sweep(tmp_path: Path, server: Server, capfd):
    config, sweep = make_config(tmp_path, tracking={"mode": "online"}), tmp_path / "scratch"
    result = run(config)
    check_run(server, result)
    assert not list((sweep / "wandb").glob("offline-*"))

    (sweep / "report").mkdir()
    (sweep / "report" / "README.md").write_text("# A report")
    (sweep / "report" / PNG.name).write_bytes(PNG.read_bytes())
    headline = pd.DataFrame({"problem": ["adding"], "cell": ["lstm"], "solved": ["0/1"]})
    track_report(config, sweep, headline, {("adding", "lstm"): 2.5})
    name = next(name for name, said in server.runs.items() if said["jobType"] == "sweep")
    assert server.runs[name]["displayName"] == "scratch-report"
    (line,) = server.history[name]
    assert 2.5 in line.values()
    assert server.exits[name] == 0
    figure = line["figures/step_time"]["path"]
    assert server.files[name, figure] == PNG.read_bytes()
    (number,) = (i for i, artifact in enumerate(server.artifacts) if artifact["type"] == "report")
    assert server.artifacts[number]["committed"]
    assert server.files[f"artifact{number}", "README.md"] == b"# A report"
    assert server.files[f"artifact{number}", PNG.name] == PNG.read_bytes()
    (number,) = (i for i, artifact in enumerate(server.artifacts) if artifact["type"] == "run_table")
    table = json.loads(server.files[f"artifact{number}", "headline.table.json"])
    assert table["columns"] == list(headline)
    assert table["data"] == headline.to_numpy().tolist()
    assert "tracking failed" not in capfd.readouterr().err


def test_an_offline_run_is_synced_as_it_would_have_been_online(tmp_path: Path, server: Server):
    result = run(make_config(tmp_path, tracking={"mode": "offline"}))
    assert not server.runs  # nothing leaves the machine
    assert not server.operations
    folders = [str(folder) for folder in (tmp_path / "scratch" / "wandb").iterdir()]
    sync = [sys.executable, "-m", "wandb", "sync", *folders]
    subprocess.run(sync, check=True, capture_output=True, cwd=tmp_path, timeout=60)
    check_run(server, result)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    for cell in ("lstm", "gru"):
        for seed in range(2):
            write_run(folder, cell, "adding", seed, 500 + seed)
    (folder / "sweep.json").write_text('{"commands": []}')
    (folder / "report").mkdir()
    return folder


def save(sweep: Path) -> list[str]:
    return dashboard.save(summarize(load(sweep), sweep / "report"), sweep, "", PROJECT)


def test_a_dashboard_is_created_once_and_then_changed(sweep: Path, server: Server):
    with pytest.raises(ConfigError, match="are the sweep's runs there"):
        save(sweep)  # no run was sent to the project
    (workspace,) = server.views
    server.runs["one"] = {"project": PROJECT}
    addresses = save(sweep)
    assert save(sweep) == addresses
    assert [address.split("?")[0].split("/reports/")[0] for address in addresses] == [
        f"{server.url}/{ENTITY}/{PROJECT}"
    ] * 2
    assert len(server.views) == 2  # the workspace of the first attempt, and the report
    report = next(view for number, view in server.views.items() if number != workspace)
    assert server.views[workspace]["displayName"] == "demo: recurrent-bench"
    panels = json.loads(server.views[workspace]["spec"])["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in panels][:2] == ["Learning curves", "Time to solve"]
    asked = json.dumps(panels)
    assert all(f'"{metric}"' in asked for metric in ("loss", "train/loss", "train/grad_norm", "summary_metrics.solved"))
    assert "demo" in report["displayName"]
    blocks = json.loads(report["spec"])["blocks"]
    assert "Settings" in [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
