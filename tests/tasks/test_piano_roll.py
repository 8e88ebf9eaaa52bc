"""Music is read with its published parts, and its likelihoods are those by hand."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tasks import PianoRoll


@pytest.fixture
def music(tmp_path):
    generator = np.random.default_rng(0)

    def pieces(count):
        cells = np.empty((1, count), dtype=object)
        for i in range(count):
            cells[0, i] = (generator.random((generator.integers(2, 9), 5)) < 0.3).astype(np.uint8)
        return cells

    made = {"traindata": pieces(12), "validdata": pieces(4), "testdata": pieces(3)}
    savemat(tmp_path / "music.mat", made)
    return str(tmp_path / "music.mat"), made


def test_parts_are_the_published_ones(music):
    path, made = music
    task = PianoRoll(path)
    for part, name in zip((task.training, task.validation, task.testing), made, strict=True):
        assert len(part) == made[name].size
        for i, piece in enumerate(made[name][0]):
            steps = int(part.lengths[i])
            np.testing.assert_array_equal(part.inputs[:steps, i], piece[:-1])
            np.testing.assert_array_equal(part.targets[i, :steps], piece[1:])


def test_likelihood_of_a_frame_by_hand(music):
    path, made = music
    task = PianoRoll(path)
    batch = task.test_part(torch.device("cpu"))
    outputs = torch.randn(task.length, 3, 5)
    total, frames = 0.0, 0
    for i, piece in enumerate(made["testdata"][0]):
        for t in range(len(piece) - 1):
            p = 1 / (1 + np.exp(-outputs[t, i].double().numpy()))
            total -= np.log(np.where(piece[t + 1], p, 1 - p)).sum()
            frames += 1
    assert task.loss(outputs, batch).item() == pytest.approx(total / frames, rel=1e-5)
    outputs[-1, batch.lengths < task.length] = 100.0  # behind a piece's end nothing counts
    assert task.loss(outputs, batch).item() == pytest.approx(total / frames, rel=1e-5)


def test_frequencies_by_hand(music):
    path, made = music
    train, test = (np.concatenate([piece[1:] for piece in made[name][0]]) for name in ("traindata", "testdata"))
    p = (train.sum(axis=0) + 0.5) / (len(train) + 1)
    expected = -np.log(np.where(test, p, 1 - p)).sum(axis=1).mean()
    facts = PianoRoll(path).facts()
    assert facts["baseline/frequencies/loss"] == pytest.approx(expected, rel=1e-5)
    assert facts["test"] == 3


def test_files_that_are_no_music(tmp_path, music):
    _, made = music
    (tmp_path / "none.mat").write_bytes(b"none" * 50)
    with pytest.raises(ValueError, match=r"none\.mat: is not a \.mat file"):
        PianoRoll(str(tmp_path / "none.mat"))
    savemat(tmp_path / "less.mat", {"traindata": made["traindata"]})
    with pytest.raises(ValueError, match=r"less\.mat: has no array validdata"):
        PianoRoll(str(tmp_path / "less.mat"))
    made["testdata"][0, 1] = np.full((3, 5), 2)
    savemat(tmp_path / "other.mat", made)
    with pytest.raises(ValueError, match=r"other\.mat: testdata\[1\] is not a piece"):
        PianoRoll(str(tmp_path / "other.mat"))
