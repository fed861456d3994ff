"""Which rows of a segment a predicate is true for, evaluated once and kept: rows never change.

    sealed segment      one mask, from its mapped columns; where an index of a field leaves few rows, from these alone
    growing segment     a mask for each block of 1,024 rows that is full, and one for what comes behind

Invariant: a mask knows nothing of deaths; whoever uses it asks the tombstones too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb.accountant import Pool, held_bytes
from reddb.query.candidates import candidates
from reddb.query.families import concatenate, take
from reddb.query.operands import decoded
from reddb.query.predicate import Predicate
from reddb.query.sources import taken
from reddb.storage.field_index import FieldIndexes, SpelledIndexes
from reddb.storage.payload_columns import PayloadColumns, names_in
from reddb.storage.sealed import SealedSegment
from reddb.storage.segment_rows import INT_ID, Columns
from reddb.types import Vectors

_BLOCK_ROWS = 1024
_MASK_BYTES = 400  # of a mask beside its rows: its key, its place in the cache


class Mask(NamedTuple):
    """`rows` is bool (n,); `matches` how many are true."""

    rows: NDArray[np.bool_]
    matches: int


class FilterCache:
    """The masks that a core keeps, and the predicates they are kept by: the least recently used thrown away first."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._masks: OrderedDict[_Key, Mask] = OrderedDict()
        self._predicates: dict[Predicate, _Kept] = {}
        self._readers = 0

    def new_reader(self) -> int:
        """A number for whoever numbers segments by itself."""
        self._readers += 1
        return self._readers

    def get(self, key: _Key) -> Mask | None:
        mask = self._masks.get(key)
        if mask is not None:
            self._masks.move_to_end(key)
        return mask

    def put(self, key: _Key, mask: Mask) -> None:
        """Keep a mask, unless it and its predicate are more than all there may be."""
        kept = self._predicates.get(key.predicate) or _Kept(held_bytes(key.predicate))
        size = mask.rows.nbytes + _MASK_BYTES
        if self._pool.is_too_large(size + kept.size):
            return
        while not self._pool.has_room(size + kept.size) and self._masks:
            self._drop(next(iter(self._masks)))
        if not kept.masks:
            self._predicates[key.predicate] = kept
            self._pool.take(kept.size)
        kept.masks += 1
        self._pool.take(size)
        self._masks[key] = mask

    def forget(self, reader: int, segments: Collection[int] = ()) -> None:
        """Drop the masks of all other segments of a reader."""
        for key in [key for key in self._masks if key.reader == reader and key.segment not in segments]:
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        self._pool.give_back(self._masks.pop(key).rows.nbytes + _MASK_BYTES)
        kept = self._predicates[key.predicate]
        kept.masks -= 1
        if not kept.masks:
            del self._predicates[key.predicate]
            self._pool.give_back(kept.size)


class _Key(NamedTuple):
    """Of which reader's segment; of a growing one, of which block."""

    reader: int
    segment: int
    block: int
    predicate: Predicate


@dataclass(slots=True)
class _Kept:
    """A predicate of so many bytes, by which so many masks are kept."""

    size: int
    masks: int = 0


class ReaderFilters:
    """One reader's part of the cache, which knows its segments apart from others'."""

    def __init__(self, cache: FilterCache) -> None:
        self._cache = cache
        self._number = cache.new_reader()

    def get(self, segment: int, block: int, predicate: Predicate) -> Mask | None:
        return self._cache.get(_Key(self._number, segment, block, predicate))

    def put(self, segment: int, block: int, predicate: Predicate, mask: Mask) -> None:
        self._cache.put(_Key(self._number, segment, block, predicate), mask)

    def forget(self, segments: Collection[int] = ()) -> None:
        """Drop the masks of all other segments."""
        self._cache.forget(self._number, segments)


