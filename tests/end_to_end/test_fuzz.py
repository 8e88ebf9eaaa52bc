"""A sample of the command lines of `fuzz.py`; `FUZZ_CASES=10000` tries more of them."""

import os

from tests.python import python

CASES = os.environ.get("FUZZ_CASES", "40")


def test_a_command_line_is_run_or_refused_in_one_line_and_writes_nothing_elsewhere():
    done = python("-m", "tests.end_to_end.fuzz", "--cases", CASES, "--seed", "0", "--processes", "1")
    outcomes = done.stdout.splitlines()[-1]
    assert "'exit code 0'" in outcomes
    assert "'exit code 2'" in outcomes
