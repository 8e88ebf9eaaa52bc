"""Matched sizes and budgets: counted by independent formulas."""

import pytest

from bench.cost.flops import count_flops
from bench.execute.apart import Worker
from bench.execute.matching import check_matches, matched
from bench.record.errors import ConfigError
from bench.record.fairness import NO_LIMIT, TOLERANCE
from bench.train.model import count_parameters, make_model, make_task
from tests.bench.conftest import make_config

WORKER = Worker()  # has no process as long as no class is a user's

CELLS = {"rnn": "RNN", "lstm": "LSTM", "peephole_lstm": "PeepholeLSTM", "gru": "GRU", "attention_lstm": "AttentionLSTM"}
I, O = 2, 1  # noqa: E741  # of the adding problem


def parameters(cell: str, h: int) -> int:
    """The numbers of weights as the equations have them, and the readout's."""
    gates = {"rnn": 1, "lstm": 4, "peephole_lstm": 4, "gru": 3, "attention_lstm": 4}[cell]
    more = {"peephole_lstm": 3 * h, "gru": h, "attention_lstm": 3 * h * h + h}.get(cell, 0)
    return gates * (h * I + h * h + h) + more + h * O + O


def requested(tmp_path, cell: str, hidden_size: int, **changes):
    cell_options = {"_target_": f"cells.{CELLS[cell]}", "name": cell, "hidden_size": hidden_size}
    return make_config(tmp_path, cell=cell_options, task={"length": 12}, **changes)


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_are_within_one_percent(tmp_path, cell):
    config = matched(requested(tmp_path, cell, 75, match="parameters"), WORKER)
    model = make_model(config.run, make_task(config.run))
    own, target = count_parameters(model), parameters("lstm", 75)
    assert count_parameters(make_model(requested(tmp_path, "lstm", 75).run, make_task(config.run))) == target
    assert abs(own / target - 1) <= TOLERANCE["parameters"] == 0.01
    size = config.run.cell["hidden_size"]
    if cell != "attention_lstm":  # whose attention may have biases of its own
        assert own == parameters(cell, size)
    # No other size is nearer.
    for other in (size - 1, size + 1):
        near = make_model(requested(tmp_path, cell, other).run, make_task(config.run))
        assert abs(count_parameters(near) - target) >= abs(own - target)


@pytest.mark.parametrize("cell", CELLS)
def test_flops_are_within_two_percent(tmp_path, cell):
    config = matched(requested(tmp_path, cell, 64, match="flops"), WORKER)
    own, target = count_flops(config.run), count_flops(requested(tmp_path, "lstm", 64).run)
    assert abs(own[1] / target[1] - 1) <= TOLERANCE["flops"] == 0.02


def test_flops_are_those_of_the_matrix_products(tmp_path):
    """An LSTM's: two products a step, forward; in training, gradients of weights and hidden states besides."""
    h, t, b = 16, 12, 4
    forward, training = count_flops(requested(tmp_path, "lstm", h).run)
    inputs, recurrent, readout = (2 * t * b * n for n in (4 * h * I, 4 * h * h, h * O))
    assert forward == inputs + recurrent + readout
    # Inputs need no gradient, and the first step's state is no result of anything.
    least, most = (
        forward + inputs + 2 * recurrent * (t - 1) / t + 2 * readout,
        forward + 2 * (forward - inputs) + inputs,
    )
    assert least <= training <= most


def test_what_cannot_be_matched_is_said_with_what_could(tmp_path):
    configs = [requested(tmp_path, cell, 16, match="parameters") for cell in ("gru", "lstm", "rnn")]
    with pytest.raises(ConfigError, match=r"cell.hidden_size=\d+ would do") as caught:
        check_matches(configs, WORKER)
    advised = int(str(caught.value).rpartition("cell.hidden_size=")[2].split()[0])
    check_matches([requested(tmp_path, cell, advised, match="parameters") for cell in ("gru", "lstm", "rnn")], WORKER)


def test_equal_time_has_no_limit_of_steps(tmp_path):
    with pytest.raises(ConfigError, match=r"training.max_seconds"):
        matched(requested(tmp_path, "gru", 8, match="time"), WORKER)
    config = matched(requested(tmp_path, "gru", 8, match="time", training={"max_seconds": 0.2}), WORKER)
    assert config.run.training.max_steps == NO_LIMIT
    assert config.run.cell["hidden_size"] == 8


def test_a_budget_in_flops_is_one_in_steps(tmp_path):
    flops = count_flops(requested(tmp_path, "gru", 8).run)[1]
    config = matched(requested(tmp_path, "gru", 8, training={"max_flops": 7.9 * flops}), WORKER)
    assert config.run.training.max_steps == 7
    assert (
        matched(requested(tmp_path, "gru", 8, training={"max_flops": 1e3 * flops}), WORKER).run.training.max_steps == 20
    )


def test_sizes_stay_where_nothing_is_matched(tmp_path):
    config = requested(tmp_path, "gru", 8)
    assert matched(config, WORKER) == config
