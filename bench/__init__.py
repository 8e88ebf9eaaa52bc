"""Runs the comparison: configuration → run → stored result. Knows Hydra, W&B, files and clocks."""

from typing import Any

__all__ = ["__version__", "run"]

__version__ = "0.1.0"


def run(*overrides: str) -> dict[str, Any]:
    """Run one configuration, given as on the command line, and return its result.

        result = bench.run("cell=gru", "task=adding", "task.length=50", "seed=3")

    It is trained in a process of its own and stored in results_dir as the command would; what is finished there is not
    run again.

    Returns:
        What `result.json` holds (see bench/STORE.md), and `folder`.

    Raises:
        ConfigError: a configuration that cannot be run; the message is one line.
        RuntimeError: it did not come to an outcome, since it was stopped, another process is at it, or it cannot be
            stored.
    """
    from bench.single import run_single  # torch and Hydra are imported when a run is asked for

    return run_single(*overrides)
