"""Stores whose truth is known: what a report claims, and what its numbers are by independent arithmetic."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports import compare
from reports.comparisons import between, compare_contenders
from reports.load import load
from reports.report import write_report
from tests.reports.conftest import write_run

CELLS = ("rnn", "lstm", "gru")


def write_sweep(folder: Path, seeds: int, factors: dict[str, float], generator, budget: int = 1500, **changes) -> None:
    """Times to solve around 400 steps times a cell's factor, with a common part for each seed; seen every 50 steps."""
    shutil.rmtree(folder, ignore_errors=True)
    for seed in range(seeds):
        common = 0.1 * generator.normal()
        for cell, factor in factors.items():
            steps = 400 * factor * math.exp(common + 0.15 * generator.normal())
            seen = int(math.ceil(steps / 50) * 50)
            training = {"max_steps": budget, "evaluate_every": 50}
            write_run(folder, cell, "adding", seed, seen if seen <= budget else None, training=training, **changes)


def test_without_a_difference_reports_claim_one_in_at_most_five_percent(tmp_path: Path):
    generator, established, times = np.random.default_rng(0), 0, 40
    for _ in range(times):
        write_sweep(tmp_path / "s", 6, dict.fromkeys(CELLS, 1.0), generator)
        established += bool((compare(load(tmp_path / "s").results)["verdict"] == "established").any())
    assert established <= stats.binom.ppf(0.999, times, 0.05)


@pytest.mark.parametrize("seeds", [5, 10])
def test_twice_the_steps_are_found_and_said(tmp_path: Path, seeds):
    write_sweep(tmp_path / "s", seeds, {"lstm": 2.0, "gru": 1.0}, np.random.default_rng(1))
    said = write_report([tmp_path / "s"]).path.read_text()
    assert (
        "**gru needs the fewest steps on adding.** Against lstm, the comparison of gru establishes a difference."
        in said
    )
    row = next(line for line in said.splitlines() if line.startswith("| gru "))
    found = re.search(r"(\d+)/\1 .*\| +([\d.]+)× \[([\d.]+), ([\d.]+)\] \| established, p(?:=|\\<)([\d.]+)", row)
    assert found, row
    assert int(found[1]) == seeds
    assert float(found[3]) <= 0.5 <= float(found[4])
    assert float(found[5]) <= 0.05


def test_a_small_difference_is_not_distinguishable_and_seeds_are_named(tmp_path: Path):
    write_sweep(tmp_path / "s", 10, {"lstm": 1.05, "gru": 1.0}, np.random.default_rng(2))
    said = write_report([tmp_path / "s"]).path.read_text()
    assert re.search(r"\| open; (\d[\d,]* to [\d,]+|≥\d[\d,]*|\\>1,000) seeds needed", said)


