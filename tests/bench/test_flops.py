"""FLOPs are counted alike with and without storage, and by torch's counter."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from bench.cost import flops
from bench.train.model import make_model, make_task
from tests.bench.conftest import make_config
from tests.python import python

CELLS = {
    "rnn": "RNN",
    "linear_rnn": "LinearRNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "peephole_lstm": "PeepholeLSTM",
    "attention_lstm": "AttentionLSTM",
    "full_gate_recurrence": "GateRecurrentLSTM",
    "janet": "JANET",
}
A_RUN = """
import sys
from tests.bench.conftest import make_config
from bench.execute.run import run
print(run(make_config(sys.argv[1]))["status"], *(name for name in ("torch._dynamo", "sympy") if name in sys.modules))
"""


@pytest.mark.parametrize("length", [6, 30])
@pytest.mark.parametrize("name", CELLS)
def test_small_cells_are_counted_with_storage_as_others_are_without(
    name: str, length: int, monkeypatch: pytest.MonkeyPatch
):
    cell = {"_target_": f"cells.{CELLS[name]}", "name": name, "hidden_size": 5}
    spec = make_config(cell=cell, task={"length": length}).run
    task = make_task(spec)
    assert not next(flops._model(spec, task, 4).parameters()).is_meta
    with_storage = flops.count_flops(spec)
    flops._count_alike.cache_clear()
    monkeypatch.setattr(flops, "MOST_STORED", -1)
    assert next(flops._model(spec, task, 4).parameters()).is_meta
    assert flops.count_flops(spec) == with_storage
    if length == 6:
        model = make_model(spec, task, device="meta")
        with FlopCounterMode(display=False) as counter:
            model(next(model.parameters()).new_zeros(length, 4, task.input_size)).sum().backward()
        assert counter.get_total_flops() == with_storage[1]


def test_large_cells_need_no_storage():
    spec = make_config(cell={"hidden_size": 100_000}).run
    assert flops.count_flops(spec) is not None


def test_a_run_does_without_torchs_compiler(tmp_path):
    assert python("-c", A_RUN, tmp_path).stdout.split() == ["unsolved"]
