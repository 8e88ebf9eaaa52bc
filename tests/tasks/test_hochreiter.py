"""The tasks of Hochreiter & Schmidhuber (1997), against plain programs written from the paper's definitions."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tasks import (
    ClassicAdding,
    EmbeddedReber,
    LongLag,
    Multiplication,
    NoisyRecall,
    NoisyTargets,
    TemporalOrder,
    TriggerRecall,
)
from tests.tasks.test_all import sample

MANY = 8000


def ends(batch) -> np.ndarray:
    """The last step of each sequence that has an input, step by step."""
    shown = (batch.inputs != 0).any(dim=-1).numpy()
    return np.array([max(t for t in range(len(shown)) if shown[t, b]) for b in range(shown.shape[1])])


def outputs_at(task, batch, values) -> torch.Tensor:
    """Outputs that are wrong at all steps but each sequence's last."""
    outputs = torch.full((task.length, batch.inputs.shape[1], task.output_size), 7.0)
    for b, step in enumerate(ends(batch)):
        outputs[step, b] = values[b]
    return outputs


@pytest.mark.parametrize(("kind", "neutral"), [(ClassicAdding, 0.0), (Multiplication, 1.0)])
def test_marked_pairs_are_combined_as_printed(kind, neutral):
    task = kind(40)
    batch = sample(task, 3000)
    seen = {"first": set(), "second": set(), "length": set(), "at the first pair": 0}
    for b, last in enumerate(ends(batch)):
        numbers, markers = batch.inputs[:, b, 0], batch.inputs[:, b, 1]
        assert markers[0] == markers[last] == -1
        marked = [t for t in range(task.length) if markers[t] == 1]
        assert set(markers.tolist()) <= {-1.0, 0.0, 1.0}
        x = [float(numbers[t]) for t in marked] + [neutral] * (2 - len(marked))
        answer = 0.5 + sum(x) / 4 if kind is ClassicAdding else x[0] * x[1]
        assert batch.targets[b].item() == pytest.approx(answer, abs=1e-6)
        assert len(marked) in (1, 2)
        seen["at the first pair"] += len(marked) == 1
        seen["length"].add(int(last) + 1)
        if len(marked) == 2:
            assert marked[0] < 10 or marked[1] < 10
        assert max(marked) < 20
        seen["second"] |= set(marked)
        low = -1 if kind is ClassicAdding else 0
        assert numbers[: last + 1].min() >= low
        assert numbers.max() < 1
        assert (batch.inputs[last + 1 :, b] == 0).all()
    assert seen["length"] == set(range(40, 45))
    assert seen["second"] == set(range(1, 20))
    assert seen["at the first pair"] / 3000 == pytest.approx(0.1 + 0.9 / 19, abs=0.04)


@pytest.mark.parametrize("kind", [ClassicAdding, Multiplication])
def test_marked_pairs_baseline_is_the_variance(kind):
    task = kind(20)
    batch = sample(task, 200_000)
    assert batch.targets.double().var().item() == pytest.approx(task.baseline_loss, rel=0.01)
    last = batch.inputs[torch.from_numpy(ends(sample(task, 2000))), torch.arange(2000), 0]
    assert abs(np.corrcoef(last, batch.targets[:2000])[0, 1]) < 0.1  # the last number says nothing


def test_marked_pairs_count_wrong_answers_of_2000():
    for wrong, off, solved in ((1, 0, True), (1, 1, False), (13, 12, True), (13, 13, False)):
        task = ClassicAdding(20, wrong=wrong)
        batch = sample(task, 2000)
        answers = batch.targets.clone()
        answers[:off] += 0.041
        answers[off:] -= 0.039
        score = task.score(outputs_at(task, batch, answers.unsqueeze(-1)), batch)
        assert score["accuracy"].item() == pytest.approx(1 - off / 2000)
        assert task.solved({name: value.item() for name, value in score.items()}) == solved


