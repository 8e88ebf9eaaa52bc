"""What tests of runs share: runs that are stopped, and what a run begins with and leaves."""

from typing import Any

from bench.record.encoding import flat
from bench.record.store import WEIGHTS, RunFolder
from bench.spec.config import Settings
from bench.spec.identity import run_id
from bench.train.model import make_model, make_task
from bench.train.streams import make_streams
from bench.train.trainer import Trainer
from tasks import Task

TIMES = {"seconds", "step_ms", "seconds_to_solve", "files", "config", "traceback"}  # and what else differs by folder
CELLS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"_target_": "cells.GRU", "name": "gru"},
    "rnn": {"_target_": "cells.RNN", "name": "rnn"},
    "peephole_lstm": {"_target_": "cells.PeepholeLSTM", "name": "peephole_lstm"},
    "attention_lstm": {"_target_": "cells.AttentionLSTM", "name": "attention_lstm"},
}


class StopAfter:
    """Says stop at the n-th step from now."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def trainer_of(config: Settings, task: Task | None = None) -> Trainer:
    """What a run begins with."""
    streams = make_streams(config.run.seed, "cpu")
    streams.seed_globals()
    task = task or make_task(config.run)
    return Trainer(make_model(config.run, task), task, config.run.training, streams, config.run.torch_dtype)


def folder_of(config: Settings) -> RunFolder:
    return RunFolder(config.sweep.folder, run_id(config.run))


def stored(config: Settings) -> tuple[dict[str, Any], list[dict[str, Any]], bytes | None]:
    """What a finished run left, without its times: outcome, evaluations, weights."""
    folder = folder_of(config)
    found = folder.read()
    assert found is not None
    records = [{key: value for key, value in flat(record).items() if key != "seconds"} for record in found.metrics]
    weights = folder.path / WEIGHTS
    outcome = {key: value for key, value in flat(found.result).items() if key not in TIMES}
    return outcome, records, weights.read_bytes() if weights.exists() else None
