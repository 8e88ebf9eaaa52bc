"""What all tasks have in common, and for each an answer found from its inputs by a plain program."""

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tasks
from tasks import (
    Adding,
    AddingMissing,
    AssociativeRecall,
    BoundedDyck,
    ClassicAdding,
    CopyMemory,
    Counter,
    CycleNavigation,
    Digits,
    EmbeddedReber,
    EvenPairs,
    FlipFlop,
    ListOps,
    LongLag,
    ModularArithmetic,
    Multiplication,
    NoisyRecall,
    NoisyTargets,
    Parity,
    PreciseTiming,
    RandomTargets,
    SelectiveCopy,
    TemporalOrder,
    TriggerRecall,
    WordProblem,
)

TASKS = [
    Adding(12),
    AddingMissing(12, strategy="mask"),
    AssociativeRecall(3, 5, 4, 2),
    BoundedDyck(length=9),
    ClassicAdding(20),
    ClassicAdding(20, logistic=True),
    CopyMemory(4, 3, 5),
    Counter(9),
    CycleNavigation(length=9),
    Digits(),
    EmbeddedReber(12),
    EvenPairs(9),
    FlipFlop(length=9),
    ListOps(4, 12, 3, 3),
    LongLag(7),
    LongLag(7, distractors=True),
    LongLag(7, distractors=True, logistic=True),
    ModularArithmetic(3, 9),
    Multiplication(20),
    NoisyRecall(9),
    NoisyRecall(9, extra=3),
    NoisyRecall(9, extra=3, logistic=True, solved_error=0.1),
    NoisyTargets(9),
    NoisyTargets(9, logistic=True),
    Parity(9),
    PreciseTiming(6),
    RandomTargets(),
    SelectiveCopy(4, 3, 5),
    TemporalOrder(20),
    TemporalOrder(30, symbols=3),
    TemporalOrder(30, symbols=3, extra=3, logistic=True),
    TriggerRecall(40, 3, 5),
    TriggerRecall(40, 3, 5, logistic=True),
    WordProblem("s3", 9),
]
CHOICES = [task for task in TASKS if task.output_size > 1 and not isinstance(task, EmbeddedReber)]


def sample(task, batch=64, seed=0):
    return task.sample(batch, torch.Generator().manual_seed(seed))


@pytest.fixture(params=TASKS, ids=lambda task: type(task).__name__)
def task(request):
    return request.param


@pytest.mark.parametrize(
    "task", [task for task in TASKS if task.torch_loss is not None], ids=lambda task: type(task).__name__
)
def test_what_is_said_of_a_loss_is_the_loss(task):
    batch = sample(task)
    outputs = torch.randn(task.length, 64, task.output_size)
    if task.torch_loss == "mse":
        expected = F.mse_loss(outputs[-1, :, 0], batch.targets)
    else:
        targets = batch.targets.reshape(-1, 64)
        expected = F.cross_entropy(outputs[-len(targets) :].transpose(1, 2), targets)
    torch.testing.assert_close(task.loss(outputs, batch), expected)


def test_every_task_is_among_them():
    """But for those on files, which have tests of their own."""
    shipped = {name for name in tasks.__all__ if "file" not in inspect.signature(getattr(tasks, name)).parameters}
    missing = shipped - {type(task).__name__ for task in TASKS} - {"Batch", "Task"}
    assert not missing, f"TASKS lacks {missing}; test their answers and baselines as those of others below, too"


def test_data_depend_on_the_generator_alone(task):
    torch.manual_seed(1)
    one = sample(task, seed=5)
    torch.manual_seed(2)
    two = sample(task, seed=5)
    assert torch.equal(one.inputs, two.inputs)
    assert torch.equal(one.targets, two.targets)
    assert not torch.equal(one.inputs, sample(task, seed=6).inputs)


def test_shapes_losses_and_scores(task):
    batch = sample(task, 10)
    assert batch.inputs.shape == (task.length, 10, task.input_size)
    assert batch.inputs.dtype == torch.float32
    outputs = torch.randn(task.length, 10, task.output_size, requires_grad=True)
    loss = task.loss(outputs, batch)
    loss.backward()
    assert loss.dim() == 0
    assert outputs.grad.isfinite().all()
    for score in task.score(outputs, batch).values():
        assert score.dim() == 0
    values, step = task.cue(batch)
    assert len(values) == len(step) == 10
    assert ((step >= 0) & (step < task.length)).all()
    held_out = task.held_out(7, torch.Generator().manual_seed(1))
    assert held_out.inputs.shape == (task.length, 7, task.input_size)