REBER = {  # the grammar as it is drawn in the paper: node, symbol, next node
    "a": {"T": "b", "P": "c"}, "b": {"S": "b", "X": "d"}, "c": {"T": "c", "V": "e"}, "d": {"X": "c", "S": "end"},
    "e": {"P": "d", "V": "end"}, "end": {"E": None},
}  # fmt: skip


def following(string: str) -> set[str]:
    """The symbols that may follow the beginning of a string of the embedded Reber grammar."""
    if len(string) < 3:
        return [{"B"}, {"T", "P"}, {"B"}][len(string)]
    node: str | None = "a"
    for position, symbol in enumerate(string[3:], start=3):
        node = REBER[node][symbol]
        if node is None:  # the inner string is over
            return {string[1]} if position == len(string) - 1 else {"E"}
    return set(REBER[node])


def strings_of(batch) -> list[str]:
    return [
        "".join("BTPSXVE"[int(x.argmax())] for x in batch.inputs[:, b] if x.any()) for b in range(batch.inputs.shape[1])
    ]


def test_reber_strings_are_of_the_grammar():
    task = EmbeddedReber(30)
    batch = sample(task, 500)
    strings = strings_of(batch)
    assert len(set(strings)) > 50
    assert min(map(len, strings)) == 8
    assert max(map(len, strings)) <= 30
    for b, string in enumerate(strings):
        for t in range(len(string)):
            allowed = following(string[: t + 1])
            assert {"BTPSXVE"[i] for i in range(7) if batch.targets[t, b, i]} == allowed
            assert t + 1 == len(string) or string[t + 1] in allowed
        assert following(string) == {"E"}
        assert not batch.targets[len(string) :, b].any()


def test_reber_strings_are_as_likely_as_their_choices():
    strings = strings_of(sample(EmbeddedReber(40), MANY))
    short = "BTBTXSET"  # three choices of two
    assert strings.count(short) / MANY == pytest.approx(1 / 2**4, abs=0.014)


def test_reber_baseline_is_the_entropy_of_what_follows_a_symbol():
    for length in (9, 30):
        task = EmbeddedReber(length)
        counts = np.zeros((7, 7))
        for string in strings_of(sample(task, MANY)):
            for one, two in itertools.pairwise(string + "E"):
                counts["BTPSXVE".index(one), "BTPSXVE".index(two)] += 1
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        entropy = -(counts * np.log(np.where(shares > 0, shares, 1))).sum() / counts.sum()
        assert task.baseline_loss == pytest.approx(entropy, abs=0.008)


def test_reber_is_solved_by_who_puts_possible_symbols_first_at_every_step():
    task = EmbeddedReber(20)
    batch = sample(task, 200)
    right = batch.targets + 0.5 * torch.rand(batch.targets.shape)
    assert task.score(right, batch)["accuracy"] == 1
    forgetful = right.clone()  # who does not know the second symbol is wrong in half of the strings
    for b, string in enumerate(strings_of(batch)):
        forgetful[len(string) - 2, b] = torch.tensor([0.0, 1.0, 0.5, 0, 0, 0, 0])
    share = sum(string[1] == "T" for string in strings_of(batch)) / 200
    assert task.score(forgetful, batch)["accuracy"].item() == pytest.approx(share)
    actual = torch.full_like(batch.targets, -50.0)
    for b, string in enumerate(strings_of(batch)):
        for t, symbol in enumerate((string + "E")[1:]):
            actual[t, b, "BTPSXVE".index(symbol)] = 50.0
    assert task.loss(actual, batch) < 1e-6


