"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for one.

The interpreter must be chosen before kernels are defined, hence a process of its own, which runs what every backend
must pass and the tests below that only it can run."""

import os
import subprocess
import sys

import pytest
import torch

from cells import LSTM, AblatedLSTM, PeepholeLSTM
from cells.lstm_parts import LSTMParts
from tests.cells.conftest import random_state
from tests.cells.test_ablations import PARTS, SINGLE
from tests.cells.test_backends import assert_equals_step

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
only_interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by the test of the interpreter")
only_compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")


@only_compiled
@pytest.mark.parametrize("tests", ["PeepholeLSTM-triton", "interpreted"])
def test_the_kernels_compute_the_equations(tests: str):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", tests, "tests/cells"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@only_interpreted
@pytest.mark.parametrize("changes", [*SINGLE, {**PARTS, "coupled_gates": False}], ids=lambda changes: "-".join(changes))
def test_interpreted_ablations(changes: dict):
    cell = AblatedLSTM(3, 5, "triton", dtype=torch.float64, **changes)
    assert cell.active_backend == "triton"
    if cell.gates == 1:
        cell.weight_peephole = None  # which is empty, and has no gradient by the equations
    assert_equals_step(cell, torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True), random_state(cell, 3))


@only_interpreted
@pytest.mark.parametrize("bias", [True, False])
def test_interpreted_lstm(bias: bool):
    cell = LSTM(3, 5, "triton", bias=bias, dtype=torch.float64)
    assert_equals_step(cell, torch.randn(5, 18, 3, dtype=torch.float64, requires_grad=True), random_state(cell, 18))


@only_interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpreted_steps_where_programs_would_be_too_many(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    from cells import fused

    monkeypatch.setattr(fused, "_tiles", lambda *_: None)
    for cell in (PeepholeLSTM(3, 130, "triton", dtype=dtype), LSTM(3, 5, "triton", dtype=dtype)):
        assert_equals_step(cell, torch.randn(5, 3, 3, dtype=dtype, requires_grad=True), random_state(cell, 3))


@only_interpreted
def test_interpreted_second_derivatives_are_refused():
    cell, x = PeepholeLSTM(2, 3, "triton"), torch.randn(4, 2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(cell(x)[0].sum(), x, create_graph=True)


@only_compiled
@pytest.mark.parametrize("kernel", ["_forward", "_backward", "_forward_step", "_backward_step"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tiles", range(3))
def test_the_kernels_compile_for_a_gpu(kernel: str, dtype: torch.dtype, tiles: int):
    """For an H100, and within the shared memory of smaller GPUs."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cells import fused

    function = getattr(fused, kernel)
    constants = {**fused._constants(LSTMParts().bits, fused.TILES[tiles], dtype), "block": fused.BLOCK}
    pointer = {torch.float32: "*fp32", torch.float64: "*fp64"}[dtype]
    types = {"arrived": "*i32", "steps": "i32", "batch": "i32", "hidden": "i32"} | dict.fromkeys(constants, "constexpr")
    names = function.arg_names
    source = ASTSource(
        function,
        {name: types.get(name, pointer) for name in names},
        {(names.index(name),): value for name, value in constants.items() if name in names},
    )
    options = {"num_warps": fused.TILES[tiles].warps, "launch_cooperative_grid": True, **fused.FUSED}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.metadata.shared <= 99 * 2**10
