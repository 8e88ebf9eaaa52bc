"""TensorBoard and MLflow, read back with their own readers; what fails in them fails no run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.execute.run import run
from bench.record.errors import ConfigError
from bench.record.store import RunFolder
from bench.spec.config import Tracking
from bench.spec.identity import run_id
from bench.track import tracker
from bench.track.tracker import check_installed, track_report
from tests.bench.conftest import make_config


def tracked(folder: Path, tool: str, **changes: Any) -> Any:
    return make_config(folder, tracking={"mode": "offline", "tool": tool, "tags": ["mine"]}, **changes)


def interrupted(folder: Path, tool: str) -> tuple[Any, list[int]]:
    """Run with a stop after the eleventh step, then to the end; returns its configuration and the steps evaluated."""
    config = tracked(folder, tool)
    asked = iter(range(11))
    assert run(config, lambda: next(asked, None) is None)["status"] == "interrupted"
    assert run(config)["status"] == "unsolved"
    stored = RunFolder(folder / "scratch", run_id(config.run)).read()
    assert stored is not None
    return config, [evaluation.step for evaluation in stored.metrics]


def test_tensorboard_shows_each_evaluation_once_the_settings_and_the_outcome(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config, steps = interrupted(tmp_path, "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "scratch" / "tensorboard" / run_id(config.run)))
    events.Reload()
    assert [each.step for each in events.Scalars("loss")] == steps
    assert {"score/mse", "train/grad_norm", "solved", "final/final_loss"} <= set(events.Tags()["scalars"])
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


def test_mlflow_shows_each_evaluation_once_the_settings_and_the_outcome(tmp_path: Path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    _, steps = interrupted(tmp_path, "mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/scratch/mlflow/mlflow.db")
    (shown,) = client.search_runs([client.get_experiment_by_name("recurrent-bench").experiment_id])
    assert (shown.info.status, shown.data.tags["status"]) == ("FINISHED", "unsolved")
    assert {"sweep", "cell", "task", "mine"} <= set(shown.data.tags)
    assert shown.data.params["cell.hidden_size"] == "4"
    assert [each.step for each in client.get_metric_history(shown.info.run_id, "loss")] == steps
    assert "final/final_loss" in shown.data.metrics


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow"])
def test_a_report_is_shown(tmp_path: Path, capsys, monkeypatch, tool: str):
    pytest.importorskip(tool)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config, sweep = tracked(tmp_path, tool), tmp_path / "scratch"
    (sweep / "report").mkdir(parents=True)
    (sweep / "report" / "README.md").write_text("the answer")
    track_report(config, sweep, pd.DataFrame({"cell": ["lstm"]}), {})
    assert capsys.readouterr().err == ""
    written = [path for path in (sweep / tool).rglob("*") if path.is_file()]
    assert any(b"lstm" in path.read_bytes() or path.name == "README.md" for path in written)


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow"])
def test_what_fails_in_a_tool_fails_no_run_and_is_said_once(tmp_path: Path, monkeypatch, capsys, tool: str):
    class Failing:
        def log(self, _: Any) -> None:
            raise ConnectionError("no route")

    asked = []

    def imported(name: str) -> Any:
        asked.append(name)
        return type("Module", (), {"open_run": lambda *_: Failing()})

    monkeypatch.setattr(tracker, "import_module", imported)
    assert run(tracked(tmp_path, tool))["status"] == "unsolved"
    assert asked == [f"bench.track.{tool}"]
    assert capsys.readouterr().err.count("tracking failed") == 1


def test_a_tool_that_is_not_installed_is_said_before_anything_runs(monkeypatch):
    monkeypatch.setattr(tracker, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'recurrent-bench\[mlflow\]'"):
        check_installed(Tracking(tool="mlflow"))
    check_installed(Tracking(tool="mlflow", mode="disabled"))