@pytest.mark.parametrize("distractors", [False, True])
def test_long_lags_end_as_they_began(distractors):
    task = LongLag(6, distractors)
    batch = sample(task, 400)
    shown = batch.inputs.argmax(dim=-1)
    assert torch.equal(shown[1:], batch.targets[:-1])
    assert torch.equal(shown[0], batch.targets[-1])
    assert set(shown[0].tolist()) == {5, 6}
    between = shown[1:].T.tolist()
    assert all(0 <= symbol < 5 for row in between for symbol in row)
    assert (between == [[0, 1, 2, 3, 4]] * 400) == (not distractors)
    expected = (5 * math.log(5) * distractors + math.log(2)) / 6
    assert task.baseline_loss == pytest.approx(expected)
    outputs = torch.zeros(6, 400, 7)
    if distractors:
        outputs[:5, :, 5:] = -50
    else:
        outputs[:5] = 50.0 * F.one_hot(batch.targets[:5], 7)
    outputs[5, :, :5] = -50
    assert task.loss(outputs, batch).item() == pytest.approx(expected, rel=1e-4)


def test_a_trigger_asks_for_the_second_symbol():
    task = TriggerRecall(4, 3, extra=30)
    batch = sample(task, MANY)
    last = ends(batch)
    shown = batch.inputs.argmax(dim=-1).numpy()
    assert (shown[0] == 3).all()
    assert np.array_equal(shown[1] - 5, batch.targets.numpy())
    assert (shown[last, np.arange(MANY)] == 4).all()
    for b in range(500):
        assert set(shown[2 : last[b], b]) <= {0, 1, 2}
    more = last - 6
    assert more.min() == 0
    assert more.max() == 30
    chances = 0.1 * 0.9 ** np.arange(31) / (1 - 0.9**31)
    assert np.abs(np.bincount(more, minlength=31) / MANY - chances).max() < 0.016
    answers = 20.0 * F.one_hot(batch.targets[:300], 2) - 10
    few = type(batch)(batch.inputs[:, :300], batch.targets[:300])
    assert task.score(outputs_at(task, few, answers), few)["accuracy"] == 1
    assert task.loss(outputs_at(task, few, torch.zeros(300, 2)), few).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("task", [TemporalOrder(100, 2, 10), TemporalOrder(100, 3, 10), NoisyRecall(100, extra=10)])
def test_sequences_are_of_all_lengths_and_read_at_their_ends(task):
    batch = sample(task, 2000)
    last = ends(batch)
    assert set(last + 1) == set(range(100, 111))
    assert abs((last + 1).mean() - 105) < 0.5
    answers = 20.0 * F.one_hot(batch.targets, task.output_size)
    score = task.score(outputs_at(task, batch, answers), batch)
    assert score["accuracy"] == 1
    if isinstance(task, TemporalOrder):
        shown = batch.inputs.argmax(dim=-1)
        assert (shown[torch.from_numpy(last), torch.arange(2000)] == 7).all()
        assert ((shown == 7).sum(dim=0) == 1).all()
    longer = task.lengthened(2)
    assert (longer.length, longer.extra) == (210, 10)


def test_without_extra_steps_data_are_as_before():
    """Results that are stored stay those of the same data."""
    old = sample(TemporalOrder(20), 3, seed=1)
    assert old.inputs.argmax(dim=-1)[:, 0].tolist()[0] == 6
    assert torch.equal(old.inputs, sample(TemporalOrder(20, 2, 0), 3, seed=1).inputs)
    assert TemporalOrder(20).length == 20


def test_noisy_recall_can_ask_for_certainty():
    task = NoisyRecall(9, solved_error=0.01)
    batch = sample(task, 200)
    for margin, solved in ((3.0, False), (6.0, True)):
        outputs = margin * F.one_hot(batch.targets, 2).expand(9, 200, 2).double()
        score = {name: value.item() for name, value in task.score(outputs, batch).items()}
        assert score["error"] == pytest.approx(1 / (1 + math.exp(margin)))
        assert task.solved(score) == solved
    assert "error" not in NoisyRecall(9).score(torch.zeros(9, 200, 2), batch)


