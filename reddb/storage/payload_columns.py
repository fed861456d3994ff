"""The payloads of a segment as columns, for filters: an Arrow IPC file that is used where it is mapped.

A column is named by the path of a key, `a.b` for the key b of the map a, and may hold values of several families in
different rows. Each family of a path is one Arrow array (n,) that is null where the row has no such value, run-end
encoded where few rows have one (`storage/payload_cells.py`, which makes the columns):

    bool         bool
    int          int64
    float        float64
    text         large_string, or a dictionary of int32 to large_string where values repeat
    timestamp    timestamp[us, UTC]
    texts        large_list<large_string>; an empty list is here, whatever its field declares
    ints         large_list<int64>
    other        bool, true where a value is present that no filter compares: a map, or a list of anything else

    schema metadata    version = 2, rows = n
    columns            "family:path" in one record batch; "rest" if there are more paths than columns

The large types have 64-bit offsets, so no amount of text overflows a column. Rejected: string and list, whose columns
end at 2 GiB, which is less than the payloads of a merged segment may have.

The commonest PATHS_MAX paths are columns, and `expires_at` in any case. Rows that have others stand in one binary
column, `rest`, as they were sent, and are decoded when such a path is asked for. Rejected: a column for every path
(rows that each have keys of their own would need n columns of n rows) and leaving paths out (a filter would be wrong in
silence). Version 1 has no run-end encoding, and in the place of `rest` a column `packed` of maps from path to value.

Invariants:
  * A row has a value in at most one family of a path; NULL and a missing key are the same and have none.
  * What `families` answers is right for every path, whether it is a column, in the rest or unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb import errors
from reddb.fields import unpack_payload
from reddb.keys import folded
from reddb.storage import payload_cells
from reddb.storage.payload_cells import ARROW_TYPES, Family, column_path, columns_of, expanded, is_kept_as, unpacked
from reddb.types import Payload

__all__ = ["ARROW_TYPES", "Family", "PayloadColumns", "column_path", "families_of", "names_in"]

_VERSION, _VERSIONS = b"2", (b"1", b"2")
_PACKED, _REST = "packed", "rest"


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
    return payload_cells.families_of(list(range(len(values))), list(values), len(values))


class PayloadColumns:
    """The columns of `rows` payloads, either just built or over the bytes of a file."""

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, Mapping[str, pa.Array]],
        rest: pa.Array | None = None,
        packed: pa.Array | None = None,
    ) -> None:
        """Called by `from_payloads` and `open`."""
        self.rows = rows
        self._columns = columns
        self._rest = rest
        self._packed = packed

    @classmethod
    def from_payloads(cls, payloads: Sequence[bytes]) -> PayloadColumns:
        """Columns of payloads as MessagePack maps, b"" for none. Raises CORRUPT_DATA naming the row."""
        return cls(len(payloads), *columns_of(payloads))

    @classmethod
    def open(cls, buffer: memoryview | pa.Buffer) -> PayloadColumns:
        """Columns over the bytes that `to_bytes` made, which must stay as they are; nothing is copied.

        Every offset, index and text is checked once, here. Raises CORRUPT_DATA or UNSUPPORTED_FORMAT.
        """
        try:
            reader = pa.ipc.open_file(pa.py_buffer(buffer))
            metadata = reader.schema.metadata or {}
            if metadata[b"version"] not in _VERSIONS:
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
        """The paths of such bytes, as names are compared, by a look at their schema alone; None if some have no column.

        Raises CORRUPT_DATA.
        """
        try:
            columns = pa.ipc.open_file(pa.py_buffer(buffer)).schema.names
        except (pa.ArrowException, ValueError, OSError) as error:
            raise errors.CORRUPT_DATA.error(f"the payload columns cannot be read: {error}") from error
        if _PACKED in columns or _REST in columns:
            return None
        return frozenset(folded(name.partition(":")[2]) for name in columns)

    def to_bytes(self) -> memoryview:
        """The format above, as the bytes of an Arrow IPC file."""
        arrays = {f"{family}:{path}": array for path, family, array in self._items()}
        if self._packed is not None:
            arrays[_PACKED] = self._packed
        if self._rest is not None:
            arrays[_REST] = self._rest
        metadata = {b"version": _VERSION, b"rows": str(self.rows).encode()}
        schema = pa.schema([(name, array.type) for name, array in arrays.items()], metadata)
        batch = pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema)
        counted = pa.MockOutputStream()  # a buffer that grows would need the bytes twice
        _write(batch, counted)
        content = pa.allocate_buffer(counted.size())
        _write(batch, pa.FixedSizeBufferWriter(content))
        return memoryview(content)

    def families(self, path: str, chosen: NDArray[Any] | None = None) -> Mapping[str, pa.Array]:
        """The arrays (rows,) of a path, or those (n,) of the chosen rows, by family, none for a path that no row has.

        Keys meet whatever their case (`reddb.keys`). Raises CORRUPT_DATA for rows that cannot be read.
        """
        found = {spelling: self._spelled(spelling) for spelling in self._by_name.get(folded(path), ())}
        if chosen is not None and found:
            wanted = pa.array(chosen)
            found = {
                spelling: {family: array.take(wanted) for family, array in arrays.items()}
                for spelling, arrays in found.items()
            }
        found.update(self._in_rest(folded(path), chosen))
        if not found:
            return {}
        first, *others = sorted(found, key=lambda spelling: (spelling != path, spelling))
        merged = found[first]
        for spelling in others:
            merged = _first_of(merged, found[spelling], self.rows if chosen is None else len(chosen))
        return merged

    def spellings(self, path: str) -> Sequence[str]:
        """The paths of rows that are this one but for the case of their letters."""
        return [*self._by_name.get(folded(path), ()), *self._in_rest(folded(path), None)]

    def _in_rest(self, name: str, chosen: NDArray[Any] | None) -> dict[str, Mapping[str, pa.Array]]:
        """What rows have at paths of this name that are no columns, by spelling."""
        if self._rest is None:
            return {}
        rest = self._rest if chosen is None else self._rest.take(pa.array(chosen))
        cells: dict[str, tuple[list[int], list[Any]]] = defaultdict(lambda: ([], []))
        for row, payload in unpacked(item.as_py() for item in rest):
            for path, value in _values_at(payload, name, ()):
                if path not in self._columns:
                    cells[path][0].append(row)
                    cells[path][1].append(value)
        return {path: payload_cells.families_of(rows, values, len(rest)) for path, (rows, values) in cells.items()}

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[str]]:
        """The paths that have columns or are packed, by what they are compared as."""
        packed = [] if self._packed is None else unpacked(self._packed.to_pylist())
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in dict.fromkeys([*self._columns, *(path for _, values in packed for path in values)]):
            by_name[folded(path)].append(path)
        return dict(by_name)

    def _spelled(self, path: str) -> Mapping[str, pa.Array]:
        """The same for a path that is spelled exactly so."""
        found = self._columns.get(path)
        if found is not None or self._packed is None:
            return {family: expanded(array) for family, array in (found or {}).items()}
        wanted = [(row, values[path]) for row, values in unpacked(self._packed.to_pylist()) if path in values]
        return payload_cells.families_of([row for row, _ in wanted], [value for _, value in wanted], self.rows)

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


def _values_at(payload: Payload, name: str, above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Path and value of what a payload has at a path of this name."""
    for key, value in payload.items():
        path = column_path((*above, key))
        found = folded(path)
        if found == name and value is not None:
            yield path, value
        if type(value) is dict and name.startswith(f"{found}."):
            yield from _values_at(value, name, (*above, key))


def _write(batch: pa.RecordBatch, sink: pa.NativeFile) -> None:
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _read(batch: pa.RecordBatch) -> tuple[Mapping[str, Mapping[str, pa.Array]], pa.Array | None, pa.Array | None]:
    """The columns of a batch, its rest and its packed one. Raises ValueError for a name or type that is none."""
    columns: dict[str, dict[str, pa.Array]] = defaultdict(dict)
    binary: dict[str, pa.Array] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name in (_PACKED, _REST) and array.type == pa.large_binary():
            binary[name] = array
            continue
        kind, _, path = name.partition(":")
        family = Family(kind)
        if not is_kept_as(array.type, family):
            raise ValueError(f"the column {name!r} is {array.type}")
        columns[path][family] = array
    return dict(columns), binary.get(_REST), binary.get(_PACKED)
