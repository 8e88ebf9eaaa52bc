"""Associative recall: what went with each key."""

import math
from typing import Self

import torch
from torch import Tensor

from tasks.arguments import share, whole
from tasks.classification import Classification, one_hot
from tasks.task import Batch


class AssociativeRecall(Classification):
    """Look up values by their keys, several times (multi-query associative recall, Arora et al. 2024).

    First come `pairs` pairs of a key and its value, a step each, keys all different; then `delay` blanks; then each
    key again, in random order, and at each of these steps its value is asked for. With keys A B C D, values 1 2, two
    pairs and a delay of 1:

        inputs   C 1 A 2 _ A C
        answers            2 1

    Inputs are one-hot, classes 0…n_keys−1 keys, then values, then the blank; targets are the values' indices, (pairs,
    B) in the order of the queries. Values are uniform and independent: whoever knows the key but has no memory has all
    values equally likely, and the cross-entropy over queries is ln `values`. (In the paper queries come at random
    places after the pairs; here after a delay that is given.)

    Args:
        pairs: at least 1.
        keys: distinct keys, at least `pairs`.
        values: distinct values, at least 2.
        delay: blanks between pairs and queries, at least 0.
        solved_accuracy: share of right answers above which the task counts as solved, in [0, 1).
    """

    def __init__(
        self, pairs: int = 4, keys: int = 8, values: int = 8, delay: int = 0, *, solved_accuracy: float = 0.99
    ) -> None:
        self.pairs, self.delay = whole("pairs", pairs, 1), whole("delay", delay, 0)
        self.keys, self.values = whole("keys", keys, pairs), whole("values", values, 2)
        self.solved_accuracy = share("solved_accuracy", solved_accuracy)
        self.input_size, self.output_size = keys + values + 1, values
        self.length = 3 * pairs + delay
        self.baseline_loss = math.log(values)

    def lengthened(self, factor: int) -> Self:
        """Return the same problem with a pause that makes the whole `factor` times as long."""
        return type(self)(**self.options() | {"delay": self.delay + (factor - 1) * self.length})

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device, shape = generator.device, (self.pairs, batch_size)
        chance = torch.rand(self.keys, batch_size, generator=generator, device=device)
        keys = chance.topk(self.pairs, dim=0).indices  # a random choice in random order
        values = torch.randint(self.values, shape, generator=generator, device=device)
        order = torch.rand(shape, generator=generator, device=device).argsort(dim=0)
        shown = torch.stack([keys, self.keys + values], dim=1).flatten(0, 1)
        pause = torch.full((self.delay, batch_size), self.keys + self.values, device=device)
        classes = torch.cat([shown, pause, keys.gather(0, order)])
        return Batch(one_hot(classes, self.input_size), values.gather(0, order))

    def cue(self, batch: Batch) -> tuple[Tensor, Tensor]:
        value = batch.inputs[1, :, self.keys : self.keys + self.values]
        return value, torch.ones(len(value), dtype=torch.long, device=value.device)
