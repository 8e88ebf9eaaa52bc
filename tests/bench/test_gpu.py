"""The GPU path. These tests need a CUDA device and are skipped without one."""

import pytest
import torch

from bench.runner import run
from bench.timing import measure, peak_memory
from cells import GRU, LSTM, RNN, AttentionLSTM, PeepholeLSTM
from tests.bench.conftest import make_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("kind", [RNN, LSTM, PeepholeLSTM, GRU, AttentionLSTM])
def test_a_cell_computes_on_the_gpu_what_it_computes_on_the_cpu(kind):
    torch.manual_seed(0)
    for backend in kind.available_backends():
        cell = kind(3, 8, backend, dtype=torch.float64)
        inputs = torch.randn(20, 4, 3, dtype=torch.float64)
        expected, _ = cell(inputs)
        outputs, _ = cell.to("cuda")(inputs.to("cuda"))
        torch.testing.assert_close(outputs.cpu(), expected, rtol=1e-9, atol=1e-9)


def test_a_run_on_the_gpu(tmp_path):
    result = run(make_config(tmp_path, device="cuda"))
    assert result["status"] == "unsolved"
    assert result["environment"]["gpu"]


def test_times_on_the_gpu_are_positive_and_memory_is_counted():
    rows = measure([make_config(device="cuda")], lambda: None, lambda *failure: pytest.fail(str(failure)))
    assert all(row["value"] > 0 for row in rows)
    assert peak_memory(lambda: torch.empty(1_000_000, device="cuda"), "cuda") >= 4_000_000
