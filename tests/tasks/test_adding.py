"""The adding problem against its published definition, its baseline and an independent generator."""

import pytest
import torch
from scipy import stats
from torchrecurrent.benchmarks import adding

from tasks import Adding, Batch

TASK = Adding(length=51)


def sample(task: Adding, batch: int = 64, seed: int = 0) -> Batch:
    return task.sample(batch, torch.Generator().manual_seed(seed))


def recompute(inputs: torch.Tensor) -> torch.Tensor:
    """The answer by its definition, sequence by sequence."""
    return torch.stack([sequence[sequence[:, 1] == 1, 0].sum() for sequence in inputs.transpose(0, 1)])


def test_one_mark_in_each_half_and_the_target_is_their_sum():
    batch = sample(TASK, batch=500)
    values, markers = batch.inputs.unbind(-1)
    assert batch.inputs.shape == (51, 500, 2)
    assert batch.targets.shape == (500,)
    assert ((values >= 0) & (values < 1)).all()
    assert set(markers.unique().tolist()) == {0.0, 1.0}
    assert (markers[:25].sum(0) == 1).all()
    assert (markers[25:].sum(0) == 1).all()
    torch.testing.assert_close(batch.targets, recompute(batch.inputs))


def test_values_and_marks_are_uniform():
    batch = sample(Adding(10), batch=20_000)
    values, markers = batch.inputs.unbind(-1)
    assert stats.kstest(values.flatten().numpy(), "uniform").pvalue > 1e-4
    counts = markers.sum(1)
    assert stats.chisquare(counts[:5].numpy()).pvalue > 1e-4
    assert stats.chisquare(counts[5:].numpy()).pvalue > 1e-4


def test_torchrecurrents_data_are_the_same_task():
    inputs, targets = adding.adding_problem(
        51, 4000, return_dataloader=False, generator=torch.Generator().manual_seed(0)
    )
    theirs = Batch(inputs.transpose(0, 1), targets[:, 0])
    torch.testing.assert_close(theirs.targets, recompute(theirs.inputs))
    ours = sample(TASK, batch=4000)
    assert stats.ks_2samp(ours.targets.numpy(), theirs.targets.numpy()).pvalue > 1e-4
    where_ours, where_theirs = (batch.inputs[..., 1].nonzero()[:, 0].numpy() for batch in (ours, theirs))
    assert stats.ks_2samp(where_ours, where_theirs).pvalue > 1e-4


def test_always_answering_one_costs_a_sixth():
    batch = sample(TASK, batch=200_000)
    outputs = torch.ones(51, 1, 1).expand(51, 200_000, 1)
    # The variance of (x + y − 1)² for uniforms is 7/180: five standard errors.
    assert TASK.loss(outputs, batch).item() == pytest.approx(1 / 6, abs=5 * (7 / 180 / 200_000) ** 0.5)
    for constant in (0.9, 1.1):
        assert TASK.loss(constant * outputs, batch) > 1 / 6


@pytest.mark.parametrize("length", [2, 3, 4, 7, 50])
def test_the_baseline_counts_every_case(length):
    """For each pair of marked steps, all equally likely: a value that is seen at the last step adds no error, and any
    other the variance of a uniform number."""
    pairs = [(i, j) for i in range(length // 2) for j in range(length // 2, length)]
    errors = [sum(1 / 12 for step in pair if step != length - 1) for pair in pairs]
    assert Adding(length).baseline_loss == pytest.approx(sum(errors) / len(pairs), rel=1e-12)


@pytest.mark.parametrize("length", [2, 3, 10])
def test_the_baseline_is_the_loss_of_the_best_answer_from_the_last_input(length):
    task = Adding(length)
    batch = sample(task, batch=200_000)
    value, marker = batch.inputs[-1].unbind(-1)
    outputs = torch.zeros(length, 200_000, 1)
    outputs[-1, :, 0] = torch.where(marker == 1, value + 0.5, 1.0)
    assert task.loss(outputs, batch).item() == pytest.approx(task.baseline_loss, abs=5 * (7 / 180 / 200_000) ** 0.5)


def test_only_the_last_step_is_read():
    batch = sample(TASK, batch=3)
    outputs = torch.randn(51, 3, 1)
    outputs[-1, :, 0] = batch.targets + torch.tensor([0.0, 0.03, 0.3])
    assert TASK.loss(outputs, batch).item() == pytest.approx((0.03**2 + 0.3**2) / 3, rel=1e-4)
    score = TASK.score(outputs, batch)
    assert score["mse"].item() == pytest.approx(TASK.loss(outputs, batch).item())
    assert score["accuracy"].item() == pytest.approx(2 / 3)
    assert TASK.solved({"mse": 0.0099})
    assert not TASK.solved({"mse": 0.01})


def test_the_shortest_list_marks_both_steps():
    assert (sample(Adding(2)).inputs[..., 1] == 1).all()
