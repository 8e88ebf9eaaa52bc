"""What a verdict may not rest on: runs that are left out, ended early, or were added after it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.record.asked import fix_looks
from bench.record.rules import fix_claims
from reports import compare
from reports.load import load
from reports.report import write_report
from reports.sequential import undecided
from reports.verdicts import judge
from tests.reports.conftest import write_run


def store(folder: Path, needed: dict[str, list[int | None]], task: str = "adding", **changes) -> Path:
    for cell, times in needed.items():
        for seed, steps in enumerate(times):
            write_run(folder, cell, task, seed, steps, **changes)
    return folder


def test_the_first_sentence_names_who_is_established_to_need_less_though_one_of_its_runs_failed(tmp_path: Path):
    slow, fast = [1300 + 10 * (seed % 5) for seed in range(20)], [None, *(100 + 50 * (seed % 2) for seed in range(19))]
    answer = write_report([store(tmp_path / "s", {"lstm": slow, "gru": fast})]).answer
    assert answer.startswith("gru needs the fewest steps on adding.")


def test_where_nothing_is_established_no_median_is_said_to_be_the_lowest(tmp_path: Path):
    answer = write_report([store(tmp_path / "s", {"lstm": [1300, 1310, 1320], "gru": [100, 110, None]})]).answer
    assert answer == "lstm does best on adding; no difference is established."


@pytest.mark.parametrize(("unsolved", "verdict"), [(0, "equivalent"), (6, "open")])
def test_who_fails_in_some_runs_is_not_equivalent_to_who_never_does(tmp_path: Path, unsolved: int, verdict: str):
    times = [500 + 10 * (seed % 7) for seed in range(30)]
    needed = {"lstm": times, "gru": [*times[unsolved:], *[None] * unsolved]}
    folder = store(tmp_path / "s", needed, training={"max_steps": 3000, "evaluate_every": 10}, steps=3000)
    assert compare(load(folder).results)["verdict"].tolist() == [verdict]
    rule = "{statistic: steps_to_solve, of: {cell: gru}, over: {cell: lstm}, within: [0.8, 1.25]}"
    assert fix_claims(folder, f"claims: {{same: {{claim: They are alike., tests: [{rule}]}}}}", 0)
    (row,) = judge(load(folder))["same"]
    assert row.verdict == {"equivalent": "supported", "open": "not decidable"}[verdict]


def test_who_learns_nothing_in_some_runs_is_not_equivalent_by_the_median_loss(tmp_path: Path):
    folder = tmp_path / "s"
    for seed in range(24):
        write_run(folder, "lstm", "adding", seed, None, final_loss=0.02 + 0.0001 * (seed % 5))
        write_run(folder, "gru", "adding", seed, None, final_loss=0.16 if seed < 5 else 0.02 + 0.0001 * (seed % 5))
    assert compare(load(folder).results)["verdict"].tolist() == ["open"]


def test_losses_of_runs_that_ended_when_they_solved_the_task_are_alike(tmp_path: Path):
    """One solves it sooner, and so ends with the larger loss."""
    folder = tmp_path / "s"
    for seed in range(12):
        write_run(folder, "lstm", "adding", seed, 300, final_loss=0.009)
        write_run(folder, "gru", "adding", seed, 700 if seed else None, final_loss=0.001 if seed else 0.1)
    rule = "{statistic: final_loss, of: {cell: lstm}, over: {cell: gru}, where: {task: adding}, "
    rule += "below: 1.0, refuted_above: 1.0}"
    assert fix_claims(folder, f"claims: {{less: {{claim: It fails less., tests: [{rule}]}}}}", 0)
    (row,) = judge(load(folder))["less"]
    assert row.verdict == "not decidable"  # by the numbers alone 1.0 would be far below
    assert row.finding.evidence.interval.estimate == 1


def test_what_a_look_established_is_not_withdrawn_by_runs_of_the_other_that_solve_later(tmp_path: Path):
    folder = tmp_path / "s"
    folder.mkdir()
    fix_looks(folder, [list(range(8)), list(range(8, 12))])
    for seed in range(8):
        write_run(folder, "gru", "adding", seed, None, final_loss=0.05 + 0.001 * seed)
    for seed in range(12):
        write_run(folder, "lstm", "adding", seed, 900 if seed > 9 else None, final_loss=0.1 + 0.001 * seed)
    row = compare(load(folder).results).iloc[0]
    assert (row["verdict"], row["quantity"]) == ("established", "loss")


def test_a_claim_on_steps_is_on_steps_though_none_was_solved_at_the_first_look(tmp_path: Path):
    folder = tmp_path / "s"
    folder.mkdir()
    fix_looks(folder, [list(range(7)), list(range(7, 30))])
    for seed in range(30):
        write_run(folder, "gru", "adding", seed, None if seed < 7 else 300, final_loss=0.1 if seed < 7 else 0.001)
        write_run(folder, "lstm", "adding", seed, None, final_loss=0.05)
    assert fix_claims(folder, CLAIMS, 0)
    (row,) = judge(load(folder))["fewer"]
    assert row.verdict == "supported"


def test_a_run_that_its_patience_ended_had_the_whole_budget(tmp_path: Path):
    needed = {"lstm": [600 + 10 * seed for seed in range(10)], "gru": [1100 + 10 * seed for seed in range(9)]}
    folder = store(tmp_path / "s", needed, training={"patience": 5})
    write_run(folder, "gru", "adding", 9, None, steps=300, training={"patience": 5})
    row = compare(load(folder).results).iloc[0]
    assert row["verdict"] == "established"


CLAIMS = """
claims:
  both: {claim: It solves both., needs: all, tests: [
    {statistic: share_solved, of: {cell: gru}, where: {task: [adding, copy]}, above: 0.5, refuted_below: 0.5}]}
  fewer: {claim: It needs fewer., tests: [
    {statistic: steps_to_solve, of: {cell: gru}, over: {cell: lstm}, where: {task: adding}, below: 1.0,
     refuted_above: 1.0}]}
  learned: {claim: It remembers., tests: [
    {statistic: memory, moment: end, of: {cell: gru, solved: true}, where: {task: adding}, above: 0.5,
     refuted_below: 0.5}]}
