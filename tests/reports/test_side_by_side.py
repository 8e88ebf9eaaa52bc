"""Two sweeps in one report: in what they differ, and what became of what both ran."""

import json
from pathlib import Path

import pytest

from reports.figures.style import contender_looks
from reports.load import load
from reports.page_data import page_data
from reports.report import write_report
from tests.reports.conftest import write_run


def write_sweep(folder: Path, faster: int, learning_rate: float, cells: tuple[str, ...] = ("lstm", "gru")) -> Path:
    for seed in range(8):
        for cell in cells:
            steps = 1000 - 100 * faster + 10 * seed
            write_run(folder, cell, "adding", seed, steps, training={"learning_rate": learning_rate})
    (folder / "sweep.json").write_text(json.dumps({"commands": [f"python -m bench +sweep={folder.name}"]}))
    return folder


def rows_of(text: str, first: str) -> list[list[str]]:
    """The rows of the section's table whose head begins with a word, without its rule."""
    text = text[text.index("## Side by side") :]
    lines = text[text.index(f"| {first} ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|:")]


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "slow", 0, 0.001)


def test_what_differs_and_what_it_changes(slow: Path, tmp_path: Path):
    fast = write_sweep(tmp_path / "fast", 5, 0.01)
    text = write_report([slow, fast]).path.read_text()
    assert rows_of(text, "setting") == [["setting", "slow", "fast"], ["training.learning_rate", "0.001", "0.01"]]
    head, *rows = rows_of(text, "problem")
    assert head == ["problem", "cell", "slow", "fast", "fast / slow", "evidence"]
    assert [row[:2] for row in rows] == [["adding", "lstm"], ["adding", "gru"]]
    assert rows[0][2].startswith("8/8: 1,035")
    assert rows[0][3].startswith("8/8: 535")
    assert rows[0][4].startswith("0.5")
    assert all(row[5].startswith("established") for row in rows)
    assert "In fast, lstm on adding and gru on adding are better than in slow." in text


def test_a_page_of_two_draws_contenders_as_their_figures_do(slow: Path, tmp_path: Path):
    stored = load(slow, write_sweep(tmp_path / "fast", 5, 0.01))
    data = json.loads(page_data(stored))
    looks = contender_looks(stored.results)
    assert len({look.colour for look in looks.values()}) == 4
    assert {name: look["colour"] for name, look in data["looks"].items()} == {
        name: look.colour for name, look in looks.items()
    }
    for sweep, lines in data["curves"]["adding"].items():
        of = [data["contenders"][line["name"]] for line in lines]
        assert of == [{"cell": cell, "sweep": sweep} for cell in ("lstm", "gru")]


def test_the_other_way_round_it_is_worse(slow: Path, tmp_path: Path):
    fast = write_sweep(tmp_path / "fast", 5, 0.01)
    answer = write_report([fast, slow]).answer
    assert "In slow, lstm on adding and gru on adding are worse than in fast." in answer


def test_equal_sweeps_differ_in_nothing(slow: Path, tmp_path: Path):
    text = write_report([slow, write_sweep(tmp_path / "again", 0, 0.001)]).path.read_text()
    assert "No setting differs." in text
    assert "No cell is established to differ between slow and again." in text


def test_sweeps_of_different_cells_are_answered_together(slow: Path, tmp_path: Path):
    other = write_sweep(tmp_path / "other", 5, 0.001, cells=("rnn",))
    report = write_report([slow, other])
    assert "No problem and cell is in more than one of them." in report.path.read_text()
    assert "rnn, sweep other" in report.answer


def test_of_three_each_has_a_column(slow: Path, tmp_path: Path):
    more = [write_sweep(tmp_path / name, 1, rate, ("lstm",)) for name, rate in (("b", 0.003), ("c", 0.01))]
    head, *rows = rows_of(write_report([slow, *more]).path.read_text(), "problem")
    assert head == ["problem", "cell", "slow", "b", "c"]
    assert [row[1] for row in rows] == ["lstm"]  # the GRU is in one of them only
