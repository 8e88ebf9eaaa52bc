"""Text of files, character by character."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import whole
from tasks.classification import one_hot
from tasks.files import checked_file, content_of
from tasks.own_data import Facts, OwnData, check_files, check_shares
from tasks.parts import NAMES, TEST, TRAINING, VALIDATION, Part
from tasks.task import Batch

AFTER_ONE = "frequencies after one character"
CHUNK = 1 << 20  # characters counted at a time


@dataclass(frozen=True, eq=False)
class Text(Part):
    """Windows of a text.

    Attributes:
        characters: (R), as indices.
        length: of a window, without the character after it.
        stride: from one window's beginning to the next one's.
        symbols: how many different characters there can be.
    """

    characters: Tensor
    length: int
    stride: int
    symbols: int

    def __len__(self) -> int:
        return max(0, -(-(len(self.characters) - self.length) // self.stride))

    def take(self, chosen: Tensor) -> Batch:
        first = self.stride * chosen
        steps = first + torch.arange(self.length + 1, device=first.device).unsqueeze(1)
        characters = self.characters[steps].long()
        return Batch(one_hot(characters[:-1], self.symbols), characters[1:])


class Characters(OwnData):
    """Predict the next character at each step of a text.

    Training windows begin anywhere in the training part. Those of the other parts follow each other and ask for each
    character once, but for the first `context` and what the last whole window leaves. Without files of their own,
    validation and test are the last shares of the text, in that order. The symbols are the characters of the training
    part, and one more for all others if the other parts have any. A window begins from an empty state: its first
    `context` characters are read and not asked for. The best answer without memory knows the last character:
    `baseline_loss` is the validation loss of their pairs' frequencies, each counted once more than it occurs.

    Args:
        file: of the text, UTF-8.
        validation_file, test_file: of the other parts; None: a share of `file`.
        length: T, characters of a window, at least 1.
        context: how many of these are not asked for, as Bai et al. (2018) do with 80 of 400; below `length`.
        validation, test: shares of `file`.
        content: of the files, as `tasks.files.content_of`; None: whatever it is.
    """

    def __init__(
        self,
        file: str | None = None,
        validation_file: str | None = None,
        test_file: str | None = None,
        length: int = 100,
        context: int = 0,
        validation: float = 0.1,
        test: float = 0.1,
        content: str | None = None,
    ) -> None:
        given = check_files(content, (file, validation_file, test_file))
        content = content or content_of(given)
        check_shares(validation, test)
        self.length = whole("length", length, 1)
        self.context = whole("context", context, 0, below=length)
        self.source = ((file, validation_file, test_file), content, length, context, validation, test)
        parts, self.symbols, self.shown = _prepare(*self.source)
        self.training, self.validation, self.testing = parts
        self.input_size = self.output_size = len(self.symbols) + bool(self.shown["unknown"])
        self.pairs = [_pairs(part.characters, self.output_size) for part in parts]
        self.baseline_loss = float(self.baselines(VALIDATION)[AFTER_ONE]["loss"])

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs[self.context :]

    def asked(self, batch: Batch) -> Tensor:
        return batch.targets[self.context :]

    def loss_of(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats a character."""
        return F.cross_entropy(answers.flatten(0, -2), targets.flatten())

    def scores_of(self, answers: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`bits`: mean cross-entropy in bits a character; `accuracy`: share of characters named."""
        right = (answers.argmax(dim=-1) == targets).double().mean()
        return {"bits": self.loss_of(answers, targets).double() / math.log(2), "accuracy": right}

    def baselines(self, part: int = TEST) -> dict[str, dict[str, Tensor]]:
        """The training part's frequencies, counts plus one, of characters and of pairs of them."""
        known, asked = self.pairs[TRAINING] + 1, self.pairs[part]
        single = self.pairs[TRAINING].sum(dim=0, keepdim=True) + 1
        of = {"frequencies": single.expand_as(known), AFTER_ONE: known}
        scores = {}
        for name, counts in of.items():
            log_p = (counts / counts.sum(dim=1, keepdim=True)).log()
            loss = -(asked * log_p).sum() / asked.sum()
            right = asked.gather(1, counts.argmax(dim=1, keepdim=True)).sum() / asked.sum()
            scores[name] = {"loss": loss, "bits": loss / math.log(2), "accuracy": right}
        return scores


def _pairs(text: Tensor, symbols: int) -> Tensor:
    """Return how often each symbol (column) follows each (row), (K, K), float64."""
    counts = torch.zeros(symbols**2, dtype=torch.float64)
    for before, after in zip(text[:-1].split(CHUNK), text[1:].split(CHUNK), strict=True):
        counts += torch.bincount(before.long() * symbols + after.long(), minlength=symbols**2)
    return counts.reshape(symbols, symbols)


@functools.lru_cache(maxsize=2)
def _prepare(
    paths: tuple[str | None, ...], content: str | None, length: int, context: int, validation: float, test: float
) -> tuple[list[Text], str, Facts]:
    """Return the parts, the symbols, and what is told of them."""
    path, *others = paths
    assert path is not None
    whole_text = _read(path)
    shares = [share for share, other in zip((validation, test), others, strict=True) if not other]
    ends = [round(len(whole_text) * (1 - sum(shares[i:]))) for i in range(len(shares))] + [len(whole_text)]
    cut = [whole_text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    texts = [cut[0]]
    later = iter(cut[1:])
    for other in others:
        texts.append(_read(other) if other else next(later))
    known = np.unique(texts[0])
    unknown = [int((~np.isin(np.unique(each), known)).sum()) for each in texts]
    kind = np.uint8 if len(known) < 256 else np.int32
    table = np.full(max(int(each.max(initial=0)) for each in texts) + 1, len(known), dtype=kind)
    table[known] = np.arange(len(known))
    symbols = "".join(map(chr, known))
    size = len(known) + (sum(unknown) > 0)
    parts = []
    for number, each in enumerate(texts):
        stride = 1 if number == TRAINING else length - context
        parts.append(Text(torch.from_numpy(table[each]), length, stride, size))
        if not len(parts[-1]):
            raise ValueError(
                f"{paths[number] or path}: {len(each):,} characters leave no {NAMES[number]} window of {length}; set "
                f"task.length lower"
            )
    facts: Facts = {
        "unit": "windows", "symbols": size, "unknown": sum(unknown),
        **{f"{name} characters": len(each) for name, each in zip(NAMES, texts, strict=True)},
    }  # fmt: skip
    return parts, symbols, facts


def _read(path: str) -> np.ndarray:
    """Return the code points (R) of a text."""
    content = checked_file(path).read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
