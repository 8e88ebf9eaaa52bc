"""Tables of .csv and .parquet. Whatever a file holds that cannot be used is told in one line with file, row and
column."""

import contextlib
import csv
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tasks.files import MOST_BYTES, checked_file

# Texts that stand for a missing value, in any case.
MISSING = ("", "?", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "nat", "null", "none")
LARGEST = float(np.finfo(np.float32).max)  # of a number: networks compute in single precision
WHOLE = 2.0**53  # up to which all whole numbers are told apart
SHOWN = 40  # letters of a value in a message


@dataclass(frozen=True)
class Table:
    """Columns of a file.

    Attributes:
        path: of the file.
        columns: texts or numbers (N) by name, in the file's order; a text of `MISSING` is a missing value, as NaN is.
        first: the number that messages give to the first row.
        decimal: what numbers in texts have before their fraction.
    """

    path: Path
    columns: dict[str, np.ndarray]
    first: int
    decimal: str = "."

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str, option: str) -> np.ndarray:
        """Return a column.

        Args:
            option: of the task, that names it.

        Raises:
            ValueError: there is none of that name.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, 1)
            meant = f"Did you mean {near[0]}?" if near else f"It has {listed(list(self.columns))}."
            raise ValueError(f"{self.path}: has no column {name}; set task.{option}. {meant}")
        return self.columns[name]

    def numbers(self, name: str, advice: str = "") -> np.ndarray:
        """Return a column as numbers (N), float64, NaN where they are missing.

        Raises:
            ValueError: a value is no finite number.
        """
        values = self.columns[name]
        with contextlib.suppress(ValueError):  # as most columns are
            values = values.astype(np.float64)
        if values.dtype.kind not in "fiub":
            texts = np.where(self.missing(name), "nan", values.astype(str))
            for truth, number in (("true", "1"), ("false", "0")):  # as .parquet has them
                texts = np.where(np.char.lower(texts) == truth, number, texts)
            if self.decimal == "," and (has_comma := np.char.find(texts, ",") >= 0).any():
                if (has_point := np.char.find(texts, ".") >= 0).any():
                    self.refuse(int(has_point.argmax()), name, "has a decimal point, and other rows decimal commas")
                texts = np.where(has_comma, np.char.replace(texts, ",", ".", count=1), texts)
            try:
                values = texts.astype(np.float64)
            except ValueError:
                row = next(i for i, text in enumerate(texts) if not is_number(text))
                what = f"{short(values[row])} is not a number"
                if _moment(str(values[row])) is not None:
                    what += f" but a date: set task.time={name} if it orders the rows"
                self.refuse(row, name, f"{what}{advice}")
        values = values.astype(np.float64)
        if (beyond := np.abs(values) > LARGEST).any():
            row = int(beyond.argmax())
            self.refuse(row, name, f"{values[row]} is not finite, or beyond single precision")
        return values

    def missing(self, name: str) -> np.ndarray:
        """Return at which rows (N) a column has no value."""
        values = self.columns[name]
        if values.dtype.kind in "fiub":
            return np.isnan(values.astype(np.float64))
        return np.isin(np.char.lower(np.char.strip(values.astype(str))), MISSING)

    def texts(self, name: str) -> np.ndarray:
        """Return a column as texts (N), for what names something.

        Raises:
            ValueError: a value is missing.
        """
        if (gone := self.missing(name)).any():
            self.refuse(int(gone.argmax()), name, "has no value")
        values = self.columns[name]
        if values.dtype.kind == "f" and (values == np.floor(values)).all() and (np.abs(values) < WHOLE).all():
            values = values.astype(np.int64)  # whole numbers that stood beside missing ones
        texts = np.char.strip(values.astype(str))
        if self.decimal == "," and all(re.fullmatch(r"[+-]?\d+(,\d+)?", text) for text in texts):
            texts = np.char.replace(texts, ",", ".")
        return texts

    def refuse(self, row: int, name: str, what: str) -> NoReturn:
        """Raise ValueError for a value, by the index of its row and its column."""
        raise ValueError(f"{self.path}: row {self.first + row}, column {name}: {what}")


def read_table(path: str) -> Table:
    """Return the columns of a .csv or .parquet file.

    A .csv file is UTF-8 and begins with the names of its columns; its delimiter is the one of
    , ; and tab that its first line has most of. With semicolons, numbers may have decimal commas.

    Raises:
        ValueError: it is none of these, or not whole.
    """
    found = checked_file(path)
    match found.suffix.lower():
        case ".csv" | ".tsv" | ".txt":
            return _read_csv(found)
        case ".parquet":
            return _read_parquet(found)
    raise ValueError(f"{path}: is not a table; give a .csv or .parquet file")


def _read_csv(path: Path) -> Table:
    body: list[list[str]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(rows, [])]
            _check_header(path, header)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{path}: row {rows.line_num} has {len(row)} values, and the first row names {len(header)} "
                        f"columns"
                    )
                body.append(row)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}: row {len(body) + 2}: {error}; is there a quote that does not end?") from error
    if not body:
        raise ValueError(f"{path}: has no rows below its header")
    columns = {name: np.array(column) for name, column in zip(header, zip(*body, strict=True), strict=True)}
    return Table(path, columns, 2, "," if delimiter == ";" else ".")


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise ValueError(f"{path}: is empty")
    for number, name in enumerate(header, start=1):
        if not name:
            raise ValueError(
                f"{path}: row 1: column {number} has no name; give it one, or leave it out (pandas: index=False)"
            )
        if re.fullmatch(r"Unnamed: \d+", name):
            raise ValueError(f"{path}: row 1: column {name} is an index that was written; leave it out")
    if all(map(is_number, header)):
        raise ValueError(f"{path}: row 1 has numbers; it must name the columns")
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"{path}: row 1: two columns are named {name}")


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)) > MOST_BYTES:
            raise ValueError(f"{path}: is larger than {MOST_BYTES >> 30} GiB")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    _check_header(path, table.column_names)
    if not len(table):
        raise ValueError(f"{path}: has no rows")
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if re.fullmatch(r"__index_level_\d+__", name):  # of pandas, of rows that were chosen or shuffled
            continue
        kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            columns[name] = column.cast(pa.float64()).to_numpy() if column.null_count else column.to_numpy()
        else:
            columns[name] = np.array(["" if value is None else str(value) for value in column.to_pylist()])
    return Table(path, columns, 1)


def input_columns(table: Table, others: Sequence[str | None], inputs: Sequence[str] | None) -> list[str]:
    """Return the names of a table's input columns: those given, or all but some others.

    Raises:
        ValueError: there are none, or not those.
    """
    if inputs is None:
        inputs = [name for name in table.columns if name not in others]
        if not inputs:
            raise ValueError(f"{table.path}: has no column of inputs besides {listed([o for o in others if o])}")
        return list(inputs)
    for name in inputs:
        table.column(name, "inputs")
        if name in others:
            raise ValueError(f"{table.path}: the column {name} cannot be an input: it is the target or orders the rows")
    return list(inputs)


def numeric(table: Table, names: Sequence[str]) -> np.ndarray:
    """Return columns as numbers (N, F).

    Raises:
        ValueError: a value is none.
    """
    advice = "; name the columns of numbers with task.inputs=[…]"
    return np.stack([table.numbers(name, advice) for name in names], axis=1)


def runs_of(table: Table, sequence: str, time: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the rows of each sequence, in the order in which they begin, their rows in that of time.

    Raises:
        ValueError: a row is of no sequence, or has no time.
    """
    named = table.texts(sequence)
    names, place, of_row = np.unique(named, return_index=True, return_inverse=True)
    order = in_time(table, time)
    order = order[np.argsort(of_row[order], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(of_row[order])) + 1)
    check_times(table, time, order, named)
    for k in np.argsort(place, kind="stable"):
        yield str(names[k]), parts[k]