class SealedFilter:
    """Masks of a sealed segment."""

    def __init__(
        self, segment_id: int, segment: SealedSegment, cache: ReaderFilters, open_indexes: Callable[[], FieldIndexes]
    ) -> None:
        """`open_indexes` is called at the first use of an index."""
        self.rows = segment.rows
        self._segment_id = segment_id
        self._segment = segment
        self._cache = cache
        self._open_indexes = open_indexes

    @cached_property
    def indexes(self) -> FieldIndexes:
        """The segment's indexes of fields. Raises CORRUPT_DATA."""
        opened = self._open_indexes()
        if not isinstance(opened, SpelledIndexes):
            return opened
        columns = self._segment.payload_columns()
        return {path: index for path, index in opened.items() if set(columns.spellings(path)) <= {path}}

    def mask(self, predicate: Predicate, count: int) -> Mask:
        """Of the first `count` rows: all."""
        mask = self._cache.get(self._segment_id, -1, predicate)
        if mask is None:
            rows = self._among_candidates(predicate, count)
            if rows is None:
                rows = predicate.evaluate(_Source(self._segment.columns, 0, count, self._segment.payload_columns()))
            mask = Mask(rows, int(np.count_nonzero(rows)))
            self._cache.put(self._segment_id, -1, predicate, mask)
        return mask

    def families(self, path: str, rows: NDArray[np.int64], count: int) -> Mapping[str, pa.Array]:
        """The arrays (n,) of a path, or of "id", for these rows (n,)."""
        return _ChosenRows(self._segment.columns, rows, self._segment.payload_columns()).families(path)

    def mask_of(self, predicate: Predicate, count: int, rows: NDArray[np.int64]) -> Mask:
        """The same where only some rows, (n,), are asked: the others do not match, and can raise no error."""
        return _mask_of(
            predicate, count, _ChosenRows(self._segment.columns, rows, self._segment.payload_columns()), rows
        )

    def has_path(self, path: str, count: int) -> bool:
        """Whether any row has a value at a path, as names are compared; where paths are packed, nobody looks."""
        return self._segment.names is None or path in self._segment.names

    def known_paths(self) -> Collection[str]:
        return self._segment.names or ()

    def _among_candidates(self, predicate: Predicate, count: int) -> NDArray[np.bool_] | None:
        """The mask by way of an index, None where there is none or a scan costs less."""
        chosen = candidates(predicate.condition, self.indexes, count)
        if chosen is None:
            return None
        mask = np.zeros(count, np.bool_)
        if len(chosen):
            source = _ChosenRows(self._segment.columns, chosen, self._segment.payload_columns())
            mask[chosen[predicate.evaluate(source)]] = True
        return mask


