"""Reports say what the stored files say, and the same files give the same bytes."""

import hashlib
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bench.record.asked import record_asked
from bench.record.frames import write_frames
from reports.comparisons import compare
from reports.load import LoadError, load
from reports.report import write_report
from reports.sections import answer
from reports.sections.cost import split_in_words
from reports.statistics import Interval
from reports.summary import summarize_results
from reports.timings import step_time_ratios, summarize_timing
from tests.python import python
from tests.reports.conftest import write_run, write_timing


def cells_of(report: str, row: str) -> dict[str, str]:
    """The first table row of a report that begins with `row`, by the titles of its columns."""
    lines = report.splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith(f"| {row} "))
    titles = max(above for above in range(place) if lines[above].startswith("|:")) - 1
    one, other = ([cell.strip() for cell in lines[at].strip("|").split("|")] for at in (titles, place))
    return dict(zip(one, other, strict=True))


def test_the_headline_says_what_was_stored(sweep: Path):
    written = write_report([sweep])
    report = written.path.read_text()
    # Expected, of budgets of 1,500: 700 / 1.194, by t, to 700 and 1,500·(0.05^(−1/3) − 1), as only 37 % may be solved.
    lstm = {
        "cell": "lstm", "solved": "3/3 [44%, 100%]", "expected": "700 [586, 3,275]", "steps to solve": "700 [650, 750]",
        "final loss": "0.0049 [0.0040, 0.0060]", "parameters": "17,217", "step time / lstm": "1.0",
    }  # fmt: skip
    rnn = {"solved": "0/3 [0%, 56%]", "expected": "≥875", "steps to solve": r"\>1,500", "final loss": "0.17"}
    assert lstm.items() <= cells_of(report, "lstm").items()
    assert cells_of(report, "gru")["step time / lstm"] == "1.5"
    assert rnn.items() <= cells_of(report, "rnn").items()
    assert written.answer == "gru does best on adding and copy; no difference is established."
    assert report.startswith(
        f"# demo\n\n**{written.answer}** Against lstm, none of 4 comparisons establishes a difference"
    )
    assert "3 seeds cannot establish any: it takes " in report
    assert "| adding    | gru    |      3/3 |   350 [300, 400] | about 0.50× | open; " in report
    assert "python -m bench +sweep=demo cell=" in report


def test_what_is_open_comes_with_the_command_that_would_decide_it(sweep: Path):
    """Of new seeds, in a folder of their own, and of what is open only."""
    report = write_report([sweep]).path.read_text()
    said, _, rest = report.partition("Next: ")[2].partition("\n\n```\n")
    assert said.startswith("4 primary comparisons are open; new seeds, ")
    assert re.fullmatch(
        r"python -m bench \+sweep=demo name=demo_more seeds=auto 'seed=range\(3,\d+\)'", rest.split("\n")[0]
    )
    for seed in range(3, 12):
        for cell, steps in (("lstm", 700), ("gru", 350), ("rnn", None)):
            write_run(sweep, cell, "adding", seed, None if steps is None else steps + 10 * seed)
    written = write_report([sweep])
    report = written.path.read_text()
    assert written.answer == "gru needs the fewest steps on adding, gru or lstm on copy."
    assert "Against lstm, 2 of 4 comparisons establish a difference, 2 are open." in report
    assert " task=copy name=demo_more seeds=auto 'seed=range(12," in report


def test_the_next_command_is_no_narrower_than_the_sweep(sweep: Path):
    """A later command for a part of it does not continue the rest."""
    record_asked(sweep, "python -m bench +sweep=demo cell=gru task=copy")
    (command,) = re.findall(r"^Next: .*\n\n```\n(.*)", write_report([sweep]).path.read_text(), flags=re.M)
    assert command.startswith("python -m bench +sweep=demo name=demo_more ")


def test_all_that_is_decided_asks_for_nothing(tmp_path: Path):
    for seed in range(8):
        for cell, steps in (("lstm", 700), ("gru", 350)):
            write_run(tmp_path / "demo", cell, "adding", seed, steps + 10 * seed)
    report = write_report([tmp_path / "demo"]).path.read_text()
    assert "the comparison of gru establishes a difference." in report
    assert "Next: " not in report


