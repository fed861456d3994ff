"""The payloads of a segment as columns, for filters: an Arrow IPC file that is used where it is mapped.

A column is named by the path of a key, `a.b` for the key b of the map a, and may hold values of several families in
different rows. Each family of a path is one Arrow array (n,) that is null where the row has no such value:

    bool         bool
    int          int64
    float        float64
    text         large_string, or a dictionary of int32 to large_string where values repeat
    timestamp    timestamp[us, UTC]
    texts        large_list<large_string>; an empty list is here, whatever its field declares
    ints         large_list<int64>
    other        bool, true where a value is present that no filter compares: a map, or a list of anything else

    schema metadata    version = 1, rows = n
    columns            "family:path" in one record batch; "packed" if there are more paths than columns

The large types have 64-bit offsets, so no amount of text overflows a column. Rejected: string and list, whose columns
end at 2 GiB, which is less than the payloads of a merged segment may have.

The commonest PATHS_MAX paths are columns, and `expires_at` in any case. The rest are one binary column, `packed`, of
MessagePack maps from path to value, decoded when one of them is asked for. Rejected: a column for every path (rows that
each have keys of their own would need n columns of n rows) and leaving paths out (a filter would be wrong in silence).

Invariants:
  * A row has a value in at most one family of a path; NULL and a missing key are the same and have none.
  * What `families` answers is right for every path, whether it is a column, packed or unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reddb import errors, limits
from reddb.fields import EXPIRES_AT, pack_payload, unpack_payload
from reddb.keys import folded
from reddb.types import Payload

PATHS_MAX = 1_024  # columns of one segment: 512 KiB of int64 each at 65,536 rows, however few rows have a value

_VERSION = b"1"
_PACKED = "packed"
_REPEATS_MIN = 4  # rows for each distinct text, from which on a dictionary is smaller and faster than the texts


class Family(StrEnum):
    """What the values of one array are."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    TEXTS = "texts"
    INTS = "ints"
    OTHER = "other"


ARROW_TYPES: dict[Family, pa.DataType] = {
    Family.BOOL: pa.bool_(),
    Family.INT: pa.int64(),
    Family.FLOAT: pa.float64(),
    Family.TEXT: pa.large_string(),
    Family.TIMESTAMP: pa.timestamp("us", "UTC"),
    Family.TEXTS: pa.large_list(pa.large_string()),
    Family.INTS: pa.large_list(pa.int64()),
    Family.OTHER: pa.bool_(),
}
_DICTIONARY = pa.dictionary(pa.int32(), pa.large_string())

_FAMILY_OF: dict[type, Family] = {
    bool: Family.BOOL,
    int: Family.INT,
    float: Family.FLOAT,
    str: Family.TEXT,
    datetime: Family.TIMESTAMP,
}

_Cells: TypeAlias = tuple[list[int], list[Any]]  # row numbers, ascending, and the value of each
_Paths: TypeAlias = dict[str, dict[Family, _Cells]]


def column_path(keys: Sequence[str]) -> str:
    """The name of the column at these keys, `a.b`. A point within a key is escaped, so that no two paths are one."""
    return ".".join(key.replace("\\", r"\\").replace(".", r"\.") for key in keys)


def names_in(content: bytes) -> Iterator[str]:
    """The paths of a payload that have a value, as names are compared."""
    waiting: list[tuple[tuple[str, ...], Payload]] = [((), unpack_payload(content))]
    while waiting:
        above, payload = waiting.pop()
        for key, value in payload.items():
            if value is not None:
                yield folded(column_path((*above, key)))
            if isinstance(value, dict):
                waiting.append(((*above, key), value))


def families_of(values: Sequence[Any]) -> dict[str, pa.Array]:
    """The arrays (n,) of plain values by their family."""
    return _arrays(_split(list(range(len(values))), list(values)), len(values))