def test_every_number_of_a_comparison_by_other_means(tmp_path: Path):
    """From results.parquet's columns alone, in plain numpy."""
    generator = np.random.default_rng(3)
    write_sweep(tmp_path / "s", 10, {"rnn": 5.0, "lstm": 2.0, "gru": 1.0}, generator)
    report = write_report([tmp_path / "s"]).path
    runs = load(tmp_path / "s").results
    steps = runs.pivot_table(index="seed", columns="cell", values="steps_to_solve", aggfunc="first").astype(float)
    table = pd.read_csv(report.parent / "comparisons.csv").set_index(["second", "first"])
    (row,) = (row for _, row in table.reset_index().iterrows() if {row["first"], row["second"]} == {"gru", "lstm"})
    first, second = (steps[row[name]].to_numpy() for name in ("first", "second"))
    assert row["ratio"] == pytest.approx(np.median(second[:, None] / first), rel=1e-5)
    ranks = stats.rankdata(np.concatenate([first, second]))
    exact = stats.permutation_test(
        (ranks[:10], ranks[10:]), lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        n_resamples=np.inf, vectorized=True, batch=9999,
    )  # fmt: skip
    assert row["p"] == pytest.approx(exact.pvalue, rel=1e-5)
    assert row["ratio_low"] <= 2 ** (1 if row["first"] == "gru" else -1) <= row["ratio_high"]
    assert row["first_expected"] == pytest.approx(first.mean(), rel=1e-5)
    assert row["test"] == "groups"
    primary = table[table["primary"]]
    assert {"lstm"} == set.intersection(*(set(pair) for pair in primary.index))
    ordered = np.sort(primary["p"].to_numpy())
    holm = np.maximum.accumulate(np.minimum(1, ordered * np.arange(len(ordered), 0, -1)))
    assert np.sort(primary["p_corrected"].to_numpy()) == pytest.approx(holm, rel=1e-5)
    headline = next(
        line for line in report.read_text().split("## All results")[1].splitlines() if line.startswith("| gru ")
    )
    ordered = np.sort(steps["gru"].to_numpy())
    assert f"{(ordered[4] + ordered[5]) / 2:,.0f} [{ordered[1]:,.0f}, {ordered[8]:,.0f}]" in headline
    z, n = stats.norm.ppf(0.975), 10
    assert f"10/10 [{1 / (1 + z * z / n):.0%}, 100%]" in headline


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_claim_nothing(tmp_path: Path, seeds):
    write_sweep(tmp_path / "s", seeds, {"rnn": 50.0, "lstm": 2.0, "gru": 1.0}, np.random.default_rng(4))
    comparisons = compare(load(tmp_path / "s").results)
    assert set(comparisons["verdict"]) == {"open"}
    said = write_report([tmp_path / "s"]).path.read_text()
    assert f"{seeds} seed{'s' if seeds > 1 else ''} cannot establish any: it takes " in said


def test_where_nobody_solves_the_loss_is_compared(tmp_path: Path):
    for seed in range(8):
        for cell, loss in (("lstm", 0.10), ("gru", 0.15)):
            diverged = {"status": "diverged", "final_loss": None} if (cell, seed) == ("gru", 7) else {}
            write_run(tmp_path / "s", cell, "adding", seed, None, **{"final_loss": loss * 1.01**seed, **diverged})
    found = between(compare_contenders(load(tmp_path / "s").results), "adding", "lstm", "gru")
    assert found.quantity == "loss"
    assert found.ratio.estimate == pytest.approx(1.5, rel=0.05)
    assert found.first_better == 1
    assert found.differs
    said = write_report([tmp_path / "s"]).path.read_text()
    assert "**No run solves adding.** Against lstm, the comparison of gru establishes a difference." in said
    assert re.search(r"\| gru .* 1\.5× \[[^|]*\] of the loss \| established", said)


@pytest.mark.parametrize(("loss", "verdict"), [(0.02, "equivalent"), (0.16, "open")])
def test_equal_losses_are_equivalent_only_where_something_was_learned(tmp_path: Path, loss: float, verdict: str):
    """The loss without memory is 1/6: whoever learned nothing has 0.16 within a factor of 1.25."""
    for seed in range(10):
        for cell, place in (("lstm", seed), ("gru", (seed + 5) % 10)):
            write_run(tmp_path / "s", cell, "adding", seed, None, final_loss=loss * 1.002**place)
    assert list(compare(load(tmp_path / "s").results)["verdict"]) == [verdict]


def test_nobody_solves_any_of_many_problems(tmp_path: Path):
    for length in (50, 100, 150, 200):
        for cell in ("lstm", "gru"):
            write_run(tmp_path / "s", cell, "adding", 0, None, settings={"length": length})
    assert "**No run solves any of 4 problems.**" in write_report([tmp_path / "s"]).path.read_text()