def test_the_runs_of_those_that_are_not_named_are_counted():
    assert answer._counted({"a": 1, "b": 5, "c": 2, "d": 3}) == "5 of b, 3 of d and 3 of others"
    assert answer._counted({"a": 1, "b": 5, "c": 2}) == "5 of b, 2 of c and 1 of a"


def test_an_unsolved_run_that_met_the_criterion_in_the_end_is_explained(tmp_path: Path):
    for seed in range(3):
        settings = {"solved_mse": 0.01}
        score = {"final_score.mse": 0.005 if seed else 0.5}
        training = {"solved_evaluations": 3}
        write_run(tmp_path / "demo", "lstm", "adding", seed, None, settings=settings, training=training, **score)
    report = write_report([tmp_path / "demo"]).path.read_text()
    assert "2 unsolved runs met the criterion at the last evaluation, too late for the 3 evaluations in a row" in report
    assert "that count as solved: 2 of lstm on adding." in report


def test_what_all_comparisons_share_is_said_once(sweep: Path):
    """And what only some do, in their rows."""
    report = write_report([sweep]).path.read_text()
    header = next(line for line in report.splitlines() if line.startswith("| problem   | cells"))
    assert not {"quantity", "seeds"} & {title.strip() for title in header.split("|")}
    said = next(line for line in report.splitlines() if line.startswith("In all rows: "))
    assert "*quantity* steps to solve" in said
    assert "*seeds* 3" in said
    write_run(sweep, "lstm", "copy", 3, 700)
    write_run(sweep, "gru", "copy", 3, 350)
    report = write_report([sweep]).path.read_text()
    header = next(line for line in report.splitlines() if line.startswith("| problem   | cells"))
    assert "seeds" in {title.strip() for title in header.split("|")}


@pytest.mark.drawn
def test_the_same_files_give_the_same_bytes(sweep: Path, tmp_path: Path):
    def digest(folder: Path) -> dict[str, str]:
        write_report([sweep], folder)
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    first = digest(tmp_path / "one")
    assert {"README.md", "comparisons.csv", "time_to_solve.png", "step_time.png"} <= set(first)
    assert first == digest(tmp_path / "two")


@pytest.mark.drawn
def test_every_figure_that_is_shown_is_there(sweep: Path):
    path = write_report([sweep]).path
    names = re.findall(r"\]\(([^)]+\.png)\)", path.read_text())
    assert set(names) == {path.name for path in path.parent.glob("*.png")}
    assert "time_to_solve.png" in names
    for name in names:
        assert (path.parent / name).stat().st_size > 1000


@pytest.mark.drawn
def test_figures_are_drawn_inside_their_edges(sweep: Path):
    """What is cut off would touch the edge of the image."""
    write_report([sweep])
    for path in (sweep / "report").glob("*.png"):
        image = Image.open(path).convert("L")
        width, height = image.size
        border = [
            image.crop(box)
            for box in (
                (0, 0, width, 2),
                (0, height - 2, width, height),
                (0, 0, 2, height),
                (width - 2, 0, width, height),
            )
        ]
        assert all(part.getextrema()[0] > 200 for part in border), path.name
        assert image.getextrema()[0] < 100, f"{path.name} is blank"


def test_parquet_files_alone_are_enough(sweep: Path, tmp_path: Path):
    write_frames(sweep)
    whole = write_report([sweep], tmp_path / "whole").path.read_text()
    alone = tmp_path / "alone" / "demo"
    alone.mkdir(parents=True)
    for name in ("results.parquet", "curves.parquet", "timing.parquet", "sweep.json"):
        shutil.copy(sweep / name, alone)
    without = write_report([alone], tmp_path / "out").path.read_text()
    assert without == whole


def test_several_folders_are_merged_and_labelled(sweep: Path):
    other = sweep.parent / "other"
    for seed in range(3):
        write_run(other, "gru", "adding", seed, 300)
    stored = load(sweep, other)
    assert stored.sweeps == ["demo", "other"]
    assert set(stored.results["contender"]) >= {"gru, sweep demo", "gru, sweep other"}
    text = write_report([sweep, other]).path.read_text()
    assert "gru, sweep other" in text


