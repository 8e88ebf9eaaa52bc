"""What a run is called is independent of today's defaults, and stored settings are compared before they are used."""

import inspect
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import cells
import tasks
from bench.execute.plan import stored_state
from bench.execute.run import run
from bench.record.errors import ConfigError
from bench.record.store import RunFolder
from bench.spec import neutral
from bench.spec.checks import from_plain
from bench.spec.config import Settings, Training, to_plain
from bench.spec.identity import as_stored, difference, run_id
from bench.spec.targets import composition, constructor_defaults
from tests.bench import broken
from tests.bench.conftest import make_config
from tests.bench.test_resume import StopAfter

# Of every class that is shipped, with nothing set that need not be. Stored results have these names.
GOLDEN = {
    "cells.RNN": "rnn-adding-s0-262da97a94",
    "cells.LinearRNN": "linearrnn-adding-s0-5f3b079c9d",
    "cells.LSTM": "lstm-adding-s0-b338e25226",
    "cells.PeepholeLSTM": "peepholelstm-adding-s0-aef20496bc",
    "cells.GRU": "gru-adding-s0-dcb20ee1d3",
    "cells.AttentionLSTM": "attentionlstm-adding-s0-2c1d629ce3",
    "cells.AblatedLSTM": "ablatedlstm-adding-s0-2fba982c3f",
    "cells.GateRecurrentLSTM": "gaterecurrentlstm-adding-s0-a528744037",
    "cells.TorchRecurrent": "torchrecurrent-adding-s0-c293fa9edd",
    "cells.MinGRU": "mingru-adding-s0-8f56ed8f65",
    "cells.MinLSTM": "minlstm-adding-s0-212e35418e",
    "cells.SLSTM": "slstm-adding-s0-3f7860418c",
    "cells.JANET": "janet-adding-s0-aa9cefc5f3",
    "cells.LSTM1997": "lstm1997-adding-s0-b726c79eaf",
    "cells.TruncatedLSTM1997": "truncatedlstm1997-adding-s0-dc787dbae1",
    "cells.LEM": "lem-adding-s0-6604ee0124",
    "cells.MLSTM": "mlstm-adding-s0-75bc62816a",
    "cells.LRU": "lru-adding-s0-b49c644218",
    "cells.Mamba": "mamba-adding-s0-66cfe388cb",
    "cells.Attention": "attention-adding-s0-b231af7cc2",
    "cells.TCN": "tcn-adding-s0-3dd322f595",
    "cells.GatedConvolution": "gatedconvolution-adding-s0-707f1b0b08",
    "tasks.Adding": "lstm-adding-s0-36924c129a",
    "tasks.AddingMissing": "lstm-addingmissing-s0-7eb237ab63",
    "tasks.AssociativeRecall": "lstm-associativerecall-s0-a15224fc20",
    "tasks.Characters": "lstm-characters-s0-3865e74655",
    "tasks.Classify": "lstm-classify-s0-0c608dcdbc",
    "tasks.CopyMemory": "lstm-copymemory-s0-b2c47ac9db",
    "tasks.Digits": "lstm-digits-s0-e78fd9727c",
    "tasks.Forecast": "lstm-forecast-s0-10eadd7efb",
    "tasks.NoisyRecall": "lstm-noisyrecall-s0-71e36b085f",
    "tasks.Parity": "lstm-parity-s0-eb26e1bb3d",
    "tasks.PianoRoll": "lstm-pianoroll-s0-2f51dd01ed",
    "tasks.PreciseTiming": "lstm-precisetiming-s0-eef2379d56",
    "tasks.RandomTargets": "lstm-randomtargets-s0-082abee251",
    "tasks.Regress": "lstm-regress-s0-0fa0398682",
    "tasks.SelectiveCopy": "lstm-selectivecopy-s0-2bb149ef5f",
    "tasks.TemporalOrder": "lstm-temporalorder-s0-3db79e7a16",
    "tasks.ClassicAdding": "lstm-classicadding-s0-062cac48c8",
    "tasks.EmbeddedReber": "lstm-embeddedreber-s0-256d88bbad",
    "tasks.LongLag": "lstm-longlag-s0-59dcf5b138",
    "tasks.Multiplication": "lstm-multiplication-s0-259178abab",
    "tasks.NoisyTargets": "lstm-noisytargets-s0-29d3eb5948",
    "tasks.TriggerRecall": "lstm-triggerrecall-s0-ce92ad13da",
    "tasks.BoundedDyck": "lstm-boundeddyck-s0-392c9d60fc",
    "tasks.Counter": "lstm-counter-s0-19b8d751bb",
    "tasks.FlipFlop": "lstm-flipflop-s0-388c9ba30a",
    "tasks.ModularArithmetic": "lstm-modulararithmetic-s0-98a5dc530b",
    "tasks.WordProblem": "lstm-wordproblem-s0-5650c78ed5",
    "tasks.CycleNavigation": "lstm-cyclenavigation-s0-34af92d5a1",
    "tasks.EvenPairs": "lstm-evenpairs-s0-da80b6e410",
    "tasks.ListOps": "lstm-listops-s0-9bab8d2f8c",
}


