"""Sequences of data files: of tables, of .npz's arrays, of .ts files of the UEA & UCR archive, and of images in the IDX
format. Nothing is unpickled."""

import gzip
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.files import IMAGES, MOST_BYTES, checked_file, files_of
from tasks.tables import LARGEST, MISSING, Table, input_columns, is_number, listed, numeric, read_table, runs_of, short

TARGET = "target"  # the option's default
INPUTS, TARGETS = ("inputs", "X", "x"), ("targets", "y")  # names of an .npz file's arrays
UBYTE = 0x08  # an IDX file's code for unsigned bytes


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


def read_sequences(
    path: str, sequence: str | None, target: str, time: str | None, group: str | None, inputs: Sequence[str] | None
) -> Sequences:
    """Return the sequences of a file, with the target of each.

    .csv and .parquet have a row per time step if they have a column that tells sequences apart, and else a row per
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
    given = {"sequence": sequence, "time": time, "inputs": inputs, "target": None if target == TARGET else target}
    match Path(path).suffix.lower():
        case ".npz":
            _refuse(path, given, "a .npz file has the arrays inputs and targets")
            found = _of_arrays(checked_file(path), group)
        case ".ts":
            _refuse(path, given | {"group": group}, "a .ts file has no columns")
            found = _of_archive(checked_file(path))
        case _ if IMAGES in Path(path).name:
            _refuse(path, given | {"group": group}, "images have no columns")
            found = _of_images(*map(checked_file, files_of(path)))
        case _:
            table = read_table(path)
            of_steps = sequence is not None or "sequence" in table.columns
            if time and not of_steps:
                raise ValueError(
                    f"{path}: task.time={time} puts the rows of a sequence in order, and no column tells sequences "
                    "apart; set task.sequence, or leave task.time out if each row is a sequence"
                )
            found = (
                _of_steps(table, sequence or "sequence", target, time, group, inputs)
                if of_steps
                else _of_rows(table, target, group, inputs)
            )
    for name, values in zip(found.names, found.values, strict=True):
        if not len(values):
            raise ValueError(f"{path}: {name} has no values")
    return found


def _refuse(path: str, given: Mapping[str, object], why: str) -> None:
    """Raise ValueError for an option that a format has no use for."""
    for option, value in given.items():
        if value:
            raise ValueError(f"{path}: task.{option}={value} says nothing of it: {why}")


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
                    row, str(column), f"{short(its[row])}, and sequence {name} began with {short(its[rows[0]])}"
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
    if not inputs.size:
        raise ValueError(f"{path}: inputs {inputs.shape} are empty")
    inputs = inputs.astype(np.float64).reshape(*inputs.shape[:2], -1)
    count, steps = inputs.shape[:2]
    if (beyond := np.abs(inputs) > LARGEST).any():
        where = ", ".join(map(str, np.argwhere(beyond)[0]))
        raise ValueError(f"{path}: inputs[{where}] is not finite, or beyond single precision")
    if len(targets) != count or targets.ndim not in (1, 2):
        raise ValueError(f"{path}: targets have the shape {targets.shape}, and there are {count} sequences")
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.dtype.kind not in "fiubUS":
        raise ValueError(f"{path}: targets are {targets.dtype}; numbers or texts are needed")
    if targets.dtype.kind == "U" and (gone := np.isin(np.char.lower(np.char.strip(targets)), MISSING)).any():
        raise ValueError(f"{path}: targets[{', '.join(map(str, np.argwhere(gone)[0]))}] has no value")
    if targets.dtype.kind == "f" and np.isnan(targets).any():
        where = ", ".join(map(str, np.argwhere(np.isnan(targets))[0]))
        raise ValueError(f"{path}: targets[{where}] has no value")
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
        raise ValueError(f"{path}: has no array {' or '.join(names)}; it has {listed(list(arrays))}")
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
    except (OSError, zipfile.BadZipFile, EOFError, SyntaxError, tokenize.TokenError, zlib.error) as error:
        raise ValueError(f"{path}: is not a .npz file ({str(error).splitlines()[0]})") from error


def _of_archive(path: Path) -> Sequences:
    """Return the sequences of a .ts file: `@` lines, then after `@data` a sequence a line, `dimension:dimension:class`,
    values of a dimension separated by commas, `?` where one is missing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    begun, stamped = False, False
    values, targets, names = list[np.ndarray](), list[str](), list[str]()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith(("#", "%")):
            continue
        if not begun:
            key, *said = line.lower().split()
            stamped |= key == "@timestamps" and said[:1] == ["true"]
            if key in ("@classlabel", "@targetlabel") and said[:1] == ["false"]:
                raise ValueError(f"{path}: row {number}: has no target of its sequences ({line})")
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
        if target.strip().lower() in MISSING:
            raise ValueError(f"{path}: row {number}: its class is missing")
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
        raise ValueError(f"{path}: is not an IDX file of bytes, {dimensions} dimension{'s' if dimensions > 1 else ''}")
    shape = tuple(np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).tolist())
    values = np.frombuffer(content, dtype=np.uint8, offset=4 * (dimensions + 1))
    if len(values) != math.prod(shape) or not len(values):
        raise ValueError(f"{path}: has {len(values):,} values, and its head says {' × '.join(map(str, shape))}")
    return values.reshape(shape)


def _parsed(path: Path, row: int, dimension: int, texts: list[str]) -> np.ndarray:
    for text in texts:
        if not is_number(text) and text.strip().lower() not in MISSING:
            raise ValueError(f"{path}: row {row}, dimension {dimension}: {short(text)} is not a number")
    values = np.array([float(text) if is_number(text) else np.nan for text in texts])
    if (beyond := np.abs(values) > LARGEST).any():
        what = f"{short(texts[int(beyond.argmax())])} is not finite, or beyond single precision"
        raise ValueError(f"{path}: row {row}, dimension {dimension}: {what}")
    return values
