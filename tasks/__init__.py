"""The problems: generators of sequences with a loss, a score and an analytic baseline. Knows only torch."""

from tasks.adding import Adding
from tasks.adding_missing import AddingMissing
from tasks.associative_recall import AssociativeRecall
from tasks.characters import Characters
from tasks.classify import Classify
from tasks.copy_memory import CopyMemory
from tasks.digits import Digits
from tasks.embedded_reber import EmbeddedReber
from tasks.forecast import Forecast
from tasks.list_ops import ListOps
from tasks.long_lag import LongLag, TriggerRecall
from tasks.marked_pairs import ClassicAdding, Multiplication
from tasks.noisy_recall import NoisyRecall, NoisyTargets
from tasks.parity import Parity
from tasks.piano_roll import PianoRoll
from tasks.precise_timing import PreciseTiming
from tasks.random_targets import RandomTargets
from tasks.regress import Regress
from tasks.selective_copy import SelectiveCopy
from tasks.state_tracking import (
    BoundedDyck,
    Counter,
    CycleNavigation,
    EvenPairs,
    FlipFlop,
    ModularArithmetic,
    WordProblem,
)
from tasks.task import Batch, Task
from tasks.temporal_order import TemporalOrder

__all__ = [
    "Adding",
    "AddingMissing",
    "AssociativeRecall",
    "Batch",
    "BoundedDyck",
    "Characters",
    "ClassicAdding",
    "Classify",
    "CopyMemory",
    "Counter",
    "CycleNavigation",
    "Digits",
    "EmbeddedReber",
    "EvenPairs",
    "FlipFlop",
    "Forecast",
    "ListOps",
    "LongLag",
    "ModularArithmetic",
    "Multiplication",
    "NoisyRecall",
    "NoisyTargets",
    "Parity",
    "PianoRoll",
    "PreciseTiming",
    "RandomTargets",
    "Regress",
    "SelectiveCopy",
    "Task",
    "TemporalOrder",
    "TriggerRecall",
    "WordProblem",
]
