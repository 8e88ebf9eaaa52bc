"""Seeds that are added until they decide: the looks, what is tested at them, and what is asked for next."""

from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.record.asked import fix_looks, read_looks
from bench.record.errors import ConfigError
from reports import compare
from reports.load import load
from reports.report import write_report
from reports.sequential import undecided
from reports.statistics import ALPHA, Contrast, Looks, Times, looks_at
from reports.statistics.contrasts import PRECISION
from tests.reports.conftest import write_run
from tests.reports.simulate import CASES, TREATMENTS, first_of, looked_at, simulated

LOOKS = [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10, 11]]


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("most", [1, 3, 8, 12, 24, 60])
@pytest.mark.parametrize("comparisons", [1, 8, 40])
def test_looks_end_with_all_seeds_and_begin_where_something_can_be_decided(comparisons, most, paired):
    counts = looks_at(most, comparisons, paired)
    assert counts == sorted(set(counts))
    assert counts[-1] == most
    if len(counts) > 1:
        n = counts[0]
        clearest = Contrast(Times(10.0 + np.arange(n)), Times(1.0 + 0.1 * np.arange(n)), paired)
        assert clearest.p * len(counts) * comparisons <= ALPHA


def looks_of(a: Times, b: Times, counts: list[int], paired: bool = False) -> Looks:
    contrasts = [Contrast(first_of(a, n), first_of(b, n), paired, ALPHA / len(counts)) for n in counts]
    return Looks(contrasts[-1], contrasts, len(counts))


@pytest.mark.parametrize("paired", [False, True])
def test_test_and_interval_agree_at_every_look(paired):
    generator, decided = np.random.default_rng(0), 0
    for _ in range(60):
        a, b = simulated(CASES["spread 0.3"], 14, (generator.choice([1.0, 1.4, 2.0]), 1), generator)
        looks = looks_of(a, b, [6, 9, 14], paired)
        for k in (1, 2, 3):
            here = looks.until(k)
            assert (here.p <= ALPHA) == (not here.interval.low < 1 < here.interval.high)
            assert here.p == min(1.0, 3 * min(contrast.p for contrast in here.tested))
        decided += looks.p <= ALPHA
    assert 0 < decided < 60


@pytest.mark.parametrize("case", ["spread 0.3", "most solved at the first evaluation", "15 % never solve it"])
def test_looking_often_establishes_no_more_than_it_says(case):
    generator, times = np.random.default_rng(1), 100
    found = sum(any(looked_at(simulated(CASES[case], 24, [1] * 5, generator), False)[0]) for _ in range(times))
    assert found <= stats.binom.ppf(0.999, times, ALPHA)


def test_looking_until_it_is_significant_would():
    """The same without the correction: what the looks are for."""
    generator, times, found = np.random.default_rng(1), 200, 0
    for _ in range(times):
        a, b = simulated(CASES["spread 0.3"], 32, (1, 1), generator)
        found += any(Contrast(first_of(a, n), first_of(b, n)).p <= ALPHA for n in (7, 10, 15, 22, 32))
    assert found > stats.binom.ppf(0.99, times, ALPHA)


def test_clear_differences_take_few_runs():
    generator = np.random.default_rng(2)
    for cases, paired in ((CASES, False), (TREATMENTS, True)):
        contenders = simulated(next(iter(cases.values())), 24, (1, 3, 1 / 3), generator)
        found, runs = looked_at(contenders, paired)
        assert found == [True, True]
        assert runs <= 3 * 12


def write_sweep(folder, times: dict[str, list[int | None]], task: str = "adding", **changes) -> None:
    for cell, steps in times.items():
        for seed, needed in enumerate(steps):
            write_run(folder, cell, task, seed, needed, **changes)


def alike(n: int, start: int = 500) -> list[int | None]:
    return [start + 50 * (seed % 3) for seed in range(n)]


@pytest.fixture
def sweep(tmp_path):
    """GRU is decided by the first look; the plain network would be by all seeds, and has not got there."""
    folder = tmp_path / "s"
    folder.mkdir()
    fix_looks(folder, LOOKS)
    write_sweep(folder, {"lstm": alike(7), "gru": alike(4, 100), "rnn": alike(6)})
    return folder


def test_only_looks_that_are_complete_are_tested(sweep):
    table = compare(load(sweep).results).query("primary").set_index(["first", "second"])
    assert table["looks"].to_dict() == {("rnn", "lstm"): 1, ("lstm", "gru"): 1}
    assert set(table["planned"]) == {3}
    groups = Contrast(Times(np.array(alike(4, 100), float)), Times(np.array(alike(4), float)))
    assert table.loc[("lstm", "gru"), "p"] == pytest.approx(min(1, 3 * groups.p))
    write_run(sweep, "rnn", "adding", 6, None, status="failed")  # which is there, and says nothing
    table = compare(load(sweep).results).query("primary").set_index(["first", "second"])
    assert table.loc[("rnn", "lstm"), "looks"] == 2


def test_what_is_open_asks_for_the_contenders_that_it_is_a_matter_of(sweep):
    stored = load(sweep)
    first = stored.results.loc[stored.results["look"] == 1, "run_id"]
    left = undecided(stored, list(first))
    assert (left.open, left.total) == (2, 2)  # four seeds in three looks cannot decide
    assert {run.split("-")[0] for run in left.runs} == {"lstm", "gru", "rnn"}


