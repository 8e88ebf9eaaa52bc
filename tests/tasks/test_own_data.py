"""Tasks on files: parts do not mix, and nothing of one part is known to another."""

import csv

import numpy as np
import pytest
import torch

from tasks import Classify
from tasks.parts import TEST, TRAINING, VALIDATION, split


def write(path, sequences, classes, groups=None):
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sequence", "a", "b", *(["patient"] if groups else []), "target"])
        for i, (values, name) in enumerate(zip(sequences, classes, strict=True)):
            for a, b in values:
                rows.writerow([f"s{i}", a, b, *([groups[i]] if groups else []), name])
    return str(path)


@pytest.fixture
def made():
    """Sixty sequences of three classes, of 2 to 6 steps; the first feature of each is its number."""
    generator = np.random.default_rng(0)
    sequences = [np.stack([np.full(n, i), generator.normal(size=n)], 1) for i, n in enumerate([2, 3, 4, 5, 6] * 12)]
    return sequences, ["xyz"[i % 3] for i in range(60)]


def numbers(part):
    """Which sequences a part has, by what they show."""
    return part.inputs[0, :, 0].tolist()


def test_each_sequence_is_in_one_part_whatever_the_run(tmp_path, made):
    task = Classify(write(tmp_path / "my.csv", *made), standardise=False)
    parts = [numbers(part) for part in (task.training, task.validation, task.testing)]
    assert [len(part) for part in parts] == [36, 12, 12]
    assert sorted(number for part in parts for number in part) == list(range(60))
    again = Classify(write(tmp_path / "my.csv", *made), standardise=False)
    assert numbers(again.testing) == parts[2]
    assert numbers(Classify(str(tmp_path / "my.csv"), standardise=False, split_seed=1).testing) != parts[2]
    drawn = {value for seed in range(40) for value in
             task.sample(16, torch.Generator().manual_seed(seed)).inputs[0, :, 0].tolist()}  # fmt: skip
    assert drawn == set(parts[0])
    assert set(task.held_out(99, torch.Generator().manual_seed(0)).inputs[0, :, 0].tolist()) == set(parts[1])


def test_classes_have_their_share_of_each_part(tmp_path, made):
    task = Classify(write(tmp_path / "my.csv", *made))
    for part, count in ((task.training, 12), (task.validation, 4), (task.testing, 4)):
        assert torch.bincount(part.targets).tolist() == [count] * 3
    assert task.facts()["class/y/test"] == 4