def test_longer_problems_are_of_the_same_kind(task):
    try:
        longer = task.lengthened(3)
    except NotImplementedError:
        assert isinstance(task, Digits | EmbeddedReber | ListOps | LongLag | RandomTargets)
        return
    assert type(longer) is type(task)
    assert longer.length > 2 * task.length - 20
    assert (longer.input_size, longer.output_size) == (task.input_size, task.output_size)
    assert sum(longer.options()[name] != value for name, value in task.options().items()) == 1
    alike = type(task)(**task.options())
    assert torch.equal(sample(alike).inputs, sample(task).inputs)
    plain = {name: value for name, value in vars(task).items() if not isinstance(value, torch.Tensor)}
    assert plain == {name: vars(alike)[name] for name in plain}


@pytest.mark.parametrize("task", CHOICES, ids=lambda task: type(task).__name__)
def test_right_answers_solve_and_wrong_ones_do_not(task):
    batch = sample(task, 300)
    outputs = right_outputs(task, batch)
    assert task.loss(outputs, batch) < 1e-6
    assert task.solved({name: value.item() for name, value in task.score(outputs, batch).items()})
    assert not task.solved({name: value.item() for name, value in task.score(-outputs, batch).items()})


def right_outputs(task, batch) -> torch.Tensor:
    """Outputs that put everything on the targets, wherever those are asked for."""
    outputs = torch.zeros(task.length, batch.inputs.shape[1], task.output_size)
    hot = 100.0 * (2 * F.one_hot(batch.targets, task.output_size) - 1)
    if batch.targets.dim() == 1:
        outputs[:] = hot
    else:
        outputs[-len(batch.targets) :] = hot
    return outputs


# The answers, from the inputs alone.


def by_hand_temporal_order(x, task):
    shown = [int(step.argmax()) for step in x if step.argmax() < 2]
    return int("".join(map(str, shown)), 2)


def by_hand_timing(x, task):
    first, second = np.flatnonzero(x[:, 0])
    return second - first - task.delay


def by_hand_recall(x, task):
    return int(x[0, 0] > 0)


def by_hand_parity(x, task):
    return [int((x[: t + 1, 0] > 0).sum()) % 2 for t in range(len(x))]


def by_hand_selective_copy(x, task):
    symbols = [int(step.argmax()) for step in x]
    delimiter = symbols.index(task.symbols + 1)
    shown = [symbol for symbol in symbols[:delimiter] if symbol < task.symbols]
    assert delimiter == task.delay + task.span - 1
    assert set(symbols[delimiter + 1 :]) == {task.symbols}
    return [task.symbols] * (len(x) - task.span) + shown


def by_hand_associative(x, task):
    classes = [int(step.argmax()) for step in x]
    known = {classes[2 * i]: classes[2 * i + 1] - task.keys for i in range(task.pairs)}
    assert len(known) == task.pairs
    assert classes[2 * task.pairs : 2 * task.pairs + task.delay] == [task.keys + task.values] * task.delay
    queries = classes[-task.pairs :]
    assert sorted(queries) == sorted(known)
    return [known[key] for key in queries]


@pytest.mark.parametrize(
    ("task", "by_hand"),
    [
        (TemporalOrder(20), by_hand_temporal_order),
        (TemporalOrder(100, symbols=3), by_hand_temporal_order),
        (PreciseTiming(5, intervals=3, onset=4), by_hand_timing),
        (PreciseTiming(), by_hand_timing),
        (NoisyRecall(8), by_hand_recall),
        (Parity(9), by_hand_parity),
        (SelectiveCopy(5, 3, 6), by_hand_selective_copy),
        (AssociativeRecall(4, 6, 3, 2), by_hand_associative),
    ],
    ids=lambda value: type(value).__name__ if not callable(value) else "",
)
def test_the_answer_is_what_a_plain_program_finds(task, by_hand):
    batch = sample(task, 200)
    found = np.array([by_hand(batch.inputs[:, b].numpy(), task) for b in range(200)])
    assert np.array_equal(found.T, batch.targets.numpy())


# Baselines: the best answer from the input of its own step alone, by the frequencies of what is asked for.


