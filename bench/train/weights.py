"""The weights of a trained model: what is kept of it, how large that is, and the model made from it again."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.record.errors import ConfigError, one_line
from bench.record.files import Damaged
from bench.record.store import WEIGHTS, RunFolder
from bench.spec.config import RunSpec
from bench.spec.identity import from_stored
from bench.train.checkpoint import load_plain
from bench.train.model import Model, make_model, make_task
from bench.train.streams import kept_globals, make_streams
from tasks import Task

# Of a file of `torch.save`: its own records, and of each tensor a header, padding and an entry in the directory.
FILE_BYTES, TENSOR_BYTES = 1200, 250
ADAM_MOMENTS = 2  # tensors as large as a parameter in the usual optimiser's state, beside the number of its steps


def state_of(model: Model, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Return what is kept of a trained model: `model`, its state dict, and `optimizer`, that one's if it is given.

    Tensors are copies on the CPU, each with a storage of its own.
    """
    state = {"model": dict(model.state_dict())}
    if optimizer is not None:
        state["optimizer"] = optimizer.state_dict()
    return _copied(state)


def pack(state: dict[str, Any]) -> bytes:
    """Return the content of `weights.pt`.

    Raises:
        Damaged: it could not be read with `weights_only=True`: a user's class keeps objects in its state.
    """
    content = io.BytesIO()
    try:
        torch.save(state, content)
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception as error:  # whatever pickling makes of objects
        raise Damaged(f"the model's state is more than tensors and plain values ({type(error).__name__})") from error
    return content.getvalue()


def unpack(content: bytes, path: Path) -> dict[str, Any]:
    """Return the state in the content of `weights.pt`, on the CPU. Nothing in it is executed.

    Raises:
        MemoryError: memory does not suffice.
        Damaged: it is not what `pack` returned.
    """
    state = load_plain(io.BytesIO(content), path)
    if not (isinstance(state, dict) and isinstance(state.get("model"), dict)):
        raise Damaged(f"{path}: holds no weights")
    return state


def weights_bytes(spec: RunSpec, with_optimizer: bool) -> int:
    """Return how many bytes a run's `weights.pt` will have, about."""
    model = make_model(spec, make_task(spec), device="meta")
    tensors = [tensor for tensor in model.state_dict().values() if isinstance(tensor, Tensor)]
    if with_optimizer:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        tensors += ADAM_MOMENTS * parameters + [torch.empty((), device="meta") for _ in parameters]
    return FILE_BYTES + sum(TENSOR_BYTES + tensor.numel() * tensor.element_size() for tensor in tensors)


def initial_model(spec: RunSpec, task: Task) -> Model:
    """Build a run's model as its training begins with it. This seeds torch's, numpy's and Python's generators."""
    make_streams(spec.seed, spec.device).seed_globals()
    return make_model(spec, task)


def trained_model(spec: RunSpec, task: Task, state: Mapping[str, Any], path: Path | str = "weights") -> Model:
    """Build a run's model as its training left it, from what `state_of` returned.

    Raises:
        Damaged: it is the state of another model; the message names `path`.
    """
    model = initial_model(spec, task)  # what is no part of the state is as it was, too
    try:
        model.load_state_dict(state["model"])
    except Exception as error:  # whatever a model makes of the state of another
        raise Damaged(f"{path}: does not fit this cell ({one_line(error)})") from error
    return model


def load_model(run: str | Path | Mapping[str, Any]) -> Model:
    """See `bench.load_model`."""
    if isinstance(run, Mapping):
        run = run.get("folder", "")
    if not (isinstance(run, str | Path) and str(run)):
        raise ConfigError("load_model: takes a run's folder, results/NAME/runs/RUN_ID, or what bench.run returned")
    path = Path(run)
    folder = RunFolder(path.absolute().parents[1], path.absolute().name) if len(path.absolute().parents) > 1 else None
    if folder is None or folder.path != path.absolute():
        raise ConfigError(f"{path}: is not a run's folder, such as results/NAME/runs/RUN_ID")
    try:
        stored = folder.read()
        if stored is None:
            kind = "has no finished run" if path.is_dir() else "is not there"
            raise ConfigError(f"{path}: {kind}; the folder of one is results/NAME/runs/RUN_ID")
        if stored.weights is None:
            was = f"its run having ended as {stored.result.status}"
            if stored.config.get("keep", "nothing") == "nothing":
                was = "its run having been trained with keep=nothing, or before weights were kept"
            raise ConfigError(f"{path}: has no weights, {was}; runs that train to their end with keep=weights do")
        spec = from_stored(stored.config, device="cpu", threads=1).run
        state = unpack(folder.read_weights(stored.weights), folder.path / WEIGHTS)
        with kept_globals("cpu"), warnings.catch_warnings(action="ignore"):
            return trained_model(spec, make_task(spec), state, folder.path / WEIGHTS).eval()
    except Damaged as error:
        raise ConfigError(str(error)) from error


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().cpu()
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value
