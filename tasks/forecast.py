"""A series of a file, and its values to come."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.arguments import flag, whole
from tasks.files import content_of
from tasks.linear import MOST_FEATURES, MOST_SEQUENCES, best_of, last_window, ridge
from tasks.missing import known_strategy
from tasks.own_data import Facts, check_files, check_names, check_shares, without_gaps
from tasks.parts import NAMES, TEST, TRAINING, VALIDATION, Part, standardisation
from tasks.regress import Numbers
from tasks.tables import check_times, in_time, input_columns, numeric, read_table, runs_of
from tasks.task import Batch

STRATEGIES = ("zero", "forward_fill", "mask")  # the others look ahead, or close the gaps in time


@dataclass(frozen=True, eq=False)
class Windows(Part):
    """Windows of a series: `length` steps, and what comes after them.

    Attributes:
        inputs: the series (R, I), float32.
        targets: of each of its rows, (R, K).
        last: the last row of each window (N).
    """

    inputs: Tensor
    targets: Tensor
    last: Tensor
    length: int
    horizon: int

    def __len__(self) -> int:
        return len(self.last)

    def take(self, chosen: Tensor) -> Batch:
        last = self.last[chosen]
        steps = torch.arange(1 - self.length, 1, device=last.device).unsqueeze(1)
        ahead = torch.arange(1, self.horizon + 1, device=last.device)
        targets = self.targets[last.unsqueeze(1) + ahead]  # (B, horizon, K)
        return Batch(self.inputs[last + steps], targets.flatten(1))


@dataclass(frozen=True)
class _Source:
    paths: tuple[str, ...]
    content: str | None
    target: tuple[str, ...] | None
    inputs: tuple[str, ...] | None
    sequence: str | None
    time: str | None
    length: int
    horizon: int
    validation: float
    test: float
    strategy: str
    standardise: bool


class Forecast(Numbers):
    """Predict the next values of a series from a window of it, at the window's last step.

    The file is a .csv or .parquet table with a row per time step. The first rows train, later ones validate, the last
    ones test; of several series each is cut so. What a training window shows and what it asks for are rows of the
    training part alone; a window of another part asks for rows of that part alone, and shows what was before them.
    Features are standardised by training rows. Missing values are filled from the past alone. Windows that ask for a
    missing value are left out. The best constant answer is the training part's mean.

    Args:
        file: of the data.
        target: list of the columns asked for; None: all inputs.
        inputs: list of the columns shown; None: all but `sequence` and `time`.
        sequence: column that tells several series apart; None: "sequence", if there is one, else there is one series.
        time: column that puts rows in order; None: they are in order.
        length: T, steps of a window, at least 1.
        horizon: how many steps after the window are asked for, at least 1.
        validation, test: shares of the rows.
        strategy: for missing values, "zero", "forward_fill" or "mask".
        standardise: whether each input gets mean 0 and standard deviation 1 over training rows; targets always do.
        content: of the file, as `tasks.files.content_of`; None: whatever it is.
    """

    files = ("file",)
    offline = True
    training: Windows
    validation: Windows
    testing: Windows

    def __init__(
        self,
        file: str | None = None,
        target: Any = None,
        inputs: Any = None,
        sequence: str | None = None,
        time: str | None = None,
        length: int = 32,
        horizon: int = 1,
        validation: float = 0.2,
        test: float = 0.2,
        strategy: str = "forward_fill",
        standardise: bool = True,
        content: str | None = None,
    ) -> None:
        paths = check_files(content, (file,))
        if known_strategy(strategy) not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)} for a forecast, not {strategy!r}")
        check_shares(validation, test)
        self.length, self.horizon = whole("length", length, 1), whole("horizon", horizon, 1)
        self.source = _Source(
            paths, content or content_of(paths), check_names("target", target), check_names("inputs", inputs), sequence,
            time, length, horizon, validation, test, strategy, flag("standardise", standardise),
        )  # fmt: skip
        parts, self.scale, self.shown, self.own = _prepare(self.source)
        self.training, self.validation, self.testing = parts
        self.input_size, self.output_size = parts[0].inputs.shape[1], parts[0].targets.shape[1] * horizon
        batch = self._whole(VALIDATION)
        self.baseline_loss = float(self.loss_of(torch.zeros_like(batch.targets), batch.targets))

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs[-1]

    def baselines(self) -> dict[str, dict[str, Tensor]]:
        """The training part's mean, the last value, and ridge regression on the last steps."""
        parts = [self._whole(part) for part in (TRAINING, VALIDATION, TEST)]
        lengths = [torch.full((each.inputs.shape[1],), self.length) for each in parts]
        training, validation, testing = (
            last_window(each.inputs, its) for each, its in zip(parts, lengths, strict=True)
        )
        linear = best_of(
            lambda penalty: ridge(training, parts[TRAINING].targets, penalty),
            lambda answers: self.loss_of(answers, parts[VALIDATION].targets),
            validation,
        )
        last = self.own[self.testing.last]  # (N, K), of the targets
        answers = {
            "mean": torch.zeros_like(parts[TEST].targets),
            "last value": last.repeat(1, self.horizon),
            "linear on the last steps": linear(testing),
        }
        return {name: self.scored(each, parts[TEST].targets) for name, each in answers.items()}

    def _whole(self, part: int) -> Batch:
        """Return all windows of a part; of very many training windows an even choice."""
        windows = (self.training, self.validation, self.testing)[part]
        most = max(MOST_SEQUENCES, MOST_FEATURES) if part == TRAINING else len(windows)
        step = max(1, len(windows) // most)
        return windows.take(torch.arange(0, len(windows), step))


@functools.lru_cache(maxsize=4)
def _prepare(source: _Source) -> tuple[list[Windows], Tensor, Facts, Tensor]:
    """Return the parts, the targets' scale, what is told, and the targets' last known values (R, K)."""
    table = read_table(source.paths[0])
    sequence = source.sequence or ("sequence" if "sequence" in table.columns else None)
    features = input_columns(table, [sequence, source.time], source.inputs)
    wanted = list(source.target or features)
    for name in wanted:
        table.column(name, "target")
    values, targets = numeric(table, features), numeric(table, wanted)
    if sequence:
        series = [rows for _, rows in runs_of(table, sequence, source.time)]
    else:
        series = [in_time(table, source.time)]
        check_times(table, source.time, series[0])
    starts = np.cumsum([0, *(len(rows) for rows in series)])
    order = np.concatenate(series)
    values, targets = values[order], targets[order]
    missing = np.isnan(values).mean()
    part = np.concatenate([_parts(len(rows), source.validation, source.test) for rows in series])
    mean, spread = standardisation(values[part == TRAINING], source.standardise)
    target_mean, scale = standardisation(targets[part == TRAINING])
    values, targets = (values - mean) / spread, (targets - target_mean) / scale
    spans = list(itertools.pairwise(starts))
    shown = np.concatenate([without_gaps(values[a:b], source.strategy) for a, b in spans])
    known = np.concatenate([without_gaps(targets[a:b], "forward_fill") for a, b in spans])
    last: list[list[np.ndarray]] = [[], [], []]
    gaps = np.cumsum([0, *np.isnan(targets).any(axis=1)])  # before each row
    for a, b in spans:
        rows = np.arange(a + source.length - 1, b - source.horizon)
        first, end = rows + 1, rows + source.horizon
        # Parts are in order: what comes before a training row is one, too.
        asked = rows[(gaps[end + 1] == gaps[first]) & (part[first] == part[end])]
        for number in (TRAINING, VALIDATION, TEST):
            last[number].append(asked[part[asked + 1] == number])
    found = [np.concatenate(each) for each in last]
    for number, name in enumerate(NAMES):
        if not len(found[number]):
            raise ValueError(
                f"{table.path}: {len(table)} rows leave no {name} window of {source.length} steps and {source.horizon} "
                f"to tell; set task.length lower"
            )
    inputs, outputs = (torch.from_numpy(each.astype(np.float32)) for each in (shown, np.nan_to_num(targets)))
    facts: Facts = {
        "unit": "windows", "features": len(features), "shortest": source.length, "longest": source.length,
        "missing": float(missing), "series": len(series),
        "training rows": int((part == TRAINING).sum()), "test rows": int((part == TEST).sum()),
    }  # fmt: skip
    windows = [Windows(inputs, outputs, torch.from_numpy(its), source.length, source.horizon) for its in found]
    return windows, torch.from_numpy(scale), facts, torch.from_numpy(known.astype(np.float32))


def _parts(rows: int, validation: float, test: float) -> np.ndarray:
    """Return the part of each row of a series in order: training, then validation, then test."""
    later, last = round(rows * (1 - validation - test)), round(rows * (1 - test))
    return np.where(np.arange(rows) < later, TRAINING, np.where(np.arange(rows) < last, VALIDATION, TEST))