def answers_with_inputs(task, batch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each answer of a sequence in turn: the inputs (B, I) at its step, and the targets (B)."""
    inputs, targets = batch.inputs, batch.targets
    if isinstance(task, PreciseTiming):
        second = (inputs[..., 0] * torch.arange(task.length).unsqueeze(1)).argmax(dim=0)
        return [(inputs[second, torch.arange(len(second))], targets)]
    if targets.dim() == 1:
        return [(inputs[-1], targets)]
    return list(zip(inputs[-len(targets) :], targets, strict=True))


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (CopyMemory(4, 3, 5), 3 * math.log(4) / 11),
        (SelectiveCopy(3, 2, 6), 2 * math.log(3) / 10),
        (TemporalOrder(20), math.log(4)),
        (TemporalOrder(30, symbols=3), math.log(8)),
        (PreciseTiming(6, intervals=3), math.log(3)),
        (NoisyRecall(9), math.log(2)),
        (NoisyRecall(2, cues=1, noisy_cues=True), math.log(2)),
        (Parity(8), 7 / 8 * math.log(2)),
        (AssociativeRecall(3, 5, 4), math.log(4)),
        (AssociativeRecall(2, 2, 3, 2), math.log(3)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float) else "",
)
def test_the_baseline_is_the_entropy_left_by_the_input(task, expected):
    assert task.baseline_loss == pytest.approx(expected)
    batch = sample(task, 30_000, seed=3)
    entropies = []
    for inputs, targets in answers_with_inputs(task, batch):
        _, seen = (inputs * 4).round().unique(dim=0, return_inverse=True)  # noise, in steps of a quarter
        counts = torch.zeros(int(seen.max()) + 1, task.output_size, dtype=torch.float64)
        counts.index_put_((seen, targets), torch.ones(30_000, dtype=torch.float64), accumulate=True)
        shares = counts / counts.sum(dim=1, keepdim=True)
        entropies.append(-float((counts * shares.clamp(min=1e-12).log()).sum()) / 30_000)
    # A bias of (cells − 1)·(classes − 1)/2n is expected.
    assert np.mean(entropies) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize(
    ("onset", "intervals"), [(10, 2), (2, 2), (3, 5), (7, 3), (2, 9)], ids=lambda value: str(value)
)
def test_counting_to_the_second_spike_tells_what_it_says(onset, intervals):
    """By listing all sequences, and by the sequences that are drawn."""
    task = PreciseTiming(4, intervals, onset)
    ways: dict[int, list[int]] = {}
    for first, k in itertools.product(range(onset), range(intervals)):
        ways.setdefault(first + 4 + k, []).append(k)
    assert all(len(set(found)) == len(found) for found in ways.values())
    assert task.counting_accuracy == pytest.approx(len(ways) / (onset * intervals))
    entropy = sum(len(found) * math.log(len(found)) for found in ways.values()) / (onset * intervals)
    assert task.counting_loss == pytest.approx(entropy)
    batch = sample(task, 40_000)
    second = (batch.inputs[..., 0] * torch.arange(task.length).unsqueeze(1)).argmax(dim=0)
    guesses = torch.tensor([ways.get(step, [0])[0] for step in range(task.length)])
    right = (guesses[second] == batch.targets).double().mean().item()
    assert right == pytest.approx(task.counting_accuracy, abs=0.0125)  # five standard errors


def test_by_default_counting_tells_little_of_precise_timing():
    assert PreciseTiming().counting_accuracy == pytest.approx(0.55)
    assert PreciseTiming().counting_loss == pytest.approx(0.9 * math.log(2))


def test_parity_is_known_without_memory_at_the_first_step_only():
    task = Parity(8)
    batch = sample(task, 50_000)
    outputs = torch.zeros(8, 50_000, 2)
    outputs[0] = 100.0 * F.one_hot(batch.targets[0], 2)
    assert task.loss(outputs, batch).item() == pytest.approx(task.baseline_loss, abs=1e-6)
    assert torch.equal(batch.targets[0], (batch.inputs[0, :, 0] > 0).long())
    for bit in (-1, 1):  # later, parity does not depend on the bit shown
        odd = batch.targets[3][batch.inputs[3, :, 0] == bit].double().mean()
        assert odd.item() == pytest.approx(0.5, abs=0.02)


def test_selective_copy_has_copys_baseline_and_any_places():
    task = SelectiveCopy(4, 2, 4)
    assert task.baseline_loss == CopyMemory(4, 2, 4).baseline_loss
    shown = sample(task, 20_000).inputs[..., :4].sum(dim=-1)[:5]
    pairs = [tuple(column.nonzero().flatten().tolist()) for column in shown.T]
    counts = {pair: pairs.count(pair) for pair in itertools.combinations(range(5), 2)}
    assert sum(counts.values()) == 20_000
    assert all(abs(count / 20_000 - 1 / 10) < 0.012 for count in counts.values())


def test_temporal_order_has_its_symbols_where_the_paper_says():
    for symbols, windows in ((2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])):
        batch = sample(TemporalOrder(100, symbols=symbols), 4000)
        relevant = batch.inputs[..., :2].sum(dim=-1)
        places = torch.stack([column.nonzero().flatten() for column in relevant.T])
        for place, (low, high) in zip(places.T, windows, strict=True):
            assert (place.min().item(), place.max().item()) == (low, high)
        assert (batch.inputs[0].argmax(dim=-1) == 6).all()
        assert (batch.inputs[-1].argmax(dim=-1) == 7).all()
        others = batch.inputs.argmax(dim=-1)[1:-1][relevant[1:-1] == 0]
        assert set(others.tolist()) == {2, 3, 4, 5}


def test_precise_timing_is_49_or_50_steps():
    batch = sample(PreciseTiming(), 500)
    steps = torch.stack([column.nonzero().flatten() for column in batch.inputs[..., 0].T])
    assert set((steps[:, 1] - steps[:, 0]).tolist()) == {49, 50}
    assert set(steps[:, 0].tolist()) == set(range(10))


def test_noise_has_the_papers_variance():
    batch = sample(NoisyRecall(50, noisy_cues=True), 4000)
    assert batch.inputs[3:].var().item() == pytest.approx(0.2, rel=0.02)
    signal = batch.inputs[:3] * (2.0 * batch.targets - 1).unsqueeze(-1)
    assert signal.mean().item() == pytest.approx(1.0, abs=0.02)
    assert signal.var().item() == pytest.approx(0.2, rel=0.05)
    clean = sample(NoisyRecall(50), 10).inputs[:3]
    assert set(clean.flatten().tolist()) == {-1.0, 1.0}


class TestDigits:
    def test_they_are_scikit_learns(self):
        from sklearn.datasets import load_digits

        images = load_digits().images
        task = Digits()
        assert task.training.inputs.shape[1] + task.testing.inputs.shape[1] == len(images) == 1797
        ours = torch.cat([task.training.inputs, task.testing.inputs], dim=1)[..., 0].T * 16
        assert sorted(ours.tolist()) == sorted(images.reshape(1797, 64).tolist())

    def test_every_fifth_of_each_digit_is_held_out(self):
        from sklearn.datasets import load_digits

        found = load_digits()
        for permuted in (False, True):
            task = Digits(permuted)
            for digit in range(10):
                expected = found.data[found.target == digit][4::5][:, task.order]
                ours = task.testing.inputs[:, task.testing.targets == digit, 0].T * 16
                assert ours.tolist() == expected.tolist()
        assert torch.bincount(task.testing.targets).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]

    def test_training_never_sees_what_is_tested(self):
        task = Digits()
        generator = torch.Generator().manual_seed(0)
        train = {tuple(x.tolist()) for _ in range(40) for x in task.sample(256, generator).inputs[..., 0].T}
        held_out = task.held_out(10**6, generator)
        assert held_out.inputs.shape[1] == 355
        assert not train & {tuple(x.tolist()) for x in held_out.inputs[..., 0].T}

    def test_permuted_pixels_are_the_same_in_another_fixed_order(self):
        plain, permuted = Digits(), Digits(permuted=True)
        assert torch.equal(plain.testing.inputs.sort(dim=0).values, permuted.testing.inputs.sort(dim=0).values)
        assert not torch.equal(plain.testing.inputs, permuted.testing.inputs)
        assert torch.equal(permuted.order, Digits(permuted=True).order)

    @pytest.mark.parametrize("permuted", [False, True])
    def test_the_baseline_is_that_of_the_last_pixel(self, permuted):
        from sklearn.datasets import load_digits

        found = load_digits()
        pixel = found.data[:, int(Digits(permuted).order[-1])]
        total = 0.0
        for value in np.unique(pixel):
            here = found.target[pixel == value]
            shares = np.bincount(here) / len(here)
            total -= len(here) * sum(share * math.log(share) for share in shares if share)
        assert Digits(permuted).baseline_loss == pytest.approx(total / 1797)


class TestRandomTargets:
    def test_all_batches_are_of_the_same_sequences(self):
        task = RandomTargets()
        one, two = sample(task, 32, seed=1), sample(task, 32, seed=2)
        assert one.inputs.shape == one.targets.shape == (10, 10, 1)
        torch.testing.assert_close(one.inputs.sum(dim=1), two.inputs.sum(dim=1))
        assert not torch.equal(RandomTargets(data_seed=1).inputs, task.inputs)

    def test_the_baseline_is_the_variance(self):
        batch = sample(RandomTargets(sequences=2000, length=20), 2000)
        half = torch.full((20, 2000, 1), 0.5)
        assert RandomTargets(2000, 20).loss(half, batch).item() == pytest.approx(1 / 12, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Adding, {"length": 1}),
        (Adding, {"length": True}),
        (Adding, {"length": 5.5}),
        (Adding, {"length": math.nan}),
        (Adding, {"solved_mse": 0}),
        (Adding, {"solved_mse": math.inf}),
        (Adding, {"solved_mse": math.nan}),
        (Adding, {"solved_mse": True}),
        (CopyMemory, {"symbols": 1}),
        (CopyMemory, {"span": 0}),
        (CopyMemory, {"span": 2.0}),
        (CopyMemory, {"delay": 0}),
        (CopyMemory, {"solved_accuracy": 1.0}),
        (CopyMemory, {"solved_accuracy": math.nan}),
        (TemporalOrder, {"length": 9}),
        (TemporalOrder, {"symbols": 4}),
        (TemporalOrder, {"symbols": 2.0}),
        (PreciseTiming, {"delay": 0}),
        (PreciseTiming, {"intervals": 1}),
        (PreciseTiming, {"onset": 0}),
        (PreciseTiming, {"onset": 1}),
        (PreciseTiming, {"solved_accuracy": 0.5}),
        (NoisyRecall, {"cues": 0}),
        (NoisyRecall, {"length": 3}),
        (NoisyRecall, {"noise_variance": 0.0}),
        (NoisyRecall, {"noise_variance": math.nan}),
        (NoisyRecall, {"noisy_cues": "false"}),
        (Parity, {"length": 1}),
        (Parity, {"length": "9"}),
        (SelectiveCopy, {"symbols": 1}),
        (AssociativeRecall, {"pairs": 0}),
        (AssociativeRecall, {"keys": 3}),
        (AssociativeRecall, {"values": 1}),
        (AssociativeRecall, {"delay": -1}),
        (AddingMissing, {"missing": 1.0}),
        (AddingMissing, {"missing": math.nan}),
        (AddingMissing, {"missing": False}),
        (AddingMissing, {"correlation": -0.1}),
        (AddingMissing, {"strategy": "hope"}),
        (RandomTargets, {"sequences": 0}),
        (RandomTargets, {"solved_mse": 0.0}),
        (RandomTargets, {"data_seed": -1}),
        (RandomTargets, {"data_seed": 2**32}),
        (Digits, {"solved_accuracy": 1.0}),
        (Digits, {"permuted": "no"}),
        (WordProblem, {"group": "z2"}),
        (WordProblem, {"length": 1}),
        (ModularArithmetic, {"modulus": 1}),
        (BoundedDyck, {"kinds": 0}),
        (BoundedDyck, {"depth": 20}),
        (FlipFlop, {"writes": 0.0}),
        (FlipFlop, {"writes": 1.0}),
        (Counter, {"length": 0}),
        (ClassicAdding, {"minimal_length": 19}),
        (Multiplication, {"wrong": 0}),
        (EmbeddedReber, {"length": 7}),
        (LongLag, {"symbols": 1}),
        (LongLag, {"distractors": "no"}),
        (TriggerRecall, {"extra": 0}),
        (TriggerRecall, {"delay": 0}),
        (TemporalOrder, {"extra": -1}),
        (NoisyRecall, {"solved_error": 0.0}),
        (NoisyTargets, {"extra": 0}),
    ],
)
def test_what_cannot_be_is_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_numpys_numbers_are_numbers():
    task = NoisyRecall(np.int64(9), cues=np.int32(2), noise_variance=np.float32(0.5))
    assert sample(task, 3).inputs.shape == (9, 3, 1)


def test_a_task_that_may_be_read_from_both_ends_shows_nothing_after_its_first_scored_answer(task):
    if not task.offline:
        return
    inputs = sample(task).inputs
    asked = getattr(task, "scored", None) or 1
    after = inputs[task.length - asked + 1 :]
    assert torch.equal(after, after[:, :1].expand_as(after))
