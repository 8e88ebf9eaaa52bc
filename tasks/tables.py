"""Data files: tables of .csv and .parquet, arrays of .npz, and .ts of the UEA & UCR archive. Nothing is unpickled, and
whatever a file holds that cannot be used is told in one line with file, row and column."""

import csv
import difflib
import functools
import gzip
import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

MOST_BYTES = 4 << 30  # of a file, and of what it unpacks to
MISSING = ("", "?", "na", "n/a", "nan", "null", "none")  # texts that stand for a missing value, in any case
INPUTS, TARGETS = ("inputs", "X", "x"), ("targets", "y")  # names of an .npz file's arrays
IMAGES = "idx3-ubyte"  # in the names of files of images, as MNIST has them
UBYTE = 0x08  # an IDX file's code for unsigned bytes
SHOWN = 40  # letters of a value in a message


@dataclass(frozen=True)
class Table:
    """Columns of a file.

    Attributes:
        path: of the file.
        columns: texts or numbers (N) by name, in the file's order; a text of `MISSING` is a missing value, as NaN is.
        first: the number that messages give to the first row.
    """

    path: Path
    columns: dict[str, np.ndarray]
    first: int

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
            meant = f"Did you mean {near[0]}?" if near else f"It has {_listed(list(self.columns))}."
            raise ValueError(f"{self.path}: has no column {name}; set task.{option}. {meant}")
        return self.columns[name]

    def numbers(self, name: str, advice: str = "") -> np.ndarray:
        """Return a column as numbers (N), float64, NaN where they are missing.

        Raises:
            ValueError: a value is no finite number.
        """
        values = self.columns[name]
        if values.dtype.kind not in "fiub":
            texts = np.where(self.missing(name), "nan", values.astype(str))
            try:
                values = texts.astype(np.float64)
            except ValueError:
                row = next(i for i, text in enumerate(texts) if not _is_number(text))
                self.refuse(row, name, f"{_short(values[row])} is no number{advice}")
        values = values.astype(np.float64)
        if np.isinf(values).any():
            self.refuse(int(np.isinf(values).argmax()), name, "is not finite")
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
        if values.dtype.kind == "f" and (values == np.floor(values)).all():
            values = values.astype(np.int64)  # whole numbers that stood beside missing ones
        return np.char.strip(values.astype(str))

    def refuse(self, row: int, name: str, what: str) -> NoReturn:
        """Raise ValueError for a value, by the index of its row and its column."""
        raise ValueError(f"{self.path}: row {self.first + row}, column {name}: {what}")


@dataclass(frozen=True)
class Sequences:
    """Sequences of a file.

    Attributes:
        path: of the file.
        values: of each, (T, F), float64, NaN where they are missing.
        features: names of the F.
        names: of each, for messages, e.g. "row 3".
        targets: of each, texts or numbers (N) or (N, K); None if there are none.
        groups: to which each belongs (N); None if that is not told.
    """

    path: Path
    values: list[np.ndarray]
    features: list[str]
    names: list[str]
    targets: np.ndarray | None = None
    groups: np.ndarray | None = None


def files_of(path: str) -> list[str]:
    """Return the files that are read where one is named: beside images of the IDX format, their labels."""
    name = Path(path).name
    return [path, str(Path(path).with_name(_labels_of(name)))] if IMAGES in name else [path]


def _labels_of(name: str) -> str:
    return name.replace("images", "labels").replace(IMAGES, "idx1-ubyte")


def content_of(paths: Sequence[str]) -> str:
    """Return the first 16 hex digits of the SHA-256 of files' contents.

    Raises:
        ValueError: one cannot be read.
    """
    known = hashlib.sha256()
    for path in (each for named in paths for each in files_of(named)):
        about = checked_file(path).stat()
        known.update(_digest(path, about.st_size, about.st_mtime_ns))
    return known.hexdigest()[:16]