def test_what_varies_names_problems_and_contenders(tmp_path: Path):
    folder = tmp_path / "grid"
    for length in (50, 100):
        for rate in (0.01, 0.001):
            write_run(folder, "lstm", "adding", 0, 500, settings={"length": length}, training={"learning_rate": rate})
    write_run(folder, "lstm", "copy", 0, 500)
    stored = load(folder)
    assert set(stored.results["problem"]) == {
        "copy",
        *(f"adding, length {length}, learning_rate {rate}" for length in (50, 100) for rate in ("0.01", "0.001")),
    }
    assert set(stored.results["contender"]) == {"lstm"}
    text = write_report([folder]).path.read_text()
    assert "Reach over length" in text


def test_failures_are_counted_apart_and_listed(sweep: Path):
    write_run(sweep, "lstm", "adding", 3, None, status="failed", error="ValueError: a | b")
    write_run(sweep, "lstm", "adding", 4, None, status="diverged", error="loss nan at step 7", final_loss=None)
    summary = summarize_results(load(sweep).results)
    (row,) = (row for row in summary if (row.problem, row.contender) == ("adding", "lstm"))
    assert (row.runs, row.failed, row.solved) == (4, 1, 3)
    assert row.final_loss is not None
    assert row.final_loss.high == float("inf")
    text = write_report([sweep]).path.read_text()
    assert r"ValueError: a \| b" in text
    assert "3/4 [30%, 95%] (+1 failed)" in text
    assert "loss nan at step 7" in text


def test_missing_kernels_are_said(tmp_path: Path):
    folder = tmp_path / "bare"
    write_run(folder, "lstm", "adding", 0, 500, environment={"native_kernels": "none: no C++ compiler (c++)"})
    text = write_report([folder]).path.read_text()
    assert "Native kernels were not available (no C++ compiler (c++))" in text


def test_all_failed(tmp_path: Path):
    folder = tmp_path / "bad"
    write_run(folder, "lstm", "adding", 0, None, status="failed", error="no", final_loss=None, baseline_loss=None)
    (folder / "runs").glob("*")
    text = write_report([folder]).path.read_text()
    assert "0/0 (+1 failed)" in text


def test_timing_separates_arithmetic_from_implementation(sweep: Path):
    stored = load(sweep)
    both = summarize_timing(stored.timing)
    lstm, gru = ({case.cell: case for case in both if case.task == "adding"}[cell] for cell in ("lstm", "gru"))
    # 2e8 FLOP in 10 ms are 20 GFLOP/s, of a GEMM rate of 100 GFLOP/s; both slow down together.
    assert lstm.share.estimate == pytest.approx(0.2)
    assert lstm.share.low == pytest.approx(lstm.share.high)
    # 1.5 times the time for 1.2 times the arithmetic: at 0.8 of the rate.
    assert gru.flop_ratio == pytest.approx(1.2)
    text = write_report([sweep]).path.read_text()
    assert "gru 1.50× = 1.20× the arithmetic at 0.80× the rate" in text
    assert gru.ratio.low == pytest.approx(1.5)
    assert gru.ratio.high == pytest.approx(1.5)
    assert lstm.training_step.high > lstm.training_step.low
    ratios = step_time_ratios(stored.results, both)
    assert set(ratios) == {(task, cell) for task in ("adding", "copy") for cell in ("lstm", "gru")}
    assert ratios["copy", "gru"].estimate == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("low", "ratio", "high", "flops", "share", "says"),
    [
        # 1.2 of 1.5: rate 0.8, so 1.25
        (1.4, 1.5, 1.6, 1.2, 0.5, "slower because of the rate, not the arithmetic"),
        (1.4, 1.5, 1.6, 1.4, 0.5, "slower because of the arithmetic"),
        (1.4, 1.5, 1.6, 0.75, 0.5, "slower because of the rate, not the arithmetic"),
        (0.7, 0.75, 0.8, 0.75, 0.5, "faster because of the arithmetic"),
        (0.7, 0.75, 0.8, 0.75, 0.03, "both below 10% of the GEMM rate: not a matter of arithmetic"),  # launches
        (0.4, 0.5, 0.6, 1.0, 0.5, "faster because of the rate, not the arithmetic"),
        (0.9, 1.02, 1.1, 0.75, 0.5, "not distinguishable from 1"),
        (1.01, 1.02, 1.03, 1.0, 0.5, "hardly different"),
    ],
)
def test_the_cause_of_a_ratio_is_the_larger_factor(low, ratio, high, flops, share, says):
    said = split_in_words("gru", Interval(ratio, low, high, 0.95), flops, share)
    assert says in said
    rate = float(re.search(r"at ([\d.]+)× the rate", said)[1])
    assert flops / rate == pytest.approx(ratio, rel=0.02)