class GrowingFilter:
    """Masks of a growing segment, whose payloads are made columns block by block as they come."""

    def __init__(self, segment_id: int, columns: Columns, cache: ReaderFilters) -> None:
        self._segment_id = segment_id
        self._columns = columns
        self._cache = cache
        self._blocks: list[_Source] = []
        self._tail: _Source | None = None
        self._names: set[str] = set()  # of the paths of the first rows, `_named_rows` of them
        self._named_rows = 0

    def mask(self, predicate: Predicate, count: int) -> Mask:
        """Of the first `count` rows."""
        self._prepare(count)
        parts = [self._block_mask(predicate, number).rows for number in range(count // _BLOCK_ROWS)]
        if count % _BLOCK_ROWS:
            assert self._tail is not None
            parts.append(predicate.evaluate(self._tail))
        rows: NDArray[np.bool_] = np.concatenate([np.empty(0, np.bool_), *parts])
        return Mask(rows, int(np.count_nonzero(rows)))

    def families(self, path: str, rows: NDArray[np.int64], count: int) -> Mapping[str, pa.Array]:
        """The arrays (n,) of a path, or of "id", for these rows (n,) of the first `count`."""
        if path == "id":
            return _id_families(self._columns, rows)
        self._prepare(count)
        parts, counts, places = [], [], [np.empty(0, np.int64)]
        numbers = rows // _BLOCK_ROWS
        for number in np.unique(numbers).tolist():
            block = self._tail if number == count // _BLOCK_ROWS else self._blocks[number]
            assert block is not None
            where = np.flatnonzero(numbers == number)
            wanted = pa.array(rows[where] - block.first)
            parts.append({family: taken(array, wanted) for family, array in block.families(path).items()})
            counts.append(len(where))
            places.append(where)
        return take(concatenate(parts, counts), np.argsort(np.concatenate(places)))

    def _prepare(self, count: int) -> None:
        """Make columns of the first `count` rows."""
        full = count // _BLOCK_ROWS
        while len(self._blocks) < full:
            first = len(self._blocks) * _BLOCK_ROWS
            self._blocks.append(self._source(first, first + _BLOCK_ROWS))
        first = full * _BLOCK_ROWS
        if first < count and (self._tail is None or self._tail.first != first or self._tail.rows != count - first):
            self._tail = self._source(first, count)

    def mask_of(self, predicate: Predicate, count: int, rows: NDArray[np.int64]) -> Mask:
        """The same where only some rows, (n,), are asked: the others do not match, and can raise no error."""
        payloads = PayloadColumns.from_payloads([self._columns.payload(row) for row in range(count)])
        return _mask_of(predicate, count, _ChosenRows(self._columns, rows, payloads), rows)

    def has_path(self, path: str, count: int) -> bool:
        """Whether any of the first `count` rows has a value at a path, as names are compared."""
        while path not in self._names and self._named_rows < count:
            self._names.update(names_in(self._columns.payload(self._named_rows)))
            self._named_rows += 1
        return path in self._names

    def known_paths(self) -> Collection[str]:
        return self._names

    def _block_mask(self, predicate: Predicate, number: int) -> Mask:
        mask = self._cache.get(self._segment_id, number, predicate)
        if mask is None:
            rows = predicate.evaluate(self._blocks[number])
            mask = Mask(rows, int(np.count_nonzero(rows)))
            self._cache.put(self._segment_id, number, predicate, mask)
        return mask

    def _source(self, first: int, last: int) -> _Source:
        payloads = [self._columns.payload(row) for row in range(first, last)]
        return _Source(self._columns, first, last, PayloadColumns.from_payloads(payloads))


class _Source:
    """What a predicate is evaluated over: the payloads' columns, and the ids as the column `id`."""

    def __init__(self, columns: Columns, first: int, last: int, payloads: PayloadColumns) -> None:
        self.first = first
        self.rows = last - first
        self._columns = columns
        self._payloads = payloads
        self._ids: dict[str, pa.Array] | None = None

    def families(self, path: str) -> Mapping[str, pa.Array]:
        if path != "id":
            return self._payloads.families(path)
        if self._ids is None:
            self._ids = _id_families(self._columns, np.arange(self.first, self.first + self.rows))
        return self._ids

    def vectors(self) -> Vectors:
        return self._columns.vectors[self.first : self.first + self.rows]


class _ChosenRows:
    """The same for some rows of a segment, (n,) of their numbers."""

    def __init__(self, columns: Columns, chosen: NDArray[Any], payloads: PayloadColumns) -> None:
        self.rows = len(chosen)
        self._columns = columns
        self._chosen = chosen
        self._payloads = payloads

    def families(self, path: str) -> Mapping[str, pa.Array]:
        if path == "id":
            return _id_families(self._columns, self._chosen)
        return {family: decoded(array) for family, array in self._payloads.families(path, self._chosen).items()}

    def vectors(self) -> Vectors:
        chosen: Vectors = self._columns.vectors[self._chosen]
        return chosen


def _mask_of(predicate: Predicate, count: int, source: _ChosenRows, rows: NDArray[np.int64]) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[rows] = predicate.evaluate(source)
    return Mask(mask, int(np.count_nonzero(mask)))


def _id_families(columns: Columns, rows: NDArray[Any]) -> dict[str, pa.Array]:
    is_int = columns.id_bytes[rows] == INT_ID
    families: dict[str, pa.Array] = {}
    if is_int.any():
        families["int"] = pa.array(columns.id[rows], mask=~is_int)
    if not is_int.all():
        ids = columns.row_ids(rows)
        families["text"] = pa.array([row_id if isinstance(row_id, str) else None for row_id in ids], pa.string())
    return families
