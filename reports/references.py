"""What every other contender is compared with, where a sweep says so; else every two are compared."""

import json
from itertools import combinations

import pandas as pd

from reports.conditions import select
from reports.summary import REFERENCE_CELL


def compared_pairs(results: pd.DataFrame) -> list[tuple[str, str]]:
    """Return which contenders are compared, the reference first.

    A sweep's `reference` says by which columns' values references are known; a column that a row lacks is no
    objection. A contender is compared with the reference of its own cell, or else with the only one there is.
    """
    names = list(dict.fromkeys(results["contender"]))
    references = references_of(results)
    if not references:
        return list(combinations(names, 2))
    return [(references[name], name) for name in names if references.get(name, name) != name]


def primary_reference(results: pd.DataFrame) -> str | None:
    """Return the contender whose comparisons are the primary ones where all pairs are compared: the only one of the
    reference cell, or else the first; None where a sweep names a reference, with which alone others are compared."""
    if references_of(results):
        return None
    cells = _cells(results)
    of_cell = [str(name) for name in cells.index if cells[name] == REFERENCE_CELL]
    return of_cell[0] if len(of_cell) == 1 else str(cells.index[0]) if len(cells) else None


def references_of(results: pd.DataFrame) -> dict[str, str]:
    """Return each contender's reference, itself if it is one; nothing where no reference is named or found."""
    wanted = wanted_reference(results)
    if not wanted:
        return {}
    matching = pd.Series(results.index.isin(select(results, {}, wanted).index), index=results.index)
    cells = _cells(results)
    suitable = [name for name in cells.index if matching[results["contender"] == name].all()]
    chosen: dict[str, str] = {}
    for name, cell in cells.items():
        own = [reference for reference in suitable if cells[reference] == cell]
        candidates = [str(name)] if name in suitable else own or suitable
        if len(candidates) == 1:
            chosen[str(name)] = candidates[0]
    return chosen


def _cells(results: pd.DataFrame) -> "pd.Series[str]":
    """Return each contender's cell, by its name."""
    return pd.Series(dict(zip(results["contender"], results["cell"], strict=True)), dtype=object)


def wanted_reference(results: pd.DataFrame) -> dict[str, object]:
    """Return what the sweeps name as reference; nothing if they do not agree.

    Args:
        results: with the column `reference`, or a table for users, with one for each key.
    """
    if "reference" not in results:
        named = {column.removeprefix("reference."): results[column] for column in results if _is_of_reference(column)}
        values = {key: list(of.dropna().unique()) for key, of in named.items()}
        return {key: these[0] for key, these in values.items()} if all(len(v) == 1 for v in values.values()) else {}
    texts = set(results["reference"].dropna()) - {"", "{}"}
    conditions = json.loads(texts.pop()) if len(texts) == 1 else {}
    return conditions if isinstance(conditions, dict) else {}


def _is_of_reference(column: object) -> bool:
    return str(column).startswith("reference.")
