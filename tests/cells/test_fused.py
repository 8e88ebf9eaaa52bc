"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for one.

The interpreter must be chosen before kernels are defined, hence a process of its own, which runs what every backend
must pass and the tests below that only it can run."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cells import (
    GRU,
    LSTM,
    RNN,
    AblatedLSTM,
    Cell,
    GateRecurrentLSTM,
    PeepholeLSTM,
    TorchRecurrent,
    TruncatedLSTM1997,
    compiler,
)
from tests.cells.conftest import random_state
from tests.cells.test_ablations import PARTS, SINGLE
from tests.cells.test_backends import assert_equals_step
from tests.cells.test_compiler import UNSEEN, CutProducts, CutState, PointWiseState, TwoStages
from tests.cells.test_scan import compose_by_rows

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
TESTED = {
    "PeepholeLSTM-triton": ["tests/cells/test_backends.py"],
    "interpreted": ["tests/cells/test_fused.py", "tests/cells/test_scan.py", "tests/bench/test_cohort.py"],
}
only_interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by the test of the interpreter")
only_compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")


@only_compiled
@pytest.mark.parametrize("tests", TESTED)
def test_the_kernels_compute_the_equations(tests: str):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-k",
            tests,
            *TESTED[tests],
        ],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def module_of(cell: torch.nn.Module, folder: Path) -> Any:
    """The generated module."""
    path = folder / "gpu.py"
    path.write_text(compiler.equations(cell).triton_source())
    return compiler.load_triton(path)


def assert_interpreted(cell: Cell, time: int, batch: int) -> None:
    assert cell.active_backend == "triton", compiler.triton_reason(cell)
    x = torch.randn(time, batch, cell.input_size, dtype=cell.weight_hh.dtype, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, batch))


@only_interpreted
@pytest.mark.parametrize("changes", [*SINGLE, {**PARTS, "coupled_gates": False}], ids=lambda changes: "-".join(changes))
def test_interpreted_ablations(changes: dict):
    cell = AblatedLSTM(3, 5, "triton", dtype=torch.float64, **changes)
    if cell.gates == 1:
        cell.weight_peephole = None  # which is empty, and has no gradient by the equations
    assert_interpreted(cell, 5, 3)


@only_interpreted
def test_interpreted_steps_that_no_loss_is_of_have_no_part_in_gradients():
    cell, inputs, found = LSTM(3, 5, "triton", dtype=torch.float64), torch.randn(4, 2, 3, dtype=torch.float64), []
    broken = inputs.clone()
    broken[3, 0] = torch.nan
    for x in (inputs, broken):
        outputs = cell(x)[0][:3]
        found.append([outputs, *torch.autograd.grad(outputs.sum(), [*cell.parameters()])])
    torch.testing.assert_close(*found)


@only_interpreted
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU, TruncatedLSTM1997])
def test_interpreted_cells(kind: type[Cell], bias: bool):
    assert_interpreted(kind(3, 5, "triton", bias=bias, dtype=torch.float64), 5, 18)
    assert_interpreted(kind(1, 33, "triton", bias=bias), 1, 1)


@only_interpreted
def test_interpreted_states_that_are_multiplied_each_by_its_weights():
    assert_interpreted(GateRecurrentLSTM(3, 5, "triton", dtype=torch.float64), 5, 3)


def assert_alike_side_by_side(cells: list[Cell], inputs: list[torch.Tensor], **tolerance: float) -> None:
    """Compare outputs and gradients of several cells in one call with those of each, of which one is not read."""
    run_each = cells[0].run_each
    assert run_each is not None
    outputs, differentiate = run_each(cells, inputs)
    *read, _ = outputs
    sum((number * each.sin().sum() for number, each in enumerate(read, 1)), torch.zeros(())).backward()
    differentiate([each.grad for each in outputs])
    for number, (cell, x, together) in enumerate(zip(cells, inputs, outputs, strict=True), 1):
        gradients = [parameter.grad for parameter in cell.parameters()]
        alone, _ = cell(x)
        torch.testing.assert_close(together, alone, **tolerance)
        scale = number if number <= len(read) else 0
        expected = torch.autograd.grad(scale * alone.sin().sum(), [*cell.parameters()], materialize_grads=True)
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(torch.zeros_like(other) if one is None else one, other, **tolerance)


@only_interpreted
@pytest.mark.parametrize("at_a_time", [2, None])
@pytest.mark.parametrize("kind", [LSTM, GRU, GateRecurrentLSTM, PointWiseState, CutProducts])
def test_interpreted_cells_side_by_side(kind: type[Cell], at_a_time: int | None, monkeypatch: pytest.MonkeyPatch):
    """Two at a time, and a step at a time, which has a program for each sequence."""
    from cells import gpu

    tiles, batch = (None, 2) if at_a_time is None else ((gpu.TILES[0], at_a_time), gpu.TILES[0].rows + 2)
    cells = [kind(3, 5, "triton", dtype=torch.float64) for _ in range(3)]
    inputs = [torch.randn(3, batch, 3, dtype=torch.float64) for _ in cells]
    assert all(cell.active_backend == "triton" for cell in cells)
    monkeypatch.setattr(gpu, "_tiles", lambda *_: tiles)
    assert_alike_side_by_side(cells, inputs, rtol=1e-9, atol=1e-9)