def of_class(path: str) -> Settings:
    group, name = path.split(".")
    own = {"_target_": path, "name": name.lower()} | ({"layer": "GRU"} if name == "TorchRecurrent" else {})
    if group == "cells":
        return make_config(cell=own | {"hidden_size": 4})
    return from_plain(to_plain(make_config()) | {"task": own})


@pytest.mark.parametrize("path", GOLDEN)
def test_ids_of_stored_runs_stay(path: str):
    assert run_id(of_class(path).run) == GOLDEN[path]


def test_each_option_of_a_shipped_class_has_a_neutral_value():
    """A new option without one would rename the runs of before."""
    kinds = {
        f"{package.__name__}.{name}": getattr(package, name) for package in (cells, tasks) for name in package.__all__
    }
    bases = (torch.nn.Module, tasks.Task)
    shipped = {
        path
        for path, kind in kinds.items()
        if issubclass(kind, bases) and kind not in (cells.Cell, cells.Stack, tasks.Task)
    }
    wrong = []
    for path in sorted(shipped | set(neutral.CLASSES) | set(GOLDEN)):
        options = constructor_defaults(path) if path in shipped else {}
        if neutral.CLASSES.get(path, {}).keys() != options.keys():
            wrong.append(f"neutral.CLASSES, as the options are today: {path!r}: {options!r},")
        elif path in shipped and path not in GOLDEN:
            wrong.append(f"GOLDEN here: {path!r}: {run_id(of_class(path).run)!r},")
        elif path not in shipped:
            wrong.append(f"neither in neutral.CLASSES nor in GOLDEN, not being shipped: {path!r}")
    assert not wrong, "write\n" + "\n".join(wrong)
    assert set(neutral.TRAINING) == set(asdict(Training()))
    assert {key: default for key, (_, default) in composition().items()} == neutral.COMPOSITION


def test_a_changed_default_is_another_run(monkeypatch: pytest.MonkeyPatch):
    """And what was stored before keeps the name by which it is known."""
    before = run_id(make_config().run)
    monkeypatch.setitem(gated_defaults(), "forget_bias", 3.0)
    assert constructor_defaults("cells.LSTM")["forget_bias"] == 3.0
    assert run_id(make_config(cell={"forget_bias": 1.0}).run) == before
    assert run_id(make_config().run) == run_id(make_config(cell={"forget_bias": 3.0}).run) != before


def gated_defaults() -> dict:
    """The defaults of the constructor that gives an LSTM its forget bias."""
    for kind in cells.LSTM.__mro__:
        constructor = vars(kind).get("__init__")
        if inspect.isfunction(constructor) and "forget_bias" in (constructor.__kwdefaults__ or {}):
            return constructor.__kwdefaults__
    raise AssertionError("LSTM has no forget_bias of its own")


MINE = {"_target_": "tests.bench.broken.Minimal", "name": "mine"}


def test_a_changed_default_of_a_users_class_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its id is that of before: nobody wrote down what the default was, but for the stored run."""
    config = make_config(tmp_path, cell=MINE)
    run(config)
    folder = RunFolder(tmp_path / "scratch", run_id(config.run))
    assert stored_state(folder, config)[0] == "unsolved"
    monkeypatch.setattr(broken.Minimal.__init__, "__defaults__", (3.0,))
    assert run_id(config.run) == folder.path.name
    with pytest.raises(
        ConfigError, match=r"is stored with cell.scale=1.0, and 3.0 is asked for.*another name="
    ) as caught:
        stored_state(folder, config)
    assert "\n" not in str(caught.value)
    assert stored_state(folder, make_config(tmp_path, cell=MINE | {"scale": 1.0}))[0] == "unsolved"


def test_a_checkpoint_with_other_defaults_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    config = make_config(tmp_path, cell=MINE)
    assert run(config, StopAfter(5))["status"] == "interrupted"
    monkeypatch.setattr(broken.Minimal.__init__, "__defaults__", (3.0,))
    assert run(config)["status"] == "unsolved"
    assert "defaults of its cell or task were others; set aside" in capfd.readouterr().err


def test_what_older_results_do_not_tell_is_no_difference():
    config = make_config(cell=MINE)
    stored = json.loads(json.dumps(as_stored(config)))
    assert difference(config, stored) is None
    old = {key: value for key, value in stored.items() if key != "defaults"}
    assert difference(config, old) is None
    del old["training"]["clip_norm"]  # as before that was a setting: what it then was is its neutral value
    assert difference(config, old) is None
    assert difference(make_config(cell=MINE, training={"clip_norm": None}), old) == (
        "training.clip_norm=1.0, and None is asked for"
    )
