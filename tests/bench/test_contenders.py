"""What a contender declares, and what becomes of one that cannot run step by step."""

import re

import pytest
import torch

from bench.cost import timing
from bench.cost.flops import count_flops
from bench.cost.timing import measure
from bench.execute.matching import search_size
from bench.probe import Subject, look
from bench.probe.subject import parts_of
from bench.record.errors import ConfigError
from bench.spec.identity import run_id
from bench.train.model import make_model, make_task, why_no_steps
from bench.train.trainer import evaluate
from cells import GRU, LSTM, TCN, Stack, TorchRecurrent
from tasks import Adding
from tasks.parts import PaddedBatch
from tests.bench import broken, contenders
from tests.bench.conftest import make_config


def named(kind: type, **changes) -> dict:
    return {"_target_": f"{kind.__module__}.{kind.__name__}", "name": kind.__name__.lower(), **changes}


def test_the_readout_is_as_wide_as_the_outputs():
    config = make_config(cell=named(contenders.Wide, hidden_size=3))
    model = make_model(config.run, make_task(config.run))
    assert model.readout.in_features == 7
    assert model(torch.ones(5, 2, 2)).shape == (5, 2, 1)


@pytest.mark.parametrize("size", [0, "8", 2.0])
def test_a_width_that_is_none_is_refused(size, monkeypatch):
    monkeypatch.setattr(broken.Minimal, "output_size", size, raising=False)
    config = make_config(cell=named(broken.Minimal))
    with pytest.raises(ConfigError, match=r"Minimal.output_size is .* whole number"):
        make_model(config.run, make_task(config.run))


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (contenders.Backwards(2, 3), "it reads from the end"),
        (contenders.SecretlyBackwards(2, 3), "SecretlyBackwards returns other outputs step by step"),
        (contenders.Stateless(2, 3), "Stateless returns no state"),
        (broken.Exploding(2, 3), "Exploding fails on single steps: .*this cell"),
    ],
)
def test_what_cannot_step_says_why(cell, reason):
    found = why_no_steps(cell, 2)
    assert found is not None
    assert re.match(reason, found)


@pytest.mark.parametrize(
    "cell", [LSTM(2, 3), contenders.Wide(2, 3), broken.Minimal(2, 3), contenders.Remembering(2, 3), torch.nn.GRU(2, 3)]
)
def test_what_can_step_has_no_reason(cell):
    assert why_no_steps(cell, 2) is None


def test_a_layer_that_looks_further_back_than_its_state_cannot_step():
    pytest.importorskip("torchrecurrent")
    assert why_no_steps(TorchRecurrent(2, 2, "MGU"), 2) is None
    torch.manual_seed(0)
    assert why_no_steps(TorchRecurrent(2, 2, "tauGRU", "torchrecurrent"), 2) is not None


