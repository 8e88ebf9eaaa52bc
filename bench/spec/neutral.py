"""The values that a run's identity leaves out, so that an option added later does not rename the runs of before.

Each is what a run did before the option existed, and stays as it is for ever, whatever the default becomes: a run with
a changed default is another run. A new option is added here with the value that changes nothing. A user's own class
has no entry; the defaults of its constructor are its neutral values, and what is stored tells if they have changed."""

import math
from typing import Any

DTYPE = "float32"

# Up to here a stream begins from a number, of which torch's generator for the CPU takes the lowest 32 bits. Below
# 23,607 these are distinct for all seeds and streams; beyond, the stream of one seed can be another's. Later seeds fill
# the generator's whole state instead. Earlier ones stay as they are, and with them the results stored under them.
FIRST_FILLED_SEED = 20_000

TRAINING: dict[str, Any] = {
    "optimizer": "Adam",
    "optimizer_options": None,
    "learning_rate": 0.005,
    "warmup": 0,
    "decay": "none",
    "clip_norm": 1.0,
    "batch_size": 64,
    "max_steps": 2000,
    "max_samples": None,
    "max_flops": None,
    "max_seconds": None,
    "evaluate_every": 50,
    "early_evaluations": False,
    "evaluation_size": 256,
    "solved_evaluations": 3,
    "patience": None,
}

_CELL = {"backend": "auto", "bias": True, "initialization": "uniform"}
_GATED = {**_CELL, "forget_bias": 1.0, "longest_memory": None}
_ACCURACY = {"solved_accuracy": 0.99}
_FILES = {"file": None, "validation_file": None, "test_file": None, "validation": 0.2, "test": 0.2, "content": None}
_COLUMNS = {"target": "target", "sequence": None, "time": None, "group": None, "inputs": None}
_PREPARED = {"split_seed": 0, "strategy": "forward_fill", "standardise": True}
_PARTS = dict.fromkeys(
    ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation", "peepholes"), True
)

# Of a cell's options those that say how it is stacked.
COMPOSITION: dict[str, Any] = {
    "layers": 1,
    "bidirectional": False,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "residual": False,
    "norm": False,
    "feedforward": 0.0,
}

# By the `_target_` of cells and tasks.
CLASSES: dict[str, dict[str, Any]] = {
    "cells.RNN": {**_CELL, "nonlinearity": "tanh"},
    "cells.LinearRNN": _CELL,
    "cells.LSTM": _GATED,
    "cells.LSTM1997": {**_CELL, "input_bias": None, "output_bias": None},
    "cells.TruncatedLSTM1997": {**_CELL, "input_bias": None, "output_bias": None},
    "cells.PeepholeLSTM": _GATED,
    "cells.GRU": {**_GATED, "forget_bias": None},
    "cells.AttentionLSTM": {**_GATED, "score": "general"},
    "cells.AblatedLSTM": {**_GATED, **_PARTS, "coupled_gates": False},
    "cells.GateRecurrentLSTM": _GATED,
    "cells.TorchRecurrent": {"backend": "auto"},
    "cells.MinGRU": _CELL,
    "cells.MinLSTM": _CELL,
    "cells.SLSTM": _GATED,
    "cells.JANET": _GATED,
    "cells.LEM": {**_CELL, "dt": 1.0},
    "cells.MLSTM": {"heads": 4},
    "cells.LRU": {"state_size": None, "r_min": 0.0, "r_max": 1.0, "max_phase": math.tau},
    "cells.Mamba": {"state_size": 16, "expand": 2.0, "kernel": 4},
    "cells.Attention": {"heads": 4, "base": 10_000.0},
    "cells.TCN": {"kernel": 7, "blocks": 4, "dropout": 0.0},
    "cells.GatedConvolution": {"kernel": 4, "depth": 6},
    "tasks.Adding": {"length": 100, "solved_mse": 0.01},
    "tasks.AddingMissing": {
        "length": 100,
        "missing": 0.2,
        "strategy": "zero",
        "correlation": 0.0,
        "solved_mse": 0.01,
    },
    "tasks.AssociativeRecall": {"pairs": 4, "keys": 8, "values": 8, "delay": 0, **_ACCURACY},
    "tasks.BoundedDyck": {"kinds": 2, "depth": 4, "length": 40, **_ACCURACY},
    "tasks.Characters": {**_FILES, "length": 100, "context": 0, "validation": 0.1, "test": 0.1},
    "tasks.ClassicAdding": {"minimal_length": 100, "logistic": False, "wrong": 1},
    "tasks.Classify": {**_FILES, **_COLUMNS, **_PREPARED, "permuted": False},
    "tasks.CopyMemory": {"symbols": 8, "span": 10, "delay": 100, **_ACCURACY},
    "tasks.Counter": {"length": 40, **_ACCURACY},
    "tasks.CycleNavigation": {"places": 5, "length": 40, "shortest": None, **_ACCURACY},
    "tasks.Digits": {"permuted": False, "solved_accuracy": 0.9},
    "tasks.EmbeddedReber": {"length": 40, **_ACCURACY},
    "tasks.EvenPairs": {"length": 40, "shortest": None, **_ACCURACY},
    "tasks.FlipFlop": {"writes": 0.1, "length": 40, **_ACCURACY},
    "tasks.Forecast": {
        "file": None,
        "target": None,
        "inputs": None,
        "sequence": None,
        "time": None,
        "length": 32,
        "horizon": 1,
        "validation": 0.2,
        "test": 0.2,
        "strategy": "forward_fill",
        "standardise": True,
        "content": None,
    },
    "tasks.ListOps": {"shortest": 10, "length": 50, "depth": 5, "arguments": 5, **_ACCURACY},
    "tasks.LongLag": {"symbols": 100, "distractors": False, "logistic": False, **_ACCURACY},
    "tasks.ModularArithmetic": {"modulus": 5, "length": 39, "shortest": None, **_ACCURACY},
    "tasks.Multiplication": {"minimal_length": 100, "logistic": False, "wrong": 1},
    "tasks.NoisyRecall": {
        "length": 100,
        "cues": 3,
        "noise_variance": 0.2,
        "noisy_cues": False,
        "extra": 0,
        "logistic": False,
        "solved_error": None,
        **_ACCURACY,
    },
    "tasks.NoisyTargets": {
        "length": 100,
        "cues": 3,
        "noise_variance": 0.2,
        "extra": 10,
        "logistic": False,
        "solved_accuracy": 0.9765625,
        "solved_error": 0.015,
    },
    "tasks.Parity": {"length": 20, "shortest": None, **_ACCURACY},
    "tasks.PianoRoll": {"file": None, "content": None},
    "tasks.PreciseTiming": {"delay": 49, "intervals": 2, "onset": 10, **_ACCURACY},
    "tasks.RandomTargets": {"sequences": 10, "length": 10, "data_seed": 0, "solved_mse": 0.01},
    "tasks.Regress": {**_FILES, **_COLUMNS, **_PREPARED},
    "tasks.SelectiveCopy": {"symbols": 8, "span": 10, "delay": 100, **_ACCURACY},
    "tasks.TemporalOrder": {"length": 100, "symbols": 2, "extra": 0, "logistic": False, **_ACCURACY},
    "tasks.TriggerRecall": {"delay": 50, "symbols": 50, "extra": 60, "logistic": False, **_ACCURACY},
    "tasks.WordProblem": {"group": "s5", "length": 40, **_ACCURACY},
}