class PayloadColumns:
    """The columns of `rows` payloads, either just built or over the bytes of a file."""

    def __init__(self, rows: int, columns: Mapping[str, Mapping[str, pa.Array]], packed: pa.Array | None) -> None:
        """Called by `from_payloads` and `open`."""
        self.rows = rows
        self._columns = columns
        self._packed = packed

    @classmethod
    def from_payloads(cls, payloads: Sequence[bytes]) -> PayloadColumns:
        """Columns of payloads as MessagePack maps, b"" for none. Raises CORRUPT_DATA naming the row."""
        paths: _Paths = {}
        _gather(_unpack(payloads), (), paths)
        rows = len(payloads)
        packed = _pack_rarest(paths, rows) if len(paths) > PATHS_MAX else None
        return cls(rows, {path: _arrays(families, rows) for path, families in paths.items()}, packed)

    @classmethod
    def open(cls, buffer: memoryview | pa.Buffer) -> PayloadColumns:
        """Columns over the bytes that `to_bytes` made, which must stay as they are; nothing is copied.

        Every offset, index and text is checked once, here. Raises CORRUPT_DATA or UNSUPPORTED_FORMAT.
        """
        try:
            reader = pa.ipc.open_file(pa.py_buffer(buffer))
            metadata = reader.schema.metadata or {}
            if metadata[b"version"] != _VERSION:
                raise errors.UNSUPPORTED_FORMAT.error(
                    f"payload columns of version {metadata[b'version']!r}, not {_VERSION!r}"
                )
            batch = reader.get_batch(0)
            batch.validate(full=True)
            rows = int(metadata[b"rows"])
            if rows < 0 or (batch.num_columns and rows != batch.num_rows):
                raise ValueError(f"columns of {batch.num_rows} rows, not {rows}")
            return cls(rows, *_read(batch))
        except (pa.ArrowException, ValueError, KeyError, OSError, MemoryError) as error:
            raise errors.CORRUPT_DATA.error(f"the payload columns cannot be read: {error}") from error

    @staticmethod
    def has_column(buffer: memoryview | pa.Buffer, family: Family, path: str) -> bool:
        """Whether such bytes name a column, by a look at their schema alone. Raises CORRUPT_DATA."""
        try:
            return f"{family}:{path}" in pa.ipc.open_file(pa.py_buffer(buffer)).schema.names
        except (pa.ArrowException, ValueError, OSError) as error:
            raise errors.CORRUPT_DATA.error(f"the payload columns cannot be read: {error}") from error

    @staticmethod
    def names(buffer: memoryview | pa.Buffer) -> frozenset[str] | None:
        """The paths of such bytes, as names are compared, by a look at their schema alone; None if some are packed.

        Raises CORRUPT_DATA.
        """
        try:
            columns = pa.ipc.open_file(pa.py_buffer(buffer)).schema.names
        except (pa.ArrowException, ValueError, OSError) as error:
            raise errors.CORRUPT_DATA.error(f"the payload columns cannot be read: {error}") from error
        return None if _PACKED in columns else frozenset(folded(name.partition(":")[2]) for name in columns)

    def to_bytes(self) -> memoryview:
        """The format above, as the bytes of an Arrow IPC file."""
        arrays = {f"{family}:{path}": array for path, family, array in self._items()}
        if self._packed is not None:
            arrays[_PACKED] = self._packed
        metadata = {b"version": _VERSION, b"rows": str(self.rows).encode()}
        schema = pa.schema([(name, array.type) for name, array in arrays.items()], metadata)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema))
        return memoryview(sink.getvalue())

    def families(self, path: str) -> Mapping[str, pa.Array]:
        """The arrays (rows,) of a path by their family, none for a path that no row has. See `column_path`.

        Keys meet whatever their case (`reddb.keys`). Raises CORRUPT_DATA for packed values that cannot be read.
        """
        spellings = self.spellings(path)
        if not spellings:
            return {}
        first, *others = sorted(spellings, key=lambda spelling: (spelling != path, spelling))
        found = self._spelled(first)
        for spelling in others:
            found = _first_of(found, self._spelled(spelling), self.rows)
        return found

    def spellings(self, path: str) -> Sequence[str]:
        """The paths of rows that are this one but for the case of their letters."""
        return self._by_name.get(folded(path), ())

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[str]]:
        """The paths that there are, by what they are compared as."""
        packed = [] if self._packed is None else _unpack(self._packed.to_pylist())
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in dict.fromkeys([*self._columns, *(path for _, values in packed for path in values)]):
            by_name[folded(path)].append(path)
        return dict(by_name)

    def _spelled(self, path: str) -> Mapping[str, pa.Array]:
        """The same for a path that is spelled exactly so."""
        found = self._columns.get(path)
        if found is not None or self._packed is None:
            return found or {}
        wanted = [(row, values[path]) for row, values in _unpack(self._packed.to_pylist()) if path in values]
        families = _split([row for row, _ in wanted], [value for _, value in wanted])
        return _arrays(families, self.rows)

    def _items(self) -> Iterator[tuple[str, str, pa.Array]]:
        for path, families in self._columns.items():
            for family, array in families.items():
                yield path, family, array


def _first_of(one: Mapping[str, pa.Array], other: Mapping[str, pa.Array], rows: int) -> Mapping[str, pa.Array]:
    """The values of `one`, (rows,), and those of `other` in rows where it has none."""
    has = reduce(pc.or_, (array.is_valid() for array in one.values()), pa.array(np.zeros(rows, np.bool_)))
    merged = {}
    for family in dict.fromkeys([*one, *other]):
        nothing = pa.nulls(rows, ARROW_TYPES[Family(family)])
        merged[family] = pc.if_else(has, *(_plain_array(values.get(family, nothing)) for values in (one, other)))
    return merged


