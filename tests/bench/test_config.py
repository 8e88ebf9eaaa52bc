"""What cannot be run is refused in one line that names the key; what can is typed."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import conf
from bench.record.errors import ConfigError
from bench.spec.checks import from_plain
from bench.spec.config import Checkpoint, Diagnostics, Flat, Timing, Tracking, Training, Tuning
from bench.spec.identity import run_id
from bench.spec.targets import GIVEN, check_options
from bench.train.model import make_model, make_task
from cells import LSTM
from tasks import Adding, Task
from tests.bench.conftest import make_config

CONF = Path(conf.__file__).parent


class Costly(LSTM):
    """Somebody's cell with a mapping among its options."""

    def __init__(self, costs: Any = None, **options: Any) -> None:
        super().__init__(**options)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"seed": "x"}, "seed"),
        ({"threads": 0}, "threads=0"),
        ({"threads": 10_000}, "cores"),
        ({"dtype": "float16"}, "dtype=float16"),
        ({"allocator": "jemalloc"}, "allocator=jemalloc"),
        ({"device": "gpu"}, "device=gpu: must be auto, cpu, cuda or cuda:N"),
        ({"name": "../up"}, "name=../up"),
        ({"name": ""}, "name="),
        ({"unknown": 1}, "unknown"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate=0"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate=nan"),
        ({"training": {"learning_rate": float("inf")}}, "training.learning_rate=inf"),
        ({"training": {"batch_size": 0}}, "training.batch_size=0"),
        ({"training": {"batch_size": "many"}}, "training.batch_size"),
        ({"training": {"batchsize": 1}}, "batchsize"),
        ({"training": {"optimizer": "Adma"}}, "'Adam'?"),
        ({"training": {"optimizer": "LBFGS"}}, "LBFGS"),
        ({"training": {"optimizer_options": {"momentum": 0.9}}}, "momentum"),
        ({"training": {"optimizer_options": 3}}, "must be a mapping"),
        ({"training": {"max_seconds": -1.0}}, "training.max_seconds=-1"),
        ({"timing": {"backends": "both"}}, "timing.backends=both"),
        ({"timing": {"max_seconds": 0}}, "timing.max_seconds=0"),
        ({"seed": 2**63}, "below 2^63"),
        ({"tracking": {"mode": "on"}}, "tracking.mode=on"),
        ({"checkpoint": {"seconds": 0}}, "checkpoint.seconds=0"),
        ({"checkpoint": {"steps": 0}}, "checkpoint.steps=0"),
        ({"memory_gb": -1}, "memory_gb=-1"),
        ({"gpus": -1}, "gpus=-1: must be a finite number, at least 0"),
        ({"gpus": True}, "gpus"),
        ({"results_dir": " "}, "results_dir= : must name a folder"),
        ({"lengthen": [[2]]}, "lengthen=[2]: must be at least 2"),
        ({"tracking": {"tags": [[1]]}}, "tracking.tags=[1]: "),
        ({"lengthen": [2, 1]}, "lengthen=1: must be at least 2"),
        ({"diagnostics": {"kinds": ["gatez"]}}, "diagnostics.kinds=gatez: no such choice. Did you mean 'gates'?"),
        ({"retry": "solved"}, "retry=solved: no such choice."),
        ({"cell": {"hiden_size": 3}}, "Did you mean 'hidden_size'?"),
        ({"cell": {"hidden_size": "big"}}, "cell.hidden_size"),
        ({"cell": {"bias": "perhaps"}}, "cell.bias"),
        ({"cell": {"input_size": 3}}, "cell.input_size"),
        ({"cell": {"_target_": "cells.LSTMM"}}, "cells.LSTMM"),
        ({"cell": {"_target_": "nowhere.Cell"}}, "nowhere"),
        ({"cell": {"name": "a/b"}}, "cell.name=a/b"),
        ({"task": {"length": "long"}}, "task.length"),
        ({"task": {"delay": 3}}, "task.delay"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(changes, says):
    with pytest.raises(ConfigError) as caught:
        make_config(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "where"), [({1: 0.5}, "cell.costs"), ([{"a": {True: 1}}], "cell.costs[0].a")])
def test_a_key_that_files_would_keep_as_text_is_refused(value, where):
    cell = {"_target_": "tests.bench.test_config.Costly", "name": "costly", "hidden_size": 4, "costs": value}
    with pytest.raises(ConfigError, match=re.escape(f"{where}: the key ")):
        check_options("cell", cell, given=GIVEN)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_asked_for_and_absent():
    with pytest.raises(ConfigError, match="no CUDA device; use device=cpu"):
        make_config(device="cuda")
    assert make_config(device="auto").execution.device == "cpu"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cell": {"hidden_size": 0}}, "cell=lstm: hidden_size must be at least 1, not 0"),
        ({"cell": {"backend": "fast"}}, "backend"),
        ({"cell": {"initialization": "magic"}}, "initialization"),
        ({"task": {"length": 1}}, "task=adding: length must be at least 2, not 1"),
    ],
)
def test_what_the_constructor_refuses_is_one_line(changes, says):
    config = make_config(**changes)
    with pytest.raises(ConfigError) as caught:
        make_model(config.run, make_task(config.run), device="meta")
    assert says in str(caught.value)


