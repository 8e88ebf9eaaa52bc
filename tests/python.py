"""Python in a process of its own, as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(
    *words: object, code: int = 0, cwd: Path = ROOT, env: Mapping[str, str] = os.environ, timeout: float | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `python WORDS…`, which finds this checkout from any folder, and must end with this exit code."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, timeout=timeout,
        env={**env, "PYTHONPATH": str(ROOT), **variables},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done
