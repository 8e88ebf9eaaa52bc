"""Each look, on cells whose answer is known."""

import math

import pytest
import torch
from torch import nn

from bench.probe import KINDS, Subject, look
from bench.probe.attention import attention
from bench.probe.gates import gates
from bench.probe.gradients import decay_rate, gradient_flow
from bench.probe.jacobian import jacobian, step_jacobians
from bench.probe.memory import explained, memory
from bench.probe.subject import unroll
from bench.probe.updates import updates
from bench.spec.config import DIAGNOSTICS, Training
from bench.spec.optimizer import make_optimizer
from bench.train.model import Model
from cells import GRU, LSTM, RNN, AblatedLSTM, AttentionLSTM, GateRecurrentLSTM, PeepholeLSTM
from tasks import Adding, Batch, CopyMemory, Task

CELLS = [RNN, LSTM, PeepholeLSTM, GRU, AttentionLSTM, AblatedLSTM, GateRecurrentLSTM]


def subject(cell: nn.Module, task: Task, batch: Batch | None = None, sequences: int = 256, **training) -> Subject:
    dtype = next(cell.parameters()).dtype
    size = getattr(cell, "hidden_size", 8)
    model = Model(cell, size, task.output_size, dtype=dtype)
    batch = task.sample(sequences, torch.Generator().manual_seed(0)) if batch is None else batch
    settings = Training(**training)
    optimizer = make_optimizer(settings, list(model.parameters()))
    return Subject(model, task, batch.to(dtype), settings, optimizer.state_dict())


def by_name(readings) -> dict:
    return {(reading.kind, reading.part): reading for reading in readings}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def linear_rnn(radius: float, size: int = 8, inputs: int = 2) -> RNN:
    """A network that hardly leaves zero, where tanh is linear, with a multiple of an orthogonal matrix."""
    cell = RNN(inputs, size, "loop", initialization="orthogonal", dtype=torch.float64)
    with torch.no_grad():
        cell.weight_hh.mul_(radius)
        cell.weight_ih.mul_(1e-9)
    return cell


class TestGradientFlow:
    @pytest.mark.parametrize("radius", [0.5, 0.9, 1.0, 1.1])
    def test_a_linear_network_decays_at_its_spectral_radius(self, radius):
        found = by_name(gradient_flow(subject(linear_rnn(radius), Adding(30))))
        assert found["decay", "h"].value[0] == pytest.approx(radius, rel=1e-6)
        assert found["at_rest", "h"].value[0] == pytest.approx(radius, rel=1e-6)
        norms = found["gradient_flow", "h"]
        assert norms.x == list(map(float, range(30)))
        # An orthogonal matrix keeps norms: each step back is a factor, exactly.
        for before, after in zip(norms.value, norms.value[1:], strict=False):
            assert after / before == pytest.approx(radius, rel=1e-6)

    def test_a_general_matrix_decays_at_it_in_the_long_run(self):
        cell = linear_rnn(1.0)
        with torch.no_grad():
            cell.weight_hh.copy_(torch.randn(8, 8, dtype=torch.float64))
            radius = torch.linalg.eigvals(cell.weight_hh).abs().max()
            cell.weight_hh.mul_(0.8 / radius)
        found = by_name(gradient_flow(subject(cell, Adding(200))))
        assert found["at_rest", "h"].value[0] == pytest.approx(0.8, rel=1e-6)
        assert found["decay", "h"].value[0] == pytest.approx(0.8, rel=0.02)

    def test_gradients_are_those_of_finite_differences(self):
        cell, task = LSTM(2, 4, dtype=torch.float64), Adding(6)
        found = subject(cell, task, sequences=3)
        readings = by_name(gradient_flow(found))
        model, batch = found.model, found.batch

        def loss_of(t: int, part: int, b: int, change: torch.Tensor) -> torch.Tensor:
            state = None
            for step, x_t in enumerate(batch.inputs):
                if state is not None and step == t + 1:
                    parts = [value.clone() for value in state]
                    if part == 1:  # h = o ⊙ tanh(c) changes with c
                        h, c = parts
                        h[b] *= (c[b] + change).tanh() / c[b].tanh()
                    parts[part][b] += change
                    state = tuple(parts)
                output, state = cell.step(x_t, state)
            return task.loss(model.readout(output).unsqueeze(0), batch)

        for part, name in enumerate("hc"):
            for t in (1, 3):
                squares = 0.0
                for b in range(3):
                    for unit in range(4):
                        change = torch.zeros(4, dtype=torch.float64)
                        change[unit] = 1e-6
                        with torch.no_grad():
                            slope = (loss_of(t, part, b, change) - loss_of(t, part, b, -change)) / 2e-6
                        squares += float(3 * slope) ** 2  # the loss is a mean over three sequences
                expected = math.sqrt(squares / 3)
                assert readings["gradient_flow", name].value[5 - t] == pytest.approx(expected, rel=1e-5)

    def test_an_lstm_without_forget_gate_keeps_its_cell_states_gradient(self):
        cell = AblatedLSTM(2, 6, forget_gate=False, peepholes=False, dtype=torch.float64)
        with torch.no_grad():
            cell.weight_hh.zero_()
        found = by_name(gradient_flow(subject(cell, Adding(40))))
        assert found["decay", "c"].value[0] == pytest.approx(1.0, abs=1e-9)  # c(t) = c(t−1) + …: the constant carousel
        assert found["at_rest", "h"].value[0] == pytest.approx(1.0)

    def test_rates(self):
        assert decay_rate([3 * 0.7**k for k in range(10)]) == pytest.approx(0.7)
        assert decay_rate([1.0, 0.5]) is None
        assert decay_rate([1.0, 0.5, 0.25, 0.0, 0.0]) == pytest.approx(0.5)


