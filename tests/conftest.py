"""The tests are of the CPU: a GPU is hidden from all but `pytest tests/bench/test_gpu.py`."""

import os
import sys

if any("test_gpu" in argument for argument in sys.argv):
    os.environ["TESTS_OF_A_GPU"] = "1"  # for the workers of pytest -n, which have other arguments
elif "TESTS_OF_A_GPU" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the processes that tests start, too
