"""The compiled kernels beyond what every backend must do: their functions, sizes, threads, and what goes wrong."""

import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cells import GRU, LSTM, RNN, AblatedLSTM, AttentionLSTM, Cell, PeepholeLSTM, native
from cells.native import build
from tests.cells.conftest import random_state, unroll
from tests.cells.test_backends import assert_equals_step

pytestmark = pytest.mark.skipif(not native.library().loaded, reason="no native kernels here")

KINDS = [(RNN, {}), (RNN, {"nonlinearity": "relu"}), (LSTM, {}), (PeepholeLSTM, {}), (GRU, {})]
ABLATED: list[tuple[type[Cell], dict]] = [
    (AblatedLSTM, {name: name == "coupled_gates"})
    for name in (
        "input_gate", "forget_gate", "output_gate", "input_activation", "output_activation", "coupled_gates",
    )
]  # fmt: skip
if "-march=native" not in build.FLAGS:  # as the test of narrower instruction sets has it, where each is compiled anew
    KINDS, ABLATED = [(RNN, {}), (LSTM, {}), (GRU, {})], []
DTYPES = [torch.float32, torch.float64]


def make(kind: type[Cell], options: dict, inputs: int, hidden: int, dtype=torch.float32, backend="native") -> Cell:
    return kind(inputs, hidden, backend, dtype=dtype, **options)


# The functions of the gates, seen through a cell that is nothing else.


def tanh_of(x: torch.Tensor) -> torch.Tensor:
    cell = make(RNN, {"bias": False}, 1, 1, x.dtype)
    with torch.no_grad():
        cell.weight_ih.fill_(1.0)
        return cell(x.reshape(1, -1, 1))[0].flatten()


def sigmoid_of(x: torch.Tensor) -> torch.Tensor:
    """The output gate: c = 50 is kept (f = 1, i = 0), and tanh(50) = 1."""
    cell = make(LSTM, {}, 1, 1, x.dtype)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.tensor([[0.0], [0.0], [0.0], [1.0]]))
        cell.bias.copy_(torch.tensor([-1000.0, 1000.0, 0.0, 0.0]))
        c = torch.full((len(x), 1), 50.0, dtype=x.dtype)
        return cell(x.reshape(1, -1, 1), (torch.zeros_like(c), c))[0].flatten()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("ours", "reference", "units"), [(tanh_of, torch.tanh, 4), (sigmoid_of, torch.sigmoid, 3)])
def test_functions_are_as_exact_as_their_comments_say(ours, reference, units, dtype):
    magnitudes = torch.logspace(-30, math.log10(80), 4000, dtype=torch.float64)
    x = torch.cat([-magnitudes.flip(0), torch.zeros(1, dtype=torch.float64), magnitudes]).to(dtype)
    if dtype == torch.float64:  # nothing here is more precise: mpmath, which torch's own dependencies bring
        import mpmath

        exact_of = {
            tanh_of: mpmath.tanh,
            sigmoid_of: lambda v: 1 / (1 + mpmath.exp(-v)),
        }[ours]
        with mpmath.workdps(40):
            found = ours(x)
            errors = [
                abs(mpmath.mpf(a) - exact_of(mpmath.mpf(v))) / mpmath.mpf(max(abs(a), 1e-290))
                for a, v in zip(found.tolist(), x.tolist(), strict=True)
                if v != 0
            ]
            assert max(errors) < units * torch.finfo(dtype).eps
        return
    exact = reference(x.double())
    error = (ours(x).double() - exact).abs() / exact.abs().clamp(min=1e-30)
    assert error.max().item() < units * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [tanh_of, sigmoid_of])
def test_functions_of_what_is_no_ordinary_number(function, dtype):
    most = torch.finfo(dtype).max  # an infinite input times a weight of zero would be NaN by the equations
    x = torch.tensor([most, -most, 1e30, -1e30, math.nan, 0.0], dtype=dtype)
    reference = torch.tanh if function is tanh_of else torch.sigmoid
    torch.testing.assert_close(function(x), reference(x), equal_nan=True, rtol=1e-6, atol=1e-30)


