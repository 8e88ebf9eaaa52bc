"""Copy memory against its published definition, its baseline and an independent generator."""

import math

import pytest
import torch
from torchrecurrent.benchmarks import copymemory

from tasks import Batch, CopyMemory

TASK = CopyMemory(symbols=8, span=10, delay=30)


def sample(task: CopyMemory, batch: int = 64, seed: int = 0) -> Batch:
    return task.sample(batch, torch.Generator().manual_seed(seed))


def one_hot_logits(classes: torch.Tensor, size: int) -> torch.Tensor:
    """Outputs that put all but nothing of the probability on the given classes."""
    return torch.nn.functional.one_hot(classes, size).double() * 100


def test_sizes_are_the_published_ones():
    assert (TASK.input_size, TASK.output_size, TASK.length) == (10, 9, 50)
    batch = sample(TASK)
    assert batch.inputs.shape == (50, 64, 10)
    assert batch.inputs.dtype == torch.float32
    assert batch.targets.shape == (50, 64)


def test_layout_is_the_published_one():
    classes = sample(TASK).inputs.argmax(-1)
    targets = sample(TASK).targets
    assert (classes[:10] < 8).all()
    assert (classes[10 : 10 + 29] == 8).all()  # T − 1 blanks
    assert (classes[39] == 9).all()  # the delimiter
    assert (classes[40:] == 8).all()
    assert (targets[:40] == 8).all()
    assert torch.equal(targets[40:], classes[:10])


def test_inputs_are_one_hot():
    inputs = sample(TASK).inputs
    assert torch.equal(inputs.sum(-1), torch.ones(50, 64))
    assert set(inputs.unique().tolist()) == {0.0, 1.0}


def test_symbols_are_uniform_and_independent():
    shown = CopyMemory(symbols=4, span=3, delay=1).sample(40_000, torch.Generator().manual_seed(1)).targets[-3:]
    joint = torch.bincount(shown[0] * 16 + shown[1] * 4 + shown[2], minlength=64) / 40_000
    # 64 cells of probability 1/64: five standard errors.
    assert (joint - 1 / 64).abs().max() < 5 * math.sqrt(1 / 64 / 40_000)


def test_layout_equals_torchrecurrents():
    inputs, targets = copymemory.copy_memory(
        30, 16, num_classes=10, memory_length=10, one_hot=True, return_dataloader=False
    )
    theirs = inputs.transpose(0, 1), targets.transpose(0, 1)
    ours = sample(TASK, batch=16)
    assert ours.inputs.shape == theirs[0].shape
    assert ours.targets.shape == theirs[1].shape
    # Where nothing is random all is equal; and theirs, put through our score and loss, is consistent.
    assert torch.equal(ours.inputs[10:], theirs[0][10:])
    assert torch.equal(ours.targets[:40], theirs[1][:40])
    perfect = one_hot_logits(theirs[1], 9)
    assert TASK.score(perfect, Batch(*theirs))["accuracy"] == 1
    assert TASK.loss(perfect, Batch(*theirs)) < 1e-9


@pytest.mark.parametrize(("symbols", "span", "delay"), [(8, 10, 100), (4, 5, 20), (2, 1, 1)])
def test_baseline_is_the_loss_of_the_memoryless_answer(symbols, span, delay):
    task = CopyMemory(symbols, span, delay)
    assert task.baseline_loss == pytest.approx(span * math.log(symbols) / (delay + 2 * span))
    batch = sample(task, batch=200)
    outputs = torch.full((*batch.targets.shape, symbols + 1), -100.0, dtype=torch.float64)
    outputs[:-span, :, symbols] = 100.0
    outputs[-span:, :, :symbols] = 0.0
    assert task.loss(outputs, batch).item() == pytest.approx(task.baseline_loss, abs=1e-9)


def test_no_other_constant_answer_beats_the_baseline():
    """By Monte Carlo: any fixed distribution over symbols at the last steps costs more, or the same."""
    task = CopyMemory(symbols=4, span=3, delay=5)
    batch = sample(task, batch=20_000)
    for seed in range(5):
        torch.manual_seed(seed)
        outputs = torch.full((*batch.targets.shape, 5), -100.0, dtype=torch.float64)
        outputs[:-3, :, 4] = 100.0
        outputs[-3:, :, :4] = 0.3 * torch.randn(3, 1, 4)
        assert task.loss(outputs, batch) > task.baseline_loss - 0.001


def test_score_counts_recalled_symbols_only():
    batch = sample(TASK, batch=1)
    wrong = batch.targets.clone()
    wrong[-1] = (wrong[-1] + 1) % 8
    wrong[:5] = 0  # wrong where only blanks are asked for
    assert TASK.score(one_hot_logits(wrong, 9), batch)["accuracy"].item() == pytest.approx(0.9)
    assert not TASK.solved({"accuracy": 0.99})
    assert TASK.solved({"accuracy": 0.9901})
