"""The problems: generators of sequences with a loss, a score and an analytic baseline. Knows only torch."""

from tasks.adding import Adding
from tasks.copy_memory import CopyMemory
from tasks.task import Batch, Task

__all__ = ["Adding", "Batch", "CopyMemory", "Task"]