def test_noisy_targets_have_the_papers_means_and_variance():
    task = NoisyTargets(20, extra=2)
    batch = sample(task, 50_000)
    positive = batch.inputs[0, :, 0] > 0
    for mask, mean in ((positive, 0.8), (~positive, 0.2)):
        assert batch.targets[mask].mean().item() == pytest.approx(mean, abs=0.01)
        assert batch.targets[mask].var().item() == pytest.approx(0.1, rel=0.03)
    assert batch.targets.var().item() == pytest.approx(task.baseline_loss, rel=0.03)
    few = type(batch)(batch.inputs[:, :256], batch.targets[:256])
    clean = torch.where(positive[:256], 0.8, 0.2)
    for off, wrong, solved in ((0.014, 5, False), (0.012, 5, True), (0.012, 6, False), (0.016, 0, False)):
        answers = clean + off
        answers[:wrong] = clean[:wrong] + 0.101
        score = {k: v.item() for k, v in task.score(outputs_at(task, few, answers.unsqueeze(-1)), few).items()}
        assert score["accuracy"] == pytest.approx(1 - wrong / 256)
        assert task.solved(score) == solved


LOGISTIC = [
    (TemporalOrder(20, extra=2, logistic=True), [0.25] * 4),
    (TemporalOrder(30, symbols=3, logistic=True), [0.125] * 8),
    (NoisyRecall(9, extra=2, logistic=True), [0.5, 0.5]),
    (TriggerRecall(6, 3, 5, logistic=True), [0.5, 0.5]),
    (NoisyTargets(9, logistic=True), [0.5]),
    (ClassicAdding(20, logistic=True), [0.5]),
]


@pytest.mark.parametrize(("task", "guess"), LOGISTIC, ids=lambda case: type(case).__name__)
def test_logistic_units_are_held_to_half_the_squared_error(task, guess):
    """By hand, for outputs that differ from sequence to sequence; guesses cost the baseline."""
    batch = sample(task, 500)
    answers = np.random.default_rng(0).normal(size=(500, task.output_size))
    units = 1 / (1 + np.exp(-answers))
    targets = batch.targets.numpy()
    if task.output_size > 1:
        targets = np.eye(task.output_size)[targets]
    expected = np.mean([0.5 * np.sum((units[b] - targets[b]) ** 2) for b in range(500)])
    outputs = outputs_at(task, batch, torch.tensor(answers, dtype=torch.float32))
    assert task.loss(outputs, batch).item() == pytest.approx(expected, rel=1e-5)
    many = sample(task, MANY)
    guesses = torch.tensor(guess).logit().expand(MANY, -1)
    assert task.loss(outputs_at(task, many, guesses), many).item() == pytest.approx(task.baseline_loss, rel=0.05)


def test_errors_of_logistic_units_add_up_over_a_long_lag():
    task = LongLag(5, distractors=True, logistic=True)
    batch = sample(task, 400)
    answers = np.random.default_rng(0).normal(size=(5, 400, task.output_size))
    units, targets = 1 / (1 + np.exp(-answers)), np.eye(task.output_size)[batch.targets.numpy()]
    expected = np.mean([0.5 * np.sum((units[:, b] - targets[:, b]) ** 2) for b in range(400)])
    outputs = torch.tensor(answers, dtype=torch.float32)
    assert task.loss(outputs, batch).item() == pytest.approx(expected, rel=1e-5)
    assert task.baseline_loss == pytest.approx(0.5 * (1 - 1 / 2) + 4 * 0.5 * (1 - 1 / 4))


def test_a_logistic_unit_is_right_if_it_is_near_the_number():
    task = ClassicAdding(20, logistic=True)
    batch = sample(task, 500)
    off = torch.where(torch.arange(500) < 100, 0.05, 0.03)
    near = (batch.targets + off).clamp(1e-4, 1 - 1e-4)
    score = task.score(outputs_at(task, batch, near.logit().unsqueeze(-1)), batch)
    assert score["accuracy"].item() == pytest.approx(0.8, abs=0.03)
