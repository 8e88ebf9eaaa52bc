"""What a report counts: each seed of a contender once, as last asked, and what is not there is told."""

import json
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.record.asked import record_asked
from bench.record.frames import write_frames
from reports.load import count_once, load
from reports.naming import with_names
from reports.report import write_report
from tests.reports.conftest import write_run

SUBJECT = ["sweep", "problem", "contender", "seed"]


def repeat(run: Path, name: str, **changes: object) -> Path:
    """Copy a stored run to another run_id, with changes to its result."""
    folder = run.with_name(name)
    folder.mkdir()
    for file in run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    result = json.loads((folder / "result.json").read_text()) | {"run_id": name, **changes}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_a_run_that_repeats_another_counts_once(tmp_path: Path):
    """As one with other diagnostics does, or one evaluated at greater lengths."""
    sweep = tmp_path / "demo"
    for seed in range(3):
        write_run(sweep, "lstm", "adding", seed, 700 + 50 * seed)
    plain = load(sweep).results
    for number, run in enumerate(sorted((sweep / "runs").iterdir())):
        at = [{"factor": 2, "loss": 0.5, "baseline_loss": 0.2, "score": {"mse": 0.5}, "solved": False}]
        repeat(run, f"z-{number}", lengthened=at)
        repeat(run, f"a-{number}", status="failed", solved=False, steps_to_solve=None)
    stored = load(sweep)
    assert stored.repeats == 6
    assert list(stored.results["run_id"]) == list(plain["run_id"])
    assert list(stored.results["at_2x.mse"]) == [0.5] * 3  # what the repetition knows more
    assert set(stored.curves["run_id"]) == set(plain["run_id"])
    said = write_report([sweep]).path.read_text()
    assert "3 runs: 1 cell on 1 task, 3 seeds." in said
    assert "3/3 [44%, 100%]" in said
    assert "6 runs left out: each repeats the cell, task, training and seed of another run" in said


def test_repeats_that_ended_elsewhere_are_not_mixed(tmp_path: Path):
    sweep = tmp_path / "demo"
    write_run(sweep, "lstm", "adding", 0, 700)
    at = [{"factor": 2, "loss": 0.5, "baseline_loss": 0.2, "score": {"mse": 0.5}, "solved": False}]
    repeat(next((sweep / "runs").iterdir()), "z", lengthened=at, final_loss=0.123)
    (row,) = load(sweep).results.to_dict("records")
    assert row["run_id"] != "z"
    assert pd.isna(row["at_2x.mse"])


def test_classes_of_one_name_are_contenders_of_their_own(tmp_path: Path):
    sweep = tmp_path / "demo"
    for seed in range(2):
        write_run(sweep, "lstm", "adding", seed, 700)
        write_run(sweep, "lstm", "adding", seed, 400, cell_options={"_target_": "mine.LSTM"})
    stored = load(sweep)
    assert sorted(set(stored.results["contender"])) == ["lstm, cells.LSTM", "lstm, mine.LSTM"]
    assert len(stored.results) == 4
    assert stored.repeats == 0


def test_a_list_is_named_by_its_option(tmp_path: Path):
    for biases in ([-3, -6], [-1, -2]):
        write_run(tmp_path / "demo", "lstm_1997", "adding", 0, 700, cell_options={"input_bias": biases})
    names = set(load(tmp_path / "demo").results["contender"])
    assert names == {"lstm_1997, input_bias [-3, -6]", "lstm_1997, input_bias [-1, -2]"}


def test_settings_that_follow_from_others_name_no_problem(tmp_path: Path):
    """A budget and a criterion that each length has are not said beside it; one that crosses it is."""
    for length, steps, batch in ((50, 700, 8), (100, 900, 8), (100, 900, 16)):
        settings, training = {"length": length, "solved_mse": 1 / length}, {"max_steps": steps, "batch_size": batch}
        write_run(tmp_path / "demo", "lstm", "adding", 0, 600, settings=settings, training=training)
    names = set(load(tmp_path / "demo").results["problem"])
    assert names == {
        "adding, length 50, batch_size 8",
        "adding, length 100, batch_size 8",
        "adding, length 100, batch_size 16",
    }


def test_a_stack_is_not_named_as_its_cell_even_if_the_cell_is_not_there(tmp_path: Path):
    sweep, blocks = tmp_path / "demo", {"residual": True, "norm": True, "feedforward": 4}
    write_run(sweep, "lstm", "adding", 0, 700)
    write_run(sweep, "gru", "adding", 0, 700, cell_options={"layers": 2})
    write_run(sweep, "rnn", "adding", 0, 700, cell_options={"bidirectional": True})
    write_run(sweep, "transformer", "adding", 0, 700, cell_options={"layers": 2, **blocks})
    names = set(load(sweep).results["contender"])
    assert names == {"lstm", "gru, layers 2", "rnn, bidirectional True", "transformer"}


