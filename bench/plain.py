"""One run as one would write it without this harness: torch.nn's cells, or a loop where torch has none, torch's
defaults for threads, memory and optimiser. What `bench.benchmark` compares the harness with.

    python -m bench.plain CELL TASK SEED STEPS      prints the seconds of its training loop
"""

import sys
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks import Adding, CopyMemory, Task

# The settings of conf/sweep/quick.yaml and its task files.
TASKS: dict[str, tuple[Task, float]] = {
    "adding": (Adding(length=25), 5e-3),
    "copy": (CopyMemory(symbols=8, span=3, delay=3), 1e-2),
}
HIDDEN, BATCH, EVALUATE_EVERY, EVALUATION_SIZE = 32, 32, 25, 256


class PeepholeLSTM(nn.Module):
    """The cell that torch lacks, as a loop over time."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input, self.hidden = nn.Linear(inputs, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        h = c = x.new_zeros(x.shape[1], self.peepholes.shape[1])
        outputs = []
        for gates_x in self.input(x).unbind(0):
            i, f, g, o = (gates_x + self.hidden(h)).chunk(4, dim=-1)
            i, f = torch.sigmoid(i + self.peepholes[0] * c), torch.sigmoid(f + self.peepholes[1] * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.peepholes[2] * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)


class AttentionLSTM(nn.Module):
    """torch.nn.LSTM under causal attention over its own outputs."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden)
        self.score = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        hidden, state = self.lstm(x)
        keys = hidden.transpose(0, 1).unsqueeze(1)
        queries = self.score(hidden).transpose(0, 1).unsqueeze(1)
        context = F.scaled_dot_product_attention(queries, keys, keys, is_causal=True, scale=1.0)
        context = context.squeeze(1).transpose(0, 1)
        return torch.tanh(self.combine(torch.cat([context, hidden], dim=-1))), state


CELLS: dict[str, Any] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "peephole_lstm": PeepholeLSTM,
    "gru": nn.GRU,
    "attention_lstm": AttentionLSTM,
}


def train(cell_name: str, task_name: str, seed: int, steps: int) -> float:
    """Train for a number of steps, evaluating as the quick sweep does; return the seconds that took."""
    torch.manual_seed(seed)
    task, learning_rate = TASKS[task_name]
    cell, readout = CELLS[cell_name](task.input_size, HIDDEN), nn.Linear(HIDDEN, task.output_size)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    held_out = task.sample(EVALUATION_SIZE, generator)
    start = perf_counter()
    for step in range(steps):
        if step % EVALUATE_EVERY == 0:
            with torch.no_grad():
                task.score(readout(cell(held_out.inputs)[0]), held_out)
        batch = task.sample(BATCH, generator)
        optimizer.zero_grad()
        task.loss(readout(cell(batch.inputs)[0]), batch).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return perf_counter() - start


if __name__ == "__main__":
    print(train(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
