"""The sequence models. Knows only torch: no configuration, no files, no training."""

from cells.ablated_lstm import AblatedLSTM, GateRecurrentLSTM
from cells.attention import Attention
from cells.attention_lstm import AttentionLSTM
from cells.cell import Cell
from cells.convolution import TCN, GatedConvolution
from cells.gru import GRU
from cells.janet import JANET
from cells.lem import LEM
from cells.lru import LRU
from cells.lstm import LSTM
from cells.lstm_1997 import LSTM1997, TruncatedLSTM1997
from cells.mamba import Mamba
from cells.minimal import MinGRU, MinLSTM
from cells.mlstm import MLSTM
from cells.peephole_lstm import PeepholeLSTM
from cells.rnn import RNN, LinearRNN
from cells.slstm import SLSTM
from cells.stack import Stack
from cells.torchrecurrent import TorchRecurrent

__all__ = [
    "GRU",
    "JANET",
    "LEM",
    "LRU",
    "LSTM",
    "LSTM1997",
    "MLSTM",
    "RNN",
    "SLSTM",
    "TCN",
    "AblatedLSTM",
    "Attention",
    "AttentionLSTM",
    "Cell",
    "GateRecurrentLSTM",
    "GatedConvolution",
    "LinearRNN",
    "Mamba",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "Stack",
    "TorchRecurrent",
    "TruncatedLSTM1997",
]