def test_a_cell_that_says_that_it_has_one_layer_is_the_one_that_says_nothing(tmp_path: Path):
    write_run(tmp_path / "demo", "gru", "adding", 0, 700)
    write_run(tmp_path / "demo", "gru", "copy", 0, 700, cell_options={"layers": 1, "bidirectional": False})
    assert set(load(tmp_path / "demo").results["contender"]) == {"gru"}


def test_what_follows_from_task_and_layers_names_no_contender(tmp_path: Path):
    sweep, sizes = tmp_path / "demo", {("adding", 1): 74, ("copy", 1): 73, ("adding", 2): 28, ("copy", 2): 30}
    for (task, layers), size in sizes.items():
        stack = {"layers": layers, "residual": layers > 1, "norm": layers > 1, "feedforward": 2 * (layers > 1)}
        write_run(sweep, "gru", task, 0, 700, hidden_size=size, cell_options=stack)
    assert set(load(sweep).results["contender"]) == {"gru, layers 1", "gru, layers 2"}
    write_run(sweep, "gru", "adding", 0, 700, hidden_size=29, cell_options=stack)
    names = set(load(sweep).results["contender"])
    assert {"gru, hidden_size 28, layers 2", "gru, hidden_size 29, layers 2"} <= names


@pytest.mark.parametrize("went_on", [0.01, 0.003])
def test_of_equally_good_settings_those_that_the_sweep_went_on_with_are_selected(tmp_path: Path, went_on: float):
    sweep = tmp_path / "demo"
    for rate in (0.01, 0.003):
        write_run(sweep, "gru", "adding", 1000, 300, training={"learning_rate": rate})
    write_run(sweep, "gru", "adding", 0, 700, training={"learning_rate": went_on})
    asked = {"reference": {}, "selection_seeds": [1000], "search": ["training.learning_rate"]}
    record_asked(sweep, "python -m bench +sweep=demo", asked)
    stored = load(sweep)
    assert list(stored.results["training.learning_rate"]) == [went_on]
    assert list(stored.trials.loc[stored.trials["chosen"], "training.learning_rate"]) == [went_on]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_seed_counts_twice_whatever_differs(data: st.DataObject):
    """Runs that differ in any of what a table tells of them: afterwards a contender has a seed once."""
    choices = {
        "sweep": ["a", "b"], "cell": ["lstm", "gru"], "task": ["adding", "copy"], "seed": [0, 1],
        "device": ["cpu", "cuda:0"], "cell.hidden_size": [8, 16], "cell.note": ["1000", "1e3", None],
        "cell.layers": [1, 2], "cell.norm": [False, True],
        "cell._target_": ["cells.LSTM", "mine.LSTM"], "task.length": [5, 9], "task.strategy": ["mask", "zero"],
        "training.learning_rate": [0.1, 0.2, 0.20000001], "training.max_steps": [10, 20],
        "training.max_flops": [None, 1e6], "flops_step": [1e3], "tuned": ["", "training.learning_rate"],
        "selection": [False, True], "status": ["solved", "failed"], "threads": [1, 2], "final_loss": [0.1, 0.2],
    }  # fmt: skip
    row = st.fixed_dictionaries({key: st.sampled_from(values) for key, values in choices.items()})
    frame = pd.DataFrame(data.draw(st.lists(row, min_size=1, max_size=12)))
    # What selects settings is the sweep's, and the same for all of its runs.
    frame["tuned"] = frame["tuned"].iloc[0]
    frame["selection"] = (frame["seed"] == 0) & frame["selection"].iloc[0] & (frame["tuned"] != "")
    frame["run_id"] = [f"run-{number}" for number in range(len(frame))]
    kept, repeats = count_once(with_names(frame), set())
    tuned = ["training.learning_rate"] if kept["selection"].any() else []
    assert not kept.duplicated([*SUBJECT, *tuned]).any()
    assert len(kept) + repeats == len(frame)
    # Of what training depends on, nothing is lost.
    trained = [c for c in frame if c.startswith(("cell", "task", "training", "seed", "sweep", "device"))]
    assert len(kept) >= len(frame.drop_duplicates(trained))


def test_a_part_of_the_runs_names_the_layers_that_vary_in_the_whole():
    """The one of residual blocks, whose number the name leaves out where all have it."""
    shared = {"sweep": "s", "seed": 0, "task": "adding", "cell.residual": True}
    whole = pd.DataFrame(
        {**shared, "cell": cell, "cell.layers": layers} for cell, layers in (("mine", 1), ("mine", 2), ("other", 2))
    )
    part = whole[whole["cell.layers"] == 2]
    assert set(with_names(part)["contender"]) == {"mine", "other"}
    assert set(with_names(part, whole)["contender"]) == {"mine, layers 2", "other"}


def test_values_that_few_digits_do_not_tell_apart_are_contenders_of_their_own(tmp_path: Path):
    sweep = tmp_path / "demo"
    for seed, (rate, note) in product(range(2), ((0.001, "1000"), (0.0010000001, "1e3"))):
        write_run(sweep, "lstm", "adding", seed, 700, training={"learning_rate": rate}, cell_options={"note": note})
    stored = load(sweep)
    assert (len(stored.results), stored.repeats) == (4, 0)
    assert set(stored.results["problem"]) == {"adding, learning_rate 0.001", "adding, learning_rate 0.0010000001"}
    assert set(stored.results["contender"]) == {"lstm, 1000", "lstm, 1e3"}


