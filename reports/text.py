"""Numbers and tables as markdown."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from bench.record.errors import printable
from reports.statistics import Interval

NONE = "–"
MOST_SEEDS = 1000  # that are named as needed
MOST_LETTERS = 1000  # of a table's cell: all others of its column are made as wide


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a markdown table; columns are the first row's keys."""
    columns = list(rows[0])
    escaped = [[escape(_cut(str(row[column]))) for column in columns] for row in rows]
    align = ["right" if all(_is_number(row[column]) for row in rows) else "left" for column in columns]
    headers = [escape(_cut(column)) for column in columns]
    return tabulate(escaped, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def escape(text: str) -> str:
    """Return text that markdown shows as it is, on one line. Brackets and underscores within words mean
    nothing to it, so that names and intervals stay readable in the source too."""
    text = " ".join(printable(text).split())
    text = re.sub(r"([\\`*|<>$]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|&(?=#?\w+;)|~(?=~))", r"\\\1", text)
    return re.sub(r"^(\d*)(#+|[-+.)])(?=\s|$)", r"\1\\\2", text)  # what would begin a heading or a list


def code(lines: Iterable[str]) -> str:
    """Return lines as a block of code, which nothing in them can end."""
    said = "\n".join(map(printable, lines))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", said)), default=0))
    return f"{fence}\n{said}\n{fence}"


def count(value: int | None) -> str:
    """Return a whole number with separators."""
    return NONE if value is None else f"{value:,}"


def range_of(least: int | None, most: int | None) -> str:
    """Return a number of seeds known to lie between two, either of which may be unknown or more than anyone takes."""
    if least is None or least > MOST_SEEDS:
        return NONE if least is None else f">{MOST_SEEDS:,}"
    if most is None or most > MOST_SEEDS:
        return f"≥{least:,}"
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def spent(interval: Interval | None, budget: float | None = None, beyond: str = "never") -> str:
    """Return what was needed to solve a task, with its interval; what lies beyond the budget as such, or as `beyond`
    where the budget is not given."""
    beyond = f">{amount(budget)}" if budget else beyond
    if interval is None:
        return NONE
    places = _places(interval) if math.isfinite(interval.high) else None

    def bound(value: float) -> str:
        return amount(value, places) if math.isfinite(value) else beyond

    if interval.low == interval.high:
        return bound(interval.estimate)
    return f"{bound(interval.estimate)} [{bound(interval.low)}, {bound(interval.high)}]"


def expected(interval: Interval | None) -> str:
    """Return an expected running time with its interval; of runs of which none was solved, its lower bound."""
    if interval is None or math.isfinite(interval.estimate):
        return spent(interval)
    return f"≥{amount(interval.low)}" if math.isfinite(interval.low) else NONE


def amount(value: float, places: int | None = None) -> str:
    """Return a number of steps, seconds or FLOPs; from a million on in powers of a thousand."""
    for power, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= power:
            return f"{value / power:.3g}{name}"
    if places is None:
        places = 0 if float(value).is_integer() else decimals(value, 3)
    return f"{value:,.{places}f}"


def number(interval: Interval | None) -> str:
    """Return an estimate with its interval, to as many decimals as show two significant digits of its width, and
    one of the estimate; a value without width to two digits."""
    if interval is None:
        return NONE
    if not math.isfinite(interval.estimate):
        return "∞"
    places = _places(interval)
    if interval.low == interval.high:  # one value, or all the same
        return f"{interval.estimate:,.{places}f}"

    def bound(value: float) -> str:
        return f"{value:,.{places}f}" if math.isfinite(value) else "∞"

    return f"{bound(interval.estimate)} [{bound(interval.low)}, {bound(interval.high)}]"


def _places(interval: Interval) -> int:
    width = interval.high - interval.low
    if not math.isfinite(width) or width <= 0:
        return decimals(interval.estimate, 2)
    return max(decimals(width, 2), decimals(interval.estimate, 1))


def times(interval: Interval) -> str:
    """Return a ratio with its interval, e.g. "2.4× [2.1, 2.9]"; where only a bound is known that, e.g. "≥2.1×"."""
    if math.isnan(interval.told):
        return NONE
    if interval.bound == "~":
        return f"about {_factor(interval.told)}×"
    if interval.bound:
        return f"{interval.bound}{_factor(interval.told)}×"
    return f"{_factor(interval.estimate)}× [{_factor(interval.low)}, {_factor(interval.high)}]"


def _factor(value: float) -> str:
    return f"{value:,.{decimals(value, 2)}f}" if value < 1e6 else "∞"


def p_value(p: float) -> str:
    """Return e.g. "p=0.012", or "p<0.001"."""
    number = p_number(p)
    return f"p{number}" if number.startswith("<") else f"p={number}"


def p_number(p: float) -> str:
    """Return e.g. "0.012", or "<0.001"."""
    if math.isnan(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.{decimals(p, 2)}f}" if p < 0.995 else "1"


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
    return text == NONE or text[:1].isdigit() or text[:1] in "<>∞≥≤"
