"""Corrections, seeds needed and letters against other implementations, simulation and enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reports.statistics import (
    ALPHA,
    Contrast,
    Times,
    detectable_ratio,
    fewest_seeds,
    holm,
    in_sequence,
    letters,
    seeds_needed,
)
from tests.reports.simulate import CASES, simulated


def test_holm_is_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.1, size=12)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([]).size == 0


def test_exploratory_comparisons_wait_for_a_primary_one():
    p, primary = [0.03, 0.2, 0.001, 0.004], [True, True, False, False]
    corrected = in_sequence(p, primary)
    assert corrected[:2] == pytest.approx([0.06, 0.2])
    assert corrected[2:] == pytest.approx([0.06, 0.06])  # the gate is shut
    opened = in_sequence([0.0001, 0.2, 0.001, 0.004], primary)
    assert opened[2:] == pytest.approx(stats.false_discovery_control([0.001, 0.004]))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("comparisons", [1, 4, 20])
def test_the_fewest_seeds_are_those_whose_clearest_outcome_is_significant(paired, comparisons):
    n = fewest_seeds(comparisons, paired)
    for seeds, enough in ((n, True), (n - 1, False)):
        clearest = Contrast(Times(10.0 + np.arange(seeds)), Times(1.0 + 0.1 * np.arange(seeds)), paired)
        assert (clearest.p * comparisons <= ALPHA) == enough


@pytest.mark.parametrize("paired", [False, True])
def test_seeds_needed_find_the_difference_in_four_of_five_cases(paired):
    generator = np.random.default_rng(1)
    a, b = simulated(CASES["spread 0.3"], 400, (1.4, 1), generator)
    least, most = seeds_needed(Contrast(a, b, paired), 1)
    n = (least + most) // 2
    found = [Contrast(*simulated(CASES["spread 0.3"], n, (1.4, 1), generator), paired).p <= ALPHA for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.12)


def test_few_runs_give_a_range_of_seeds_needed_that_holds_what_many_give():
    generator = np.random.default_rng(3)
    least, most = seeds_needed(Contrast(*simulated(CASES["spread 0.3"], 400, (1.4, 1), generator)), 1)
    true, ranges = (least + most) / 2, []
    for _ in range(200):
        few = seeds_needed(Contrast(*simulated(CASES["spread 0.3"], 8, (1.4, 1), generator)), 1)
        ranges.append([math.inf if n is None else n for n in few])
    assert np.mean([low <= true <= high for low, high in ranges]) == pytest.approx(0.8, abs=0.12)


def test_the_detectable_ratio_is_found_in_four_of_five_cases():
    generator = np.random.default_rng(2)
    a, b = simulated(CASES["spread 0.3"], 20, (1, 1), generator)
    ratio = detectable_ratio(Contrast(a, b), 1)
    found = [Contrast(*simulated(CASES["spread 0.3"], 20, (ratio, 1), generator)).p <= ALPHA for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.85, abs=0.13)


def test_what_cannot_be_said():
    one, tied = Contrast(Times(np.ones(1)), Times(np.full(1, 2.0))), Contrast(Times(np.ones(9)), Times(np.ones(9)))
    assert seeds_needed(one, 1) == (None, None)
    assert seeds_needed(tied, 1) == (None, None)
    assert detectable_ratio(one, 1) is None
    unsolved = Contrast(Times(np.full(9, math.inf), 50, 2000), Times(np.full(9, 500.0), 50, 2000))
    assert detectable_ratio(unsolved, 1) is None


class TestLetters:
    def test_two_share_one_if_and_only_if_they_are_not_told_apart(self):
        generator = np.random.default_rng(3)
        for _ in range(60):
            names = [f"cell {i}" for i in range(generator.integers(1, 8))]
            pairs = [frozenset(pair) for pair in itertools.combinations(names, 2)]
            apart = [pair for pair in pairs if generator.random() < 0.5]
            given = letters(names, apart)
            for pair in pairs:
                one, other = pair
                assert bool(set(given[one]) & set(given[other])) == (pair not in apart)

    def test_they_begin_with_the_first_name(self):
        apart = [
            frozenset(pair) for pair in (("gru", "lstm"), ("gru", "rnn"), ("peephole", "rnn"), ("gru", "peephole"))
        ]
        given = letters(["gru", "peephole", "lstm", "rnn"], apart)
        assert given == {"gru": "a", "peephole": "b", "lstm": "bc", "rnn": "c"}
        assert letters(["gru", "lstm"], []) == {"gru": "a", "lstm": "a"}
