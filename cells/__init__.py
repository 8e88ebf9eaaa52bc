"""The recurrent architectures. Knows only torch: no configuration, no files, no training."""

from cells.ablated_lstm import AblatedLSTM, GateRecurrentLSTM
from cells.attention_lstm import AttentionLSTM
from cells.cell import Cell
from cells.gru import GRU
from cells.lstm import LSTM
from cells.peephole_lstm import PeepholeLSTM
from cells.rnn import RNN
from cells.torchrecurrent import TorchRecurrent

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AblatedLSTM",
    "AttentionLSTM",
    "Cell",
    "GateRecurrentLSTM",
    "PeepholeLSTM",
    "TorchRecurrent",
]
