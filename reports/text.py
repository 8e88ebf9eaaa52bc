"""Numbers and tables as markdown."""

import math
import re
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from bench.errors import printable
from reports.statistics import Interval

NONE = "–"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a markdown table; columns are the first row's keys."""
    escaped = [{key: escape(str(value)) for key, value in row.items()} for row in rows]
    numeric = {key: all(_is_number(row[key]) for row in rows) for key in rows[0]}
    align = ["right" if numeric[key] else "left" for key in rows[0]]
    return tabulate(escaped, headers="keys", tablefmt="pipe", colalign=align, disable_numparse=True)


def escape(text: str) -> str:
    """Return text that markdown shows as it is, on one line. Brackets and underscores within words mean
    nothing to it, so that names and intervals stay readable in the source too."""
    text = re.sub(r"([\\`*|<>]|(?<!\w)_|_(?!\w)|\](?=\())", r"\\\1", text)
    return " ".join(printable(text).split())


def count(value: object) -> str:
    """Return a whole number with separators."""
    return NONE if value is None else f"{value:,}"


def steps(interval: Interval | None, budget: object) -> str:
    """Return steps to solve with their interval; what lies beyond the budget as such."""
    beyond = f">{budget:,}" if budget is not None else "never"

    def bound(value: float) -> str:
        return f"{value:,.0f}" if math.isfinite(value) else beyond

    if interval is None:
        return NONE
    if interval.low == interval.high:
        return bound(interval.estimate)
    return f"{bound(interval.estimate)} [{bound(interval.low)}, {bound(interval.high)}]"


def number(interval: Interval | None, digits: int = 2) -> str:
    """Return an estimate and interval with as many decimals as `digits` significant ones of the estimate need."""
    if interval is None:
        return NONE
    if not math.isfinite(interval.estimate):
        return "∞"
    places = decimals(interval.estimate, digits)
    if interval.low == interval.high:  # one value, or all the same
        return f"{interval.estimate:,.{places}f}"

    def bound(value: float) -> str:
        return f"{value:,.{places}f}" if math.isfinite(value) else "∞"

    return f"{bound(interval.estimate)} [{bound(interval.low)}, {bound(interval.high)}]"


def decimals(value: float, digits: int) -> int:
    """Return how many decimals show `digits` significant digits of a value, at most 6."""
    if value == 0 or not math.isfinite(value):
        return digits
    return min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def percent(interval: Interval | None) -> str:
    """Return a share with its interval in percent."""
    if interval is None:
        return NONE
    places = 1 if interval.estimate < 0.1 else 0
    return f"{interval.estimate:.{places}%} [{interval.low:.{places}%}, {interval.high:.{places}%}]"


def quantity(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant ones, or as a whole number if that needs more."""
    return f"{value:,.{decimals(value, digits)}f}" if math.isfinite(value) else NONE


def _is_number(value: object) -> bool:
    text = str(value)
    return text == NONE or text[:1].isdigit() or text[:1] in "<>∞"