def test_forms_of_a_cell_are_compared_with_the_one_in_use(sweep: Path):
    path = sweep / "timing.parquet"
    timing = pd.read_parquet(path)
    mine = timing[timing["cell"] == "gru"]
    others = []
    for backend, factor in (("loop", 4.0), ("torch", 2.0), ("torchrecurrent", 8.0)):
        form = mine.assign(backend=backend, form="other", case=f"gru-{backend}")
        form["value"] = form["value"].where(form["quantity"] != "training_step", factor * form["value"])
        others.append(form)
    timing = pd.concat([timing.assign(backend=timing["cell"].map({"lstm": "torch", "gru": "native"})), *others])
    timing.to_parquet(path)
    summary = summarize_timing(load(sweep).timing)
    assert all(case.over_torch is None for case in summary if case.cell == "lstm")  # nothing beside it
    gru = next(case for case in summary if (case.cell, case.form) == ("gru", "own"))
    assert gru.over_torch.estimate == pytest.approx(2.0)
    assert gru.over_torchrecurrent.estimate == pytest.approx(8.0)
    text = write_report([sweep]).path.read_text()
    assert "### Implementations" in text
    assert "native (in use)" in text
    ratios = step_time_ratios(load(sweep).results, summary)
    assert ratios["adding", "gru"].estimate == pytest.approx(1.5)  # of the form in use


def test_cells_of_equal_parameters_are_timed_against_each_other(tmp_path: Path):
    """Matched cells differ in size; they are timed in the same rounds, and so comparable."""
    folder = tmp_path / "equal"
    for cell, size in (("lstm", 64), ("gru", 75)):
        for seed in range(3):
            write_run(folder, cell, "adding", seed, 500, hidden_size=size)
    write_timing(folder)
    timing = pd.read_parquet(folder / "timing.parquet").query("task == 'adding'")
    sizes = timing["cell"].map({"lstm": 64, "gru": 75}).astype("Int64")
    timing.assign(hidden_size=sizes, **{"cell.hidden_size": sizes}).to_parquet(folder / "timing.parquet")
    stored = load(folder)
    summary = summarize_timing(stored.timing)
    assert {case.label for case in summary} == {"lstm", "gru, H=75"}
    assert step_time_ratios(stored.results, summary)["adding", "gru"].estimate == pytest.approx(1.5)
    text = write_report([folder]).path.read_text()
    assert "gru, H=75 1.50× = 1.20× the arithmetic at 0.80× the rate" in text


def test_a_layer_of_a_package_is_named_once(sweep: Path):
    path = sweep / "timing.parquet"
    timing = pd.read_parquet(path)
    layers = timing["cell"].map({"lstm": "MGU", "gru": "STAR"})
    timing.assign(**{"cell.layer": layers}).to_parquet(path)
    assert {case.label for case in summarize_timing(load(sweep).timing)} == {"lstm MGU", "gru STAR"}
    timing.assign(cell=layers, **{"cell.layer": layers}).to_parquet(path)
    assert {case.label for case in summarize_timing(load(sweep).timing)} == {"MGU", "STAR"}


def test_no_time_is_divided_by_that_of_another_size_where_several_could_be_meant(sweep: Path):
    timing = pd.read_parquet(sweep / "timing.parquet").query("task == 'adding'")
    lstm, gru = (timing[timing["cell"] == cell] for cell in ("lstm", "gru"))
    parts = [lstm, lstm.assign(hidden_size=128, case="lstm-128"), gru.assign(hidden_size=75)]
    pd.concat(parts).to_parquet(sweep / "timing.parquet")
    ratios = {(case.cell, case.hidden_size): case.ratio for case in summarize_timing(load(sweep).timing)}
    assert ratios["gru", 75] is None
    assert ratios["lstm", 128].estimate == 1.0