# Sizes, layouts, threads.


@settings(max_examples=60, deadline=None)
@given(
    time=st.integers(1, 9),
    batch=st.integers(1, 20),
    inputs=st.integers(1, 20),
    hidden=st.one_of(st.integers(1, 40), st.sampled_from([48, 63, 64, 65, 80, 130])),
    threads=st.sampled_from([1, 2]),
    kind=st.sampled_from([*KINDS, *ABLATED]),
    dtype=st.sampled_from(DTYPES),
)
def test_equals_the_equations_for_any_shape(time, batch, inputs, hidden, threads, kind, dtype):
    torch.set_num_threads(threads)
    cell = make(*kind, inputs, hidden, dtype)
    x = torch.randn(time, batch, inputs, dtype=dtype, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, batch))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 300), (3, 420), (9, 300), (70, 33)])
def test_threads_that_share_a_batch_equal_the_equations(kind, batch, hidden, dtype):
    """Few rows with many weights are divided by hidden units, others by rows."""
    torch.set_num_threads(2)
    cell = make(*kind, 7, hidden, dtype)
    with torch.no_grad():
        cell.weight_hh.mul_(0.5)
    x = torch.randn(6, batch, 7, dtype=dtype, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, batch))


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_beyond_the_caches_equal_the_equations(threads):
    """Such weights are fetched ahead, and their gradients are summed over more time steps at once."""
    torch.set_num_threads(threads)
    cell = make(LSTM, {}, 7, 1030)
    x = torch.randn(40, 20, 7, requires_grad=True)
    assert_equals_step(cell, x, random_state(cell, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_thread_counts_may_change_between_forward_and_backward(kind):
    cell = make(*kind, 3, 20, torch.float64)
    x = torch.randn(5, 8, 3, dtype=torch.float64)
    gradients = []
    for before, after in ((1, 1), (2, 1), (1, 2), (2, 2)):
        torch.set_num_threads(before)
        total = cell(x)[0].square().sum()
        torch.set_num_threads(after)
        gradients.append(torch.autograd.grad(total, list(cell.parameters())))
    for other in gradients[1:]:
        for one, two in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_call_gives_the_same_bits(threads):
    torch.set_num_threads(threads)
    cell, x = LSTM(3, 50, "native"), torch.randn(20, 9, 3)

    def compute() -> list[torch.Tensor]:
        outputs = cell(x)[0]
        return [outputs, *torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))]

    for one, other in zip(compute(), compute(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [*KINDS, (AttentionLSTM, {})])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("hidden", [1, 15, 16, 40])
def test_single_steps_equal_the_equations(kind, batch, hidden):
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        cell = make(*kind, 5, hidden, dtype)
        x = torch.randn(6, batch, 5, dtype=dtype)
        reference = make(*kind, 5, hidden, dtype, backend="loop")
        reference.load_state_dict(cell.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(
                unroll(cell, x, None)[0], unroll(reference, x, None)[0], rtol=tolerance, atol=tolerance
            )


def test_backward_twice_over_one_graph():
    cell, x = GRU(3, 10, "native"), torch.randn(5, 4, 3, requires_grad=True)
    total = cell(x)[0].square().sum()
    leaves = [x, *cell.parameters()]
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(total, leaves), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_asked_for_one_at_a_time(kind):
    cell = make(*kind, 3, 6, torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    state = random_state(cell, 2)
    last = cell(x, state)[1]
    target = (last[-1] if isinstance(last, tuple) else last).sum()  # of the last c alone, where there is one
    leaves = [x, *(state if isinstance(state, tuple) else (state,)), *cell.parameters()]
    expected_last = unroll(cell, x, state)[1]
    expected = (expected_last[-1] if isinstance(last, tuple) else expected_last).sum()
    got = torch.autograd.grad(target, leaves, allow_unused=True, materialize_grads=True)
    want = torch.autograd.grad(expected, leaves, allow_unused=True, materialize_grads=True)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


# Attention.


def attention(queries, keys, values, scale):
    """By the formula, all weights at once."""
    scores = scale * torch.einsum("tnd,snd->nts", queries, keys)
    seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(len(keys) - len(queries))
    return torch.einsum("nts,sne->tne", scores.masked_fill(~seen, -math.inf).softmax(dim=-1), values)


def draw_attention(queries, keys, sequences, depth, width, dtype=torch.float64):
    """Queries, keys, values; without a width the values are the keys, and there are two of them."""
    shapes = [(queries, depth), (keys, depth), *([(keys, width)] if width else [])]
    return [torch.randn(time, sequences, size, dtype=dtype, requires_grad=True) for time, size in shapes]


@settings(max_examples=60, deadline=None)
@given(
    queries=st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 130, 200])),
    known=st.sampled_from([0, 0, 1, 5, 64, 129, 300]),
    sequences=st.integers(1, 4),
    depth=st.integers(1, 40),
    width=st.one_of(st.none(), st.integers(1, 40)),
    scale=st.sampled_from([1.0, 0.3]),
    threads=st.sampled_from([1, 2]),
    dtype=st.sampled_from(DTYPES),
)
def test_attention_equals_its_formula_for_any_shape(queries, known, sequences, depth, width, scale, threads, dtype):
    torch.set_num_threads(threads)
    leaves = draw_attention(queries, queries + known, sequences, depth, width, dtype)
    exact = [each.detach().double().requires_grad_() for each in leaves]
    found = native.attend(*leaves, scale=scale)
    expected = attention(exact[0], exact[1], exact[-1], scale)
    weights = torch.randn_like(found)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    pairs = zip(
        [found, *torch.autograd.grad(found, leaves, weights)],
        [expected, *torch.autograd.grad(expected, exact, weights.double())],
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)


