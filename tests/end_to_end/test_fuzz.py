"""A sample of the command lines of `fuzz.py`; `FUZZ_CASES=10000` tries more of them."""

import os
import subprocess
import sys
from pathlib import Path

CASES = os.environ.get("FUZZ_CASES", "120")
ROOT = Path(__file__).parents[2]


def test_a_command_line_is_run_or_refused_in_one_line_and_writes_nothing_elsewhere():
    command = [sys.executable, "-m", "tests.end_to_end.fuzz", "--cases", CASES, "--seed", "0", "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = done.stdout.splitlines()[-1]
    assert "'exit code 0'" in outcomes
    assert "'exit code 2'" in outcomes
