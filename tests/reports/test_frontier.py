"""The length at which half of the runs solve: against closed forms, brute force, and simulations with known truth."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import integrate
from scipy.special import expit

from bench.execute.frontier import nearest
from bench.record.asked import fix_looks
from reports.load import load
from reports.page_data import page_data
from reports.report import write_report
from reports.sections import frontier
from reports.statistics import p_apart, reach, window
from reports.statistics.frontier import SPREADS
from tests.reports.conftest import write_run
from tests.reports.layout import faults

LENGTHS = [5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160]
SEEDS, LOOKS = 16, 4


def staircase(generator: np.random.Generator, half: float, spread: float) -> list[tuple[float, bool]]:
    """A staircase's runs, if so the share solved falls with length."""
    runs: list[tuple[float, bool]] = []
    for _ in range(LOOKS):
        length = nearest(LENGTHS, reach(LENGTHS, runs).median)
        share = expit(math.log2(half / length) / spread)
        runs += [(length, bool(generator.random() < share)) for _ in range(SEEDS // LOOKS)]
    return runs


def truths(generator: np.random.Generator, number: int) -> np.ndarray:
    return 2 ** generator.uniform(math.log2(LENGTHS[1]), math.log2(LENGTHS[-2]), number)


def test_without_runs_all_is_as_likely_from_half_the_shortest_to_twice_the_longest():
    known = reach([10, 20, 40], [])
    assert known.interval(0.2).estimate == pytest.approx(20, rel=1e-3)
    assert known.above(20 * 2**0.5) == pytest.approx(1.5 / 4, abs=0.01)  # of the four octaves from 5 to 80
    assert known.interval().low == 0
    assert known.interval().high == math.inf
    assert known.median == pytest.approx(20, rel=1e-3)


def test_it_is_the_posterior_by_quadrature():
    runs = [(20, True), (20, True), (20, False), (40, False), (28, True), (28, False), (28, True)]

    def likelihood(theta: float, spread: float) -> float:
        return math.prod(expit((1 if won else -1) * (theta - math.log2(at)) / spread) for at, won in runs)

    def mass(low: float, high: float) -> float:
        return integrate.dblquad(lambda s, theta: likelihood(theta, s), low, high, 0.1, 1.0, epsabs=1e-7)[0]

    low, high = math.log2(2.5), math.log2(320)
    for length in (20, 28, 35):
        expected = mass(math.log2(length), high) / mass(low, high)
        assert reach(LENGTHS, runs).above(length) == pytest.approx(expected, abs=0.01)


def test_many_runs_at_their_half_have_the_error_of_logistic_regression():
    """With n runs at L½ itself, Fisher's information on log2 L½ is n / (4 s²), and s is as likely as it is large."""
    known = reach(LENGTHS, [(20, i % 2 == 0) for i in range(400)])
    mean = float(known.octaves @ known.weights)
    assert mean == pytest.approx(math.log2(20), abs=0.01)
    variance = float((known.octaves - mean) ** 2 @ known.weights)
    assert variance == pytest.approx(4 * np.sum(SPREADS**3) / np.sum(SPREADS) / 400, rel=0.05)


def test_it_does_not_matter_in_which_order_runs_ended():
    runs = [(20, True), (28, False), (28, True), (40, False)]
    one, other = reach(LENGTHS, runs), reach(LENGTHS[::-1], runs[::-1])
    assert one.weights == pytest.approx(other.weights)
    assert one.lengths == other.lengths


def test_what_is_always_or_never_solved_lies_beyond_the_lengths_tried():
    always, never = ([(length, solved)] * 12 for length, solved in ((160, True), (5, False)))
    assert reach(LENGTHS, always).interval().estimate == math.inf
    assert reach(LENGTHS, always).interval().low >= 113
    assert reach(LENGTHS, always).median > 160
    assert reach(LENGTHS, never).interval().estimate == 0
    assert reach(LENGTHS, never).median < 5


@pytest.mark.parametrize(("spread", "least"), [(0.1, 0.97), (0.3, 0.95), (0.6, 0.95), (0.8, 0.9)])
def test_the_interval_covers_what_it_says(spread, least):
    generator = np.random.default_rng(1)
    halves = truths(generator, 400)
    each = [reach(LENGTHS, staircase(generator, half, spread)).interval() for half in halves]
    covered = np.mean([one.low <= half <= one.high for one, half in zip(each, halves, strict=True)])
    assert covered >= least - 2 * math.sqrt(least * (1 - least) / 400)
    logs = [math.log2(max(2.5, min(320, one.estimate)) / half) for one, half in zip(each, halves, strict=True)]
    assert abs(np.mean(logs)) < 0.08  # octaves: 6 %
    assert np.std(logs) < 0.1 + 0.7 * spread


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6])
def test_cells_alike_are_seldom_told_apart_and_a_factor_of_four_mostly(spread):
    generator = np.random.default_rng(3)

    def p(half: float, other: float) -> float:
        one, two = (reach(LENGTHS, staircase(generator, each, spread)) for each in (half, other))
        return p_apart(one, two)

    assert np.mean([p(half, half) <= 0.05 for half in truths(generator, 300)]) <= 0.05 + 2 * 0.0126
    if spread < 0.5:
        assert np.mean([p(14, 56) <= 0.05 for _ in range(60)]) > 0.9