def test_a_decided_contender_is_left_alone(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    fix_looks(folder, [list(range(8)), list(range(8, 12))])
    write_sweep(folder, {"lstm": alike(8), "gru": [100] * 8, "rnn": [200, 900, 300, 700, 450, 800, 550, 600]})
    stored = load(folder)
    left = undecided(stored, list(stored.results["run_id"]))
    assert (left.open, left.total) == (1, 2)
    assert {run.split("-")[0] for run in left.runs} == {"lstm", "rnn"}
    report = write_report([folder]).path.read_text()
    assert "at looks after 8, 12 seeds. The looks were fixed before the first run" in report
    assert "Comparisons decided: 1 after 8 seeds; 1 open. The sweep took 24 runs instead of 36." in report
    table = compare(stored.results).set_index(["first", "second"])
    assert table.loc[("lstm", "gru"), "decided"] == 8
    assert pd.isna(table.loc[("rnn", "lstm"), "decided"])


@pytest.fixture
def two_plans(tmp_path):
    """Two sweeps of the same cells and seeds: one with looks after 6 and 9 of them, one after 5, 7 and 9."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, plan, faster in zip(folders, ([6, 3], [5, 2, 2]), (0, 300), strict=True):
        folder.mkdir()
        seeds = iter(range(9))
        fix_looks(folder, [list(islice(seeds, n)) for n in plan])
        write_sweep(folder, {"lstm": alike(9, 500 - faster), "gru": alike(9, 450 - faster)})
    return folders


def test_sweeps_whose_looks_differ_are_corrected_for_all_combinations(two_plans):
    table = compare(load(*two_plans).results).set_index(["first", "second"])
    within = {("lstm, sweep a", "gru, sweep a"): (2, 2), ("lstm, sweep b", "gru, sweep b"): (3, 3)}
    across = table.loc[("lstm, sweep a", "gru, sweep b")]
    alone = Contrast(Times(np.array(alike(9, 150), float), 50), Times(np.array(alike(9), float), 50), False, ALPHA / 6)
    assert {names: tuple(table.loc[names, ["looks", "planned"]]) for names in within} == within
    assert (across["looks"], across["planned"]) == (1, 6)
    assert across["p"] == pytest.approx(6 * alone.p)
    assert across["ratio_high"] == pytest.approx(alone.interval.high, rel=PRECISION - 1)
    report = write_report(two_plans).path.read_text()
    assert "corrected for all combinations of looks that they could have ended at (6 at most)" in report
    assert "Holm-corrected over the 2 rows, and corrected for the looks at which seeds were added" in report


def test_looks_at_other_seeds_pair_those_that_both_have(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, start in zip(folders, (0, 3), strict=True):
        folder.mkdir()
        fix_looks(folder, [list(range(start, start + 6)), list(range(start + 6, start + 9))])
        for seed in range(start, start + 9):
            write_run(folder, "lstm", "adding", seed, 300 + start * 100 + 50 * (seed % 3))
    row = compare(load(*folders).results).iloc[0]
    assert (row["test"], row["seeds"], row["looks"], row["planned"]) == ("pairs", 6, 2, 2)


def test_pooled_runs_of_several_plans_are_tested_once(two_plans):
    runs = pd.concat([load(folder).results for folder in two_plans]).reset_index(drop=True)
    runs.loc[9 * 2 :, "seed"] += 9
    row = compare(runs).iloc[0]
    assert (row["first_runs"], row["looks"], row["planned"]) == (18, 1, 36)


def test_seeds_that_no_look_planned_are_shown_and_not_tested(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    fix_looks(folder, [list(range(6)), list(range(6, 9))])
    write_sweep(folder, {"lstm": alike(12), "gru": alike(12, 450)})
    stored = load(folder)
    row = compare(stored.results).iloc[0]
    assert (row["seeds"], row["looks"]) == (12, 2)
    planned = compare(stored.results[stored.results["look"].notna()]).iloc[0]
    assert row["p"] == planned["p"]
    assert "6 have seeds that no look planned" in write_report([folder]).path.read_text()


def test_looks_that_are_kept_stand(tmp_path):
    fix_looks(tmp_path, LOOKS)
    fix_looks(tmp_path, [[0], [1]])
    assert read_looks(tmp_path).seeds == LOOKS
    assert read_looks(tmp_path).counts == [4, 7, 12]


@pytest.mark.parametrize("damage", [b"{}", b"", b'{"seeds": [[0]], "sha256": "0"}'])
def test_damaged_looks_are_no_reason_to_test_without(tmp_path, damage):
    """Of runs whose looks are not known, p-values cannot be corrected for them."""
    write_sweep(tmp_path, {"lstm": alike(8), "gru": alike(8, 100)})
    (tmp_path / "looks.json").write_bytes(damage)
    with pytest.raises(ConfigError, match=r"looks\.json: .*; restore it"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"looks\.json"):
        read_looks(tmp_path)


def test_each_finding_of_a_publication_is_decided_by_itself():
    """Though a claim of several is refuted as soon as one is."""
    stored = load(Path(__file__).parent / "data" / "paper_greff2017")
    runs = stored.results.set_index("run_id")
    wanted = runs.loc[list(undecided(stored, set(runs.index)).runs)]
    assert "no_forget_gate" in set(wanted["cell"][wanted["task"] == "adding"])
    assert "no_forget_gate" not in set(wanted["cell"][wanted["task"] == "copy"])  # where it is decided