def test_budgets_in_other_currencies(tmp_path: Path):
    """Of equal steps, the cell with half the FLOPs needs half of them."""
    for seed in range(6):
        for cell, flops in (("lstm", 2e6), ("gru", 1e6)):
            training = {"max_flops": 3e9, "max_steps": int(3e9 // flops), "evaluate_every": 50}
            write_run(tmp_path / "s", cell, "adding", seed, 300 + 50 * seed, training=training, flops_step=flops)
    stored = load(tmp_path / "s")
    assert set(stored.results["problem"]) == {"adding"}
    assert set(stored.results["currency"]) == {"FLOPs"}
    found = between(compare_contenders(stored.results), "adding", "gru", "lstm")
    assert found.ratio.estimate == pytest.approx(2.0)
    assert "FLOPs to solve" in write_report([tmp_path / "s"]).path.read_text()


def test_the_ranking_is_given_for_every_matching(tmp_path: Path):
    for seed in range(3):
        write_run(tmp_path / "s", "lstm", "adding", seed, 400, hidden_size=64, parameters=1000, flops_step=1e6)
        write_run(tmp_path / "s", "gru", "adding", seed, 500, hidden_size=64, parameters=750, flops_step=0.75e6)
        write_run(tmp_path / "s", "gru", "adding", seed, 300, hidden_size=74, parameters=1009, flops_step=1.015e6)
    said = write_report([tmp_path / "s"]).path.read_text()
    rows = {
        line.split("|")[2].strip(): line for line in said.splitlines() if line.startswith("| adding") and "ᵃ" in line
    }
    assert set(rows) == {"hidden size", "parameters", "FLOPs"}
    assert "lstm ᵃ, gru, hidden_size 64 ᵃ" in rows["hidden size"]
    assert "gru, hidden_size 74 ᵃ, lstm ᵃ" in rows["parameters"]


def test_lengths_have_slopes_and_longer_evaluations(tmp_path: Path):
    generator = np.random.default_rng(5)
    for seed in range(3):
        for length in (10, 20, 40, 80):
            for cell, exponent in (("lstm", 1.5), ("gru", 0.5)):
                steps = 20 * length**exponent * math.exp(0.05 * generator.normal())
                lengthened = [
                    {"factor": f, "loss": 0.01 * f, "score": {"accuracy": 1 / f, "mse": 0.01 * f}, "solved": f == 1}
                    for f in (1, 2, 4)
                ]
                training = {"max_steps": 10_000}
                write_run(tmp_path / "s", cell, "adding", seed, int(steps) if steps < 10_000 else None,
                          settings={"length": length}, training=training, lengthened=lengthened)  # fmt: skip
    report = write_report([tmp_path / "s"]).path
    said = report.read_text()
    exponents = {
        cells[2]: [float(number) for number in re.findall(r"[\d.]+", cells[3])]
        for cells in ([cell.strip() for cell in line.split("|")] for line in said.splitlines())
        if len(cells) == 6 and cells[2] in ("lstm", "gru") and "[" in cells[3]
    }
    for cell, truth in (("lstm", 1.5), ("gru", 0.5)):
        assert exponents[cell][1] <= truth + 0.02
        assert truth - 0.02 <= exponents[cell][2]
    assert "## Beyond the length trained for" in said
    assert "0.25 (0/" in said
    assert (report.parent / "lengthened.png").exists()


def test_tables_of_before_are_read(tmp_path: Path):
    write_sweep(tmp_path / "s", 2, {"lstm": 1.0, "gru": 1.0}, np.random.default_rng(6))
    frame = load(tmp_path / "s").results
    old = tmp_path / "old"
    old.mkdir()
    added = [
        "selection", "tuned", "flops_step", "problem", "contender", "currency", "budget", "needed", "spent", "grid",
        "flops_to_solve",
    ]  # fmt: skip
    frame.drop(columns=added).to_parquet(old / "results.parquet")
    assert load(old).results["steps_to_solve"].tolist() == frame["steps_to_solve"].tolist()
    assert re.search(r"\| gru +\| +2/2 ", write_report([old]).path.read_text())


def test_no_runs_have_a_table_without_rows(tmp_path: Path):
    write_sweep(tmp_path / "s", 1, {"lstm": 1.0}, np.random.default_rng(8))
    results = load(tmp_path / "s").results
    for few in (results, results.iloc[:0]):
        assert not len(compare(few))
        assert {"verdict", "primary", "ratio_low", "first_expected_high"} <= set(compare(few))


def test_comparisons_csv_is_the_table(tmp_path: Path):
    write_sweep(tmp_path / "s", 5, {"lstm": 2.0, "gru": 1.0, "rnn": 9.0}, np.random.default_rng(9))
    written = pd.read_csv(write_report([tmp_path / "s"]).path.parent / "comparisons.csv")
    table = compare(load(tmp_path / "s").results)
    pd.testing.assert_frame_equal(written, table, check_dtype=False, rtol=1e-5)
