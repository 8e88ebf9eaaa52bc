"""The dashboard in W&B: what its panels ask for is what runs log, and its filters find the runs that they are to."""

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
import yaml

from bench.record.files import Damaged
from reports import dashboard
from reports.load import LoadError, load
from reports.report import summarize
from reports.sections.content import Content
from tests.bench.test_tracking import history, read_back
from tests.python import python
from tests.reports.conftest import write_run

NO_KEY = {key: value for key, value in os.environ.items() if key not in ("WANDB_API_KEY", "WANDB_MODE")}


def content_of(folder: Path) -> Content:
    return summarize(load(folder), folder / "report")


def panels_of(made: dashboard.Dashboard) -> list[tuple[str, Any]]:
    """Each panel, with the job type of the runs that it is drawn from (the workspace's: any)."""
    found = [("", panel) for section in made.workspace.sections for panel in section.panels]
    for block in made.report.blocks:
        if isinstance(block, wr.PanelGrid):
            jobs = [leaf["value"] for leaf in filters_of(block) if leaf["key"]["name"] == "jobType"]
            found += [(jobs[0], panel) for panel in block.panels]
    return found


def filters_of(grid: wr.PanelGrid) -> list[dict[str, Any]]:
    return list(grid.runsets[0]._to_model().filters["filters"])


def name(metric: Any) -> str:
    return str(getattr(metric, "name", metric))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells' runs, probed, timed and tracked offline."""
    folder = tmp_path_factory.mktemp("tracked")
    words = "+sweep=quick +launch=serial cell=lstm,gru task=adding,copy seed=0 cell.hidden_size=4 training.max_steps=20"
    words += " training.evaluate_every=10 training.evaluation_size=8 training.batch_size=4 timing.rounds=2"
    words += " diagnostics.kinds=[gradient_flow,memory] diagnostics.sequences=32"
    python("-m", "bench", *words.split(), cwd=folder, env=NO_KEY)
    return folder / "results" / "quick"


def test_panels_ask_for_what_runs_log(sweep: Path):
    logged: dict[str, set[str]] = {"run": set(), "sweep": set()}
    summaries: dict[str, set[str]] = {"run": set(), "sweep": set()}
    configs = []
    for folder in (sweep / "wandb").iterdir():
        told = read_back(folder)
        job = "sweep" if told["name"].endswith("-report") else "run"
        configs += [told["config"]] if job == "run" else []
        summaries[job] |= set(told["summary"])
        for record in history(folder):
            logged[job] |= set(record["history"]["item"])
    assert len(configs) == 4
    made = dashboard.build(content_of(sweep), "", "recurrent-bench")
    kinds = set()
    for job, panel in panels_of(made):
        jobs = [job] if job else ["run", "sweep"]
        history_keys = set().union(*(logged[job] for job in jobs))
        summary_keys = set().union(*(summaries[job] for job in jobs))
        kinds.add(type(panel).__name__)
        if isinstance(panel, wr.LinePlot):
            assert {name(panel.x), *map(name, panel.y)} <= history_keys
        elif isinstance(panel, wr.BarPlot):
            # What only solved runs have is in the summary all the same, empty.
            assert {name(metric) for metric in panel.metrics} <= summary_keys | {"steps_to_solve"}
        elif isinstance(panel, wr.ParallelCoordinatesPlot):
            for column in panel.columns:
                if isinstance(column.metric, wr.Config):
                    group, key = column.metric.name.split(".")
                    assert all(key in config[group] for config in configs)
        elif isinstance(panel, wr.MediaBrowser):
            assert panel.media_keys
            assert set(panel.media_keys) <= summary_keys
        else:
            assert panel.table_name in summary_keys
    assert len(kinds) == 5
    titles = {panel.title for _, panel in panels_of(made) if hasattr(panel, "title")}
    assert any("Gradient over distance, h, before" in str(title) for title in titles)


def test_it_is_what_wandb_takes(sweep: Path):
    made = dashboard.build(content_of(sweep), "", "recurrent-bench")
    for part in (made.workspace, made.report):
        written = json.loads(part._to_model().model_dump_json(by_alias=True, exclude_none=True))
        assert written["spec"]
    for grid in [block for block in made.report.blocks if isinstance(block, wr.PanelGrid)]:
        boxes = [panel.layout for panel in grid.panels]
        assert all(box.x + box.w <= dashboard.WIDTH for box in boxes)
        assert len({(box.x, box.y) for box in boxes}) == len(boxes)


def test_filters_find_the_runs_of_a_problem_and_no_others(tmp_path: Path):
    folder = tmp_path / "mine"
    for seed in (0, 1):
        for length in (50, 100):
            write_run(folder, "lstm", "adding", seed, 500, settings={"length": length})
        write_run(folder, "lstm", "copy", seed, 500)
        write_run(folder, "lstm", "adding", seed, 500, settings={"length": 50}, cell_options={"forget_bias": 0.0})
    content = content_of(folder)
    made = dashboard.build(content, "", "p")
    grids = [block for block in made.report.blocks if isinstance(block, wr.PanelGrid)]
    by_name = {grid.runsets[0].name: grid for grid in grids}
    runs = content.stored.results
    assert len(runs["problem"].unique()) == 3
    for problem in runs["problem"].unique():
        leaves = {leaf["key"]["name"]: leaf["value"] for leaf in filters_of(by_name[problem])}
        assert leaves.pop("group") == "mine"
        assert leaves.pop("jobType") == "run"
        found = set()
        for path in folder.glob("runs/*/config.yaml"):
            config = yaml.safe_load(path.read_text())
            values = {key: config[key.split(".value.")[0]].get(key.split(".value.")[1]) for key in leaves}
            found |= {path.parent.name} if values == leaves else set()
        assert found == set(runs[runs["problem"] == problem]["run_id"])
    assert by_name["copy"].runsets[0].groupby == ["config.cell.name", "config.cell.forget_bias"]


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\ntracking: {project: *b}\n"


