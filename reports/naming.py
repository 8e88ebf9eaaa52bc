"""Naming what is compared: each run's problem and contender, by what varies between runs."""

import contextlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.record.files import digest
from reports.selection import selected
from reports.spending import BY_BUDGET, has_other_budget

# Settings of tasks that are no part of the problem, but of how it is gone about: they name contenders.
METHODS = ("task.strategy",)
# Settings of cells that may follow from the task, such as a size that is matched there, and then name nothing.
OF_TASK = ("cell.hidden_size", "cell.longest_memory", "cell.input_bias", "cell.output_bias")
# Settings of a stack that name nothing where they follow from its number of layers.
OF_LAYERS = ("cell.residual", "cell.norm", "cell.feedforward")
# Settings that make another network of a cell than its name tells, from these values on.
OF_STACK = {"cell.layers": 2, "cell.bidirectional": 1}
KNOWN = ("rnn", "lstm", "peephole_lstm", "gru", "attention_lstm")  # cells, in the order in which tables list them
MOST_LETTERS = 100  # of a value within a name
# Columns of what a run's training depends on.
SETTINGS = ("cell.", "task.", "training.", "device", "dtype")


def with_names(results: pd.DataFrame, whole: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return results with `problem` and `contender`, such that runs of one name and seed differ in nothing that
    training depends on, but in settings that are selected; and `own_problem` and `own_contender`, their names without
    other sweeps' runs. Of a part of the whole, see `contenders_of`."""
    own = pd.concat([_named(runs, whole) for _, runs in results.groupby("sweep", sort=False)]).loc[results.index]
    named = _named(results, whole) if results["sweep"].nunique() > 1 else own
    return named.assign(own_problem=own["problem"], own_contender=own["contender"])


def _named(results: pd.DataFrame, whole: pd.DataFrame | None) -> pd.DataFrame:
    return _apart(results.assign(problem=problems_of(results), contender=contenders_of(results, whole)))


def by_own_names(results: pd.DataFrame) -> pd.DataFrame:
    """Return results under the names that each sweep alone gives them, by which sweeps are matched that differ in a
    setting."""
    return results.assign(problem=results["own_problem"], contender=results["own_contender"])


def natural(name: str) -> list[object]:
    """Return a sort key in which the numbers in a name count as numbers: "length 50" before "length 100"."""
    # Texts and numbers alternate, beginning with a text, so that keys compare like with like.
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def cells_in_order(cells: Iterable[str]) -> list[str]:
    """Return each cell once, in the order in which tables and legends list them."""
    names = set(cells)
    return [*(cell for cell in KNOWN if cell in names), *sorted(names - set(KNOWN))]


def in_order(runs: pd.DataFrame) -> pd.DataFrame:
    """Sort runs by problem, by cell as figures do, and by contender."""
    order = {
        "problem": sorted(set(runs["problem"]), key=natural),
        "cell": cells_in_order(runs["cell"]),
        "contender": sorted(set(runs["contender"]), key=natural),
    }
    ranks = []
    for name, values in order.items():
        rank = {value: i for i, value in enumerate(values)}
        ranks.append([rank[value] for value in runs[name].tolist()])
    return runs.iloc[np.lexsort(ranks[::-1])].reset_index(drop=True)


def varying(frame: pd.DataFrame, prefixes: Sequence[str]) -> list[str]:
    """Return the columns with one of the prefixes (or equal to one) that take more than one value; a class or
    version that older tables do not tell is none."""
    columns = [column for column in frame.columns if column.startswith(tuple(prefixes))]
    return [column for column in columns if frame[column].nunique(dropna="._" in column) > 1]


def problems_of(results: pd.DataFrame, but: Collection[str] = ()) -> "pd.Series[str]":
    """Name each run's problem: its task, and those task and training settings that vary within the task. Settings that
    are selected are no part of it, nor is a number of steps that follows from a budget of another kind, nor columns
    that are excepted."""
    names = pd.Series("", index=results.index)
    for task, runs in results.groupby("task"):
        left_out = selected(runs) | (BY_BUDGET if has_other_budget(runs) else set()) | {*METHODS, *but}
        columns = [c for c in varying(runs, ["task.", "training.", "device", "dtype"]) if c not in left_out]
        if "task.file" in columns:  # whose name says more than its content's digest
            columns = [c for c in columns if c != "task.content"]
        names.loc[runs.index] = _describe(runs, str(task), _needed(runs, columns))
    return names


def _needed(runs: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the columns that tell problems apart. One that follows from the others is left out, such as a budget that
    each length has; settings of training and criteria go first."""
    first = [c for c in columns if c.startswith(("training.", "task.solved_"))]
    needed = columns
    for column in [*first, *reversed([c for c in columns if c not in first])]:
        others = [c for c in needed if c != column]
        if others and (runs.groupby(others, dropna=False)[column].nunique(dropna=False) <= 1).all():
            needed = others
    return needed


def contenders_of(results: pd.DataFrame, whole: pd.DataFrame | None = None) -> "pd.Series[str]":
    """Name each run's contender: its cell, and what varies between runs of that cell; several layers or directions; the
    layer of a cell that is a layer of some package, unless it has that name; and the sweep, if several. Of a part of
    the whole, the number of layers is also named where it varies in the whole: the reader knows both networks."""
    names = pd.Series("", index=results.index)
    several = results["sweep"].nunique() > 1
    for cell, given in results.groupby("cell"):
        runs = _said_alike(given)
        layers = [
            column
            for column in ("cell.layer",)
            if column in runs and (runs[column].dropna().astype("string").str.lower() != str(cell).lower()).any()
        ]
        varied = [column for column in varying(runs, ["cell.", *METHODS]) if column not in selected(runs)]
        varied = [column for column in varied if not _follows_from_layers(runs, column)]
        others = [column for column in varied if column not in OF_TASK]
        varied = [column for column in varied if not _follows_from_task(runs, column, others)]
        stacked = [
            *_stacked(runs),
            *([] if whole is None else varying(_said_alike(whole[whole["cell"] == cell]), [*OF_STACK])),
        ]
        columns = list(dict.fromkeys([*layers, *stacked, *varied, *(["sweep"] if several else [])]))
        names.loc[runs.index] = _describe(runs, str(cell), columns)
    return names


def _said_alike(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs of a cell such that those which say that they have one layer, or direction, are as those which say
    nothing, if none has more."""
    single = [column for column, more in OF_STACK.items() if column in runs and not runs[column].ge(more).any()]
    return runs.assign(**dict.fromkeys(single))


def _stacked(runs: pd.DataFrame) -> list[str]:
    """Return the settings that make a stack of a cell. Of residual blocks, names such as the Transformer's tell it."""
    plain = runs[~runs["cell.residual"].eq(True).fillna(False).astype(bool)] if "cell.residual" in runs else runs
    return [
        column
        for column, value in OF_STACK.items()
        if column in plain and plain[column].dropna().astype(float).ge(value).any()
    ]


def _follows_from_task(runs: pd.DataFrame, column: str, others: list[str]) -> bool:
    """Tell whether a setting of a cell has one value at each task and with each of others, and so tells nothing apart
    there."""
    if column not in OF_TASK:
        return False
    settings = [column for column in runs if column.startswith("task.")]
    values = runs.groupby(["sweep", "task", *settings, *others], dropna=False)[column].nunique()
    return bool((values <= 1).all())


def _follows_from_layers(runs: pd.DataFrame, column: str) -> bool:
    """Tell whether a setting of a stack has one value at each number of layers."""
    if column not in OF_LAYERS or "cell.layers" not in runs:
        return False
    return bool((runs.groupby("cell.layers", dropna=False)[column].nunique(dropna=False) <= 1).all())


def _short(value: str) -> str:
    """Return a value as names have it: of a long one its beginning, and what tells it from others that begin so."""
    return value if len(value) <= MOST_LETTERS else f"{value[:MOST_LETTERS]}… {digest(value.encode())[:8]}"


def _describe(runs: pd.DataFrame, name: str, columns: list[str]) -> list[str]:
    """Return a name for each run: `name`, and what its columns hold; words speak for themselves, and what is not
    set is not spoken of."""
    said = {column: _said(column, runs[column]) for column in columns}
    return [
        ", ".join([name, *(said[column][row[column]] for column in columns if row[column] in said[column])])
        for _, row in runs.iterrows()
    ]


def _said(column: str, values: "pd.Series[Any]") -> dict[Any, str]:
    """Return how names have each value of a column: in a few digits, or in all of them where those are not enough."""
    key = column.rpartition(".")[2].strip("_")

    def number(item: Any) -> Any:
        """Read a number out of a text: a column that also has words holds its numbers as texts."""
        with contextlib.suppress(ValueError):
            return float(item) if isinstance(item, str) and column != "sweep" else item
        return item

    def short(item: Any) -> str:
        return f"{item:g}" if isinstance(item, float) else _short(str(item))

    items = [item for item in values.unique() if not pd.isna(item)]
    numbers = list(map(number, items))
    texts = list(map(short, numbers))
    texts = [text if texts.count(text) == 1 else _short(str(item)) for item, text in zip(items, texts, strict=True)]
    # Where all are texts that look like numbers, they are words too.
    said = numbers if any(isinstance(item, str) for item in numbers) else items
    is_name = column != "sweep" and key != "version"
    words = [is_name and isinstance(item, str) and not item.startswith("[") for item in said]  # a list is no word
    return {i: text if word else f"{key} {text}" for i, text, word in zip(items, texts, words, strict=True)}


def _apart(results: pd.DataFrame) -> pd.DataFrame:
    """Name contenders apart whose runs of one seed differ in settings that their names leave out: those of a budget,
    or those that are selected elsewhere."""
    names = results["contender"].copy()
    for (_, contender), runs in results.groupby(["problem", "contender"], sort=False):
        if not runs.duplicated(["sweep", "seed"]).any():
            continue
        seeds = runs.groupby(["sweep", "seed"], sort=False)
        columns = [
            column
            for column in varying(runs, SETTINGS)
            if column not in selected(runs) and seeds[column].nunique(dropna=False).max() > 1
        ]
        names.loc[runs.index] = _describe(runs, str(contender), columns)
    return results.assign(contender=names)
