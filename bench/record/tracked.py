"""What W&B calls what is stored, for who logs it and for who asks for it in panels."""

import re

PROJECT = "recurrent-bench"  # unless another one is asked for
# What is shown over an axis of its own, before and after training.
CURVES = {"gradient_flow": "gradient_flow/distance", "memory": "memory/distance"}
MOMENTS = {"start": "before", "end": "after"}


def step_time_name(problem: str, contender: str) -> str:
    """Return what W&B calls the time of a training step; it takes letters, digits, underscores and slashes."""
    return "/".join(("step_ms", *(re.sub(r"\W+", "_", name, flags=re.ASCII) for name in (problem, contender))))
