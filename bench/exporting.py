"""`python -m bench export`: writes the model of a trained run for ONNX Runtime or torch.export, and checks it."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.cost.timing import silenced
from bench.record.errors import ConfigError, one_line
from bench.record.store import RunFolder
from bench.spec.identity import from_stored
from bench.train.model import Model, make_task
from bench.train.streams import kept_globals, make_streams
from bench.train.weights import load_model

USAGE = "python -m bench export results/NAME/runs/RUN_ID model.onnx"
OPSET = 17
EXAMPLES = 3  # sequences that are traced: a number that no other size is likely to be taken for
LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of outputs, as a share of the largest of them


def export_run(arguments: list[str]) -> int:
    """Write the model of a finished run, and compare what is written with the model on held-out sequences.

    The length of a sequence is the run's, for which the loop over time is written out; the batch is free.

    Args:
        arguments: the run's folder, and the file: NAME.onnx, or NAME.pt2 for torch.export's program.

    Returns:
        The exit code, 1 if what was written does not compute the same; it is removed then.

    Raises:
        ConfigError: there is no such run, no such kind of file, or a model that cannot be written as one; the message
            is one line.
        OSError: the file cannot be written.
    """
    if len(arguments) != 2 or Path(arguments[1]).suffix not in WRITERS:
        raise ConfigError(f"export: takes a run's folder and a file that ends in .onnx or .pt2, as {USAGE}")
    folder, path = Path(arguments[0]), Path(arguments[1])
    model = load_model(folder)
    stored = RunFolder(folder.absolute().parents[1], folder.absolute().name).read()
    assert stored is not None
    spec = from_stored(stored.config, device="cpu", threads=1).run
    task = make_task(spec)
    with kept_globals("cpu"):
        held_out = task.held_out(spec.training.evaluation_size, make_streams(spec.seed, "cpu").evaluation)
        batch = held_out.to(spec.torch_dtype)
    if getattr(model.cell, "takes_lengths", False) and hasattr(batch, "lengths"):
        raise ConfigError(f"{spec}: reads sequences of different lengths from their ends, which cannot be exported")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist")
    write, read = WRITERS[path.suffix]
    try:
        with _quiet():
            write(model, batch.inputs[:, [0] * EXAMPLES], path)
            outputs = read(path, batch.inputs)
    except (ConfigError, OSError):
        raise
    except Exception as error:  # whatever exporters make of a model
        path.unlink(missing_ok=True)
        raise ConfigError(f"{spec.cell['name']} cannot be exported to {path.suffix}: {one_line(error)}") from error
    with torch.no_grad():
        expected = model(batch.inputs)
    difference = float((outputs - expected).abs().max())
    allowed = LARGEST_DIFFERENCE[spec.torch_dtype] * max(1.0, float(expected.abs().max()))
    said = f"{difference:.1e} at most on {batch.inputs.shape[1]} held-out sequences"
    if not difference <= allowed:
        path.unlink()
        print(f"{path}: not written; its outputs differ from the model's by {said}")
        return 1
    shapes = [" × ".join(map(str, (len(each), "B", each.shape[-1]))) for each in (batch.inputs, outputs)]
    loss = float(task.loss(outputs, batch))
    print(f"{path}: inputs {shapes[0]} → outputs {shapes[1]}, {spec.dtype}; differs by {said}, loss {loss:.3g}")
    return 0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporters from printing graphs and advice."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()), silenced(1):
            yield
    finally:
        logging.disable(level)


def _write_onnx(model: Model, inputs: Tensor, path: Path) -> None:
    _runtime()
    axes = {"inputs": {1: "batch"}, "outputs": {1: "batch"}}
    # By tracing: the exporter that torch prefers needs one more package.
    torch.onnx.export(
        model, (inputs,), path, input_names=[*axes][:1], output_names=[*axes][1:], dynamic_axes=axes,
        opset_version=OPSET, dynamo=False,
    )  # fmt: skip


def _read_onnx(path: Path, inputs: Tensor) -> Tensor:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # or it prints what it raises, too
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"inputs": inputs.numpy()})
    return torch.from_numpy(np.asarray(outputs))


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"export: {error.name} is not installed: pip install 'recurrent-bench[onnx]'") from error
    return onnxruntime


def _write_program(model: Model, inputs: Tensor, path: Path) -> None:
    shapes = ({1: torch.export.Dim("batch", min=1)},)
    torch.export.save(torch.export.export(model, (inputs,), dynamic_shapes=shapes), path)


def _read_program(path: Path, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = torch.export.load(path).module()(inputs)
    return outputs


WRITERS: dict[str, tuple[Callable[[Model, Tensor, Path], None], Callable[[Path, Tensor], Tensor]]] = {
    ".onnx": (_write_onnx, _read_onnx),
    ".pt2": (_write_program, _read_program),
}
