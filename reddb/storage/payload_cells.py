"""Columns made of payloads, block by block, so that making them takes memory in proportion to what is read.

    dense      an array (n,), null where a row has no such value
    sparse     the same run-end encoded, where fewer than one row in four has a value: it costs what the values cost
    rest       the payloads (n,) of rows that have a path without a column, as they are, null for all other rows

Every path has columns as long as there are PATHS_MAX at most. Where there are more, the commonest have, as far as a
count of bounded size can tell, and `expires_at` in any case.

Rejected: rows as Python objects all at once, and dense columns for rare paths: 94 times the bytes of payloads whose
keys all differ.

Invariant: the Python objects of one block exist at a time, which are some thirty times its bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.fields import EXPIRES_AT, unpack_payload
from reddb.types import Payload

PATHS_MAX = 1_024  # columns of one segment

_REPEATS_MIN = 4  # rows for each distinct text, from which on a dictionary is smaller and faster than the texts
_SAMPLED_TEXTS = 4_096  # of which it is seen whether texts may repeat so often
_SPARSE_SHARE = 4
_BLOCKS, _BLOCK_BYTES_MIN = 32, 64 * limits.KIB
_COUNTED_PATHS_MAX = 16_384


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
DICTIONARY = pa.dictionary(pa.int32(), pa.large_string())

_FAMILY_OF: dict[type, Family] = {
    bool: Family.BOOL,
    int: Family.INT,
    float: Family.FLOAT,
    str: Family.TEXT,
    datetime: Family.TIMESTAMP,
}

_Cells: TypeAlias = tuple[list[int], list[Any]]  # row numbers, ascending, and the value of each
_Paths: TypeAlias = dict[str, dict[Family, _Cells]]


class _Chunk(NamedTuple):
    """The values (m,) of one block, and their rows (m,)."""

    rows: NDArray[np.int32]
    values: pa.Array


def column_path(keys: Sequence[str]) -> str:
    """The name of the column at these keys, `a.b`. A point within a key is escaped, so that no two paths are one."""
    return ".".join(key.replace("\\", r"\\").replace(".", r"\.") for key in keys)


def columns_of(payloads: Sequence[bytes]) -> tuple[dict[str, dict[str, pa.Array]], pa.Array | None]:
    """The columns of all payloads by path and family, and `rest` if some paths have none. Raises CORRUPT_DATA."""
    is_rest = np.zeros(len(payloads), np.bool_)
    rest = None
    found = _gathered(payloads, None, is_rest)
    if found is None:
        found = _gathered(payloads, _commonest(payloads), is_rest)
        assert found is not None
        kept = [payload if is_there else None for payload, is_there in zip(payloads, is_rest.tolist(), strict=True)]
        rest = pa.array(kept, pa.large_binary())
    columns: dict[str, dict[str, pa.Array]] = {}
    for path in list(found):
        columns[path] = {family: _column(family, chunks, len(payloads)) for family, chunks in found.pop(path).items()}
    return columns, rest


def families_of(rows: list[int], values: list[Any], count: int) -> dict[str, pa.Array]:
    """The arrays (count,) of plain values at their rows, by family."""
    return {
        family: dense(family, np.array(cells[0], np.int64), values_array(family, cells[1]), count)
        for family, cells in split(rows, values).items()
    }


def unpacked(payloads: Iterable[bytes | None], first: int = 0) -> Iterator[tuple[int, Payload]]:
    """Row number and payload of every row that has one; `first` is the first. Raises CORRUPT_DATA naming the row."""
    for row, content in enumerate(payloads, first):
        if content:
            try:
                yield row, unpack_payload(content, row)
            except errors.RedDBError as error:
                raise errors.CORRUPT_DATA.error(error.message, **error.detail) from error


def split(rows: list[int], values: list[Any]) -> dict[Family, _Cells]:
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


def values_array(family: Family, values: list[Any]) -> pa.Array:
    """The values of one family as they are kept."""
    return pa.array([True] * len(values) if family is Family.OTHER else values, ARROW_TYPES[family])


def dense(family: Family, rows: NDArray[Any], values: pa.Array, count: int) -> pa.Array:
    """One column (count,) with the values at their rows and nulls elsewhere."""
    if family is Family.TEXT and _may_repeat(values):
        encoded = values.dictionary_encode()
        if len(encoded.dictionary) * _REPEATS_MIN <= len(values):
            values = encoded
    if len(rows) == count:
        return values
    places = np.full(count, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return values.take(pa.array(places, mask=places < 0))


def expanded(array: pa.Array) -> pa.Array:
    """The same column, dense."""
    if not isinstance(array, pa.RunEndEncodedArray):
        return array
    lengths = np.diff(np.asarray(array.run_ends), prepend=0)
    return array.values.take(pa.array(np.repeat(np.arange(len(lengths)), lengths)))


def is_kept_as(kind: pa.DataType, family: Family) -> bool:
    """Whether a column of this type may hold the family."""
    plain = ARROW_TYPES[family]
    return kind in (plain, pa.run_end_encoded(pa.int32(), plain)) or (family is Family.TEXT and kind == DICTIONARY)


def _column(family: Family, chunks: list[_Chunk], count: int) -> pa.Array:
    rows = np.concatenate([chunk.rows for chunk in chunks])
    values = pa.concat_arrays([chunk.values for chunk in chunks])
    if len(rows) * _SPARSE_SHARE > count:
        return dense(family, rows, values, count)
    # Each value is a run of one row behind a run of nulls, of which those that are empty are left out.
    ends, places = np.append(np.repeat(rows, 2), count), np.full(2 * len(rows) + 1, -1, np.int64)
    ends[1:-1:2] += 1
    places[1:-1:2] = np.arange(len(rows))
    runs = np.diff(ends, prepend=0) > 0
    ends, places = ends[runs], places[runs]
    values = values.take(pa.array(places, mask=places < 0))
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), values)


def _may_repeat(texts: pa.Array) -> bool:
    """By a look at the first: a dictionary of texts that do not repeat would be one more copy of them."""
    if len(texts) <= _SAMPLED_TEXTS:
        return True
    return len(texts[:_SAMPLED_TEXTS].unique()) * max(_REPEATS_MIN, 1) <= 2 * _SAMPLED_TEXTS


def _blocks(payloads: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Rows from … to, so many that their values as Python objects take about as much as all payloads."""
    largest = max(sum(map(len, payloads)) // _BLOCKS, _BLOCK_BYTES_MIN)
    first = 0
    while first < len(payloads):
        end, size = first, 0
        while end < len(payloads) and size < largest:
            size += len(payloads[end])
            end += 1
        yield first, end
        first = end


def _gathered(
    payloads: Sequence[bytes], chosen: frozenset[str] | None, is_rest: NDArray[np.bool_]
) -> dict[str, dict[Family, list[_Chunk]]] | None:
    """The values of the chosen paths, and which rows have others. None where all are to be, and there are too many."""
    found: dict[str, dict[Family, list[_Chunk]]] = defaultdict(lambda: defaultdict(list))
    for first, end in _blocks(payloads):
        paths: _Paths = {}
        _gather(unpacked(payloads[first:end], first), (), paths, _Choice(chosen, is_rest))
        if chosen is None and len(found.keys() | paths.keys()) > PATHS_MAX:
            return None
        every = np.array([row for row in range(first, end) if payloads[row]], np.int32)
        for path, families in paths.items():
            for family, (rows, values) in families.items():
                numbers = every if len(rows) == len(every) else np.array(rows, np.int32)  # most often all have a value
                found[path][family].append(_Chunk(numbers, values_array(family, values)))
    return found


class _Choice(NamedTuple):
    """Which paths are to be columns, None for all, and the rows that have others."""

    paths: frozenset[str] | None
    is_rest: NDArray[np.bool_]


def _gather(maps: Iterable[tuple[int, Payload]], above: tuple[str, ...], paths: _Paths, choice: _Choice) -> None:
    """Sort the values of all maps by path and family; recurses one level for each level of the maps."""
    by_key: dict[str, _Cells] = defaultdict(lambda: ([], []))
    for row, payload in maps:
        for key, value in payload.items():
            rows, values = by_key[key]
            rows.append(row)
            values.append(value)
    for key, (rows, values) in by_key.items():
        keys = (*above, key)
        path = column_path(keys)
        if choice.paths is None or path in choice.paths:
            families = split(rows, values)
            if families:
                paths[path] = families
        else:
            choice.is_rest[[row for row, value in zip(rows, values, strict=True) if value is not None]] = True
        if dict in map(type, values):
            inner = [(row, value) for row, value in zip(rows, values, strict=True) if type(value) is dict]
            _gather(inner, keys, paths, choice)


def _commonest(payloads: Sequence[bytes]) -> frozenset[str]:
    """The paths that most rows have. What is rare among very many is forgotten again while they are counted."""
    counts: Counter[str] = Counter()
    for first, end in _blocks(payloads):
        for _, payload in unpacked(payloads[first:end], first):
            counts.update(_paths(payload, ()))
        while len(counts) > _COUNTED_PATHS_MAX:
            least = min(counts.values())
            counts = Counter({path: n for path, n in counts.items() if n > least or path == EXPIRES_AT.name})
    by_count = sorted(counts, key=lambda path: (path != EXPIRES_AT.name, -counts[path], path))
    return frozenset(by_count[:PATHS_MAX])


def _paths(payload: Payload, above: tuple[str, ...]) -> Iterator[str]:
    """Those that have a value."""
    for key, value in payload.items():
        if value is not None:
            yield column_path((*above, key))
        if type(value) is dict:
            yield from _paths(value, (*above, key))
