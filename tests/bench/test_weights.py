"""A finished run keeps its weights, and gives the trained model back."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench.execute import run as running
from bench.execute.probes import UPDATES
from bench.execute.run import run
from bench.record.errors import ConfigError
from bench.train.model import make_task
from bench.train.weights import weights_bytes
from tests.bench.conftest import make_config
from tests.bench.test_resume import CELLS, StopAfter, folder_of, same

MINE = {"_target_": "tests.bench.broken.Minimal", "name": "mine"}
SECRETIVE = {"_target_": "tests.bench.broken.Secretive", "name": "secretive"}


def kept(config: Any) -> Any:
    return torch.load(folder_of(config).path / "weights.pt", weights_only=True)


def test_the_file_is_plain_and_the_result_has_its_checksum(tmp_path: Path):
    config = make_config(tmp_path)
    run(config)
    folder = folder_of(config).path
    assert list(kept(config)) == ["model"]
    digest = hashlib.sha256((folder / "weights.pt").read_bytes()).hexdigest()
    assert json.loads((folder / "result.json").read_text())["files"]["weights.pt"] == digest
    assert (folder / "weights.pt").stat().st_mtime_ns <= (folder / "result.json").stat().st_mtime_ns


def test_the_optimisers_state_is_kept_for_step_sizes_only(tmp_path: Path):
    config = make_config(tmp_path, diagnostics={"kinds": ["updates"], "sequences": 8})
    run(config)
    assert set(kept(config)) == {"model", "optimizer"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [*CELLS.values(), MINE], ids=[*CELLS, "mine"])
def test_the_model_is_the_trained_one_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell, dtype: str):
    trained: list[Any] = []
    keep = running.state_of
    monkeypatch.setattr(running, "state_of", lambda model, *rest: keep(trained.append(model) or model, *rest))
    config = make_config(tmp_path, cell=cell, dtype=dtype, device="cpu")
    run(config)
    (model,) = trained
    before = torch.get_rng_state()
    found = bench.load_model(folder_of(config).path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not found.training
    assert same(found.state_dict(), model.state_dict())
    if cell.get("name") == "noisy":  # it answers differently each time
        return
    inputs = make_task(config.run).sample(3, torch.Generator().manual_seed(1)).to(config.run.torch_dtype).inputs
    assert found(inputs).dtype == config.run.torch_dtype
    assert torch.equal(found(inputs), model.eval()(inputs))


def test_it_takes_what_a_run_from_python_returns(tmp_path: Path):
    config = make_config(tmp_path)
    result = run(config)
    assert bench.load_model({**result, "folder": str(folder_of(config).path)}).cell.hidden_size == 4


def damage(folder: Path) -> None:
    content = (folder / "weights.pt").read_bytes()
    (folder / "weights.pt").write_bytes(content[:-1] + b"x")


@pytest.mark.parametrize(
    ("changes", "disturb", "says"),
    [
        ({"keep": "nothing"}, None, "has no weights, its run having been trained with keep=nothing"),
        ({"cell": {"_target_": "tests.bench.broken.Exploding", "name": "bad"}}, None, "having ended as failed"),
        ({}, damage, "weights.pt: its checksum does not match"),
        ({}, lambda folder: (folder / "weights.pt").unlink(), "weights.pt: cannot be read"),
        ({}, lambda folder: (folder / "result.json").unlink(), "has no finished run"),
        ({}, lambda folder: folder.rename(folder.with_name("x")), "is not there"),
        ({}, lambda folder: (folder / "metrics.jsonl").write_text(""), "metrics.jsonl: its checksum does not match"),
    ],
)
def test_what_has_no_model_is_told_in_a_line(tmp_path: Path, changes: dict[str, Any], disturb, says: str):
    config = make_config(tmp_path, **changes)
    run(config)
    if disturb:
        disturb(folder_of(config).path)
    with pytest.raises(ConfigError, match=says) as caught:
        bench.load_model(folder_of(config).path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        bench.load_model("/")


def test_weights_of_an_end_that_was_not_reached_go(tmp_path: Path):
    """Killed between the weights and the result, and resumed with keep=nothing."""
    config = make_config(tmp_path, keep="nothing")
    assert run(config, StopAfter(12))["status"] == "interrupted"
    (folder_of(config).path / "weights.pt").write_bytes(b"old")
    (folder_of(config).path / "probe.json").write_text("old")
    assert run(config)["status"] == "unsolved"
    assert sorted(path.name for path in folder_of(config).path.iterdir()) == [
        "config.yaml", "metrics.jsonl", "result.json",
    ]  # fmt: skip


def test_a_class_whose_state_is_not_plain_keeps_none_and_is_probed_at_training(tmp_path: Path, capfd):
    config = make_config(tmp_path, cell=SECRETIVE, lengthen=[2])
    assert [at["factor"] for at in run(config)["lengthened"]] == [1, 2]
    assert "no weights are kept: the model's state is more than tensors" in capfd.readouterr().err
    assert run(config)["status"] == "unsolved"
    assert not (folder_of(config).path / "weights.pt").exists()


@pytest.mark.parametrize("cell", [CELLS["lstm"], CELLS["gru"], MINE], ids=["lstm", "gru", "mine"])
@pytest.mark.parametrize("kinds", [[], ["updates"]])
@pytest.mark.parametrize("size", [4, 64])
def test_the_size_is_known_beforehand(tmp_path: Path, cell, kinds: list[str], size: int):
    config = make_config(tmp_path, cell={**cell, "hidden_size": size}, diagnostics={"kinds": kinds, "sequences": 8})
    run(config)
    assert weights_bytes(config.run, UPDATES in config.execution.diagnostics.kinds) == pytest.approx(
        (folder_of(config).path / "weights.pt").stat().st_size, rel=0.15
    )