@only_compiled
@pytest.mark.parametrize(
    ("cells", "batch", "expected"), [(1, 64, (0, 8)), (64, 64, (2, 33)), (8, 64, (0, 8)), (1, 4000, None)]
)
def test_as_many_cells_as_a_gpu_has_room_for_run_at_once(
    cells: int, batch: int, expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    from cells import gpu

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=132))
    layout = module_of(LSTM(3, 5), tmp_path).LAYOUT
    found = gpu._tiles(layout, cells, batch, 128, SimpleNamespace(is_cuda=True, device=None))
    assert found == (None if expected is None else (gpu.TILES[expected[0]], expected[1]))


@only_interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", UNSEEN)
def test_interpreted_cells_that_the_compiler_has_not_seen(kind: type[Cell], dtype: torch.dtype):
    cell = kind(4, 5, "triton", dtype=dtype)
    program = compiler.equations(cell).parts
    if any(operand.now for operand in program.operands.values()):
        assert "a value of the same step" in (compiler.triton_reason(cell) or "")
        assert not cell.can_use("triton")
    else:
        assert_interpreted(cell, 4, 3)


@only_interpreted
@pytest.mark.parametrize("layer", ["BR", "FastGRNN", "JANET", "LEM", "MCLSTM", "NAS", "coRNN"])
def test_interpreted_published_cells(layer: str):
    pytest.importorskip("torchrecurrent")
    cell = TorchRecurrent(4, 4, layer, "triton").double()
    assert cell.active_backend == "triton", compiler.triton_reason(cell)
    x = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in ("triton", "torchrecurrent"):
        cell.backend = backend
        outputs, state = cell(x)
        leaves = [x, *(parameter for parameter in cell.parameters() if parameter.requires_grad)]
        parts = state if isinstance(state, tuple) else (state,)
        total = sum(part.sin().sum() for part in (outputs, *parts))
        found.append([outputs, *parts, *torch.autograd.grad(total, leaves, materialize_grads=True)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@only_interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpreted_steps_where_programs_would_be_too_many(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    from cells import gpu

    monkeypatch.setattr(gpu, "_tiles", lambda *_: None)
    assert_interpreted(PeepholeLSTM(3, 130, "triton", dtype=dtype), 5, 3)
    for kind in (LSTM, GRU, GateRecurrentLSTM, PointWiseState, CutProducts, CutState):
        assert_interpreted(kind(3, 5, "triton", dtype=dtype), 4, 3)


@only_interpreted
def test_interpreted_functions_near_their_borders():
    """expm1 and log1p keep the digits of small numbers; nothing is lost of what is not finite."""
    from cells import fused

    values = [0.0, 1e-12, -1e-12, 0.5, -0.5, 3.0, 40.0, 1e9, float("inf"), float("nan"), -float("inf"), -1e-300]
    x = torch.tensor(values, dtype=torch.float64)
    for name in ("expm1", "log1p", "relu", "tanh"):
        given = x.where(x > -1, 0.25) if name == "log1p" else x
        found = torch.empty_like(given)
        _apply[(1,)](given, found, getattr(fused, name), len(given), 16)
        torch.testing.assert_close(found, getattr(torch, name)(given), equal_nan=True, rtol=1e-12, atol=1e-15)


if INTERPRETED:
    import triton
    import triton.language as tl

    @triton.jit
    def _apply(given, found, function: tl.constexpr, count, block: tl.constexpr):
        at = tl.arange(0, block)
        tl.store(found + at, function(tl.load(given + at, at < count, other=0)), at < count)


@only_interpreted
def test_interpreted_second_derivatives_are_refused():
    cell, x = PeepholeLSTM(2, 3, "triton"), torch.randn(4, 2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(cell(x)[0].sum(), x, create_graph=True)


@only_interpreted
@pytest.mark.parametrize("grad", [True, False])
def test_interpreted_forward_derivatives_are_those_of_the_loop(grad: bool):
    cell, x = LSTM(2, 3, "triton"), torch.randn(4, 2, 2)
    tangents = []
    for backend in ("triton", "loop"):
        cell.backend = backend
        with torch.set_grad_enabled(grad), torch.autograd.forward_ad.dual_level():
            outputs, _ = cell(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
            tangents.append(torch.autograd.forward_ad.unpack_dual(outputs).tangent)
    torch.testing.assert_close(*tangents)


@only_interpreted
def test_interpreted_kernels_that_differ_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(compiler, "differs_on_gpu", lambda *_: "the output differs")
    cell = RNN(2, 3, "triton")
    assert not cell.can_use("triton")
    assert compiler.triton_reason(cell) == "RNN has no GPU kernel: the kernel is not used, because the output differs"


@only_compiled
def test_a_gpu_kernel_that_cannot_be_says_why():
    with pytest.raises(compiler.Untraceable, match="a value of the same step"):
        compiler.equations(TwoStages(2, 3)).triton_source()


@only_compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "tiles"),
    [
        *(("LSTM", tiles) for tiles in range(3)),
        *((kind, 0) for kind in ("GateRecurrentLSTM", "TruncatedLSTM1997", "PointWiseState", "CutProducts", "NAS")),
    ],
)
def test_the_kernels_compile_for_a_gpu(kind: str, tiles: int, dtype: torch.dtype, tmp_path):
    """For an H100, and within the shared memory of smaller GPUs."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cells import fused, gpu

    if kind == "NAS":
        pytest.importorskip("torchrecurrent")
        cell: torch.nn.Module = TorchRecurrent(3, 5, kind)
    else:
        kinds = (LSTM, GateRecurrentLSTM, TruncatedLSTM1997, PointWiseState, CutProducts)
        cell = {one.__name__: one for one in kinds}[kind](3, 5)
    module = module_of(cell, tmp_path)
    layout = module.LAYOUT
    assert gpu.TILES[tiles] in gpu._fitting(layout)
    for name in ("forward_sequence", "backward_sequence", *(("forward_step", "backward_step") if tiles == 0 else ())):
        function = getattr(fused, name)
        constants = {
            **gpu._constants(layout, gpu.TILES[tiles], dtype),
            "layout": layout,
            "width": max(len(layout.inputs), layout.saved),
            "block": gpu.BLOCK,
            "start": module.start,
            "point": module.forward if "forward" in name else module.backward,
        }
        pointer = {torch.float32: "*fp32", torch.float64: "*fp64"}[dtype]
        types = {"arrived": "*i32", "steps": "i32", "batch": "i32", "hidden": "i32", "plane": "i64"}
        types |= dict.fromkeys(constants, "constexpr")
        names = function.arg_names
        source = ASTSource(
            function,
            {name: types.get(name, pointer) for name in names},
            {(names.index(name),): value for name, value in constants.items() if name in names},
        )
        options = {"num_warps": gpu.TILES[tiles].warps, "launch_cooperative_grid": True, **gpu.FUSED}
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert compiled.metadata.shared <= gpu.SHARED


@only_compiled
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("name", ["_scan", "_selective", "_selective_backward"])
@pytest.mark.parametrize("other", [True, False])  # real numbers and complex ones, forward and backward; states kept
def test_the_scans_compile_for_a_gpu(name: str, other: bool, dtype: str):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cells import gpu, triton_scan

    tile, width = triton_scan.TILE if name == "_scan" else triton_scan.SELECTIVE_TILE
    constants = {"backward": other, "imaginary": other, "keep": other, "tile": tile, "width": width, "depth": 16}
    types = dict.fromkeys(("steps", "channels", "decays", "batch", "numbers"), "i32")
    types |= dict.fromkeys(constants, "constexpr")
    names = getattr(triton_scan, name).arg_names
    source = ASTSource(
        getattr(triton_scan, name),
        {each: types.get(each, f"*{dtype}") for each in names},
        {(names.index(each),): value for each, value in constants.items() if each in names},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert compiled.metadata.shared <= gpu.SHARED


@only_interpreted
@pytest.mark.parametrize("wrong", ["nothing", "gradient", "error"])
def test_interpreted_scans_are_used_if_they_compute_the_equations(wrong: str, monkeypatch: pytest.MonkeyPatch):
    from triton.runtime.interpreter import ScanOps

    from cells import scan, triton_scan

    monkeypatch.setattr(ScanOps, "generic_scan", compose_by_rows)
    monkeypatch.setattr(triton_scan, "TILE", (8, 16))
    monkeypatch.setattr(triton_scan, "SELECTIVE_TILE", (4, 16))

    if wrong == "gradient":
        backward = triton_scan.scan_backward
        monkeypatch.setattr(triton_scan, "scan_backward", lambda *given: (*backward(*given)[:2], given[2]))
    elif wrong == "error":
        monkeypatch.setattr(triton_scan, "TILE", (3, 8))  # no power of 2
    scan._on_gpu.cache_clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        used = scan._on_gpu(torch.device("cpu"))
    scan._on_gpu.cache_clear()
    assert (used is triton_scan) == (wrong == "nothing")
    reasons = {"nothing": [], "gradient": ["its results differ from the equations"], "error": ["InterpreterError"]}
    assert len(warned) == len(reasons[wrong])
    assert all(reason in str(each.message) for reason, each in zip(reasons[wrong], warned, strict=True))
