"""The Triton kernels, run by Triton's interpreter. It must be chosen before they are defined, hence a process of its
own, which runs what every backend must pass."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")


def test_the_kernels_pass_what_every_backend_must():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "PeepholeLSTM-triton", "tests/cells"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_second_derivative_is_refused():
    code = (
        "import torch\n"
        "from cells import PeepholeLSTM\n"
        "cell, x = PeepholeLSTM(2, 3, 'triton'), torch.randn(4, 2, 2, requires_grad=True)\n"
        "assert cell.active_backend == 'triton'\n"
        "try:\n"
        "    torch.autograd.grad(cell(x)[0].sum(), x, create_graph=True)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "second derivative" in done.stdout, done.stderr
