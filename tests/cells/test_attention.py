"""The attention LSTM against a direct formula, and its causality."""

import math

import pytest
import torch

from cells import LSTM, AttentionLSTM, compiler, native
from cells.attention_lstm import AttentionState


def direct(cell: AttentionLSTM, inputs: torch.Tensor) -> torch.Tensor:
    """Luong's equations written with loops, on top of the plain LSTM."""
    lstm = LSTM(cell.input_size, cell.hidden_size, "loop", dtype=inputs.dtype)
    lstm.load_state_dict(cell.state_dict(), strict=False)
    hidden, _ = lstm(inputs)
    outputs = torch.empty_like(hidden)
    for b in range(inputs.shape[1]):
        for t in range(len(inputs)):
            h_t = hidden[t, b]
            if cell.score == "general":
                scores = torch.stack([h_t @ cell.weight_score @ hidden[s, b] for s in range(t + 1)])
            else:
                scores = torch.stack([h_t @ hidden[s, b] for s in range(t + 1)])
            weights = torch.exp(scores - scores.max())
            weights = weights / weights.sum()
            context = sum(weights[s] * hidden[s, b] for s in range(t + 1))
            outputs[t, b] = torch.tanh(cell.weight_combine @ torch.cat([context, h_t]))
    return outputs


@pytest.mark.parametrize("score", ["general", "dot"])
def test_it_is_luongs_attention(score):
    cell = AttentionLSTM(3, 4, score=score, dtype=torch.float64)
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(cell(inputs)[0], direct(cell, inputs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("score", ["general", "dot"])
@pytest.mark.parametrize("backend", AttentionLSTM.available_backends())
def test_an_input_changes_no_output_before_it(score, backend):
    cell = AttentionLSTM(3, 4, backend, score=score, dtype=torch.float64)
    inputs = torch.randn(8, 2, 3, dtype=torch.float64)
    outputs, _ = cell(inputs)
    for t in range(8):
        changed = inputs.clone()
        changed[t] += 1
        outputs_changed, _ = cell(changed)
        assert torch.equal(outputs_changed[:t], outputs[:t])
        assert not torch.allclose(outputs_changed[t], outputs[t])


@pytest.mark.skipif(not native.library().loaded, reason="no native kernels here")
@pytest.mark.parametrize("score", ["general", "dot"])
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_its_kernels_equal_the_loop(score, batch):
    """Few rows are laid side by side with those of other steps."""
    cells = [AttentionLSTM(3, 20, backend, score=score, dtype=torch.float64) for backend in ("native", "loop")]
    cells[1].load_state_dict(cells[0].state_dict())
    assert all(compiler.reason(each) is None for each in cells[0].companions())
    inputs = torch.randn(7, batch, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for cell in cells:
        first, state = cell(inputs[:4])
        outputs = torch.cat([first, cell(inputs[4:], state)[0]])
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)
        found.append([outputs, *torch.autograd.grad(outputs, [inputs, *cell.parameters()], weights)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_split_sequence_remembers_its_first_part():
    """With h and c alone, the second part would attend to itself only."""
    cell = AttentionLSTM(3, 4, dtype=torch.float64)
    inputs = torch.randn(8, 2, 3, dtype=torch.float64)
    whole, _ = cell(inputs)
    _, state = cell(inputs[:5])
    h, c = state
    with_memory, _ = cell(inputs[5:], state)
    without, _ = cell(inputs[5:], (h, c))
    torch.testing.assert_close(with_memory, whole[5:], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(without, whole[5:])


@pytest.mark.parametrize("score", ["general", "dot"])
@pytest.mark.parametrize("known", [0, 4])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_reaches_no_context_before_it(score, known, wrong):
    """Nor other sequences, nor gradients: those of earlier contexts are zero there, and elsewhere as without it."""
    cell = AttentionLSTM(3, 4, score=score, dtype=torch.float64)
    hidden = torch.randn(6, 3, 4, dtype=torch.float64)
    past = torch.randn(known, 3, 4, dtype=torch.float64)
    broken = hidden.clone()
    broken[3, 1, 2] = wrong
    contexts, gradients = [], []
    for values in (hidden, broken):
        leaf = values.clone().requires_grad_()
        context = cell.attend(leaf, torch.cat([past, leaf]))
        weights = torch.ones_like(context)
        weights[3:, 1] = 0
        contexts.append(context.detach())
        gradients.append(torch.autograd.grad(context, leaf, weights)[0])
    apart = torch.tensor([0, 2])
    torch.testing.assert_close(contexts[1][:3], contexts[0][:3], rtol=0, atol=1e-13)
    torch.testing.assert_close(contexts[1][:, apart], contexts[0][:, apart], rtol=0, atol=1e-13)
    assert contexts[1][3:, 1].isnan().all()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-12)
    assert (gradients[1][3:, 1] == 0).all()


def test_a_remembered_nan_reaches_its_own_sequence_only():
    cell = AttentionLSTM(3, 4, dtype=torch.float64)
    inputs = torch.randn(4, 2, 3, dtype=torch.float64)
    _, (h, c) = cell(inputs)
    memory = torch.randn(5, 2, 4, dtype=torch.float64)
    whole, _ = cell(inputs, AttentionState(h, c, memory))
    memory[2, 0] = math.nan
    outputs, _ = cell(inputs, AttentionState(h, c, memory))
    assert outputs[:, 0].isnan().all()
    torch.testing.assert_close(outputs[:, 1], whole[:, 1], rtol=0, atol=1e-13)


def test_the_score_is_one_of_two():
    with pytest.raises(ValueError, match="general"):
        AttentionLSTM(1, 1, score="concat")
