"""What is exported computes what the model computes, or is not written."""

from pathlib import Path

import pytest
import torch

import bench
from bench.exporting import WRITERS, export_run
from bench.record.errors import ConfigError

TINY = (
    "task=copy", "task.delay=3", "task.span=1", "cell.hidden_size=8", "training.batch_size=4", "training.max_steps=2",
    "training.evaluation_size=7", "tracking=none",
)  # fmt: skip
CELLS = {
    "lstm": ("cell=lstm",),
    "deep": ("cell=gru", "cell.layers=2", "cell.bidirectional=true"),
    "min_gru": ("cell=min_gru",),
    "gates": ("cell=full_gate_recurrence",),
    "transformer": ("cell=transformer",),
    "tcn": ("cell=tcn",),
    "mlstm": ("cell=mlstm",),
    "mamba": ("cell=mamba",),
    "lru": ("cell=lru",),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    known: dict[str, str] = {}

    def train(name: str) -> str:
        if name not in known:
            known[name] = bench.run(*CELLS[name], *TINY, f"results_dir={folder}", "device=cpu")["folder"]
        return known[name]

    return train


@pytest.mark.parametrize("name", ["deep", "lru", "transformer"])
def test_torchs_program_is_the_model_at_any_batch(trained, name, tmp_path: Path, capfd):
    path = tmp_path / "model.pt2"
    assert export_run([trained(name), str(path)]) == 0
    said = capfd.readouterr().out
    assert "inputs 5 × B × 10 → outputs 5 × B × 9, float32" in said
    assert said.count("\n") == 1
    model, inputs = bench.load_model(trained(name)), torch.randn(5, 6, 10)
    torch.testing.assert_close(torch.export.load(path).module()(inputs), model(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CELLS if name != "lru"])
def test_onnx_runtime_computes_the_model_at_any_batch(trained, name, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    assert export_run([trained(name), str(path)]) == 0
    model, inputs = bench.load_model(trained(name)), torch.randn(5, 6, 10)
    (outputs,) = onnxruntime.InferenceSession(str(path)).run(None, {"inputs": inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(outputs), model(inputs).detach(), rtol=1e-4, atol=1e-5)


def test_a_model_that_onnx_cannot_express_is_refused_in_a_line(trained, tmp_path: Path, capfd):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match=r"lru cannot be exported to .onnx: .*polar") as raised:
        export_run([trained("lru"), str(path)])
    assert "\n" not in str(raised.value)
    assert not path.exists()
    assert capfd.readouterr().out == ""


def test_what_computes_something_else_is_not_kept(trained, tmp_path: Path, monkeypatch, capsys):
    path = tmp_path / "model.pt2"
    write, read = WRITERS[".pt2"]
    monkeypatch.setitem(WRITERS, ".pt2", (write, lambda path, inputs: read(path, inputs) + 0.01))
    assert export_run([trained("lstm"), str(path)]) == 1
    assert "differ from the model's by 1.0e-02" in capsys.readouterr().out
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "takes a run's folder and a file"),
        (["results/x/runs/y", "model.h5"], "ends in .onnx or .pt2"),
        (["nowhere/runs/y", "model.pt2"], "is not there"),
    ],
)
def test_what_cannot_be_exported_is_told_in_a_line(arguments, says):
    with pytest.raises(ConfigError, match=says):
        export_run(arguments)
