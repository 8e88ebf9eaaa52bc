"""Which contenders are compared where a sweep names a reference."""

from pathlib import Path

import pandas as pd
import pytest

from reports.comparisons import compare
from reports.load import load
from reports.references import compared_pairs, references_of
from reports.report import write_report
from tests.reports.conftest import write_run


def frame(rows: list[dict], reference: str) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(reference=reference)


CELLS = frame([{"cell": name, "contender": name} for name in ("lstm", "gru", "rnn")], '{"cell": "lstm"}')


def test_without_a_reference_all_pairs_are_compared():
    pairs = [("lstm", "gru"), ("lstm", "rnn"), ("gru", "rnn")]
    assert compared_pairs(CELLS.assign(reference="{}")) == pairs
    assert compared_pairs(CELLS.drop(columns="reference")) == pairs
    assert compared_pairs(CELLS.assign(reference='{"cell": "nobody"}')) == pairs


def test_with_one_everything_is_compared_with_it():
    assert references_of(CELLS) == {"lstm": "lstm", "gru": "lstm", "rnn": "lstm"}
    assert compared_pairs(CELLS) == [("lstm", "gru"), ("lstm", "rnn")]


def test_each_cell_has_a_reference_of_its_own_where_there_is_one():
    rows = [
        {"cell": "lstm", "contender": "lstm, 1", "cell.initialization": "uniform", "cell.forget_bias": "1.0"},
        {"cell": "lstm", "contender": "lstm, 0", "cell.initialization": "uniform", "cell.forget_bias": "0.0"},
        {"cell": "lstm", "contender": "lstm, chrono", "cell.initialization": "uniform", "cell.forget_bias": "chrono"},
        {"cell": "rnn", "contender": "rnn", "cell.initialization": "uniform", "cell.forget_bias": None},
        {"cell": "rnn", "contender": "rnn, identity", "cell.initialization": "identity", "cell.forget_bias": None},
    ]
    found = frame(rows, '{"cell.initialization": "uniform", "cell.forget_bias": 1.0}')
    assert compared_pairs(found) == [
        ("lstm, 1", "lstm, 0"),
        ("lstm, 1", "lstm, chrono"),
        ("rnn", "rnn, identity"),
    ]


@pytest.fixture
def ablation(tmp_path: Path) -> Path:
    folder = tmp_path / "ablation"
    for seed in range(10):
        for cell, steps in (("peephole_lstm", 600), ("no_forget_gate", 1200), ("no_peepholes", 620), ("lstm", 640)):
            write_run(folder, cell, "adding", seed, steps + 50 * (seed % 3), reference={"cell": "peephole_lstm"})
        write_run(folder, "no_input_gate", "adding", seed, None, reference={"cell": "peephole_lstm"})
    return folder


def test_only_what_is_compared_is_corrected_for(ablation: Path):
    found = compare(load(ablation).results)
    assert set(found["first"]) == {"peephole_lstm"}
    assert len(found) == 4
    row = found[found["second"] == "no_forget_gate"].iloc[0]
    assert row["p_corrected"] == pytest.approx(4 * row["p"])
    assert row["verdict"] == "established"
    assert found["primary"].all()


@pytest.mark.drawn
def test_the_report_says_it_beside_the_paper(ablation: Path):
    path = write_report([ablation]).path
    text = path.read_text()
    assert "## Differences from peephole_lstm" in text
    assert (path.parent / "differences.png").stat().st_size > 5000
    assert not (path.parent / "pairwise.png").exists()
    assert " worse than peephole_lstm" in text
    table = [line for line in text.splitlines() if line.startswith("| no_forget_gate") and "critical" in line]
    assert len(table) == 1
    assert "(established)" in table[0]
    assert "| torch " in table[0]  # which backend computed it
    assert "2017" in text
    assert any(line.startswith("| no_input_gate") and "(second hand)" in line for line in text.splitlines())


def test_strategies_are_contenders_and_not_problems(tmp_path: Path):
    folder = tmp_path / "missing"
    for seed in range(3):
        for strategy, steps in (("mask", 300), ("zero", 600)):
            settings = {"strategy": strategy, "correlation": 0.0}
            write_run(
                folder, "lstm", "adding", seed, steps, settings=settings, reference={"task.strategy": "mask"}
            )  # fmt: skip
    stored = load(folder)
    assert set(stored.results["problem"]) == {"adding"}
    assert set(stored.results["contender"]) == {"lstm, mask", "lstm, zero"}
    found = compare(stored.results)
    assert [(row["first"], row["second"]) for _, row in found.iterrows()] == [("lstm, mask", "lstm, zero")]
    assert found["ratio"].iloc[0] == pytest.approx(2.0)


def test_of_many_contenders_the_first_screen_has_the_best_on_each_problem_and_the_reference(tmp_path: Path):
    folder, reference = tmp_path / "zoo", {"reference": {"cell": "lstm"}}
    for seed in range(9):
        for task in ("adding", "copy"):
            write_run(folder, "lstm", task, seed, 1000, **reference)
            for cell in range(20):
                write_run(folder, f"cell{cell}", task, seed, 100 + 50 * cell, **reference)
    screen = write_report([folder]).path.read_text().split("##")[0]
    assert "**cell0, cell1 and " in screen
    assert " are better than lstm; " in screen
    rows = [line.split("|")[1:3] for line in screen.splitlines() if line.startswith(("| adding", "| copy"))]
    best = [*(f"cell{cell}" for cell in range(15)), "lstm"]
    assert [[word.strip() for word in row] for row in rows] == [[task, n] for task in ("adding", "copy") for n in best]
    assert "The best on each problem; the appendix has all." in screen
    assert "over lstm" in screen


def test_who_is_better_on_some_problems_only_is_not_counted_among_those_better_on_all(tmp_path: Path):
    folder, reference = tmp_path / "some", {"reference": {"cell": "lstm"}}
    for seed in range(10):
        for task, janet in (("adding", 400), ("copy", 1000)):
            for cell, steps in (("lstm", 1000), ("gru", 400), ("janet", janet)):
                write_run(folder, cell, task, seed, steps + 10 * seed, **reference)
    said = write_report([folder]).path.read_text()
    assert "**gru and janet are better than lstm (1 of them on all problems).**" in said


def test_a_difference_in_the_share_solved_has_a_direction_without_a_ratio(tmp_path: Path):
    """Of neither contender half of the runs solve the problem, so that no ratio of medians is known."""
    folder = tmp_path / "shares"
    for seed in range(30):
        write_run(folder, "lstm", "copy", seed, None, reference={"cell": "lstm"})
        write_run(folder, "gru", "copy", seed, 300 if seed < 14 else None, reference={"cell": "lstm"})
    assert "**gru is better than lstm.**" in write_report([folder]).path.read_text()
