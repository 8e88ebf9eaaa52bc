"""The tests are of the CPU: a GPU is hidden from all but `pytest tests/bench/test_gpu.py`."""

import os
import sys

if not any("test_gpu" in argument for argument in sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the processes that tests start, too