def test_versions_of_a_task_are_problems_of_their_own(tmp_path: Path):
    """Runs of before a task's data changed are not counted with those after it."""
    sweep = tmp_path / "demo"
    for seed, version in product(range(2), (None, 2)):
        versions = {"versions": {"cell": 1, "task": version}} if version else {}
        write_run(sweep, "lstm", "adding", seed, 700, hidden_size=64 if version is None else 65)
        path = next((sweep / "runs").glob(f"*-s{seed}-{64 if version is None else 65}-*/config.yaml"))
        config = yaml.safe_load(path.read_text()) | versions
        config["cell"]["hidden_size"] = 64
        path.write_text(yaml.safe_dump(config))
    stored = load(sweep)
    assert set(stored.results["problem"]) == {"adding, version 1", "adding, version 2"}
    assert stored.repeats == 0


def rates(sweep: Path) -> None:
    """Two learning rates of one cell, four seeds each."""
    for rate, seed in product((0.01, 0.02), range(4)):
        write_run(sweep, "lstm", "adding", seed, round(10 / rate), training={"learning_rate": rate})


def test_settings_are_selected_as_was_asked_last(tmp_path: Path):
    sweep = tmp_path / "demo"
    rates(sweep)
    by_rate = load(sweep)
    assert sorted(set(by_rate.results["problem"])) == ["adding, learning_rate 0.01", "adding, learning_rate 0.02"]
    record_asked(sweep, "a", {"reference": {}, "selection_seeds": [0, 1], "search": []})
    selected = load(sweep)
    assert list(selected.results["seed"]) == [2, 3]
    assert set(selected.results["training.learning_rate"]) == {0.02}  # takes fewer steps
    assert len(selected.trials) == 4
    write_frames(sweep)
    assert pd.read_parquet(sweep / "results.parquet")["selection"].sum() == 4
    record_asked(sweep, "b", {"reference": {}, "selection_seeds": [], "search": []})
    assert len(load(sweep).results) == 8


def test_rates_are_not_pooled_where_no_seed_selects_among_them(tmp_path: Path):
    """Asked to select on seeds that were not run yet, a report keeps apart what was run."""
    sweep = tmp_path / "demo"
    rates(sweep)
    record_asked(sweep, "a", {"reference": {}, "selection_seeds": [100], "search": []})
    assert load(sweep).results.groupby(["problem", "contender"])["seed"].nunique().tolist() == [4, 4]


def test_a_reference_can_be_named_when_all_is_run(sweep: Path):
    assert "gru / rnn" in write_report([sweep]).path.read_text()
    record_asked(sweep, "a", {"reference": {"cell": "lstm"}, "selection_seeds": [], "search": []})
    said = write_report([sweep]).path.read_text()
    assert "gru / rnn" not in said
    assert set(load(sweep).results["reference"]) == {'{"cell": "lstm"}'}


def test_a_reference_that_nobody_is_is_told(sweep: Path):
    record_asked(sweep, "a", {"reference": {"cell": "ltsm"}, "selection_seeds": [], "search": []})
    said = write_report([sweep]).path.read_text()
    assert "No contender is the reference that was asked for (cell ltsm): all pairs are compared." in said
    assert "gru / rnn" in said


@pytest.mark.parametrize("planned", [True, False])
def test_runs_without_an_outcome_are_told(sweep: Path, planned: bool):
    assert "## Failures" not in write_report([sweep]).path.read_text()
    for folder in (sweep / "runs").glob("gru-adding-s[12]*"):
        (folder / "result.json").unlink()
    if planned:
        runs = {f"gru-adding-s{seed}-x": ["gru", "adding", seed] for seed in (7, 8)}
        record_asked(sweep, "a", runs=runs)
    said = write_report([sweep]).path.read_text()
    count, seeds = (4, "1, 2, 7, 8") if planned else (2, "1, 2")
    assert f"**Incomplete: {count} of {16 + count} planned runs have no outcome yet**" in said
    assert f"- gru on adding: {count} runs, seeds {seeds}\n" in said


def test_plans_are_joined_and_damage_is_no_plan(tmp_path: Path):
    from bench.record.asked import read_asked

    record_asked(tmp_path, "a", runs={"x": ["lstm", "adding", 0]})
    record_asked(tmp_path, "b", runs={"y": ["gru", "adding", 1]})
    assert read_asked(tmp_path).runs == {"x": ("lstm", "adding", 0), "y": ("gru", "adding", 1)}
    path = tmp_path / "plan.json"
    path.write_bytes(path.read_bytes().replace(b"gru", b"grx"))
    assert read_asked(tmp_path).runs == {}
    for wrong in ({"runs": [1]}, {"runs": {"x": ["lstm", "adding"]}}, {"runs": {"x": ["a\nb", "adding", 1]}}):
        path.write_text(json.dumps(wrong | {"format": 1}))
        assert read_asked(tmp_path).runs == {}