"""


def test_a_claim_that_needs_all_is_not_supported_without_runs_of_some(tmp_path: Path):
    folder = store(tmp_path / "s", {"gru": [300] * 12})
    for seed in range(12):
        write_run(folder, "gru", "copy", seed, None, status="out_of_memory")
    assert fix_claims(folder, CLAIMS, 0)
    solved, not_run = judge(load(folder))["both"]
    assert (solved.verdict, not_run.verdict, not_run.finding.problem) == ("supported", "not run", "copy")
    assert (
        "1 lacks runs" in write_report([folder], tmp_path / "report").answer
        or "lack runs" in (tmp_path / "report" / "README.md").read_text()
    )


def test_claims_stay_open_while_no_run_has_solved_the_task(tmp_path: Path):
    folder = tmp_path / "s"
    folder.mkdir()
    fix_looks(folder, [list(range(7)), list(range(7, 15))])
    store(folder, {"gru": [None] * 7, "lstm": [None] * 7})
    assert fix_claims(folder, CLAIMS, 0)
    stored = load(folder)
    left = undecided(stored, list(stored.results["run_id"]))
    assert left.open >= 2
    assert {run.split("-")[0] for run in left.runs} == {"gru", "lstm"}


@pytest.mark.parametrize("statistic", ["share_solved", "accuracy"])
def test_a_range_that_ends_where_no_value_lies_beyond_can_be_supported(tmp_path: Path, statistic: str):
    folder = store(tmp_path / "s", {"gru": [300] * 60})
    rule = f"{{statistic: {statistic}, of: {{cell: gru}}, where: {{task: adding}}, within: [0.9, 1.0]}}"
    assert fix_claims(folder, f"claims: {{all: {{claim: It always does., tests: [{rule}]}}}}", 0)
    stored = load(folder)
    (row,) = judge(replace(stored, results=stored.results.assign(**{"final_score.accuracy": 1.0})))["all"]
    assert row.verdict == "supported"


def test_letters_of_many_groups_are_one_character_each():
    from reports.statistics import letters

    names = [f"c{number:02}" for number in range(60)]
    given = letters(names, {frozenset((a, b)) for a in names for b in names if a < b})
    assert sorted(map(len, given.values())) == [1] * 60
    assert len(np.unique(list(given.values()))) == 60