def test_groups_are_never_split(tmp_path, made):
    sequences, classes = made
    groups = [f"p{i // 4}" for i in range(60)]
    task = Classify(write(tmp_path / "my.csv", sequences, classes, groups), group="patient", standardise=False)
    parts = [{int(i) // 4 for i in numbers(part)} for part in (task.training, task.validation, task.testing)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == 15


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("count", [10, 57, 1000])
def test_parts_have_their_shares(count, grouped):
    groups = np.arange(count) // 2 if grouped else None
    parts = split(count, 0.2, 0.1, 3, None, groups)
    assert np.bincount(parts)[[TRAINING, VALIDATION, TEST]] == pytest.approx(
        [0.7 * count, 0.2 * count, 0.1 * count], abs=2 if grouped else 1
    )


def test_what_is_outside_of_training_changes_nothing_in_it(tmp_path, made):
    """Whatever validation and test sequences are, training sees the same: no statistic is of all parts."""
    sequences, classes = made
    before = Classify(write(tmp_path / "one.csv", sequences, classes))
    outside = {int(i) for i in numbers(Classify(str(tmp_path / "one.csv"), standardise=False).validation)}
    outside |= {int(i) for i in numbers(Classify(str(tmp_path / "one.csv"), standardise=False).testing)}
    changed = [values * 1000 + 7 if i in outside else values for i, values in enumerate(sequences)]
    after = Classify(write(tmp_path / "two.csv", changed, classes))
    assert torch.equal(before.training.inputs, after.training.inputs)
    assert not torch.equal(before.testing.inputs, after.testing.inputs)
    known = torch.cat([before.training.inputs[:n, i] for i, n in enumerate(before.training.lengths)])
    torch.testing.assert_close(known.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(known.std(dim=0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_what_stands_behind_a_sequence_counts_for_nothing(tmp_path, made):
    task = Classify(write(tmp_path / "my.csv", *made))
    batch = task.sample(8, torch.Generator().manual_seed(0))
    outputs = torch.randn(task.length, 8, 3)
    loss, score = task.loss(outputs, batch), task.score(outputs, batch)
    for i, length in enumerate(batch.lengths):
        assert (batch.inputs[length:, i] == 0).all()
        outputs[length:, i] = torch.randn(3)
        outputs[: length - 1, i] = 9.0
    assert task.loss(outputs, batch) == loss
    assert task.score(outputs, batch) == score


def test_scores_by_hand(tmp_path, made):
    task = Classify(write(tmp_path / "my.csv", *made))
    targets = torch.tensor([0, 0, 0, 1])
    answers = torch.tensor([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [9, 0, 0]])
    found = {name: value.item() for name, value in task.scores_of(answers, targets).items()}
    assert found == pytest.approx({"accuracy": 1 / 2, "balanced_accuracy": (2 / 3 + 0) / 2})


def test_the_constant_answer_is_what_frequencies_give(tmp_path, made):
    sequences, _ = made
    classes = ["x" if i % 4 else "y" for i in range(60)]
    task = Classify(write(tmp_path / "my.csv", sequences, classes))
    assert torch.bincount(task.training.targets).tolist() == [27, 9]
    p = 27.5 / 37
    assert task.baseline_loss == pytest.approx(-(9 * np.log(p) + 3 * np.log(1 - p)) / 12, abs=1e-6)
    assert task.facts()["baseline/majority/accuracy"] == 0.75


def test_a_linear_answer_tells_what_a_line_can(tmp_path):
    generator = np.random.default_rng(0)
    sequences = [generator.normal(size=(5, 2)) for _ in range(200)]
    classes = ["up" if values[-2, 0] > 0 else "down" for values in sequences]
    facts = Classify(write(tmp_path / "my.csv", sequences, classes)).facts()
    assert facts["baseline/linear on the last steps/accuracy"] > 0.9


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("zero", [[0, 1, 0, 3]]),
        ("forward_fill", [[0, 1, 1, 3]]),
        ("interpolation", [[1, 1, 2, 3]]),
        ("mask", [[0, 1, 0, 3], [1, 0, 1, 0]]),
        ("deletion", [[1, 3, 0, 0]]),
    ],
)
def test_missing_values(tmp_path, strategy, expected):
    inputs = np.tile([np.nan, 1, np.nan, 3], (20, 1))
    np.savez(tmp_path / "my.npz", inputs=inputs, targets=np.arange(20) % 2)
    task = Classify(str(tmp_path / "my.npz"), strategy=strategy, standardise=False)
    np.testing.assert_array_equal(task.training.inputs[:, 0].T, np.array(expected)[:, : task.length])
    assert task.facts()["missing"] == 0.5


def test_copies_across_parts_are_counted(tmp_path):
    generator = np.random.default_rng(0)
    inputs = np.repeat(generator.normal(size=(10, 4)), 2, axis=0)
    np.savez(tmp_path / "my.npz", inputs=inputs, targets=np.repeat([0, 1], 10))
    assert Classify(str(tmp_path / "my.npz")).facts()["repeated"] > 0


def test_parts_of_their_own_files(tmp_path, made):
    sequences, classes = made
    one = write(tmp_path / "one.csv", sequences[:40], classes[:40])
    two = write(tmp_path / "two.csv", sequences[40:], classes[40:])
    task = Classify(one, test_file=two, standardise=False)
    assert sorted(numbers(task.testing)) == list(range(40, 60))
    assert len(task.training) + len(task.validation) == 40
    assert len(task.validation) == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file": None}, "set task.file"),
        ({"validation": 0.5, "test": 0.5}, "leave a share for training"),
        ({"test": 0.0}, "must be above 0"),
        ({"strategy": "guess"}, "strategy must be one of"),
        ({"inputs": 3}, "inputs must be a list of columns"),
        ({"content": "0" * 16}, "has changed"),
        ({"split_seed": -1}, "split_seed must be at least 0"),
    ],
)
def test_options_that_make_no_sense(tmp_path, made, options, said):
    with pytest.raises(ValueError, match=said):
        Classify(**{"file": write(tmp_path / "my.csv", *made), **options})


def test_too_few_sequences_and_one_class(tmp_path, made):
    with pytest.raises(ValueError, match="sequences leave none for"):
        Classify(write(tmp_path / "few.csv", made[0][:2], made[1][:2]))
    with pytest.raises(ValueError, match="the training part has the class x only"):
        Classify(write(tmp_path / "one.csv", made[0], ["x"] * 60))


def test_permuted_steps_are_the_same_for_all(tmp_path):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(40, 7))
    np.savez(tmp_path / "my.npz", inputs=inputs, targets=np.arange(40) % 2)
    plain, permuted = (Classify(str(tmp_path / "my.npz"), permuted=each) for each in (False, True))
    order = [
        plain.training.inputs[:, 0, 0].tolist().index(value) for value in permuted.training.inputs[:, 0, 0].tolist()
    ]
    assert sorted(order) == list(range(7)) != order
    for one, other in zip((plain.training, plain.testing), (permuted.training, permuted.testing), strict=True):
        assert torch.equal(one.inputs[order], other.inputs)