def test_attention_is_the_same_to_the_bit_with_any_threads_and_beside_other_sequences():
    whole = draw_attention(70, 70, 5, 20, None, torch.float32)
    alone = [each[:, 3:4].detach().requires_grad_() for each in whole]
    kept = []
    for threads, leaves in ((1, whole), (2, whole), (1, alone)):
        torch.set_num_threads(threads)
        contexts = native.attend(*leaves)
        kept.append([contexts, *torch.autograd.grad(contexts.square().sum(), leaves)])
    for one, two, single in zip(*kept, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one[:, 3:4], single)


def test_attention_keeps_nothing_that_grows_with_the_square_of_the_time():
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    for time in (100, 200):
        leaves = draw_attention(time, time, 2, 8, None)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            native.attend(*leaves)
    assert sum(kept[len(kept) // 2 :]) == 2 * sum(kept[: len(kept) // 2])


def test_attention_to_scores_of_any_size():
    """Large ones, that grow along the keys, and ones so far apart that weights vanish."""
    queries, keys, values = draw_attention(3, 300, 1, 1, 2)
    with torch.no_grad():
        queries.fill_(1.0)
        keys.copy_(torch.linspace(-5000, 5000, 300).view(-1, 1, 1))
    found = native.attend(queries, keys, values)
    torch.testing.assert_close(found, attention(queries, keys, values, 1.0), rtol=1e-12, atol=1e-12)


# Numbers at the edge.


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] == {}])
def test_saturated_gates(kind):
    cell = make(*kind, 2, 20, torch.float64)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(300)
    x = torch.randn(50, 4, 2, dtype=torch.float64, requires_grad=True)
    outputs = cell(x)[0]
    gradients = torch.autograd.grad(outputs.sum(), list(cell.parameters()))
    assert all(torch.isfinite(tensor).all() for tensor in (outputs, *gradients))
    torch.testing.assert_close(outputs, unroll(cell, x, None)[0], rtol=1e-6, atol=1e-6)


def test_a_state_that_decays_below_normal_numbers():
    """Forget gates of 1/2 halve c two hundred times, past the smallest normal float32."""
    cell = LSTM(1, 16, "native", forget_bias=0.0)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    c = torch.ones(2, 16)
    outputs, (_, last) = cell(torch.zeros(200, 2, 1), (torch.zeros_like(c), c))
    assert torch.isfinite(outputs).all()
    assert last.abs().max() < 2e-38
    torch.testing.assert_close(outputs[:100, 0, 0], 0.5 * torch.tanh(0.5 ** torch.arange(1.0, 101.0)))


