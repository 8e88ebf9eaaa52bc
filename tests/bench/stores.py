"""Large stores, and what it takes to read them.

    python -m tests.bench.stores 10000

makes a store of that many finished runs and prints seconds and memory of what is done with it."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from unittest import mock

from msgspec import structs

from bench.execute.run import run
from bench.record.store import METRICS, RunFolder
from bench.spec.config import to_plain
from bench.spec.identity import run_id
from tests.bench.conftest import make_config

CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", "peephole_lstm": "PeepholeLSTM"}
EVALUATIONS = 40


def make_store(results: Path, runs: int) -> Path:
    """Fill a sweep's folder with finished runs of four cells on one task, and return it."""
    training = {"max_steps": EVALUATIONS, "evaluate_every": 1}
    likeness = make_config(results / "likeness", training=training)
    run(likeness)
    original = RunFolder(results / "likeness" / "scratch", run_id(likeness.run)).read()
    assert original is not None
    with mock.patch("bench.record.fence.force_to_disk"), mock.patch("bench.record.files.force_to_disk"):
        for number in range(runs):
            name = list(CELLS)[number % len(CELLS)]
            cell = likeness.run.cell | {"_target_": f"cells.{CELLS[name]}", "name": name}
            config = likeness.with_run(cell=cell, seed=number // len(CELLS))
            folder = RunFolder(results / "scratch", run_id(config.run))
            folder.begin(to_plain(config))
            folder.append(METRICS, original.metrics)
            folder.finish(to_plain(config), structs.replace(original.result, run_id=run_id(config.run)))
    return results / "scratch"


def measure(module: str, *arguments: str) -> tuple[float, float, str]:
    """Return seconds, GiB at most, and output of `python -m MODULE`."""
    # VmHWM, and not what getrusage says, which begins from the memory of whoever started the process.
    code = (
        "import atexit, runpy, sys\n"
        "most = lambda: next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        f"atexit.register(lambda: print(most())); sys.argv[1:] = {list(arguments)!r}\n"
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    start = perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return perf_counter() - start, int(done.stdout.split()[-1]) / 2**20, done.stdout


AGAIN = (
    "-m", "cell=lstm,gru,rnn,peephole_lstm", "task=adding", "task.length=6", "cell.hidden_size=4",
    "training.batch_size=4", f"training.max_steps={EVALUATIONS}", "training.evaluate_every=1",
    "training.evaluation_size=8", "training.early_evaluations=false", "timing=none", "tracking=none", "device=cpu",
)  # fmt: skip


def main() -> None:
    """Make a store and print what it takes to aggregate and report it, and to be asked for it again."""
    runs = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        sweep = make_store(Path(folder), runs)
        seconds, gib, _ = measure("reports", str(sweep))
        print(f"{runs:,} runs of {EVALUATIONS} evaluations: report in {seconds:.1f} s and {gib:.2f} GiB")
        again = [*AGAIN, f"seed=range(0,{runs // len(CELLS)})", f"results_dir={folder}"]
        seconds, gib, said = measure("bench", *again)
        assert f"runs   {runs}, of which {runs} are finished" in said, said
        print(f"the finished sweep again: {seconds:.1f} s and {gib:.2f} GiB, {1000 * seconds / runs:.1f} ms a run")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB to make it")


if __name__ == "__main__":
    main()
