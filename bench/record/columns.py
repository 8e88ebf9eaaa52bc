"""Columns of the stored tables: which records' fields they are, and whether a table holds what it can."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct
from msgspec import inspect as kinds

from bench.record.encoding import fields_of
from bench.record.records import (
    KNOWN,
    Environment,
    Evaluation,
    Point,
    Probed,
    Reported,
    Result,
    Setup,
    StoredReading,
    Timing,
    Who,
)

# What pandas calls the columns that fields of these types become; of a list, a row per element.
DTYPES: dict[type, str] = dict.fromkeys((kinds.StrType, kinds.LiteralType, kinds.DictType), "string")
DTYPES |= {kinds.IntType: "Int64", kinds.FloatType: "Float64", kinds.BoolType: "boolean"}


@dataclass(frozen=True)
class Column:
    """A column of a stored table.

    Attributes:
        dtype: as pandas calls it.
        meaning: of its values.
        kind: of its values, as msgspec.inspect has it; a dict is stored as JSON.
        may_be_empty: in some rows.
        may_be_missing: in tables of earlier versions.
    """

    dtype: str
    meaning: str
    kind: kinds.Type
    may_be_empty: bool
    may_be_missing: bool

    def holds(self, values: "pd.Series[Any]") -> bool:
        """Tell whether these can be its values, in a table that anyone may have written."""
        known = values.dropna()
        if len(known) < len(values) and not self.may_be_empty:
            return False
        match self.kind:
            case kinds.IntType(ge=int(least)):
                return bool((known >= least).all())
            case kinds.StrType(pattern=str(pattern)):
                return all(re.search(pattern, value) for value in known.unique())
            case kinds.LiteralType(values=choices):
                return set(known) <= set(choices)
            case kinds.DictType():
                return all(map(_is_environment, known.unique()))
        return True


def columns(*records: type[Struct]) -> dict[str, Column]:
    """Return the columns that the fields of some records become, in order."""
    placed: list[tuple[str, Column]] = []
    for name, (kind, meaning, about) in (item for record in records for item in fields_of(record).items()):
        names = [each for each, _ in placed]
        variants = kind.types if isinstance(kind, kinds.UnionType) else (kind,)
        value = next(each for each in variants if not isinstance(each, kinds.NoneType))
        if isinstance(value, kinds.ListType | kinds.VarTupleType):
            value = value.item_type
        if name in names or type(value) not in DTYPES or "prefix" in about or not about.get("column", True):
            continue
        later = about.get("later", False)
        empty = about.get("empty", len(variants) > 1 and not isinstance(value, kinds.DictType))
        place = names.index(about["before"]) if about.get("before") in names else len(names)
        placed.insert(place, (name, Column(DTYPES[type(value)], meaning, value, empty or later, later)))
    return dict(placed)


# Of each table, in order. Settings come after them, and final scores.
RESULT_TYPES = columns(Who, Reported, Result, Setup, Probed)
CURVE_TYPES = columns(Who, Evaluation, Point)
DIAGNOSTICS_TYPES = columns(Who, StoredReading)
TIMING_TYPES = columns(Timing)


def wrong_column(frame: pd.DataFrame, types: dict[str, Column]) -> str | None:
    """Return a column with values that cannot be, in a table that anyone may have written."""
    for name, column in frame.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if numeric and not np.isfinite(column.dropna().astype(float)).all():
            return str(name)
        if name in types and not types[str(name)].holds(column):
            return str(name)
    if "status" in types:
        if not (frame["solved"] == (frame["status"] == "solved")).all():
            return "status"
        for status, names in KNOWN.items():
            for name in names:
                if frame.loc[frame["status"] == status, name].isna().any():
                    return name
    return None


def _is_environment(text: str) -> bool:
    """Tell whether a text is what an environment is stored as: a JSON object of single values."""
    try:
        msgspec.json.decode(text, type=Environment)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True