def test_values_are_converted_to_the_annotated_types():
    config = make_config(cell={"hidden_size": "8", "forget_bias": 2}, training={"learning_rate": "1e-3"})
    assert config.run.cell["hidden_size"] == 8
    assert isinstance(config.run.cell["forget_bias"], float)
    assert config.run.training.learning_rate == 0.001


def test_the_yaml_files_show_the_schemas_defaults(monkeypatch):
    """The schema types the settings and the files explain them: both must say the same."""

    def read(name: str) -> dict:
        return OmegaConf.to_container(OmegaConf.load(CONF / name), resolve=name.startswith("tracking"))

    for variable in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(variable, raising=False)
    assert read("training/default.yaml") == asdict(Training())
    assert read("timing/default.yaml") == asdict(Timing())
    assert read("tracking/wandb.yaml") == asdict(Tracking())
    assert read("checkpoint/default.yaml") == asdict(Checkpoint())
    assert read("tuning/none.yaml") == asdict(Tuning())
    assert read("diagnostics/none.yaml") == asdict(Diagnostics())
    root = {key: value for key, value in read("config.yaml").items() if key not in ("defaults", "hydra")}
    schema = {key: value for key, value in asdict(Flat()).items() if key in root}
    assert root == schema
    groups = {"cell", "task", "training", "timing", "tracking", "checkpoint", "tuning", "diagnostics"}
    assert set(asdict(Flat())) - set(root) == groups


class TestRunId:
    def test_it_is_readable(self):
        assert run_id(make_config(seed=3).run).startswith("lstm-adding-s3-")

    @pytest.mark.parametrize(
        "changes",
        [
            {"seed": 1},
            {"dtype": "float64"},
            {"cell": {"hidden_size": 5}},
            {"cell": {"forget_bias": 0.0}},
            {"task": {"length": 7}},
            {"training": {"learning_rate": 0.1}},
            {"training": {"max_steps": 21}},
        ],
    )
    def test_what_determines_the_result_changes_it(self, changes):
        assert run_id(make_config(**changes).run) != run_id(make_config().run)

    def test_stored_results_keep_their_names(self):
        assert run_id(make_config().run) == "lstm-adding-s0-b338e25226"
        assert run_id(make_config(seed=19_999).run) == "lstm-adding-s19999-df46613ddb"
        # Its streams were others, as digits were with an earlier way to hold images out.
        assert run_id(make_config(seed=20_000).run) != "lstm-adding-s20000-14a9aacda8"
        digits = {"task": {"_target_": "tasks.Digits", "name": "digits"}, "device": "cpu"}
        lstm = {"_target_": "cells.LSTM", "name": "lstm", "hidden_size": 4}
        assert run_id(from_plain({"cell": lstm, **digits}).run) != "lstm-digits-s0-c42cc917ad"

    def test_a_later_version_of_a_class_changes_it(self, monkeypatch):
        first = run_id(make_config().run)
        monkeypatch.setattr(Adding, "version", 2)
        second = run_id(make_config().run)
        monkeypatch.setattr(LSTM, "version", 2)
        assert len({first, second, run_id(make_config().run)}) == 3
        # A user's class that says nothing of versions, or something else, is at its first.
        monkeypatch.setattr(LSTM, "version", property(lambda cell: 3))
        assert run_id(make_config().run) == second
        monkeypatch.delattr(Adding, "version")
        monkeypatch.delattr(Task, "version")
        assert run_id(make_config().run) == first

    @pytest.mark.parametrize(
        "changes",
        [
            {"results_dir": "/elsewhere"},
            {"name": "other"},
            {"threads": 1, "allocator": "system"},
            {"tracking": {"mode": "offline"}},
            {"checkpoint": {"seconds": 60}},
            {"memory_gb": 2.0, "gpus": 1, "retry": "failed"},
            {"horizon": 10},
            # The default, written out: a new option must not orphan results of before it existed.
            {"cell": {"forget_bias": 1.0}},
            {"cell": {"bias": True, "backend": "auto"}},
            {"task": {"solved_mse": 0.01}},
            {"training": {"clip_norm": 1.0}},
        ],
    )
    def test_what_does_not_leaves_it(self, changes):
        changes = dict(changes)
        assert run_id(make_config(changes.pop("results_dir", "results"), **changes).run) == run_id(make_config().run)
