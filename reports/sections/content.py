"""What sections are written from, and the forms that all of them use."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from reports.load import Stored


@dataclass(frozen=True)
class Content:
    """What sections are written from."""

    stored: Stored
    results: pd.DataFrame  # summarize_results, or empty
    comparisons: pd.DataFrame  # compare, or empty
    timings: pd.DataFrame  # summarize_timing, or empty
    folder: Path  # where figures go
    verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)  # judge, or empty


def figure_section(heading: str, name: str, sentence: str) -> str:
    """Return a heading, the figure `name` and the sentence that says what it shows."""
    alternative = name.replace("_", " ").capitalize()
    parts = [heading, f"![{alternative}]({name}.png)", f"{sentence} ([SVG]({name}.svg))"]
    return "\n\n".join(filter(None, parts))


def names_a_file(name: str) -> bool:
    """Tell whether what came with the data can be part of a figure's file name."""
    return re.fullmatch(r"\w{1,60}", name, re.ASCII) is not None


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. "1 seed" or "3 seeds"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