def _plain_array(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def _read(batch: pa.RecordBatch) -> tuple[Mapping[str, Mapping[str, pa.Array]], pa.Array | None]:
    """The columns of a batch and its packed one. Raises ValueError for a column of an unknown name or type."""
    columns: dict[str, dict[str, pa.Array]] = defaultdict(dict)
    packed = None
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name == _PACKED and array.type == pa.large_binary():
            packed = array
            continue
        kind, _, path = name.partition(":")
        family = Family(kind)
        if array.type != ARROW_TYPES[family] and not (family is Family.TEXT and array.type == _DICTIONARY):
            raise ValueError(f"the column {name!r} is {array.type}")
        columns[path][family] = array
    return dict(columns), packed


# --- from rows to columns ----------------------------------------------------------------------------------


def _unpack(payloads: Iterable[bytes | None]) -> Iterator[tuple[int, Payload]]:
    """Row number and payload of every row that has one. Raises CORRUPT_DATA naming the row."""
    for row, content in enumerate(payloads):
        if content:
            try:
                yield row, unpack_payload(content, row)
            except errors.RedDBError as error:
                raise errors.CORRUPT_DATA.error(error.message, **error.detail) from error


def _gather(maps: Iterable[tuple[int, Payload]], above: tuple[str, ...], paths: _Paths) -> None:
    """Sort the values of all maps by path and family; recurses one level for each level of the maps."""
    by_key: dict[str, _Cells] = defaultdict(lambda: ([], []))
    for row, payload in maps:
        for key, value in payload.items():
            rows, values = by_key[key]
            rows.append(row)
            values.append(value)
    for key, (rows, values) in by_key.items():
        keys = (*above, key)
        families = _split(rows, values)
        if families:
            paths[column_path(keys)] = families
        if Family.OTHER in families:
            inner = [(row, value) for row, value in zip(*families[Family.OTHER], strict=True) if type(value) is dict]
            _gather(inner, keys, paths)


def _split(rows: list[int], values: list[Any]) -> dict[Family, _Cells]:
    """The values by family, without the NULLs."""
    kinds = set(map(type, values))
    if len(kinds) == 1:  # the usual column: nothing to sort
        family = _FAMILY_OF.get(kinds.pop())
        if family is not None and (family is not Family.INT or max(values) <= limits.ID_INT_MAX):
            return {family: (rows, values)}
    families: dict[Family, _Cells] = defaultdict(lambda: ([], []))
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            cells = families[_family(value)]
            cells[0].append(row)
            cells[1].append(value)
    return families


def _family(value: Any) -> Family:
    if type(value) is list:
        kinds = set(map(type, value))
        if kinds <= {str}:
            return Family.TEXTS
        return Family.INTS if kinds == {int} and max(value) <= limits.ID_INT_MAX else Family.OTHER
    if type(value) is int and value > limits.ID_INT_MAX:  # MessagePack has integers up to 2**64 - 1
        return Family.OTHER
    return _FAMILY_OF.get(type(value), Family.OTHER)


def _arrays(families: dict[Family, _Cells], count: int) -> dict[str, pa.Array]:
    return {family: _array(family, cells, count) for family, cells in families.items()}


def _array(family: Family, cells: _Cells, count: int) -> pa.Array:
    """One column (count,) with the values at their rows and nulls elsewhere."""
    rows, values = cells
    array = pa.array([True] * len(values) if family is Family.OTHER else values, ARROW_TYPES[family])
    if family is Family.TEXT:
        encoded = array.dictionary_encode()
        if len(encoded.dictionary) * _REPEATS_MIN <= len(array):
            array = encoded
    if len(rows) == count:
        return array
    places = np.full(count, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return array.take(pa.array(places, mask=places < 0))


def _pack_rarest(paths: _Paths, count: int) -> pa.Array:
    """Take all but the commonest paths out of `paths`, and give them as the column of maps."""

    def values(path: str) -> int:
        return sum(len(rows) for rows, _ in paths[path].values())

    maps: dict[int, Payload] = defaultdict(dict)
    for path in sorted(paths, key=lambda path: (path != EXPIRES_AT.name, -values(path), path))[PATHS_MAX:]:
        for family, cells in paths.pop(path).items():
            for row, value in zip(*cells, strict=True):
                # An empty map for any other value: only that it is there is ever asked.
                maps[row][path] = {} if family is Family.OTHER else value
    return pa.array([pack_payload(maps[row], row) if row in maps else None for row in range(count)], pa.large_binary())