@functools.lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> bytes:
    """Return the SHA-256 of a file, told by size and time of its last change."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def checked_file(path: str) -> Path:
    """Return the path of a file that is there and not too large.

    Raises:
        ValueError: it is not.
    """
    found = Path(path)
    try:
        if not found.is_file():
            raise ValueError(f"{path}: no such file")
        size = found.stat().st_size
        with found.open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MOST_BYTES:
        raise ValueError(f"{path}: is larger than {MOST_BYTES >> 30} GiB")
    return found


def read_table(path: str) -> Table:
    """Return the columns of a .csv or .parquet file.

    A .csv file is UTF-8 and begins with the names of its columns; its delimiter is the one of
    , ; and tab that its first line has most of.

    Raises:
        ValueError: it is none of these, or not whole.
    """
    found = checked_file(path)
    match found.suffix.lower():
        case ".csv" | ".tsv" | ".txt":
            return _read_csv(found)
        case ".parquet":
            return _read_parquet(found)
    raise ValueError(f"{path}: is no table; give a .csv or .parquet file")


def _read_csv(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(rows, [])]
            _check_header(path, header)
            body: list[list[str]] = []
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{path}: row {len(body) + 2} has {len(row)} values, and the first row names {len(header)} "
                        f"columns"
                    )
                body.append(row)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}: row {len(body) + 2}: {error}") from error
    if not body:
        raise ValueError(f"{path}: has no rows below its header")
    return Table(
        path, {name: np.array(column) for name, column in zip(header, zip(*body, strict=True), strict=True)}, 2
    )


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise ValueError(f"{path}: is empty")
    for number, name in enumerate(header, start=1):
        if not name:
            raise ValueError(f"{path}: row 1: column {number} has no name")
        if header.count(name) > 1:
            raise ValueError(f"{path}: row 1: two columns are named {name}")
    if all(map(_is_number, header)):
        raise ValueError(f"{path}: row 1 has numbers; it must name the columns")


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
        kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            columns[name] = column.cast(pa.float64()).to_numpy() if column.null_count else column.to_numpy()
        else:
            columns[name] = np.array(["" if value is None else str(value) for value in column.to_pylist()])
    return Table(path, columns, 1)


def read_sequences(
    path: str, sequence: str | None, target: str, time: str | None, group: str | None, inputs: Sequence[str] | None
) -> Sequences:
    """Return the sequences of a file, with the target of each.

    .csv and .parquet have a row a time step if they have a column that tells sequences apart, and else a row a
    sequence, whose columns are the steps of one feature. .npz has arrays `inputs` (N, T) or (N, T, F), `targets` (N) or
    (N, K), if sequences differ in length `lengths` (N), and any named by `group`. Images of the IDX format, named as
    MNIST's files are, have a pixel a step. Where a row is a sequence, and in
    .npz without `lengths` and .ts, missing values at a sequence's end are no part of it.

    Args:
        path: its ending tells what it is.
        sequence: column that tells sequences apart; None: "sequence", if there is one.
        target: column of what is asked for, the same at all rows of a sequence.
        time: column by which the rows of a sequence are put in order; None: they are in order.
        group: column of what sequences belong to.
        inputs: columns of the features; None: all others.

    Raises:
        ValueError: what is wrong with the file, in one line.
    """
    match Path(path).suffix.lower():
        case ".npz":
            found = _of_arrays(checked_file(path), group)
        case ".ts":
            found = _of_archive(checked_file(path))
        case _ if IMAGES in Path(path).name:
            found = _of_images(*map(checked_file, files_of(path)))
        case _:
            table = read_table(path)
            of_steps = sequence is not None or "sequence" in table.columns
            found = (
                _of_steps(table, sequence or "sequence", target, time, group, inputs)
                if of_steps
                else _of_rows(table, target, group, inputs)
            )
    for name, values in zip(found.names, found.values, strict=True):
        if not len(values):
            raise ValueError(f"{path}: {name} has no values")
    return found


def input_columns(table: Table, others: Sequence[str | None], inputs: Sequence[str] | None) -> list[str]:
    """Return the names of a table's input columns: those given, or all but some others.

    Raises:
        ValueError: there are none, or not those.
    """
    if inputs is None:
        inputs = [name for name in table.columns if name not in others]
        if not inputs:
            raise ValueError(f"{table.path}: has no column of inputs besides {_listed([o for o in others if o])}")
        return list(inputs)
    for name in inputs:
        table.column(name, "inputs")
        if name in others:
            raise ValueError(f"{table.path}: the column {name} is no input: it names the target, or orders the rows")
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
    names, place, of_row = np.unique(table.texts(sequence), return_index=True, return_inverse=True)
    order = in_time(table, time)
    order = order[np.argsort(of_row[order], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(of_row[order])) + 1)
    for k in np.argsort(place, kind="stable"):
        yield str(names[k]), parts[k]


def in_time(table: Table, time: str | None) -> np.ndarray:
    """Return the rows (N) of a table in the order of a column: of numbers, or of texts as ISO 8601 dates sort.

    Raises:
        ValueError: there is no such column, or a row has no time.
    """
    if time is None:
        return np.arange(len(table))
    table.column(time, "time")
    texts = table.texts(time)
    return np.argsort(table.numbers(time) if _is_number(texts[0]) else texts, kind="stable")


def _of_steps(
    table: Table, sequence: str, target: str, time: str | None, group: str | None, inputs: Sequence[str] | None
) -> Sequences:
    table.column(sequence, "sequence")
    table.column(target, "target")
    groups = table.texts(group) if group and len(table.column(group, "group")) else None
    features = input_columns(table, [sequence, target, time, group], inputs)
    values, targets = numeric(table, features), table.texts(target)
    names, parts = zip(*runs_of(table, sequence, time), strict=True)
    for name, rows in zip(names, parts, strict=True):
        for column, its in ((target, targets), (group, groups)):
            if its is not None and (other := its[rows] != its[rows[0]]).any():
                row = int(rows[other.argmax()])
                table.refuse(
                    row, str(column), f"{_short(its[row])}, and sequence {name} began with {_short(its[rows[0]])}"
                )
    first = np.array([rows[0] for rows in parts])
    return Sequences(
        table.path, [values[rows] for rows in parts], features, [f"sequence {name}" for name in names], targets[first],
        None if groups is None else groups[first],
    )  # fmt: skip


def _of_rows(table: Table, target: str, group: str | None, inputs: Sequence[str] | None) -> Sequences:
    table.column(target, "target")
    steps = input_columns(table, [target, group], inputs)
    values = numeric(table, steps)
    groups = table.texts(group) if group and len(table.column(group, "group")) else None
    names = [f"row {table.first + i}" for i in range(len(table))]
    return Sequences(
        table.path, [_to_end(row[:, None]) for row in values], ["value"], names, table.texts(target), groups
    )


def _to_end(values: np.ndarray) -> np.ndarray:
    """Return values (T, F) without missing ones at their end."""
    known = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: known[-1] + 1] if len(known) else values[:0]


def _of_arrays(path: Path, group: str | None) -> Sequences:
    arrays = read_arrays(path)
    inputs, targets = (_array(path, arrays, names) for names in (INPUTS, TARGETS))
    if inputs.ndim not in (2, 3) or inputs.dtype.kind not in "fiub":
        raise ValueError(f"{path}: inputs are {inputs.dtype} {inputs.shape}; numbers (N, T) or (N, T, F) are needed")
    inputs = inputs.astype(np.float64).reshape(*inputs.shape[:2], -1)
    count, steps = inputs.shape[:2]
    if np.isinf(inputs).any():
        where = np.argwhere(np.isinf(inputs))[0]
        raise ValueError(f"{path}: inputs[{', '.join(map(str, where))}] is not finite")
    if len(targets) != count or targets.ndim not in (1, 2):
        raise ValueError(f"{path}: targets have the shape {targets.shape}, and there are {count} sequences")
    lengths = arrays.get("lengths")
    if lengths is not None and (
        lengths.shape != (count,) or lengths.dtype.kind not in "iu" or not ((lengths >= 1) & (lengths <= steps)).all()
    ):
        raise ValueError(f"{path}: lengths must be {count} whole numbers from 1 to {steps}")
    if group is not None and (group not in arrays or arrays[group].shape != (count,)):
        raise ValueError(f"{path}: has no array {group} with {count} elements; set task.group")
    values = [_to_end(each) if lengths is None else each[: lengths[i]] for i, each in enumerate(inputs)]
    features = [f"feature {k}" for k in range(inputs.shape[2])]
    names = [f"inputs[{i}]" for i in range(count)]
    return Sequences(path, values, features, names, targets, None if group is None else arrays[group].astype(str))


def _array(path: Path, arrays: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    found = next((arrays[name] for name in names if name in arrays), None)
    if found is None:
        raise ValueError(f"{path}: has no array {' or '.join(names)}; it has {_listed(list(arrays))}")
    return found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file, by name. Those of Python's objects are refused: reading them runs code.

    Raises:
        ValueError: it is none, or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(each.file_size for each in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"{path}: unpacks to more than {MOST_BYTES >> 30} GiB")
        with np.load(path, allow_pickle=False) as file:
            arrays = {}
            for name in file.files:
                try:
                    arrays[name] = np.asarray(file[name])
                except ValueError as error:
                    raise ValueError(f"{path}: the array {name} cannot be read ({error})") from error
            return arrays
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: is no .npz file ({str(error).splitlines()[0]})") from error


def _of_archive(path: Path) -> Sequences:
    """Return the sequences of a .ts file: `@` lines, then after `@data` a sequence a line, `dimension:dimension:class`,
    values of a dimension separated by commas, `?` where one is missing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no UTF-8 text (byte {error.start})") from error
    begun, stamped = False, False
    values, targets, names = list[np.ndarray](), list[str](), list[str]()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith(("#", "%")):
            continue
        if not begun:
            key, *said = line.lower().split()
            stamped |= key == "@timestamps" and said[:1] == ["true"]
            begun = key == "@data"
            continue
        if stamped:
            raise ValueError(f"{path}: has time stamps, which are not read; give values at equal intervals")
        *dimensions, target = line.split(":")
        columns = [_parsed(path, number, k, each.split(",")) for k, each in enumerate(dimensions, start=1)]
        if not columns or len({len(column) for column in columns}) > 1:
            raise ValueError(f"{path}: row {number}: its dimensions differ in length, or it has none")
        if values and len(columns) != values[0].shape[1]:
            raise ValueError(
                f"{path}: row {number} has {len(columns)} dimensions, and those before have {values[0].shape[1]}"
            )
        values.append(_to_end(np.stack(columns, axis=1)))
        targets.append(target.strip())
        names.append(f"row {number}")
    if not values:
        raise ValueError(f"{path}: has no sequences after @data")
    features = [f"dimension {k}" for k in range(1, values[0].shape[1] + 1)]
    return Sequences(path, values, features, names, np.array(targets))


