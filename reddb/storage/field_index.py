"""The indexes of a sealed segment on fields: which rows have a value, found by binary search.

    segments/<segment id>/
        fields.<n>    a checked file ("fidx"): an Arrow IPC file of one record batch with one row; n is the number that
                      the manifest gives the segment's index

    schema metadata    paths = JSON list of the paths that are indexed, named as in `storage/payload_columns.py`
                       names = 1: keys of a path are in it whatever their case; files of earlier builds do not say so
    columns            "family:path" for each family of single values that any row has there, a struct of three lists:
                         values    the distinct values (d,), ascending; text by code point
                         first     uint32 (d + 1,): the rows of value i are rows[first[i] : first[i + 1]]
                         rows      uint32 (n,): row numbers in the order of their values, those of one value ascending

One file for all paths, so that a builder that dies leaves nothing that a later one would not write over. It costs 4
bytes a row, and 4 and the value itself for each distinct value.

Invariants:
  * The file is a cache: without it, or for a path that it does not name, the columns are scanned.
  * Nothing of it is used before the checksum of all of it was computed, once by each process.
  * A NaN is in no index: it neither equals nor comes before or behind anything.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb import errors
from reddb.described import from_json, list_of
from reddb.disk import Disk
from reddb.storage.checked_file import open_checked, write_checked
from reddb.storage.payload_columns import ARROW_TYPES, Family
from reddb.storage.sealed import SealedSegment, identity_of
from reddb.types import Collection

_CONTENT = b"fidx"
_INDEXED = (Family.BOOL, Family.INT, Family.FLOAT, Family.TEXT, Family.TIMESTAMP)


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """The rows that have a value of one family, in the order of the values; see above."""

    family: Family
    values: pa.Array
    first: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    def before(self, value: Any, *, including: bool) -> int:
        """How many of the rows have a value below this one, or, `including`, one that is not above it."""
        search = bisect_right if including else bisect_left
        return int(self.first[search(self.values, value, key=_plain)])  # Python compares INT with FLOAT exactly


FieldIndexes: TypeAlias = Mapping[str, tuple[Ordered, ...]]  # by path; none for a path where no row has a single value


class SpelledIndexes(dict[str, tuple[Ordered, ...]]):
    """Those of an earlier build: of rows whose keys are spelled as the path, and no others."""


def write_field_indexes(
    disk: Disk, folder: Path, collection: Collection, partition: int, segment_id: int, segment: SealedSegment, n: int
) -> None:
    """Write fields.<n> for the collection's indexes. Raises DISK_FULL, DISK_FAILED or CORRUPT_DATA."""
    path = folder / index_file(n)
    # A builder before may have left half of one; and a backup may share the file of an index that is made anew.
    disk.remove_file(path)
    if not collection.indexes:
        return
    indexes = {path: _ordered(segment.payload_columns().families(path)) for path in collection.indexes}
    identity = identity_of(collection, partition, segment_id, _CONTENT, segment.rows)
    write_checked(disk, path, identity, [_to_bytes(indexes)])
    disk.sync_folder(folder)


def open_field_indexes(
    disk: Disk, folder: Path, collection: Collection, partition: int, segment_id: int, rows: int, n: int
) -> FieldIndexes:
    """The indexes of a segment, mapped and verified; none without a file. Raises CORRUPT_DATA naming the file."""
    if index_file(n) not in disk.list_folder(folder):
        return {}
    identity = identity_of(collection, partition, segment_id, _CONTENT, rows)
    content = open_checked(disk, folder / index_file(n), identity, verify=True)
    try:
        return _indexes(content, rows)
    except (pa.ArrowException, ValueError, KeyError, OSError, MemoryError) as error:
        path = folder / index_file(n)
        raise errors.CORRUPT_DATA.error(f"{path} is no index of fields: {error}", path=str(path)) from error


def _indexes(content: memoryview, rows: int) -> FieldIndexes:
    """What a file says. Raises ValueError, KeyError or an error of Arrow where it cannot be."""
    reader = pa.ipc.open_file(pa.py_buffer(content))
    metadata = reader.schema.metadata or {}
    paths = list_of(from_json(metadata[b"paths"]))
    if not all(isinstance(path, str) for path in paths):
        raise ValueError("it names what are no paths")
    indexes: dict[str, list[Ordered]] = {path: [] for path in paths}
    batch = reader.get_batch(0)
    batch.validate(full=True)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        family, _, path = name.partition(":")
        indexes[path].append(_ordered_column(Family(family), column, rows))
    found = {path: tuple(families) for path, families in indexes.items()}
    return found if b"names" in metadata else SpelledIndexes(found)


def _ordered_column(family: Family, column: pa.Array, rows: int) -> Ordered:
    kinds = {"values": ARROW_TYPES[family], "first": pa.uint32(), "rows": pa.uint32()}
    wanted = pa.struct([(name, pa.large_list(kind)) for name, kind in kinds.items()])
    if column.type != wanted or len(column) != 1:
        raise ValueError(f"a column is {column.type}")
    values, starts, order = (column.field(name)[0].values for name in kinds)
    if values.null_count or starts.null_count or order.null_count:
        raise ValueError("a column has gaps")
    first, numbers = np.asarray(starts), np.asarray(order)
    if len(first) != len(values) + 1 or first[0] or first[-1] != len(numbers) or (first[1:] < first[:-1]).any():
        raise ValueError("the rows are not those of the values")
    if len(numbers) and numbers.max() >= rows:
        raise ValueError("it names rows that there are not")
    return Ordered(family, values, first, numbers)


def index_file(n: int) -> str:
    return f"fields.{n}"


def _ordered(families: Mapping[str, pa.Array]) -> tuple[Ordered, ...]:
    return tuple(_order(family, families[family]) for family in _INDEXED if family in families)


def _order(family: Family, array: pa.Array) -> Ordered:
    """The order of a column (rows,) that is null where a row has no such value."""
    encoded = array.dictionary_encode()
    ascending = pc.array_sort_indices(encoded.dictionary)
    if family is Family.FLOAT:
        numbers = encoded.dictionary.take(ascending)
        ascending = ascending.filter(pc.invert(pc.is_nan(numbers)))
    rank = np.full(len(encoded.dictionary) + 1, -1, np.int64)  # the last is that of null, -1
    rank[np.asarray(ascending)] = np.arange(len(ascending))
    ranks = rank[np.asarray(encoded.indices.fill_null(-1))]
    rows = np.flatnonzero(ranks >= 0)
    ranks = ranks[rows]
    first = np.zeros(len(ascending) + 1, np.uint32)
    np.cumsum(np.bincount(ranks, minlength=len(ascending)), out=first[1:])
    rows = rows[np.argsort(ranks, kind="stable")]
    return Ordered(family, encoded.dictionary.take(ascending), first, rows.astype(np.uint32))


def _to_bytes(indexes: Mapping[str, tuple[Ordered, ...]]) -> memoryview:
    columns: dict[str, pa.Array] = {}
    for path, families in indexes.items():
        for ordered in families:
            parts = {"values": ordered.values, "first": pa.array(ordered.first), "rows": pa.array(ordered.rows)}
            lists = [pa.LargeListArray.from_arrays([0, len(part)], part) for part in parts.values()]
            columns[f"{ordered.family}:{path}"] = pa.StructArray.from_arrays(lists, list(parts))
    metadata = {b"paths": json.dumps(list(indexes)).encode(), b"names": b"1"}
    schema = pa.schema([(name, column.type) for name, column in columns.items()], metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
    return memoryview(sink.getvalue())


def _plain(scalar: Any) -> Any:
    return scalar.as_py()
