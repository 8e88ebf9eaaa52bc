"""The article's worked example against Keras: the same loss curve from the same weights and batches."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from bench.train.model import make_model
from bench.train.steps import Steps
from bench.train.streams import make_streams
from bench.train.trainer import Trainer
from tasks import RandomTargets
from tests.bench.conftest import make_config
from tests.python import python

KERAS = """
import sys
import numpy as np
import keras

given = np.load(sys.argv[1])
model = keras.Sequential([
    keras.Input((10, 1)),
    keras.layers.LSTM(50, return_sequences=True),
    keras.layers.Dense(1),
])
lstm, dense = model.layers
lstm.set_weights([given["weight_ih"].T, given["weight_hh"].T, given["bias"]])  # i, f, g, o, as ours
dense.set_weights([given["readout"].T, given["readout_bias"]])
model.compile(optimizer=keras.optimizers.Adam(epsilon=float(sys.argv[3])), loss="mse")
history = model.fit(given["inputs"], given["targets"], epochs=100, batch_size=32, shuffle=False, verbose=0)
np.save(sys.argv[2], history.history["loss"])
"""


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")
def test_the_loss_curve_is_keras(tmp_path):
    """With so small an epsilon that it makes no difference. Keras adds its own, 1e-7, before the bias of the second
    moment is corrected, where PyTorch adds it after that, as the paper's Algorithm 1 has it: curves then differ in the
    third digit."""
    epsilon = 1e-12
    settings = OmegaConf.to_container(OmegaConf.load("conf/setting/article.yaml").random_targets)
    settings["training"]["optimizer_options"] = {"eps": epsilon}
    config = make_config(
        tmp_path,
        cell={"_target_": "cells.LSTM", "name": "lstm", **settings["cell"]},
        training={**settings["training"], "evaluation_size": 10},
    )
    task, streams = RandomTargets(), make_streams(0, "cpu")
    streams.seed_globals()
    model = make_model(config.run, task)
    cell, readout = model.cell, model.readout
    batch_first = {"inputs": task.inputs.transpose(0, 1), "targets": task.targets.transpose(0, 1)}
    weights = {"weight_ih": cell.weight_ih, "weight_hh": cell.weight_hh, "bias": cell.bias}
    weights |= {"readout": readout.weight, "readout_bias": readout.bias}
    given = {name: value.detach().numpy() for name, value in (batch_first | weights).items()}
    np.savez(tmp_path / "given.npz", **given)
    python("-c", KERAS, tmp_path / "given.npz", tmp_path / "loss.npy", epsilon, KERAS_BACKEND="torch")
    trainer = Trainer(model, task, config.run.training, streams, torch.float32)
    for _ in range(100):
        assert Steps().take([trainer]) == [None]
    losses = np.array([loss for loss, _ in trainer.recent])
    expected = np.load(tmp_path / "loss.npy")
    assert losses[0] > 1.3 * losses[-1]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