def test_sequences_of_several_lengths_have_no_one_order(tmp_path, made):
    with pytest.raises(ValueError, match="sequences of 2 to 6 steps have no one order"):
        Classify(write(tmp_path / "my.csv", *made), permuted=True)


def test_the_lengths_of_the_test_part_change_nothing_in_training(tmp_path, made):
    sequences, classes = made
    own = write(tmp_path / "own.csv", sequences, classes)
    longer = write(tmp_path / "longer.csv", [np.ones((300, 2)) * i for i in range(12)], ["x", "y", "z"] * 4)
    task = Classify(own, test_file=longer)
    assert (task.length, len(task.training.inputs), len(task.testing.inputs)) == (6, 6, 300)
    assert task.facts()["longest"] == 300
    assert task.baselines()["linear on the last steps"]["accuracy"] <= 1


def test_a_group_in_two_files_is_refused(tmp_path, made):
    sequences, classes = made
    own = write(tmp_path / "own.csv", sequences, classes, [f"p{i // 4}" for i in range(60)])
    other = write(tmp_path / "other.csv", sequences[:9], classes[:9], ["q1", "q2", "p3"] * 3)
    with pytest.raises(ValueError, match=r"other\.csv: group p3 is in the \w+ and in the test part"):
        Classify(own, test_file=other, group="patient")


@pytest.mark.parametrize("seed", range(6))
def test_a_group_of_most_sequences_leaves_the_others_to_validation_and_test(seed):
    groups = np.array(["big"] * 33 + [f"p{i}" for i in range(27)])
    parts = split(60, 0.2, 0.2, seed, None, groups)
    assert {TRAINING, VALIDATION, TEST} == set(parts.tolist())
    assert len(set(parts[:33].tolist())) == 1
    three = split(6, 0.2, 0.2, seed, None, np.array(["a", "a", "a", "a", "b", "c"]))
    assert {TRAINING, VALIDATION, TEST} == set(three.tolist())


def test_numbers_name_one_class_however_they_are_written(tmp_path, made):
    sequences, _ = made
    own = write(tmp_path / "own.csv", sequences, [str(i % 3) for i in range(60)])
    other = write(tmp_path / "other.csv", sequences[:9], [f"{i % 3}.0" for i in range(9)])
    assert Classify(own, test_file=other).classes == ["0", "1", "2"]
    codes = write(tmp_path / "codes.csv", sequences, [("1", "01", "2")[i % 3] for i in range(60)])
    assert len(Classify(codes).classes) == 3
    strange = write(tmp_path / "strange.csv", sequences[:9], ["no", "yes", "no"] * 3)
    with pytest.raises(ValueError, match=r"strange\.csv: the test part has the classes no, yes, and the training part"):
        Classify(own, test_file=strange)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path, made):
    sequences, classes = made
    path = write(tmp_path / "own.csv", sequences[:30], classes[:30])
    assert len(Classify(path).training) == 18
    assert len(Classify(write(tmp_path / "own.csv", sequences, classes)).training) == 36


def test_one_file_is_not_both_trained_and_tested_on(tmp_path, made):
    path = write(tmp_path / "own.csv", *made)
    copy = tmp_path / "copy.csv"
    copy.write_bytes((tmp_path / "own.csv").read_bytes())
    for options in ({"test_file": path}, {"test_file": str(copy)}, {"validation_file": str(copy)}):
        with pytest.raises(ValueError, match=r"\.csv: holds the same as"):
            Classify(path, **options)