def test_whether_it_can_is_tried_on_a_copy():
    cell = broken.Noisy(2, 3)
    before = torch.get_rng_state()
    why_no_steps(cell, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert cell.calls == 0


def test_the_parts_of_a_state_are_those_of_any_tree():
    h, c, layers = torch.rand(4, 3), torch.rand(4, 2, 5), torch.rand(2, 4, 6)
    parts = parts_of((h, {"c": [c], "none": None}, layers), 4)
    assert [tuple(part.shape) for part in parts] == [(4, 3), (4, 10), (4, 12)]
    assert torch.equal(parts[2][1], torch.cat([layers[0, 1], layers[1, 1]]))


def test_single_steps_are_timed_of_what_can_step_after_a_whole_sequence(monkeypatch):
    monkeypatch.setitem(timing.GEMM_SIZES, "cpu", 32)
    lengths = []
    forward = contenders.Remembering.forward

    def watched(self, inputs, state=None):
        if len(inputs) == 1 and state is not None and inputs.shape[1] == 1:
            lengths.append(state.shape[1])
        return forward(self, inputs, state)

    monkeypatch.setattr(contenders.Remembering, "forward", watched)
    kinds = (contenders.Backwards, contenders.Remembering)
    configs = [make_config(cell=named(kind), timing={"rounds": 1, "inference_steps": 2}) for kind in kinds]
    rows = measure(configs, lambda: None, lambda *failure: pytest.fail(str(failure)))
    quantities = {row["cell"]: set() for row in rows}
    for row in rows:
        quantities[row["cell"]].add(row["quantity"])
    assert "inference_step" in quantities["remembering"]
    assert "inference_step" not in quantities["backwards"]
    assert {row["no_steps"] for row in rows if row["cell"] == "backwards"} == {"it reads from the end"}
    assert {row["no_steps"] for row in rows if row["cell"] == "remembering"} == {None}
    assert set(lengths) == {6, 7}  # of the sequence, and a step later


@pytest.mark.parametrize(
    ("kind", "reason"), [(contenders.Backwards, "it reads from the end"), (contenders.Remembering, "its state grows")]
)
def test_there_is_no_memory_readout_of_what_has_no_state_between_steps(kind, reason):
    config = make_config(cell=named(kind))
    task = make_task(config.run)
    model = make_model(config.run, task)
    batch = task.sample(128, torch.Generator().manual_seed(0))
    failed = {}
    found = look(Subject(model, task, batch, config.run.training, {}), ["memory", "gradient_flow"], failed.__setitem__)
    assert not found
    assert set(failed) == {"memory", "gradient_flow"}
    assert all(reason in str(error) for error in failed.values())


class TestStacks:
    """Any cell is stacked by options that its class has not."""

    def build(self, **cell):
        config = make_config(cell=cell)
        return make_model(config.run, make_task(config.run)).cell

    def test_options_make_a_stack(self):
        cell = self.build(layers=2, bidirectional=True, dropout=0.5)
        assert isinstance(cell, Stack)
        assert len(cell.cells) == len(cell.backward_cells) == 2
        assert cell.output_size == 8
        assert all(isinstance(each, LSTM) for each in cell.cells)

    def test_values_that_change_nothing_make_none_and_leave_the_name(self):
        neutral = {"layers": 1, "bidirectional": False, "dropout": 0.0, "residual": False, "feedforward": 0}
        assert isinstance(self.build(**neutral), LSTM)
        assert run_id(make_config(cell=neutral).run) == run_id(make_config().run)
        assert run_id(make_config(cell={"layers": 2}).run) != run_id(make_config().run)

    def test_options_that_are_named_and_not_set_are_none(self):
        config = make_config(cell={"layers": "???", "dropout": "???"})
        assert config == make_config()

    def test_an_option_of_the_class_is_the_classs(self):
        cell = self.build(**named(TCN), dropout=0.5)
        assert isinstance(cell, TCN)
        assert cell.dropout == 0.5
        assert run_id(make_config(cell=named(TCN, dropout=0.0)).run) == run_id(make_config(cell=named(TCN)).run)

    @pytest.mark.parametrize(
        ("cell", "says"),
        [
            ({"layers": 0}, "cell=lstm: layers must be at least 1"),
            ({"layers": "two"}, "cell.layers"),
            ({"dropout": 0.1}, "dropout is between layers"),
            ({"layer": 2}, "cell.layer: lstm has no such option. Did you mean 'layers'"),
        ],
    )
    def test_what_makes_no_sense_is_refused_in_a_line(self, cell, says):
        with pytest.raises(ConfigError, match=says) as raised:
            self.build(**cell)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("task", ["Parity", "RandomTargets"])
    def test_both_directions_are_refused_where_they_would_see_the_future(self, task):
        with pytest.raises(ConfigError, match=r"cell.bidirectional: x asks for answers while a sequence is read"):
            make_config(cell={"bidirectional": True}, task={"_target_": f"tasks.{task}", "name": "x"})

    def test_parameters_and_flops_are_those_of_the_whole(self):
        one, two = (make_config(cell={"layers": layers, "hidden_size": 16}).run for layers in (1, 2))
        added = 4 * 16 * 32  # multiplications of the second layer, a step and sequence
        assert count_flops(two)[0] - count_flops(one)[0] == 2 * added * 6 * 4
        size, off = search_size(make_config(cell={"layers": 2, "hidden_size": 64}).run, "parameters")
        assert size < 50
        assert off < 0.02

    def test_kernels_are_those_of_the_cells(self):
        assert self.build(layers=2).active_backend == self.build().active_backend

    def test_looks_tell_layers_apart(self):
        config = make_config(cell={**named(GRU), "layers": 2})
        task = make_task(config.run)
        model = make_model(config.run, task)
        batch = task.sample(128, torch.Generator().manual_seed(0))
        found = look(
            Subject(model, task, batch, config.run.training, {}),
            ["gates", "gradient_flow", "memory"],
            lambda kind, error: pytest.fail(str(error)),
        )
        parts = {(reading.kind, reading.part) for reading in found}
        assert {("gate_mean", f"layer{layer}.{gate}") for layer in (1, 2) for gate in "rz"} <= parts
        assert {("gradient_flow", "layer1.h"), ("gradient_flow", "layer2.h"), ("memory", "state")} <= parts

    def test_a_batch_with_lengths_is_each_sequence_alone(self):
        """In training, evaluation and in parts of a batch."""
        config = make_config(cell={**named(GRU), "bidirectional": True})
        task = make_task(config.run)
        model = make_model(config.run, task).eval()
        lengths = torch.tensor([3, 6, 5, 1])
        batch = PaddedBatch(torch.randn(6, 4, 2), torch.zeros(4, 1), lengths)
        outputs = batch.last(model.answer(batch))
        alone = torch.cat([model(batch.inputs[:length, [n]])[-1] for n, length in enumerate(lengths)])
        torch.testing.assert_close(outputs, alone)

        class LastStep(Adding):
            def loss(self, outputs, batch):
                return batch.last(outputs).sum()

        for at_once in (None, 1, 3):
            loss, _ = evaluate(model, LastStep(6), batch, at_once)
            assert loss == pytest.approx(alone.sum().item(), abs=1e-5)
