"""The embedded Reber grammar: predict the next symbol of strings whose last but one is the second again."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.arguments import share, whole
from tasks.endings import at
from tasks.task import Batch, Task

SYMBOLS = "BTPSXVE"
# The Reber grammar: of each node the symbols that may follow, and the nodes to which they lead; equally likely.
GRAMMAR = {
    0: (("B", 1),),
    1: (("T", 2), ("P", 3)),
    2: (("S", 2), ("X", 4)),
    3: (("T", 3), ("V", 5)),
    4: (("X", 3), ("S", 6)),
    5: (("P", 4), ("V", 6)),
    6: (("E", 7),),
}
NODES = 8  # of one copy; at the last of them the symbol comes that chose the copy
START, END, DONE = 2 * NODES, 2 * NODES + 2, 2 * NODES + 3
SHORTEST = 9  # symbols: B T B T X S E T E


def _edges() -> tuple[Tensor, Tensor]:
    """Return the embedding graph: of each node its two next nodes and their symbols (N, 2), the same two where there is
    no choice."""
    edges: dict[int, tuple[tuple[str, int], ...]] = {
        START: (("B", START + 1),),
        START + 1: (("T", 0), ("P", NODES)),
        END: (("E", DONE),),
        DONE: (("E", DONE),),
    }
    for copy, symbol in enumerate(("T", "P")):
        for node, following in GRAMMAR.items():
            edges[copy * NODES + node] = tuple((name, copy * NODES + to) for name, to in following)
        edges[copy * NODES + NODES - 1] = ((symbol, END),)
    ways = [(edges[node][0], edges[node][-1]) for node in range(DONE + 1)]
    return (
        torch.tensor([[to for _, to in both] for both in ways]),
        torch.tensor([[SYMBOLS.index(name) for name, _ in both] for both in ways]),
    )


NEXT, SYMBOL = _edges()


class EmbeddedReber(Task):
    """Predict the next symbol of strings of the embedded Reber grammar (Hochreiter & Schmidhuber 1997, task 1; after
    Smith & Zipser 1989, Fahlman 1991).

    A string is B, then T or P, then a string of the Reber grammar, then the same T or P, then E:

        inputs   B T B P V V E T
        targets  T B P V V E T E

    Where two symbols may follow they are equally likely. A string is right if at each of its steps the symbols that may
    follow have the largest outputs; that takes the second symbol to be known until the last but one. Strings of more
    than `length` inputs, which the paper has, are not drawn; after shorter ones come zeros.

    Without memory the best answer is the distribution of what follows a symbol, over all strings that are drawn: the
    baseline is its entropy in nats, each symbol counted as often as it is shown.

    Args:
        length: inputs of the longest string, at least 8.
        solved_accuracy: share of right strings above which the task counts as solved, in [0, 1).
    """

    input_size = output_size = len(SYMBOLS)

    def __init__(self, length: int = 40, *, solved_accuracy: float = 0.99) -> None:
        self.length = whole("length", length, SHORTEST - 1)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.baseline_loss = self._entropy()

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        nodes = self._walks(batch_size, generator)
        following, symbols = NEXT.to(nodes.device), SYMBOL.to(nodes.device)
        before, after = nodes[: self.length], nodes[1 : self.length + 1]
        way = (following[before][..., 1] == after).long().unsqueeze(-1)
        shown = symbols[before].gather(-1, way).squeeze(-1)
        there = (after != DONE).unsqueeze(-1)  # the last symbol is asked for, and not shown
        possible = F.one_hot(symbols[after], self.output_size).amax(dim=-2)
        return Batch((F.one_hot(shown, self.input_size) * there).float(), (possible * there).float())

    def _walks(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return the nodes (L + 2, B) of walks through the graph that are done by then."""
        device = generator.device
        following = NEXT.to(device)
        nodes = torch.full((self.length + 2, batch_size), START, device=device)
        late = torch.ones(batch_size, dtype=torch.bool, device=device)
        while late.any():
            choices = torch.randint(2, (self.length + 1, batch_size), generator=generator, device=device)
            walk = [torch.full((batch_size,), START, device=device)]
            for choice in choices:
                walk.append(following[walk[-1], choice])
            nodes = torch.where(late, torch.stack(walk), nodes)
            late = nodes[-1] != DONE
        return nodes

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats of the symbols that follow, over all steps of all strings; targets (T, B, 7) have
        ones where a symbol may follow, and no ones after a string."""
        there = batch.inputs.any(dim=-1)
        return F.cross_entropy(outputs[there], self._following(batch)[there])

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`accuracy`: share of strings at all of whose steps the symbols that may follow have the largest outputs."""
        possible = batch.targets > 0
        least = outputs.masked_fill(~possible, math.inf).amin(dim=-1)
        other = outputs.masked_fill(possible, -math.inf).amax(dim=-1)
        right = (least > other) | ~possible.any(dim=-1)
        return {"accuracy": right.all(dim=0).double().mean()}

    def solved(self, score: dict[str, float]) -> bool:
        return score["accuracy"] > self.solved_accuracy

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        step = torch.ones(batch.inputs.shape[1], dtype=torch.long, device=batch.inputs.device)
        return at(batch.inputs, step)[:, 1:3], step

    def _following(self, batch: Batch) -> Tensor:
        """Return the class (T, B) of the symbol that follows each input."""
        after = torch.cat([batch.inputs[1:], torch.zeros_like(batch.inputs[:1])])
        return torch.where(after.any(dim=-1), after.argmax(dim=-1), SYMBOLS.index("E"))

    def _entropy(self) -> float:
        """Return the entropy of the next symbol given the one before, over strings that are drawn: forward over nodes,
        and backward over the probability of being done in time."""
        nodes = DONE + 1
        move = torch.zeros(nodes, nodes, dtype=torch.float64)
        for way in (0, 1):
            move[torch.arange(nodes), NEXT[:, way]] += 0.5
        in_time = [torch.zeros(nodes, dtype=torch.float64)]
        in_time[0][DONE] = 1
        for _ in range(self.length + 1):
            in_time.append(move @ in_time[-1])
        counts = torch.zeros(self.input_size, self.input_size, dtype=torch.float64)
        at_node = torch.zeros(nodes, dtype=torch.float64)
        at_node[START] = 1
        for step in range(self.length):
            for node in at_node.nonzero().flatten().tolist():
                for way in (0, 1):
                    middle = int(NEXT[node, way])
                    for then in (0, 1) if middle != DONE else ():
                        chance = at_node[node] / 4 * in_time[self.length - step - 1][NEXT[middle, then]]
                        counts[SYMBOL[node, way], SYMBOL[middle, then]] += chance
            at_node = at_node @ move
        shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1e-300)
        return float(-(counts * shares.clamp(min=1e-300).log()).sum() / counts.sum())
