"""How many seeds a command takes with `seeds=auto`: from what is stored alone, whoever asks and however often."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.execute.seeds import Deciding, take_seeds
from bench.record.asked import fix_looks
from bench.record.errors import ConfigError
from tests.bench.conftest import make_config

COUNTS = [3, 5, 8]


@dataclass(frozen=True)
class Left:
    runs: frozenset[str]
    open: int
    total: int


class Decided:
    """Decides on the cells of a set once their runs have so many seeds."""

    def __init__(self, after: dict[str, int]):
        self.after = after
        self.asked: list[int] = []

    def undecided(self, sweep: Path, runs) -> Left:
        self.asked.append(len(runs))
        seeds = {cell: sum(run.startswith(f"{cell}-") for run in runs) for cell in self.after}
        left = {cell for cell, n in seeds.items() if n < self.after[cell]}
        return Left(frozenset(run for run in runs if run.split("-")[0] in left), len(left), len(self.after))


def configs_of(folder: Path, cells: str = "lstm gru rnn", seeds=range(8), selection=()):
    made = {}
    for cell in cells.split():
        for seed in (*selection, *seeds):
            config = make_config(folder, cell={"_target_": f"cells.{cell.upper()}", "name": cell}, seed=seed)
            tuning = replace(config.sweep.tuning, selection_seeds=list(selection))
            made[f"{cell}-{seed}"] = replace(config, sweep=replace(config.sweep, tuning=tuning))
    return made


def counts(comparisons, claims, paired, most):
    return [n for n in COUNTS if n < most] + [most]


def take(folder: Path, finished, after: dict[str, int], **changes):
    return take_seeds(folder, configs_of(folder, **changes), finished, Deciding(counts, Decided(after).undecided, None))


def run_all(folder: Path, after: dict[str, int], **changes) -> list[int]:
    """Finish whatever is asked for, and return how many runs there are after each look."""
    finished: set[str] = set()
    had = []
    while True:
        seeds = take(folder, finished, after, **changes)
        if seeds.runs <= finished and not seeds.to_come:
            return had
        assert seeds.runs - finished
        finished |= seeds.runs
        had.append(len(finished))


def test_only_what_is_open_gets_more_seeds(tmp_path):
    assert run_all(tmp_path, {"lstm": 3, "gru": 5, "rnn": 100}) == [9, 9 + 2 * 2, 9 + 2 * 2 + 3]


def test_it_ends_when_all_is_decided(tmp_path):
    assert run_all(tmp_path, {"lstm": 1, "gru": 1, "rnn": 1}) == [9]


def test_what_is_asked_for_follows_from_what_is_stored_alone(tmp_path):
    """After the first look, all at once, or with a run of a later look there already: the same."""
    after = {"lstm": 3, "gru": 5, "rnn": 100}
    first = take(tmp_path, set(), after)
    assert (first.at, first.runs, first.open) == (1, {f"{cell}-{seed}" for cell in after for seed in range(3)}, 0)
    assert first.to_come == 3 * 5
    partly = take(tmp_path, set(list(first.runs)[:4]) | {"gru-4"}, after)
    assert (partly.at, partly.runs) == (1, first.runs)
    second = take(tmp_path, first.runs, after)
    assert (second.at, second.open, second.total) == (2, 2, 3)
    assert second.runs - first.runs == {f"{cell}-{seed}" for cell in ("gru", "rnn") for seed in (3, 4)}
    assert take(tmp_path, first.runs | {"lstm-7", "rnn-3"}, after) == second


def test_selection_seeds_are_no_looks(tmp_path):
    seeds = take(tmp_path, set(), {"lstm": 3, "gru": 5, "rnn": 100}, selection=(100, 101))
    assert sum(run.endswith(("-100", "-101")) for run in seeds.runs) == 6
    assert sorted({seed for look in seeds.looks for seed in look}) == list(range(8))


def test_looks_are_kept_where_there_is_something_to_decide(tmp_path):
    assert take(tmp_path, set(), {}).fixed
    assert not take(tmp_path, set(), {}, cells="gru").fixed  # nothing to compare it with
    assert not take(tmp_path, set(), {}, seeds=[4]).fixed
    assert take(tmp_path, set(), {}, seeds=[4]).runs == {"lstm-4", "gru-4", "rnn-4"}


def test_kept_looks_stand(tmp_path):
    fix_looks(tmp_path, [[0, 1], [2, 3]])
    assert take(tmp_path, set(), {}, seeds=range(4)).looks == [[0, 1], [2, 3]]
    assert take(tmp_path, set(), {}, cells="lstm", seeds=[1, 3]).runs == {"lstm-1"}
    with pytest.raises(ConfigError, match=r"looks.json fixed its seeds \(0 to 3\) before the first run; 4 is not one"):
        take(tmp_path, set(), {})


@pytest.mark.parametrize("seen", ["report/README.md", "results.parquet"])  # of a single run: the outcome, no report
def test_seeds_added_after_an_outcome_was_seen_are_noted(tmp_path, seen):
    from bench.record.asked import read_asked, record_asked

    def runs(n):
        return {f"{cell}-{seed}": (cell, "adding", seed) for cell in ("lstm", "gru") for seed in range(n)}

    record_asked(tmp_path, "a", None, runs(3))
    record_asked(tmp_path, "b", None, runs(5))  # nobody has seen anything
    assert read_asked(tmp_path).added == []
    (tmp_path / "report").mkdir()
    (tmp_path / seen).touch()
    record_asked(tmp_path, "b", None, runs(5))
    assert read_asked(tmp_path).added == []
    record_asked(tmp_path, "c", None, runs(8))
    record_asked(tmp_path, "d", None, runs(8) | {"rnn-0": ("rnn", "adding", 0)})  # another cell is no more seeds
    assert read_asked(tmp_path).added == [5]
