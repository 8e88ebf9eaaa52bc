"""dtype=bfloat16: products in bfloat16, all else in float32."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import bench
from bench.execute import kernels
from bench.record.errors import ConfigError
from bench.spec.identity import run_id
from bench.train.model import backend_of, make_model, make_task
from tests.bench.conftest import make_config

CELLS = ["LSTM", "AttentionLSTM", "MinGRU", "SLSTM", "MLSTM", "LRU", "Mamba", "Attention", "TCN", "GatedConvolution"]
PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.convolution}


class Products(TorchDispatchMode):
    """Notes the dtype of every product."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in PRODUCTS:
            self.dtypes |= {arg.dtype for arg in args if isinstance(arg, torch.Tensor)}
        return func(*args, **(kwargs or {}))


def built(cell: str, dtype: str, **options):
    config = make_config(
        cell={"_target_": f"cells.{cell}", "name": "x", "hidden_size": 16, **options}, task={"length": 30}, dtype=dtype
    )
    torch.manual_seed(0)
    task = make_task(config.run)
    return make_model(config.run, task), task, task.sample(8, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{}, {"layers": 2, "residual": True, "norm": True}])
@pytest.mark.parametrize("cell", CELLS)
def test_products_are_in_bfloat16_and_parameters_and_gradients_in_float32(cell, options):
    model, task, batch = built(cell, "bfloat16", **options)
    with Products() as products:
        outputs = model.answer(batch)
        task.loss(outputs, batch).backward()
    inside = {torch.float32} if cell == "AttentionLSTM" else set()  # torch's attention on a CPU, which it does itself
    assert products.dtypes == {torch.bfloat16, *inside}
    assert outputs.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in model.parameters()} == {torch.float32}
    exact = built(cell, "float32", **options)[0].answer(batch)
    torch.testing.assert_close(outputs, exact, rtol=0.1, atol=0.05)
    assert not torch.equal(outputs, exact)


def test_no_compiled_kernel_is_used_and_none_may_be_asked_for():
    assert backend_of(built("LSTM", "bfloat16")[0].cell) == "loop"
    assert backend_of(built("MinGRU", "bfloat16")[0].cell) == "scan"
    assert backend_of(built("LSTM", "bfloat16", backend="torch")[0].cell) == "torch"
    with pytest.raises(ConfigError, match=r"cell.backend=native: computes in float32"):
        built("LSTM", "bfloat16", backend="native")


def test_a_run_is_trained_so_and_is_another_run(tmp_path):
    config = make_config(dtype="bfloat16")
    assert run_id(config.run) != run_id(make_config().run)
    result = bench.run(
        "cell=lstm", "cell.hidden_size=4", "task.length=5", "training.max_steps=2", "tracking=none", "device=cpu",
        f"results_dir={tmp_path}", "dtype=bfloat16",
    )  # fmt: skip
    assert (result["status"], result["backend"]) == ("unsolved", "loop")
    assert bench.load_model(result).mixed


@pytest.mark.parametrize("emulated", [False, True])
def test_it_is_said_where_bfloat16_is_emulated(emulated, monkeypatch):
    from bench.execute.plan import Plan

    monkeypatch.setattr(kernels, "emulates_bfloat16", lambda device: emulated)
    config = make_config(dtype="bfloat16")
    said = kernels.prepare_kernels(Plan(config.sweep.folder, {"1": config}, [], frozenset()), None)
    assert said == (["dtype=bfloat16: cpu emulates it here, which takes longer than float32"] if emulated else [])