def test_the_p_value_is_twice_the_less_likely_order():
    one, other = (reach(LENGTHS, [(at, True)] * 4 + [(2 * at, False)] * 4) for at in (14, 57))
    draws = np.random.default_rng(0)
    mine, its = (draws.choice(each.octaves, 200_000, p=each.weights) for each in (one, other))
    assert p_apart(one, other) == pytest.approx(2 * np.mean(mine > its), abs=0.001)
    assert p_apart(one, other) == pytest.approx(p_apart(other, one))
    assert p_apart(one, one) == pytest.approx(1, abs=0.01)


def test_a_window_is_where_most_runs_surely_solve():
    sure, never = ([(length, won)] * 6 for length, won in ((80, True), (7, False)))
    rates = {0.1: reach(LENGTHS, never), 0.01: reach(LENGTHS, sure), 0.001: reach(LENGTHS, [])}
    assert window(rates, 28) == {0.001: None, 0.01: True, 0.1: False}
    assert list(window(rates, 28)) == [0.001, 0.01, 0.1]


HALVES = {"gru": {0.01: 80, 0.1: 30}, "lstm": {0.01: 20, 0.1: 20}, "rnn": {0.01: 1, 0.1: 1}}  # by learning rate


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three cells of known reach, whose runs below it all solve; the choosing runs of lstm's 0.1 are luckier."""
    folder = tmp_path / "far"
    looks = [list(range(4)), list(range(4, 8)), list(range(8, 16))]
    for cell, halves in HALVES.items():
        chosen = max(halves, key=lambda rate: (halves[rate], -rate))
        for rate, half in halves.items():
            for seed in [*looks[0], *looks[1], *(looks[2] if rate == chosen else [])]:
                length = nearest(LENGTHS, half) if seed % 2 else nearest(LENGTHS, half * 1.5)
                steps = 300 if length <= half else None
                options = {"settings": {"length": length}, "training": {"learning_rate": rate}, "horizon": length}
                write_run(folder, cell, "adding", seed, steps, **options)
    fix_looks(folder, looks, LENGTHS, choosing=2)
    (folder / "sweep.json").write_text(json.dumps({"commands": ["python -m bench +sweep=far"]}))
    return folder


def test_the_report_says_who_reaches_how_far_and_at_which_rates(sweep: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = {}
    monkeypatch.setattr("reports.sections.content.save", lambda figure, _, name: drawn.update({name: figure}))
    report = write_report([sweep])
    said = report.path.read_text()
    assert re.fullmatch(r"On adding, half of the runs of gru solve T=\d+\.", report.answer)
    rows = {
        cells[1]: cells
        for cells in (re.split(r" *\| *", line.strip("| ")) for line in said.splitlines())
        if len(cells) == 7
    }
    assert [rows[name][4] for name in HALVES] == ["0.01", "0.01", "0.01"]
    assert [rows[name][5] for name in HALVES] == ["0.01 (0.1?)", "(0.01?, 0.1?)", "none"]
    assert rows["rnn"][2].startswith("\\<5 [")
    assert [rows[name][6] for name in HALVES] == ["8 of 24"] * 3
    assert len({rows[name][3] for name in HALVES}) == 3  # each is told apart from each
    assert {name: found for name, figure in drawn.items() if (found := faults(figure))} == {}
    assert set(drawn) == {"frontier", "frontier_rates"}


def test_a_rate_that_may_solve_a_length_counts_as_neither():
    def at(name: str, **solving: bool | None) -> SimpleNamespace:
        return SimpleNamespace(contender=name, solving=solving, reaches=dict.fromkeys("abc"), length=20)

    rows = {"adding": [at("lstm", a=None, b=False, c=None), at("gru", a=True, b=True, c=None), at("rnn", a=False)]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "_ranked", lambda _: rows)
        said = frontier._windows(rows["adding"])
    assert said.endswith("of 3, at which most runs solve T=20: adding, gru 2 to 3, lstm 0 to 2, rnn 0.")


def test_the_page_filters_by_problems_and_not_by_lengths(sweep: Path):
    found = json.loads(page_data(load(sweep)))["problems"]
    assert len(found) > 3  # each length is a problem of its runs
    assert {each["problem"] for each in found.values()} == {"adding"}


def test_the_estimate_is_of_runs_that_did_not_choose_the_rate(sweep: Path):
    """Whatever comes of the runs at the looks that choose, the table's estimate stays."""

    def estimate() -> str:
        return next(line for line in write_report([sweep]).path.read_text().splitlines() if "| gru " in line)[:60]

    before = estimate()
    for seed in range(8):
        for result in sweep.glob(f"runs/gru-adding-s{seed}-*-0.01-*/result.json"):
            stored = json.loads(result.read_text())
            result.write_text(json.dumps(stored | {"status": "unsolved", "solved": False, "steps_to_solve": None}))
    assert estimate() == before
