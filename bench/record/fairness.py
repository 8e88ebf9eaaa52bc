"""What makes comparisons fair, for those who run and those who report: budgets, matched sizes, and how well a run did
as one number, by which settings are selected."""

import math
from collections.abc import Iterable, Sequence

NO_LIMIT = 10**12  # steps: as many as another budget allows
TOLERANCE = {"parameters": 0.01, "flops": 0.02}  # how far from the reference a match may be, as a share of it
WORST = 2.0  # of a run that diverged, or failed


def selected_settings(selection_seeds: Sequence[int], search: Iterable[str]) -> list[str]:
    """Return the settings that are selected: none without seeds for that; without a search of ours the learning rate,
    which Hydra then sweeps."""
    return (list(search) or ["training.learning_rate"]) if selection_seeds else []


def selection_score(
    status: str, spent: float | None, budget: float | None, final_loss: float | None, baseline_loss: float | None
) -> float:
    """Return what selection makes small: a solved run counts the share of its budget that it needed, below 1; an
    unsolved one 1 + loss / (loss + loss without memory), which is 1.5 for having learned nothing and below 2. So any
    that was solved is better than any that was not.

    Args:
        status: the run's outcome.
        spent: to solve the task, in the budget's currency.
        budget: what it might have spent.
        final_loss, baseline_loss: held-out loss at the end, and of the best answer without memory.
    """
    if status == "solved" and spent is not None and budget:
        return min(1.0, spent / budget)
    if status != "unsolved" or final_loss is None or not math.isfinite(final_loss):
        return WORST
    loss = max(0.0, final_loss)
    return 1 + loss / (loss + baseline_loss) if baseline_loss else WORST
