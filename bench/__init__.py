"""Runs the comparison: configuration → run → stored result. Knows Hydra, W&B, files and clocks."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.version import __version__

if TYPE_CHECKING:
    from bench.train.model import Model

__all__ = ["__version__", "load_model", "run", "run_sweep"]


def run(*overrides: str) -> dict[str, Any]:
    """Run one configuration, given as on the command line, and return its result.

        result = bench.run("cell=gru", "task=adding", "task.length=50", "seed=3")

    The run trains in a separate process and is stored in results_dir, as with the command. A run that is finished
    there is returned without training it again.

    Returns:
        What `result.json` holds (see bench/STORE.md), `lengthened` (the evaluations at longer lengths), and `folder`.

    Raises:
        ConfigError: a configuration that cannot be run; the message is one line.
        RuntimeError: the run has no outcome, because it was stopped, another process holds it, or it cannot be stored.
    """
    from bench.single import run_single  # torch and Hydra are imported when a run is asked for

    return run_single(*overrides)


def run_sweep(*overrides: str) -> Path:
    """Run a sweep, given as on the command line, and return its folder, which `reports.load` reads.

        folder = bench.run_sweep("+sweep=quick", "cell=gru,lstm", "task=adding")
        runs, curves, timing = reports.load(folder)

    The command runs in a separate process and its output is shown, in a notebook as a bar. Interrupted, its runs save,
    and the same call continues. Runs that failed are said, and are outcomes in the tables.

    Raises:
        ConfigError: it cannot be run; the message is one line.
        RuntimeError: it ended before its tables were written; the message is the last line it said.
        KeyboardInterrupt: it was interrupted, and has saved.
    """
    from bench.single import run_sweep as run_here

    return run_here(*overrides)


def load_model(run: "str | Path | Mapping[str, Any]") -> "Model":
    """Return the trained model of a finished run, on the CPU, in the run's dtype and in evaluation mode.

        model = bench.load_model(bench.run("cell=gru", "task=adding"))
        outputs = model(inputs)  # (T, B, I) -> (T, B, O)

    Args:
        run: its folder, results/NAME/runs/RUN_ID, or what `bench.run` returned.

    Raises:
        ConfigError: there is no such run, it is unfinished, it kept no weights, or these are damaged; the message is
            one line.
    """
    from bench.train.weights import load_model as load

    return load(run)
