"""The GPU path, on a GPU: kernels against the equations, runs that repeat and resume to the last bit, lack of memory,
times. Skipped without a CUDA device."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import gradcheck

import bench
from bench.catalogue import ROOT
from bench.cost.timing import measure, peak_memory
from bench.execute.cohort import run_cohort
from bench.execute.run import run
from bench.record.store import RunFolder
from bench.spec.config import Execution
from bench.train.process import configure_process
from cells import GRU, LSTM, RNN, AblatedLSTM, AttentionLSTM, GateRecurrentLSTM, PeepholeLSTM, TorchRecurrent, compiler
from tests.bench.conftest import make_config
from tests.bench.test_resume import CELLS as RUN_CELLS
from tests.bench.test_resume import StopAfter, stored
from tests.cells.conftest import random_state
from tests.cells.test_ablations import SINGLE
from tests.cells.test_backends import assert_equals_step
from tests.cells.test_compiler import UNSEEN
from tests.cells.test_fused import assert_alike_side_by_side

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

KINDS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (RNN, LSTM, PeepholeLSTM, GRU, AttentionLSTM, GateRecurrentLSTM)},
    **{f"without_{'_'.join(changes)}": partial(AblatedLSTM, **changes) for changes in SINGLE if changes},
    "without_most": partial(AblatedLSTM, forget_gate=False, output_gate=False, input_activation=False),
}
VARIANTS = [
    pytest.param(kind, backend, id=f"{name}-{backend}")
    for name, kind in KINDS.items()
    for backend in getattr(kind, "func", kind).available_backends()
    if backend != "native"
]
SHAPES = [(1, 1, 1, 1), (12, 5, 3, 9), (30, 33, 2, 136), (5, 3, 4, 600)]  # T, B, I, H


@pytest.fixture(autouse=True)
def _float32_means_float32() -> None:
    configure_process(Execution(allocator="system"))
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("kind", "backend"), VARIANTS)
def test_a_backend_equals_step(kind: Any, backend: str, dtype: torch.dtype, shape: tuple[int, int, int, int]):
    time, batch, inputs, hidden = shape
    with torch.device("cuda"):
        cell = kind(inputs, hidden, backend, dtype=dtype)
        assert cell.active_backend == backend
        x = torch.randn(time, batch, inputs, dtype=dtype, requires_grad=True)
        assert_equals_step(cell, x, random_state(cell, batch))


@pytest.mark.parametrize(("kind", "backend"), VARIANTS)
def test_the_gpu_computes_what_the_cpu_computes(kind: Any, backend: str):
    cell = kind(3, 24, backend, dtype=torch.float64)
    inputs = torch.randn(40, 6, 3, dtype=torch.float64)
    expected = cell(inputs)[0]
    torch.testing.assert_close(cell.to("cuda")(inputs.to("cuda"))[0].cpu(), expected, rtol=1e-9, atol=1e-9)


LAYERS = (
    "ATR", "BR", "CFN", "FastGRNN", "IndRNN", "JANET", "LEM", "LiGRU", "MCLSTM", "NAS", "RAN", "UnICORNN", "coRNN",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_published_cells_equal_their_loops(layer: str, dtype: torch.dtype):
    pytest.importorskip("torchrecurrent")
    with torch.device("cuda"):
        cell, x = TorchRecurrent(40, 40, layer, "triton").to(dtype), torch.randn(20, 18, 40, dtype=dtype)
    assert cell.active_backend == "triton", compiler.triton_reason(cell)
    leaves = [x.requires_grad_(), *(parameter for parameter in cell.parameters() if parameter.requires_grad)]
    found = []
    for backend in ("triton", "torchrecurrent"):
        cell.backend = backend
        outputs, _ = cell(x)
        found.append([outputs, *torch.autograd.grad(outputs.sin().sum(), leaves, materialize_grads=True)])
    for one, other in zip(*found, strict=True):
        scale = max(1.0, float(other.abs().max()))
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(one / scale, other / scale, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", UNSEEN)
def test_cells_that_the_compiler_has_not_seen_equal_step(kind: Any, dtype: torch.dtype):
    """On the GPU by a kernel, or by the loop, and then in a line why."""
    with torch.device("cuda"):
        cell = kind(4, 70, "triton", dtype=dtype)
        if cell.active_backend != "triton":
            assert "a value of the same step" in (compiler.triton_reason(cell) or "")
        assert_equals_step(cell, torch.randn(10, 18, 4, dtype=dtype, requires_grad=True), random_state(cell, 18))


@pytest.mark.parametrize("tiles", [0, 1, 2, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_tile_of_the_triton_kernels_equals_step(dtype: torch.dtype, tiles: int | None, monkeypatch: Any):
    """None: a matrix product and a kernel a step."""
    from cells import gpu

    monkeypatch.setattr(gpu, "_tiles", lambda *_: None if tiles is None else (gpu.TILES[tiles], 1))
    with torch.device("cuda"):
        for kind in (LSTM, PeepholeLSTM, GRU, RNN):
            cell = kind(2, 136, "triton", dtype=dtype)
            assert_equals_step(cell, torch.randn(20, 70, 2, dtype=dtype, requires_grad=True), random_state(cell, 70))


@pytest.mark.parametrize("batch", [64, 1000, 4000])
def test_any_batch_gets_tiles_or_a_matrix_product_a_step(batch: int):
    with torch.device("cuda"):
        cell, x = PeepholeLSTM(2, 136, "triton"), torch.randn(3, batch, 2)
        outputs, _ = cell(x)
        cell.backend = "loop"
        torch.testing.assert_close(outputs, cell(x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [PeepholeLSTM, GRU])
def test_programs_that_meet_do_so_every_time(kind: Any):
    """A race would show as different digits, now and then."""
    with torch.device("cuda"):
        cell, x = kind(4, 500, "triton"), torch.randn(100, 70, 4)
        first = None
        for _ in range(30):
            cell.zero_grad()
            outputs, _ = cell(x)
            outputs.square().sum().backward()
            found = [outputs, *(parameter.grad for parameter in cell.parameters())]
            first = first or [part.clone() for part in found]
            assert all(map(torch.equal, found, first))


def test_gradients_of_the_triton_kernels_are_the_derivatives():
    with torch.device("cuda"):
        cell = PeepholeLSTM(2, 3, "triton", dtype=torch.float64)
        x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda x: cell(x)[0], x)


def test_autocast_of_what_comes_before():
    """The cell computes in float32, whatever the layer before it gives."""
    with torch.device("cuda"):
        cell, x = GRU(3, 40, "triton"), torch.randn(5, 7, 3)
        expected = cell(x.bfloat16().float())[0]
        with torch.autocast("cuda", dtype=torch.bfloat16):
            outputs, _ = cell(x.bfloat16())
    torch.testing.assert_close(outputs, expected)


def test_a_strided_state_and_gradient():
    with torch.device("cuda"):
        cell = LSTM(3, 8, "triton", dtype=torch.float64)
        x = torch.randn(2, 10, 6, dtype=torch.float64)[:, ::2, ::2].transpose(0, 1).requires_grad_()
        h, c = (torch.randn(8, 4, dtype=torch.float64).T[::2].requires_grad_() for _ in range(2))
        assert_equals_step(cell, x, (h, c))


@pytest.mark.parametrize("cell", RUN_CELLS)
def test_a_run_repeats_and_resumes_to_the_last_bit(tmp_path: Path, cell: str):
    configs = [
        make_config(tmp_path / name, device="cuda", cell={**RUN_CELLS[cell], "hidden_size": 64}, task={"length": 50})
        for name in ("once", "again", "parts")
    ]
    result = run(configs[0])
    assert result["status"] == "unsolved"
    assert result["environment"]["gpu"]
    run(configs[1])
    for steps in (1, 7):
        assert run(configs[2], StopAfter(steps))["status"] == "interrupted"
    run(configs[2])
    once, again, parts = map(stored, configs)
    assert again == once
    assert parts == once


@pytest.mark.parametrize("kind", [LSTM, GRU, GateRecurrentLSTM])
def test_many_cells_side_by_side_compute_what_each_does(kind: Any):
    with torch.device("cuda"):
        cells = [kind(2, 136, "triton") for _ in range(70)]
        inputs = [torch.randn(20, 33, 2) for _ in cells]
        assert_alike_side_by_side(cells, inputs, rtol=1e-4, atol=1e-5)


def test_a_cohort_solves_what_its_runs_solve_alone(tmp_path: Path):
    """Not to the last bit: its sums are taken in another order."""
    ends = []
    for name, cohort in (("alone", "1"), ("together", "4")):
        options = {"device": "cuda", "cell": {**RUN_CELLS["peephole_lstm"], "hidden_size": 32}, "cohort": cohort}
        configs = [make_config(tmp_path / name, seed=seed, **options) for seed in range(4)]
        answers = run_cohort(configs, share=int(cohort), sole=False)
        ends.append([(answer["status"], pytest.approx(answer["final"]["loss"], rel=1e-2)) for answer in answers])
    assert ends[0] == ends[1]


@pytest.mark.parametrize("task", sorted(path.stem for path in (ROOT / "task").glob("*.yaml")))
def test_every_task_and_look(tmp_path: Path, task: str):
    settings = ("cell=attention_lstm", "diagnostics=standard", "training.max_steps=4", "tracking=none", "device=cuda")
    result = bench.run(f"task={task}", *settings, f"results_dir={tmp_path}")
    assert result["status"] == "unsolved"
    stored = RunFolder(Path(result["folder"]).parents[1], result["run_id"]).read()
    kinds = {reading.kind for reading in stored.readings}
    assert kinds >= {"gradient_flow", "gate_map", "attention", "jacobian", "updates"}


def test_lack_of_memory_is_an_outcome_and_the_next_run_has_it_back(tmp_path: Path):
    result = run(make_config(tmp_path, device="cuda", training={"batch_size": 2**24}, cell={"hidden_size": 4096}))
    assert result["status"] == "out_of_memory"
    assert run(make_config(tmp_path, device="cuda"))["status"] == "unsolved"


def test_times_on_the_gpu_are_positive_and_memory_is_counted():
    rows = measure([make_config(device="cuda")], lambda: None, lambda *failure: pytest.fail(str(failure)))
    assert all(row["value"] > 0 for row in rows)
    assert peak_memory(lambda: torch.empty(1_000_000, device="cuda"), "cuda") >= 4_000_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_linear_recurrences_have_kernels(dtype: torch.dtype):
    """The check before their first use compares them with the loop, real numbers and complex ones."""
    from cells import scan, triton_scan

    assert scan._kernels(torch.zeros(1, dtype=dtype, device="cuda")) is triton_scan
    assert scan._kernels(torch.zeros(1, dtype=dtype.to_complex(), device="cuda")) is triton_scan
