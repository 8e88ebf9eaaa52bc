"""Looking inside a model: how far gradients reach, what gates do, how long a state remembers, and the like.

Each kind of diagnostic is a function of a `Subject` and returns `Reading`s, curves or grids of numbers; none changes
the model, or draws from a run's streams of randomness. `diagnose` makes those that are asked for of a model as it is,
`probe` those of a run before and after its training, from its weights, and evaluations at longer lengths."""

from bench.probe.look import KINDS, look
from bench.probe.measure import diagnose, probe, stored_readings
from bench.probe.subject import CannotStep, Reading, Subject

__all__ = ["KINDS", "CannotStep", "Reading", "Subject", "diagnose", "look", "probe", "stored_readings"]