def check_times(table: Table, time: str | None, order: np.ndarray, series: np.ndarray | None = None) -> None:
    """Raise ValueError if two rows of a series have one time.

    Args:
        order: the rows (N), those of a series together and in order.
        series: the name (N) of each row's; None: there is one.
    """
    if time is None:
        return
    texts = table.texts(time)
    same = texts[order[1:]] == texts[order[:-1]]
    if series is not None:
        same &= series[order[1:]] == series[order[:-1]]
    if same.any():
        row = int(order[1:][same][0])
        advice = "; set task.sequence to the column that tells several series apart, or task.time=null"
        said = f"another row, too{advice}" if series is None else f"another row of sequence {series[row]}, too"
        table.refuse(row, time, f"{short(texts[row])} is the time of {said}")


def in_time(table: Table, time: str | None) -> np.ndarray:
    """Return the rows (N) of a table in the order of a column: of numbers, or of dates as `_moment` reads them.

    Raises:
        ValueError: there is no such column, or a row has no time, or one that cannot be told.
    """
    if time is None:
        return np.arange(len(table))
    table.column(time, "time")
    texts = table.texts(time)
    if _moment(texts[0]) is None:
        return np.argsort(table.numbers(time, ", nor a date as 2024-01-31 or 2024-01-31 12:00"), kind="stable")
    moments = [_moment(text) for text in texts]
    zoned = moments[0] is not None and moments[0].tzinfo is not None
    for row, moment in enumerate(moments):
        if moment is None:
            table.refuse(row, time, f"{short(texts[row])} is not a date, and {short(texts[0])} in the first row is")
        if (moment.tzinfo is not None) != zoned:
            which = "has a time zone and the first row has none" if moment.tzinfo else "has no time zone as others have"
            table.refuse(row, time, f"{short(texts[row])} {which}")
    seconds = [moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() for moment in moments if moment is not None]
    return np.argsort(np.array(seconds, dtype=np.float64), kind="stable")


def _moment(text: str) -> datetime | None:
    """Return a date, with or without a time of day: as ISO 8601 has it, of a month alone its first day, or day first
    with points, 31.01.2024 or 01.2024. None for all else: of 01/02/2024 nobody knows the month."""
    if day_first := re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)", text):
        day, month, year, rest = day_first.groups()
        text = f"{year}-{int(month):02}-{int(day):02}{rest}"
    elif of_month := re.fullmatch(r"(0[1-9]|1[0-2])\.((?:18|19|20|21)\d{2})", text):
        text = f"{of_month[2]}-{of_month[1]}-01"
    elif re.fullmatch(r"\d{4}-\d{2}", text):
        text = f"{text}-01"
    elif is_number(text):  # 20240131 and 2024 sort as they are
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def is_number(text: Any) -> bool:
    """Tell whether a text is a number's."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def short(value: Any) -> str:
    """Return a value as messages quote it."""
    text = str(value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def listed(names: Sequence[str]) -> str:
    """Return names as messages list them."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
