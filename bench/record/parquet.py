"""Decoding Parquet files that anyone may have written: their size bounds the memory that they can take.

Run lengths and dictionaries let kilobytes stand for gigabytes, and a table of ours is small for what it holds as well:
most of its columns are the same in many rows. But no row is free; each has numbers of its own. So a table may hold some
tens of cells, and some hundreds of characters, for each byte of its file, several times what any stored one does."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.record.files import Damaged

SOME_CELLS, CELLS_PER_BYTE = 1 << 22, 32  # 3 in the densest table in the gallery
SOME_CHARACTERS, CHARACTERS_PER_BYTE = 1 << 26, 1024  # 86 there
TYPES = {"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY"}  # eight bytes a cell at most, and texts
CODECS = {0, 1}  # none, and Snappy, which we write with: it gains a factor of 25 at most, others thousands
FOOTER_BYTES = 64 << 20


def read_table(file: BinaryIO, size: int, path: Path) -> pa.Table:
    """Return the table in a Parquet file.

    Raises:
        Damaged: it holds what no table of ours does, or more than one of its size.
        Exception: whatever Arrow makes of garbage.
    """
    if not _codecs(file, size) <= CODECS:
        raise Damaged(f"{path}: has an unexpected compression")
    file.seek(0)
    about = pq.ParquetFile(file).metadata
    columns = [about.schema.column(number) for number in range(about.num_columns)]
    if not all(column.physical_type in TYPES and not column.max_repetition_level for column in columns):
        raise Damaged(f"{path}: holds values of unexpected types")
    # What is decoded, whatever the file says that it is in all.
    rows = sum(max(about.row_group(number).num_rows, 0) for number in range(about.num_row_groups))
    if rows * len(columns) > SOME_CELLS + CELLS_PER_BYTE * size:
        raise Damaged(f"{path}: claims {rows:,} rows, more than any such table in {size:,} bytes")
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    file.seek(0)
    # As dictionaries, in which a text that is in many rows is there once.
    table = pq.ParquetFile(file, read_dictionary=texts).read()
    table.validate(full=True)  # that they point into the dictionary: what follows would read elsewhere in memory
    left = SOME_CHARACTERS + CHARACTERS_PER_BYTE * size
    for number, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            left -= sum(map(_characters, table.column(number).chunks))
            if left < 0:
                raise Damaged(f"{path}: holds longer texts than any such table in {size:,} bytes")
            table = table.set_column(number, field.name, table.column(number).cast(field.type.value_type))
    return table


def _characters(chunk: pa.DictionaryArray) -> int:
    """Return how long the texts in a column are together, in bytes, if each is written out."""
    return pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0


def _codecs(file: BinaryIO, size: int) -> set[int]:
    """Return how columns are compressed, as the file's footer says: Arrow tells, but a footer that is damaged ends the
    process then.

    Raises:
        ValueError, IndexError, KeyError, TypeError, RecursionError: that is no footer.
    """
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    if length > min(size - 8, FOOTER_BYTES):
        raise ValueError("no footer")
    file.seek(-8 - length, os.SEEK_END)
    footer = _Thrift(file.read(length)).struct()
    row_groups, columns, column, codec = 4, 1, 3, 4  # numbers of fields in parquet.thrift
    return {chunk[column][codec] for group in footer[row_groups] for chunk in group[columns]}


class _Thrift:
    """Reads what Thrift's compact protocol encodes: structs as dicts by the numbers of fields."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):  # in a list, a truth value takes a byte
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (7, 8):
            length = 8 if kind == 7 else self._varint()
            self._at += length
            return None
        if kind in (9, 10):
            head = self._byte()
            return [self._value(head & 15) for _ in range(head >> 4 if head >> 4 < 15 else self._varint())]
        if kind == 12:
            return self.struct()
        raise ValueError("no value of any kind in a footer")

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) > 127 and shift < 64:
            value, shift = value | (byte & 127) << shift, shift + 7
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