def _of_images(path: Path, labels: Path) -> Sequences:
    """Return images, a pixel a step, row by row, and their labels, from files in the format of MNIST's (LeCun et al.
    1998)."""
    images, targets = _read_idx(path, 3), _read_idx(labels, 1)
    if len(images) != len(targets):
        raise ValueError(f"{labels}: has {len(targets)} labels, and there are {len(images)} images")
    pixels = images.reshape(len(images), -1, 1).astype(np.float32)
    return Sequences(path, list(pixels), ["pixel"], [f"image {i}" for i in range(len(images))], targets.astype(str))


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the array of bytes in an IDX file, which may be compressed by gzip."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if content[:4] != bytes([0, 0, UBYTE, dimensions]) or len(content) < 4 * (dimensions + 1):
        raise ValueError(f"{path}: is no IDX file of bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}")
    shape = tuple(np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).tolist())
    values = np.frombuffer(content, dtype=np.uint8, offset=4 * (dimensions + 1))
    if len(values) != math.prod(shape) or not len(values):
        raise ValueError(f"{path}: has {len(values):,} values, and its head says {' × '.join(map(str, shape))}")
    return values.reshape(shape)


def _parsed(path: Path, row: int, dimension: int, texts: list[str]) -> np.ndarray:
    for text in texts:
        if not _is_number(text) and text.strip().lower() not in MISSING:
            raise ValueError(f"{path}: row {row}, dimension {dimension}: {_short(text)} is no number")
    return np.array([float(text) if _is_number(text) else np.nan for text in texts])


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
