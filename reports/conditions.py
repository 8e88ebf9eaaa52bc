"""Rows of a table by what their columns hold."""

from collections.abc import Mapping, Sequence

import pandas as pd


def holds(frame: pd.DataFrame, column: str, values: Sequence[object]) -> "pd.Series[bool]":
    """Return which rows have one of the values in a column, 1, 1.0 and "1.0" being equal; none without it."""
    held = pd.Series(False, index=frame.index)
    if column not in frame:
        return held
    texts = frame[column].astype("string")
    for value in values:
        held |= (texts == str(value)).fillna(False).astype(bool)
        if isinstance(value, int | float) and not isinstance(value, bool):
            held |= (pd.to_numeric(frame[column], errors="coerce") == value).fillna(False).astype(bool)
    return held


def select(
    frame: pd.DataFrame, conditions: Mapping[str, object], otherwise: Mapping[str, object] | None = None
) -> pd.DataFrame:
    """Return the rows for which all conditions hold, and what is said `otherwise` of columns that those do not name;
    a column that a row lacks is no objection to that.

    Args:
        conditions: of each column a value, or a list of several.
    """
    kept = pd.Series(True, index=frame.index)
    for column, values in conditions.items():
        kept &= holds(frame, column, values if isinstance(values, list) else [values])
    for column, value in (otherwise or {}).items():
        if column not in conditions and column in frame:
            kept &= frame[column].isna() | holds(frame, column, [value])
    return frame[kept]