class TestJacobian:
    @pytest.mark.parametrize("kind", [RNN, LSTM, PeepholeLSTM, GRU])
    def test_it_is_that_of_finite_differences(self, kind):
        cell = kind(3, 4, dtype=torch.float64)
        x_t = torch.randn(2, 3, dtype=torch.float64)
        state = tuple(torch.randn(2, 4, dtype=torch.float64) for _ in range(2 if len(cell.states) > 1 else 1))
        found = step_jacobians(cell, x_t, state)
        flat = torch.cat(state, dim=-1)

        def advance(values: torch.Tensor) -> torch.Tensor:
            parts = values.split(4, dim=-1)
            _, after = cell.step(x_t, tuple(parts) if len(cell.states) > 1 else parts[0])
            return torch.cat(after if len(cell.states) > 1 else (after,), dim=-1)

        for column in range(flat.shape[1]):
            change = torch.zeros_like(flat)
            change[:, column] = 1e-6
            with torch.no_grad():
                slope = (advance(flat + change) - advance(flat - change)) / 2e-6
            torch.testing.assert_close(found[:, :, column], slope, rtol=1e-6, atol=1e-8)

    def test_eigenvalues_of_a_linear_network_are_its_matrixs(self):
        cell = linear_rnn(0.9)
        found = by_name(jacobian(subject(cell, Adding(10))))["jacobian", "state"]
        expected = torch.linalg.eigvals(cell.weight_hh.detach())
        for x, y, modulus in zip(found.x, found.y, found.value, strict=True):
            assert modulus == pytest.approx(0.9, rel=1e-6)
            assert (expected - complex(x, y)).abs().min() < 1e-6

    def test_a_cell_with_more_state_is_left_out(self):
        assert jacobian(subject(GateRecurrentLSTM(2, 4), Adding(6))) == []


