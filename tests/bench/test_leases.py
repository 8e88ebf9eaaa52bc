"""Who takes a run: one process at a time."""

import subprocess
import sys
from pathlib import Path

from bench.execute.leases import Lease

TAKE = """
import sys
from pathlib import Path
from bench.execute.leases import Lease
lease = Lease(Path(sys.argv[1]), "run")
print(lease.acquire(), lease.is_held())
lease.release()
"""


def of_another(sweep: Path) -> str:
    command = [sys.executable, "-c", TAKE, str(sweep)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_what_one_process_has_no_other_gets(tmp_path: Path):
    lease = Lease(tmp_path, "run")
    assert not lease.is_held()
    assert lease.acquire()
    assert lease.is_held()
    assert of_another(tmp_path) == "False False"
    assert not Lease(tmp_path, "run").is_free()
    assert Lease(tmp_path, "other").is_free()
    lease.release()
    assert not lease.is_held()
    assert of_another(tmp_path) == "True True"
