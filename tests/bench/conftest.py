"""Small configurations that train in a blink."""

from pathlib import Path
from typing import Any

import pytest

from bench.spec.checks import from_plain
from bench.spec.config import Settings


def make_config(results_dir: Path | str = "results", **changes: Any) -> Settings:
    """A checked configuration: an LSTM of 4 units on adding, 20 steps."""
    training = {
        "batch_size": 4,
        "max_steps": 20,
        "evaluate_every": 10,
        "early_evaluations": False,
        "evaluation_size": 8,
    }
    composed: dict[str, Any] = {
        "cell": {"_target_": "cells.LSTM", "name": "lstm", "hidden_size": 4} | changes.pop("cell", {}),
        "task": {"_target_": "tasks.Adding", "name": "adding", "length": 6} | changes.pop("task", {}),
        "training": training | changes.pop("training", {}),
        "timing": {"rounds": 2, "inference_steps": 2},
        "tracking": {"mode": "disabled"} | changes.pop("tracking", {}),
        "device": "cpu",
        "results_dir": str(results_dir),
        **changes,
    }
    return from_plain(composed)


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return make_config(tmp_path)
