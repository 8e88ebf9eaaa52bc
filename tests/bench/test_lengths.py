"""Which length each seed is run at with `seeds=frontier`: from what is stored alone, whoever asks and however often."""

import math
from pathlib import Path

import pytest

from bench.execute.frontier import nearest, take_lengths
from bench.execute.seeds import Deciding, take_seeds
from bench.record.asked import fix_looks
from bench.record.errors import ConfigError
from tests.bench.conftest import make_config

LENGTHS = [5, 10, 20, 40, 80]
RATES = [0.01, 0.1]


def halfway(lengths, runs) -> float:
    """Between the longest length that was solved and the shortest that was not."""
    longest = max((length for length, solved in runs if solved), default=lengths[0] / 2)
    shortest = min((length for length, solved in runs if not solved), default=lengths[-1] * 2)
    return math.sqrt(longest * shortest)


DECIDING = Deciding(None, None, halfway)


def runs_of(folder: Path, seeds=range(12), lengths=LENGTHS, rates=RATES):
    jobs, configs = {}, {}
    for rate in rates:
        for length in lengths:
            for seed in seeds:
                key = f"{rate}-{length}-{seed}"
                jobs[key] = ["cell=lstm", f"horizon={length}", f"training.learning_rate={rate}", f"seed={seed}"]
                changes = {"task": {"length": length}, "training": {"learning_rate": rate}}
                configs[key] = make_config(folder, seed=seed, horizon=length, **changes)
    return jobs, configs


def take(folder: Path, statuses: dict[str, str], **changes):
    jobs, configs = runs_of(folder, **changes)
    return take_lengths(folder, jobs, configs, {key: statuses.get(key) for key in configs}, DECIDING)


def outcome(key: str) -> str:
    rate, length, _ = key.split("-")
    return "solved" if float(length) < {"0.01": 30, "0.1": 7}[rate] else "unsolved"


def run_all(folder: Path) -> list[list[str]]:
    """Finish whatever is asked for; returns the new runs of each look."""
    statuses: dict[str, str] = {}
    rounds = []
    while True:
        taken = take(folder, statuses)
        new = sorted(taken.runs - set(statuses))
        assert new or not taken.to_come
        if not new:
            return rounds
        rounds.append(new)
        statuses |= {key: outcome(key) for key in new}


def test_runs_approach_the_length_that_half_solve_and_go_on_with_the_rate_that_reaches_further(tmp_path):
    rounds = run_all(tmp_path)
    assert [len(new) for new in rounds] == [4, 4, 2, 2, 2, 2]
    assert rounds[0] == ["0.01-20-0", "0.01-20-1", "0.1-20-0", "0.1-20-1"]
    assert rounds[1] == ["0.01-40-2", "0.01-40-3", "0.1-5-2", "0.1-5-3"]
    assert {key.rpartition("-")[0] for new in rounds[2:] for key in new} == {"0.01-20"}  # between 20 and 40
    assert sorted(int(key.rpartition("-")[2]) for new in rounds[2:] for key in new) == list(range(4, 12))


def test_what_is_asked_for_follows_from_what_is_stored_alone(tmp_path):
    first = take(tmp_path, {})
    assert first.to_come == 4 + 4 * 2
    done = {key: outcome(key) for key in first.runs}
    partly = dict(list(done.items())[:3]) | {"0.01-80-11": "solved"}  # a run of a later look is none of this one's
    assert take(tmp_path, partly) == first
    second = take(tmp_path, done)
    assert second.at == 2
    assert take(tmp_path, done | {"0.01-80-11": "solved"}) == second


def test_a_run_that_failed_says_nothing_and_one_that_diverged_is_unsolved(tmp_path):
    first = take(tmp_path, {}, rates=[0.01])
    for status, length in (("failed", 20), ("out_of_memory", 20), ("diverged", 5), ("unsolved", 5), ("solved", 40)):
        runs = take(tmp_path, dict.fromkeys(first.runs, status), rates=[0.01]).runs - first.runs
        assert {int(key.split("-")[1]) for key in runs} == {length}, status


def test_with_one_rate_there_is_nothing_to_choose(tmp_path):
    assert take(tmp_path, {}, rates=[0.01]).choosing == 0
    assert take(tmp_path, {}).choosing == 2
    assert take(tmp_path, {}, seeds=[0]).looks == [[0]]


@pytest.mark.parametrize("changes", [{"lengths": [5, 10, 20]}, {"seeds": range(20)}])
def test_kept_looks_stand(tmp_path, changes):
    seeds = take(tmp_path, {})
    fix_looks(tmp_path, seeds.looks, seeds.lengths, seeds.choosing)
    assert take(tmp_path, {}, seeds=[1, 11]).runs == {"0.01-20-1", "0.1-20-1"}
    with pytest.raises(ConfigError, match="fixed other lengths or seeds before the first run; use another name"):
        take(tmp_path, {}, **changes)
    with pytest.raises(ConfigError, match=r"seeds=auto: .*looks.json was fixed by seeds=frontier"):
        take_seeds(tmp_path, runs_of(tmp_path)[1], (), DECIDING)


def test_what_makes_no_frontier_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs at least three lengths"):
        take(tmp_path, {}, lengths=[5, 10])
    jobs, configs = runs_of(tmp_path)
    left = {key: config for key, config in configs.items() if not key.startswith("0.1-80")}
    with pytest.raises(ConfigError, match=r"lstm on adding does not have all lengths \(cell=lstm training"):
        take_lengths(tmp_path, jobs, left, dict.fromkeys(left), DECIDING)


def test_the_nearest_length_is_so_on_a_logarithmic_scale():
    assert nearest([10, 20, 40], 27) == 20
    assert nearest([10, 20, 40], 29) == 40
    assert nearest([10, 40], 20) == 10
    assert nearest([10, 40], 1000) == 40
