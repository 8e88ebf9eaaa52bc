"""Which settings a cell is reported with: the best on selection seeds, and never on those reported."""

from collections import Counter

import pandas as pd

from bench.record.fairness import selection_score


def tuned(runs: pd.DataFrame) -> set[str]:
    """Return the columns of settings that are selected."""
    if "tuned" not in runs:
        return set()
    return {column for text in runs["tuned"].dropna().unique() for column in text.split(",") if column in runs}


def selected(runs: pd.DataFrame) -> set[str]:
    """Return the columns of settings that some of these runs select; without such runs all that was run is reported."""
    settings = tuned(runs)
    return settings if settings and runs["selection"].fillna(False).any() else set()


def split_trials(results: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split results into the runs that are reported and those by which their settings were selected.

    For each problem and contender the settings with the lowest mean `bench.record.fairness.selection_score` over
    selection seeds are taken; of others only selection runs are kept. Settings tried on fewer selection seeds than
    others are not taken. Where several tie, those that the sweep trained on other seeds are.

    Returns:
        The reported runs, and the trials: runs on selection seeds, and new columns `score` and `chosen`.
    """
    if not selected(results):
        return results, pd.DataFrame()
    selecting = results["selection"].fillna(False).astype(bool)
    settings = sorted(tuned(results))
    labels = results[settings].astype("string").fillna("–").agg(", ".join, axis=1)
    trials = results[selecting].assign(settings=labels[selecting], score=scores(results[selecting]))
    subjects = list(zip(results["problem"], results["contender"], labels, strict=True))
    reported = Counter(subject for subject, tried in zip(subjects, selecting, strict=True) if not tried)
    chosen: dict[tuple[str, str], str] = {}
    for (problem, contender), runs in trials.groupby(["problem", "contender"], sort=False):
        tried = runs.groupby("settings", sort=False)["score"].agg(["mean", "count"])
        mean = tried[tried["count"] == tried["count"].max()]["mean"]
        best = [str(label) for label in mean.index[mean <= mean.min() * (1 + 1e-9)]]
        chosen[problem, contender] = max(best, key=lambda label: reported[problem, contender, label])
    # A cell without selection runs has nothing to select: all of it is reported.
    of_choice = pd.Series(
        [chosen.get((problem, contender), label) == label for problem, contender, label in subjects], results.index
    )
    return results[of_choice & ~selecting], trials.assign(chosen=of_choice[selecting])


def scores(runs: pd.DataFrame) -> list[float]:
    """Return each run's `bench.record.fairness.selection_score`, of runs with what `reports.spending` adds."""
    return [_score(row) for _, row in runs.iterrows()]


def _score(row: pd.Series) -> float:
    def number(value: object) -> float | None:
        return None if pd.isna(value) else float(value)  # type: ignore[arg-type, call-overload]

    return selection_score(
        str(row["status"]),
        number(row["needed"]),
        number(row["budget"]),
        number(row["final_loss"]),
        number(row["baseline_loss"]),
    )