@pytest.mark.parametrize("text", [BOMB, "seed: 2020-13-45", "tracking: [", None])
def test_what_a_stranger_wrote_is_read_with_care(tmp_path: Path, text: str | None):
    """None of a pipe, of which nothing would ever come; the newest run that can be read says where runs are tracked."""
    folder = tmp_path / "mine"
    for seed in range(2):
        write_run(folder, "lstm", "adding", seed, 500)
    first, newest = sorted((folder / "runs").iterdir())
    config = yaml.safe_load((first / "config.yaml").read_text())
    (first / "config.yaml").write_text(yaml.safe_dump(config | {"tracking": {"project": "theirs", "entity": None}}))
    os.utime(first / "result.json", (0, 0))
    (newest / "config.yaml").unlink()
    if text is None:
        os.mkfifo(newest / "config.yaml")
        os.mkfifo(folder / dashboard.SAVED)
        with pytest.raises(Damaged):
            dashboard.read_bytes(folder / dashboard.SAVED, 100)
    else:
        (newest / "config.yaml").write_text(text)
        (folder / dashboard.SAVED).write_text('{"workspace": ["no", "address"]}')
    assert dashboard.tracked_as(folder) == ("", "theirs")
    assert dashboard._saved(folder) == {}


def test_commands_cannot_end_their_block(tmp_path: Path):
    folder = tmp_path / "mine"
    write_run(folder, "lstm", "adding", 0, 500)
    (folder / "sweep.json").write_text(json.dumps({"commands": ["one", "```", "# two"]}))
    made = dashboard.build(content_of(folder), "", "p")
    texts = [block.text for block in made.report.blocks if isinstance(block, wr.MarkdownBlock)]
    assert "````\none\n```\n# two\n````" in texts


def test_what_was_made_before_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "mine"
    write_run(folder, "lstm", "adding", 0, 500)
    made: list[tuple[str, str]] = []

    def saved(kind: str, name: str):
        def save(self: Any) -> Any:
            made.append((kind, getattr(self, name)))
            return SimpleNamespace(url=f"https://wandb.test/{kind}/{len(made) if kind not in known else known[kind]}")

        return save

    known: dict[str, str] = {}

    def from_url(kind: type, label: str, **values: Any):
        def found(address: str) -> Any:
            known[label] = address.rpartition("/")[2]
            return kind(entity="me", project="p", **values)

        return found

    monkeypatch.setattr(dashboard, "_reach", lambda server: None)
    monkeypatch.setattr(wandb, "Api", lambda **_: SimpleNamespace(default_entity="me"))
    monkeypatch.setattr(ws.Workspace, "save", saved("workspace", "name"))
    monkeypatch.setattr(wr.Report, "save", saved("report", "title"))
    monkeypatch.setattr(ws.Workspace, "from_url", from_url(ws.Workspace, "workspace", name="as it was"))
    monkeypatch.setattr(wr.Report, "from_url", from_url(wr.Report, "report", title="as it was"))
    first = dashboard.save(content_of(folder), folder, "", "p")
    assert not known
    assert json.loads((folder / dashboard.SAVED).read_text()) == dict(zip(("workspace", "report"), first, strict=True))
    assert dashboard.save(content_of(folder), folder, "", "p") == first
    assert set(known) == {"workspace", "report"}
    assert made[:2] == made[2:]  # and so with the new names, not as it was


def test_times_alone_and_several_sweeps_are_no_dashboard(tmp_path: Path):
    for sweep_name in ("one", "two"):
        write_run(tmp_path / sweep_name, "lstm", "adding", 0, 500)
    both = summarize(load(tmp_path / "one", tmp_path / "two"), tmp_path)
    with pytest.raises(LoadError, match="one sweep"):
        dashboard.build(both, "", "p")


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers, and knows nothing."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def command(folder: Path, *words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    words = ("-m", "reports", "dashboard", str(folder / "mine"), *words)
    done = python(*words, code=code, env=NO_KEY, timeout=300, HOME=str(folder), **variables)
    assert not (folder / "mine" / dashboard.SAVED).exists()
    return done


def test_the_command_says_what_is_missing(tmp_path: Path, server: str):
    write_run(tmp_path / "mine", "lstm", "adding", 0, 500)
    without_key = command(tmp_path, code=2, WANDB_BASE_URL=server)
    without_server = command(tmp_path, code=2, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    for done, says in (
        (without_key, "no W&B key: `wandb login`"),
        (without_server, "W&B cannot be reached at http://1"),
    ):
        assert done.stderr.startswith(f"error: {says}")
        assert done.stderr.count("\n") == 1


def test_what_would_be_made_is_shown_without_a_key(tmp_path: Path):
    write_run(tmp_path / "mine", "lstm", "adding", 0, 500)
    done = command(tmp_path, "--dry-run", "--project", "other", WANDB_BASE_URL="http://127.0.0.1:9")
    assert "(whose the key is)/other" in done.stdout
    assert "LinePlot" in done.stdout
