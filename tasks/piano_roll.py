"""Polyphonic music, frame by frame, from the files of Boulanger-Lewandowski et al. (2012)."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.files import checked_file, content_of
from tasks.own_data import Facts, OwnData, check_files
from tasks.parts import TEST, TRAINING, VALIDATION, PaddedBatch, Whole, padded
from tasks.task import Batch

ARRAYS = ("traindata", "validdata", "testdata")  # of the file, in the order of the parts
AFTER_ONE = "frequencies after each key's last state"


class PianoRoll(OwnData):
    """Predict at each frame of a piece of music the keys that sound in the next (Boulanger-Lewandowski et al. 2012;
    JSB chorales and Nottingham as Bai et al. 2018 have them).

    The file is a .mat file with cell arrays `traindata`, `validdata` and `testdata`, the published parts, whose
    elements are pieces (T, K) of zeros and ones. The loss is the negative log-likelihood of a frame in nats, summed
    over keys, the mean over frames. `baseline_loss` is the validation loss of each key's frequency given whether it
    sounds now, of counts plus one half.

    Args:
        file: of the music.
        content: of the file, as `tasks.files.content_of`; None: whatever it is.

    Raises:
        ValueError: what is wrong with the file, in one line.
    """

    files = ("file",)

    def __init__(self, file: str | None = None, content: str | None = None) -> None:
        paths = check_files(content, (file,))
        self.source = paths, content or content_of(paths)
        parts, self.shown = _prepare(*self.source)
        self.training, self.validation, self.testing = parts
        self.input_size = self.output_size = parts[0].inputs.shape[2]
        self.length = len(parts[0].inputs)
        self.baseline_loss = float(self.baselines(VALIDATION)[AFTER_ONE]["loss"])

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the outputs of all frames that pieces have, (R, K)."""
        return outputs[_played(batch)]

    def asked(self, batch: Batch) -> Tensor:
        return self.answers(batch.targets.movedim(0, 1), batch)

    def loss_of(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of a frame in nats, of log-odds and keys (R, K)."""
        return F.binary_cross_entropy_with_logits(answers, targets, reduction="none").sum(dim=-1).mean()

    def scores_of(self, answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`accuracy`: keys told that sound, over those that are told or sound (Bay et al. 2009)."""
        told, sounds = answers > 0, targets > 0.5
        return {"accuracy": (told & sounds).double().sum() / (told | sounds).double().sum().clamp(min=1)}

    def baselines(self, part: int = TEST) -> dict[str, dict[str, Tensor]]:
        """Each key's frequency in the training part, alone and given whether it sounds now."""
        now, then = self._frames(TRAINING)
        asked_now, asked = self._frames(part)
        alone = _log_odds(then.sum(dim=0), torch.tensor(len(then)))
        after = [_log_odds((then * here).sum(dim=0), here.sum(dim=0)) for here in (1 - now, now)]
        answers = {"frequencies": alone.expand_as(asked), AFTER_ONE: torch.where(asked_now > 0.5, after[1], after[0])}
        return {name: self.scored(each, asked) for name, each in answers.items()}

    def _frames(self, part: int) -> tuple[Tensor, Tensor]:
        """Return all frames of a part but the last of each piece, and those that follow them, (R, K)."""
        whole = (self.training, self.validation, self.testing)[part]
        batch = whole.take(torch.arange(len(whole)))
        return self.answers(batch.inputs, batch), self.asked(batch)


def _played(batch: Batch) -> Tensor:
    assert isinstance(batch, PaddedBatch)
    return torch.arange(len(batch.inputs), device=batch.lengths.device).unsqueeze(1) < batch.lengths


def _log_odds(count: Tensor, of: Tensor) -> Tensor:
    return ((count + 0.5) / (of - count + 0.5)).log()


@functools.lru_cache(maxsize=2)
def _prepare(paths: tuple[str, ...], content: str | None) -> tuple[list[Whole], Facts]:
    (path,) = paths
    pieces = [_pieces(path, name, content) for name in ARRAYS]
    if len({each.shape[1] for its in pieces for each in its}) > 1:
        raise ValueError(f"{path}: its pieces differ in the number of keys")
    lengths = [len(each) - 1 for its in pieces for each in its]
    parts = []
    for its in pieces:
        longest = max(map(len, its)) - 1  # of this part: what is in another is nothing to it
        inputs, steps = padded([each[:-1] for each in its], longest)
        targets, _ = padded([each[1:] for each in its], longest)
        parts.append(Whole(inputs, targets.movedim(0, 1).contiguous(), steps))
    facts: Facts = {
        "unit": "sequences", "features": pieces[0][0].shape[1], "shortest": min(lengths), "longest": max(lengths)
    }  # fmt: skip
    return parts, facts


def _pieces(path: str, name: str, content: str | None) -> list[np.ndarray]:
    """Return the pieces (T, K) of a part, float32.

    Raises:
        ValueError: there are none, or something else.
    """
    arrays = _arrays(str(checked_file(path)), content)
    if name not in arrays:
        raise ValueError(f"{path}: has no array {name}; it needs {', '.join(ARRAYS)}")
    pieces = []
    for number, each in enumerate(arrays[name].ravel()):
        piece = np.asarray(each)
        if piece.ndim != 2 or piece.dtype.kind not in "fiub" or len(piece) < 2 or not np.isin(piece, (0, 1)).all():
            raise ValueError(f"{path}: {name}[{number}] is not a piece of two frames or more, each of zeros and ones")
        pieces.append(piece.astype(np.float32))
    if not pieces:
        raise ValueError(f"{path}: {name} has no pieces")
    return pieces


@functools.lru_cache(maxsize=1)
def _arrays(path: str, content: str | None) -> dict[str, np.ndarray]:
    """Return the arrays of a file, whose content is told for the cache alone."""
    from scipy.io import loadmat  # reads arrays, and runs nothing

    try:
        return loadmat(path)
    except Exception as error:  # whatever scipy makes of garbage
        raise ValueError(f"{path}: is not a .mat file ({str(error).partition(chr(10))[0]})") from error
