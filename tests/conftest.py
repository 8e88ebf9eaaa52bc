"""The tests are of the CPU: a GPU is hidden from all but `pytest tests/bench/test_gpu.py`. They have one thread where
they set no other number: several processes run tests at once, and threads that share a core wait for it busily."""

import os
import sys

if any("test_gpu" in argument for argument in sys.argv):
    os.environ["TESTS_OF_A_GPU"] = "1"  # for the workers of pytest -n, which have other arguments
elif "TESTS_OF_A_GPU" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the processes that tests start, too
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
