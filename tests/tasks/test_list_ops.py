"""ListOps: expressions against an evaluator that reads them from left to right, and the baseline against counts."""

import itertools
import statistics

import numpy as np
import pytest
import torch

from tasks import ListOps
from tasks.list_ops import _values_of
from tests.tasks.test_all import sample

NAMES = [*"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]"]
BY_NAME = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: int(statistics.median(values)),
    "[SM": lambda values: sum(values) % 10,
}


def expression_of(inputs) -> list[str]:
    """The symbols of a sequence (T, 15), up to the zeros behind it."""
    return [NAMES[step.argmax()] for step in inputs if step.any()]


def value_of(expression: list[str]) -> int:
    """By a stack of operations that are open, each with its arguments so far."""
    open_: list[tuple[str, list[int]]] = [("", [])]
    for symbol in expression:
        if symbol in BY_NAME:
            open_.append((symbol, []))
        elif symbol == "]":
            name, values = open_.pop()
            open_[-1][1].append(BY_NAME[name](values))
        else:
            open_[-1][1].append(int(symbol))
    ((_, (value,)),) = open_
    return value


def depth_of(expression: list[str]) -> int:
    return 1 + max(itertools.accumulate((symbol in BY_NAME) - (symbol == "]") for symbol in expression))


def test_the_evaluator_is_the_papers():
    assert value_of(["[MAX", "2", "9", "[MIN", "4", "7", "]", "0", "]"]) == 9
    assert value_of(["[SM", "8", "7", "[MED", "1", "4", "9", "2", "]", "]"]) == 8  # the median of 2 and 4 is 3
    assert value_of(["[MED", "1", "2", "]"]) == 1


@pytest.mark.parametrize(
    "task", [ListOps(), ListOps(4, 30, 3, 3), ListOps(60, 120, 10, 10)], ids=lambda task: str(task.length)
)
def test_the_answer_is_the_value_of_the_expression(task):
    batch = sample(task, 200)
    expressions = [expression_of(batch.inputs[:, b]) for b in range(200)]
    assert [value_of(each) for each in expressions] == batch.targets.tolist()
    assert all(task.shortest <= len(each) <= task.length for each in expressions)
    assert max(map(depth_of, expressions)) <= task.depth
    outputs = torch.zeros(task.length, 200, 10)
    for b, each in enumerate(expressions):
        outputs[len(each) - 1, b, batch.targets[b]] = 50.0
    assert task.loss(outputs, batch) < 1e-6  # read at the last bracket, and nowhere else


def test_expressions_have_the_arguments_and_operations_that_are_said():
    task = ListOps(4, 12, 2, 4)
    expressions = [expression_of(each) for each in sample(task, 6000).inputs.unbind(dim=1)]
    counts = {name: sum(each[0] == name for each in expressions) for name in BY_NAME}
    assert list(counts.values()) == pytest.approx([1500] * 4, abs=200)
    assert np.bincount([len(each) - 2 for each in expressions])[2:].tolist() == pytest.approx([2000] * 3, abs=220)


def test_values_have_the_probabilities_of_all_expressions_there_are():
    """Of depth 2, by listing them: an operation with a probability of 1/4, 2 to 5 digits."""
    expected = np.zeros(10)
    for n in (2, 3, 4, 5):
        for operation in BY_NAME.values():
            for digits in itertools.product(range(10), repeat=n):
                expected[operation(list(digits))] += 0.25 / 4 / 4 / 10**n
    assert _values_of(4, 7, 2, 5) == pytest.approx(expected, abs=1e-10)


def test_the_baseline_is_the_entropy_of_the_values():
    task = ListOps(8, 40, 4, 6)
    shares = np.bincount(sample(task, 20_000, seed=3).targets, minlength=10) / 20_000
    exact = np.array(_values_of(8, 40, 4, 6))
    assert shares.tolist() == pytest.approx((exact / exact.sum()).tolist(), abs=0.012)
    assert task.baseline_loss == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.006)


def test_lengths_that_no_expression_has_are_refused():
    with pytest.raises(ValueError, match="too rare"):
        ListOps(40, 50, 2, 4)
    with pytest.raises(ValueError, match="shortest must be at least 4"):
        ListOps(3)
