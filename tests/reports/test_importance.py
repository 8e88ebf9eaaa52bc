"""How much a setting matters is known where it decides everything, or nothing."""

import numpy as np
import pandas as pd
import pytest

from reports import importance
from reports.importance import MOST, importances

pytest.importorskip("optuna")
pytest.importorskip("sklearn")


def runs(number: int, decides: str) -> pd.DataFrame:
    """Solved runs of one cell on one task, whose time follows from the learning rate or from the seed alone."""
    at = np.arange(number)
    frame = pd.DataFrame({
        "status": "solved", "budget": 1000.0, "final_loss": 0.01, "baseline_loss": 0.2,
        "training.learning_rate": np.where(at % 2, 0.001, 0.01), "seed": at // 2,
    })  # fmt: skip
    slow = at % 2 if decides == "training.learning_rate" else (at // 2) % 2
    return frame.assign(needed=100.0 + 800 * slow)


@pytest.mark.parametrize("decides", ["training.learning_rate", "seed"])
def test_what_decides_matters(decides):
    shares = importances(runs(24, decides))
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == decides
    assert shares[decides] > 0.9


def test_of_many_runs_some_are_used_from_first_to_last(monkeypatch):
    seen = []
    monkeypatch.setattr(importance, "scores", lambda some: seen.append(some) or [0.0] * len(some))
    table = runs(3 * MOST, "seed")
    importances(table)
    assert (len(seen[0]), seen[0].index[0], seen[0].index[-1]) == (MOST, 0, 3 * MOST - 1)


def test_settings_that_change_together_are_one():
    table = runs(24, "training.learning_rate")
    table["cell.layers"] = table["seed"] % 3
    table["cell.hidden_size"] = 64 - 8 * table["cell.layers"]
    assert {*importances(table)} == {"training.learning_rate", "cell.layers and hidden_size", "seed"}