def test_other_code_keeps_its_denormals():
    cell = LSTM(1, 4, "native")
    cell(torch.randn(3, 2, 1))[0].sum().backward()
    assert (torch.tensor(1e-38) / 16).item() != 0.0


def test_not_a_number_stays_in_its_row():
    for kind in KINDS:
        cell = make(*kind, 2, 10)
        x = torch.randn(4, 3, 2)
        x[1, 1, 0] = math.nan
        outputs = cell(x)[0]
        assert outputs[1:, 1].isnan().all()
        assert not outputs[:, [0, 2]].isnan().any()


# Processes and threads.


def test_concurrent_calls():
    cell, inputs = LSTM(3, 30, "native"), [torch.randn(30, 4, 3) for _ in range(8)]
    expected = [cell(x)[0].detach() for x in inputs]
    found: list = [None] * 8

    def work(i: int) -> None:
        for _ in range(5):
            found[i] = cell(inputs[i])[0].detach()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_forked_process_can_go_on():
    done = python(
        "import os, torch\n"
        "from cells import LSTM\n"
        "torch.set_num_threads(2)\n"
        "cell, x = LSTM(3, 20, 'native'), torch.randn(5, 4, 3)\n"
        "expected = cell(x)[0]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    outputs = cell(x)[0]\n"
        "    outputs.sum().backward()\n"
        "    os._exit(0 if torch.allclose(outputs, expected, atol=1e-6) else 3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert done.stdout.strip() == "0", done.stderr


USE = """
import warnings
warnings.simplefilter("always")
import torch
from cells import GRU, PeepholeLSTM
for cell in (GRU(3, 5), GRU(3, 5, "native"), PeepholeLSTM(3, 5, "native")):
    cell(torch.randn(4, 2, 3))[0].sum().backward()
    print(cell.active_backend)
"""


def fallback(done: subprocess.CompletedProcess, reason: str) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["torch", "torch", "loop"]
    assert done.stderr.count("NativeUnavailable") == 1
    assert reason in done.stderr


def test_without_a_compiler_the_next_backend_is_used(tmp_path):
    fallback(python(USE, CXX="no-such-compiler", TORCH_EXTENSIONS_DIR=str(tmp_path)), "no C++ compiler")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    fallback(python(USE, TORCH_EXTENSIONS_DIR=str(tmp_path / "file" / "cache")), "Not a directory")


def test_a_build_that_fails_is_not_tried_again(tmp_path):
    compiler = tmp_path / "broken-compiler"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "broken 1.0" && exit 0\necho no >&2\nexit 1\n')
    compiler.chmod(0o755)
    environment = {"CXX": str(compiler), "TORCH_EXTENSIONS_DIR": str(tmp_path / "cache")}
    fallback(python(USE, **environment), "the build failed")
    again = python(USE, **environment)
    fallback(again, "an earlier build failed")
    assert "building" not in again.stderr


def test_a_build_that_failed_is_tried_again_later(tmp_path):
    """Its reason may have passed: a full disk, a compiler that was killed."""

    def fail(_):
        raise RuntimeError("no space left")

    path = tmp_path / "kernel.so"
    with pytest.raises(RuntimeError, match="the build failed"):
        build.build_once(path, fail, "a kernel")
    with pytest.raises(RuntimeError, match="an earlier build failed"):
        build.build_once(path, Path.touch, "a kernel")
    os.utime(tmp_path / "failed", (0, 0))
    build.build_once(path, Path.touch, "a kernel")
    assert {file.name for file in tmp_path.iterdir()} == {"kernel.so", "lock"}


NARROWER = {"AVX-512": ("x86-64-v3", "AVX2"), "AVX2": ("x86-64", "128-bit vectors")}


@pytest.mark.skipif(native.instructions() not in NARROWER, reason="nothing narrower")
def test_a_narrower_instruction_set_gives_the_same(tmp_path):
    """Built as for a machine without this one's widest vectors: slower, not wrong."""
    target, instructions = NARROWER[native.instructions()]
    whole = tmp_path / "whole.cpp"  # as one file, for which torch's headers are compiled once
    untested = {build.SOURCES / name for name in ("convolution.cpp", "scan.cpp")}  # which no test below is of
    parts = sorted({*build.SOURCES.glob("*.cpp")} - untested)
    whole.write_text("".join(f'#include "{part}"\n' for part in parts))
    done = python(
        "from cells.native import build\n"
        f"build.FLAGS[build.FLAGS.index('-march=native')] = '-march={target}'\n"
        "build.FLAGS[build.FLAGS.index('-O3')] = '-O1'\n"  # takes half the time
        "from torch.utils import cpp_extension\n"
        "load = cpp_extension.load\n"
        f"cpp_extension.load = lambda name, sources, **options: load(name, [{str(whole)!r}], **options)\n"
        "import pytest, sys\n"
        "from cells import native\n"
        f"assert native.library().loaded and native.instructions() == {instructions!r}\n"
        "chosen = 'tests/cells/test_native.py'\n"
        "names = 'any_shape or attention_equals or share_a_batch or functions or single_steps'\n"
        "sys.exit(pytest.main([chosen, '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '-k', names]))\n",
        TORCH_EXTENSIONS_DIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


# What is refused.


def test_a_second_derivative_is_refused():
    cell, x = LSTM(2, 3, "native"), torch.randn(4, 2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(cell(x)[0].sum(), x, create_graph=True)


def test_attention_of_other_shapes_and_dtypes_is_refused():
    queries, keys, values = draw_attention(4, 5, 2, 3, 6)
    for wrong in ((keys, queries), (queries[:, :1], keys), (queries[..., :2], keys), (queries[0], keys)):
        with pytest.raises(ValueError, match="queries"):
            native.attend(*wrong)
    for wrong in (values[1:], values[:, 1:], values[0]):
        with pytest.raises(ValueError, match="values"):
            native.attend(queries, keys, wrong)
    with pytest.raises(TypeError, match="one dtype"):
        native.attend(queries, keys.float())
    with pytest.raises(TypeError, match="float32 or float64"):
        native.attend(queries.bfloat16(), keys.bfloat16())
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(native.attend(queries, keys, values).sum(), queries, create_graph=True)


def test_mixed_dtypes_are_refused():
    cell = LSTM(2, 3, "native")
    with pytest.raises(TypeError, match="one dtype"):
        cell(torch.randn(4, 2, 2, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_the_wrong_shape_is_refused(kind):
    """Memory beyond a tensor's end must not be read."""
    cell = make(*kind, 2, 3)
    x, h = torch.randn(4, 2), torch.zeros(4, 3)

    def state(part: torch.Tensor) -> object:
        return (part, part) if len(cell.states) > 1 else part

    with torch.no_grad():
        cell.step(x, state(h))
        for wrong in (torch.randn(4, 3), torch.randn(0, 2), torch.randn(3, 2)):
            with pytest.raises(ValueError, match=r"inputs|state"):
                cell.step(wrong, state(h))
        with pytest.raises(ValueError, match="state"):
            cell.step(x, state(torch.zeros(4, 2)))


def test_other_dtypes_and_devices_use_the_next_backend():
    assert LSTM(2, 3, "native", dtype=torch.bfloat16).active_backend == "torch"
    assert PeepholeLSTM(2, 3, device="meta").active_backend == "loop"


def test_a_class_with_equations_of_its_own_has_a_kernel_of_its_own():
    """Kernels follow from the equations; torch.nn's are those of the class that names it."""

    class Leaky(LSTM):
        def recur(self, gates_x, state):
            output, state = super().recur(gates_x, state)
            return 0.5 * output, state

    class Scaled(GRU):
        def project(self, inputs):
            return 2 * super().project(inputs)

    for kind in (Leaky, Scaled):
        assert kind.available_backends() == ("native", "triton", "loop")
        cell = kind(2, 3, dtype=torch.float64)
        assert cell.active_backend == "native"
        assert_equals_step(cell, torch.randn(5, 4, 2, dtype=torch.float64, requires_grad=True), random_state(cell, 4))