class TestGates:
    def test_constant_gates(self):
        """With no weights, gates are the sigmoids of their biases."""
        cell = LSTM(2, 5)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.zero_()
            cell.bias[:5], cell.bias[5:10], cell.bias[15:] = -5.0, 5.0, 0.0
        found = by_name(gates(subject(cell, Adding(10))))
        assert found["gate_saturation", "i"].value == [1.0, 0.0]
        assert found["gate_saturation", "f"].value == [0.0, 1.0]
        assert found["gate_saturation", "o"].value == [0.0, 0.0]
        assert found["gate_mean", "f"].value == pytest.approx([0.9933] * 10)
        for gate, at in (("i", 0), ("f", 19), ("o", 10)):
            histogram = found["gate_histogram", gate]
            assert sum(histogram.value) == pytest.approx(1.0)
            assert histogram.value[at] == pytest.approx(1.0)
        grid = found["gate_map", "f"]
        assert len(grid.x) == len(grid.y) == len(grid.value) == 10 * 5

    @pytest.mark.parametrize("kind", CELLS)
    def test_what_is_shown_is_what_the_cell_computes(self, kind):
        cell = kind(2, 6, dtype=torch.float64)
        inputs = Adding(9).sample(4, torch.Generator().manual_seed(0)).inputs.double()
        with torch.no_grad():
            way = unroll(cell, inputs)
            expected, last = cell(inputs)
        torch.testing.assert_close(way.outputs, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(way.states[-1], tuple(last) if len(cell.states) > 1 else (last,))
        assert cell.observer is None
        if kind is LSTM:
            h, c = way.states[-1]
            torch.testing.assert_close(h, way.seen[-1]["o"] * c.tanh())


class TestMemory:
    def test_a_network_that_only_keeps_remembers_for_ever(self):
        """An identity matrix and relu: what comes in stays, under what comes after."""
        cell = RNN(10, 10, "loop", nonlinearity="relu", bias=False, dtype=torch.float64)
        with torch.no_grad():
            cell.weight_hh.copy_(torch.eye(10))
            cell.weight_ih.copy_(torch.eye(10))
        found = memory(subject(cell, CopyMemory(8, 1, 20), sequences=512))
        assert found[0].x[0] == 0
        assert found[0].x[-1] == 21
        assert min(found[0].value) > 0.99

    def test_a_network_without_recurrence_forgets_at_once(self):
        cell = RNN(10, 10, "loop", bias=False, dtype=torch.float64)
        with torch.no_grad():
            cell.weight_hh.zero_()
        found = memory(subject(cell, CopyMemory(8, 1, 20), sequences=512))
        assert found[0].value[0] > 0.99
        assert max(found[0].value[1:]) < 0.01

    def test_shares_explained(self):
        x = torch.randn(4000, 3, dtype=torch.float64)
        noise = torch.randn(4000, 1, dtype=torch.float64)
        answers = x[:, :1] + 0.5 * noise  # of its variance, 1.25, a fifth is noise
        assert explained(x[:2000], answers[:2000], x[2000:], answers[2000:]) == pytest.approx(0.8, abs=0.02)
        assert explained(x[:2000], noise[:2000], x[2000:], noise[2000:]) < 0.01
        constant = torch.ones(4000, 3, dtype=torch.float64)
        assert abs(explained(constant[:2000], noise[:2000], constant[2000:], noise[2000:])) < 0.01


class TestAttention:
    def test_weights_sum_to_one_and_look_back_only(self):
        found = attention(subject(AttentionLSTM(2, 5), Adding(12)))[0]
        assert all(y <= x for x, y in zip(found.x, found.y, strict=True))
        for step in range(12):
            total = sum(value for x, value in zip(found.x, found.value, strict=True) if x == step)
            assert total == pytest.approx(1.0, abs=1e-3)

    def test_equal_scores_attend_evenly(self):
        cell = AttentionLSTM(2, 5)
        with torch.no_grad():
            cell.weight_score.zero_()
        found = attention(subject(cell, Adding(8)))[0]
        for x, value in zip(found.x, found.value, strict=True):
            assert value == pytest.approx(1 / (x + 1), abs=1e-4)

    def test_other_cells_have_none(self):
        assert attention(subject(LSTM(2, 5), Adding(8))) == []


class TestUpdates:
    def test_a_step_of_sgd_is_the_learning_rate_times_the_gradient(self):
        made = subject(RNN(2, 4), Adding(6), optimizer="SGD", learning_rate=0.1, clip_norm=None)
        found = by_name(updates(made))
        made.task.loss(made.model(made.batch.inputs), made.batch).backward()
        for name, parameter in made.model.named_parameters():
            expected = 0.1 * parameter.grad.norm() / parameter.norm()
            assert found["updates", name].value[0] == pytest.approx(expected.item(), rel=1e-5)

    def test_the_first_step_of_adam_is_the_learning_rate_everywhere(self):
        made = subject(RNN(2, 4), Adding(6), learning_rate=0.01)
        found = by_name(updates(made))
        weight = made.model.cell.weight_hh
        expected = 0.01 * math.sqrt(weight.numel()) / weight.norm().item()
        assert found["updates", "cell.weight_hh"].value[0] == pytest.approx(expected, rel=1e-3)


class TestLook:
    @pytest.mark.parametrize("kind", CELLS)
    def test_nothing_is_changed(self, kind):
        made = subject(kind(2, 5), Adding(8))
        before = {name: value.clone() for name, value in made.model.state_dict().items()}
        random = torch.get_rng_state()
        failed = []
        readings = look(made, KINDS, lambda *failure: failed.append(failure))
        assert not failed
        assert {reading.kind for reading in readings} >= {"gradient_flow", "memory", "updates"}
        assert torch.equal(torch.get_rng_state(), random)
        for name, value in made.model.state_dict().items():
            assert torch.equal(value, before[name])
        assert all(parameter.grad is None for parameter in made.model.parameters())
        assert all(math.isfinite(value) for reading in readings for value in (*reading.x, *reading.y, *reading.value))

    def test_a_class_that_shows_nothing_has_what_needs_no_showing(self):
        class Plain(nn.Module):
            hidden_size = 8

            def __init__(self):
                super().__init__()
                self.layer = nn.GRU(2, 8)

            def forward(self, inputs, state=None):
                outputs, state = self.layer(inputs, None if state is None else state.unsqueeze(0))
                return outputs, state.squeeze(0)

        readings = look(subject(Plain(), Adding(8)), KINDS, lambda kind, error: pytest.fail(f"{kind}: {error}"))
        assert {reading.kind for reading in readings} == {"gradient_flow", "decay", "memory", "updates"}

    def test_a_look_that_fails_leaves_the_others(self):
        class Whole(nn.Module):  # cannot go step by step
            hidden_size = 8

            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(2, 8)

            def forward(self, inputs, state=None):
                if state is not None or len(inputs) == 1:
                    raise RuntimeError("whole sequences only")
                return self.layer(inputs), None

        failed = []
        readings = look(subject(Whole(), Adding(8)), KINDS, lambda kind, error: failed.append(kind))
        assert {reading.kind for reading in readings} == {"updates"}
        assert "gradient_flow" in failed

    def test_the_configuration_knows_all_kinds(self):
        assert set(DIAGNOSTICS) == set(KINDS)
