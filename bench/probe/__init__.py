"""Looking inside a model: how far gradients reach, what gates do, how long a state remembers, and the like.

Each kind of look is a function of a `Subject` and returns `Reading`s, curves or grids of numbers; none changes the
model, or draws from a run's streams of randomness. `look` makes the looks that are asked for."""

from bench.probe.look import KINDS, look
from bench.probe.subject import Reading, Subject

__all__ = ["KINDS", "Reading", "Subject", "look"]