@pytest.mark.drawn
def test_shares_over_hidden_size_and_slopes_over_length(sweep: Path):
    path = sweep / "timing.parquet"
    timing = pd.read_parquet(path)
    adding = timing[timing["task"] == "adding"]
    parts = []
    for number, (steps, hidden) in enumerate([(50, 16), (50, 32), (50, 64), (100, 64), (200, 64), (400, 64)]):
        part = adding.assign(time_steps=steps, hidden_size=hidden, group=f"g{steps}")
        part["case"] = part["case"] + f"-{number}"
        grows = part["quantity"].isin(["training_step", "peak_memory"])
        part["value"] = part["value"].where(~grows, part["value"] * steps / 50)
        parts.append(part)
    pd.concat(parts).to_parquet(path)
    report = write_report([sweep]).path
    for figure in ("share_of_peak", "scaling", "step_time"):
        assert (report.parent / f"{figure}.png").stat().st_size > 0
    text = report.read_text()
    assert "### All points" in text
    assert len(re.findall(r"\| (?:lstm|gru)\s+\|\s+1\.0[^|]*\|\s+1\.0", text)) == 2  # time and memory ∝ T


@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_folder_without_results_is_one_line(tmp_path: Path, content):
    if content:
        (tmp_path / "results.parquet").write_text(content)
    with pytest.raises(LoadError) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    done = python("-m", "reports", tmp_path, code=2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_frames_for_pandas(sweep: Path):
    results, curves, timing = (getattr(load(sweep), name) for name in ("results", "curves", "timing"))
    assert len(results) == 18
    assert isinstance(curves, pd.DataFrame)
    assert {"problem", "contender"} <= set(curves.columns)
    assert len(timing) == 2 * 2 * (9 * 4 + 3)


def test_tables_for_pandas_have_the_same_types_whatever_is_in_them(tmp_path: Path):
    """Categories, numbers with fractions that stay such, and no JSON."""
    for clip, rate, reference in ((1, 0.5, {}), (1.0, 1.0, {"cell": "lstm"})):
        folder = tmp_path / f"rate-{rate}"
        for cell in ("lstm", "gru"):
            training = {"clip_norm": float(clip), "learning_rate": rate}
            write_run(folder, cell, "adding", 0, 500, training=training, reference=reference)
        write_frames(folder)
        runs, *_ = load(folder)
        categories = ["sweep", "cell", "task", "status", "problem", "contender"]
        assert set(runs[categories].dtypes.astype(str)) == {"category"}
        assert runs["training.clip_norm"].dtype == runs["training.learning_rate"].dtype == "Float64"
        assert runs["training.batch_size"].dtype == "Int64"
        assert not {"environment", "reference"} & set(runs)
        assert list(runs["environment.cpu"]) == ["a cpu"] * 2
        assert len(compare(runs)) == 1
        assert compare(runs).equals(compare(load(folder).results))
        stored = pd.read_csv(folder / "results.csv")
        assert list(stored["run_id"]) == list(pd.read_parquet(folder / "results.parquet")["run_id"])
        assert not [name for name in stored if stored[name].astype(str).str.startswith("{").any()]


def test_comparisons_have_the_same_types_whatever_is_in_them(tmp_path: Path):
    for seed in range(8):
        for cell, needed in (("lstm", 500 + 50 * (seed % 3)), ("gru", 100 + 50 * (seed % 3)), ("rnn", None)):
            write_run(tmp_path, cell, "adding", seed, needed)
    runs, *_ = load(tmp_path)
    whole = compare(runs)
    assert set(whole["verdict"]) == {"established"}
    odd = {
        "none": runs.iloc[:0],
        "one contender": runs[runs["cell"] == "lstm"],
        "one seed": runs[runs["seed"] == 0],
        "all failed": runs.assign(status="failed"),
    }
    for name, part in odd.items():
        found = compare(part)
        assert found.dtypes.to_dict() == whole.dtypes.to_dict(), name
        assert found[found["primary"]].empty == (name != "one seed")
    assert whole["decided"].dtype == "Int64"
    with pytest.raises(ValueError, match=r"^results lack the column budget; take the first table of reports.load"):
        compare(runs.drop(columns=["budget", "spent"]))


def test_reports_need_nothing_that_trains():
    python("-c", "import sys, reports.report; sys.exit('torch' in sys.modules)")
