"""Which rows of a segment a predicate is true for, evaluated once and kept: rows never change.

    sealed segment      one mask, from its mapped columns; where an index of a field leaves few rows, from these alone
    growing segment     a mask for each block of rows that is full, and one for what comes behind; a block is full with
                        1,024 rows, or with as many bytes of payloads as become columns in a few milliseconds

A mask is made in steps of a few milliseconds, whatever the predicate and the rows are.

Invariant: a mask knows nothing of deaths; whoever uses it asks the tombstones too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import limits
from reddb.accountant import Pool, held_bytes
from reddb.query.candidates import candidates
from reddb.query.execute import finish
from reddb.query.families import concatenate, take
from reddb.query.operands import Source, decoded
from reddb.query.pieces import pieces
from reddb.query.predicate import Predicate
from reddb.query.sources import taken
from reddb.storage.field_index import FieldIndexes, SpelledIndexes
from reddb.storage.payload_columns import PayloadColumns, names_in
from reddb.storage.sealed import SealedSegment
from reddb.storage.segment_rows import INT_ID, Columns
from reddb.types import Vectors

_BLOCK_ROWS = 1024
_BLOCK_BYTES = 128 * limits.KIB  # of payloads: 5 ms where they are many small values
_MASK_BYTES = 400  # of a mask beside its rows: its key, its place in the cache


class Mask(NamedTuple):
    """`rows` is bool (n,); `matches` how many are true."""

    rows: NDArray[np.bool_]
    matches: int


MaskSteps: TypeAlias = Generator[None, None, Mask]


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

    def mask_steps(self, predicate: Predicate, count: int) -> MaskSteps:
        """Of the first `count` rows: all."""
        mask = self._cache.get(self._segment_id, -1, predicate)
        if mask is None:
            chosen = candidates(predicate.condition, self.indexes, count)
            if chosen is None:
                columns, payloads = self._segment.columns, self._segment.payload_columns()
                mask = yield from _mask_steps(predicate, count, _Source(columns, 0, count, payloads).part)
            else:
                mask = yield from self.mask_of_steps(predicate, count, chosen)
            self._cache.put(self._segment_id, -1, predicate, mask)
        return mask

    def families(self, path: str, rows: NDArray[np.int64], count: int) -> Mapping[str, pa.Array]:
        """The arrays (n,) of a path, or of "id", for these rows (n,)."""
        return _ChosenRows(self._segment.columns, rows, self._segment.payload_columns()).families(path)

    def mask_of_steps(self, predicate: Predicate, count: int, rows: NDArray[Any]) -> MaskSteps:
        """The same where only some rows, (n,), are asked: the others do not match, and can raise no error."""
        columns, payloads = self._segment.columns, self._segment.payload_columns()
        return (yield from _mask_steps(predicate, count, lambda part: _ChosenRows(columns, rows[part], payloads), rows))

    def has_path(self, path: str, count: int) -> bool:
        """Whether any row has a value at a path, as names are compared; where paths are packed, nobody looks."""
        return self._segment.names is None or path in self._segment.names

    def known_paths(self) -> Collection[str]:
        return self._segment.names or ()


class GrowingFilter:
    """Masks of a growing segment, whose payloads are made columns block by block as they come."""

    def __init__(self, segment_id: int, columns: Columns, cache: ReaderFilters) -> None:
        self._segment_id = segment_id
        self._columns = columns
        self._cache = cache
        self._blocks: list[_Source] = []
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)  # of the blocks
        self._tail: _Source | None = None
        self._names: set[str] = set()  # of the paths of the first rows, `_named_rows` of them
        self._named_rows = 0

    def mask_steps(self, predicate: Predicate, count: int) -> MaskSteps:
        """Of the first `count` rows."""
        yield from self._prepare_steps(count)
        sources = self._sources(count)
        rows: NDArray[np.bool_] = np.zeros(count, np.bool_)
        for number, source in enumerate(sources):
            is_full = number < self._full(count)
            mask = self._cache.get(self._segment_id, number, predicate) if is_full else None
            if mask is None:
                mask = yield from _mask_steps(predicate, source.rows, source.part)
                if is_full:
                    self._cache.put(self._segment_id, number, predicate, mask)
            rows[source.first : source.first + source.rows] = mask.rows
        return Mask(rows, int(np.count_nonzero(rows)))

    def families(self, path: str, rows: NDArray[np.int64], count: int) -> Mapping[str, pa.Array]:
        """The arrays (n,) of a path, or of "id", for these rows (n,) of the first `count`."""
        if path == "id":
            return _id_families(self._columns, rows)
        finish(self._prepare_steps(count))
        sources = self._sources(count)
        parts, counts, places = [], [], [np.empty(0, np.int64)]
        numbers = np.searchsorted(self._ends[: self._full(count)], rows, side="right")
        for number in np.unique(numbers).tolist():
            block = sources[number]
            where = np.flatnonzero(numbers == number)
            wanted = pa.array(rows[where] - block.first)
            parts.append({family: taken(array, wanted) for family, array in block.families(path).items()})
            counts.append(len(where))
            places.append(where)
        return take(concatenate(parts, counts), np.argsort(np.concatenate(places)))

    def mask_of_steps(self, predicate: Predicate, count: int, rows: NDArray[Any]) -> MaskSteps:
        """The same where only some rows, (n,), are asked: the others do not match, and can raise no error."""
        yield from self._prepare_steps(count)
        return (yield from _mask_steps(predicate, count, lambda part: _GrowingRows(self, rows[part], count), rows))

    def vectors(self, rows: NDArray[np.int64]) -> Vectors:
        """A copy of the vectors of these rows (n,)."""
        chosen: Vectors = self._columns.vectors[rows]
        return chosen

    def _full(self, count: int) -> int:
        """How many blocks of the first `count` rows are full."""
        return int(np.searchsorted(self._ends, count, side="right"))

    def _sources(self, count: int) -> list[_Source]:
        """Columns of the first `count` rows, which are prepared: the full blocks, and what comes behind."""
        full = self._full(count)
        blocks, first = self._blocks[:full], int(self._ends[full - 1]) if full else 0
        if first == count:
            return blocks
        if self._tail is None or self._tail.first != first or self._tail.rows != count - first:
            self._tail = self._source(first, count)
        return [*blocks, self._tail]

    def _prepare_steps(self, count: int) -> Generator[None, None, None]:
        """Make columns of the full blocks of the first `count` rows."""
        while True:  # others may have made some between two steps
            first = int(self._ends[-1]) if len(self._ends) else 0
            last = self._end_of_block(first, count) if first < count else None
            if last is None:
                return
            self._blocks.append(self._source(first, last))
            self._ends = np.append(self._ends, last)
            yield

    def _end_of_block(self, first: int, count: int) -> int | None:
        """Where the block that begins here ends, None where it is not full."""
        sizes = np.cumsum(self._columns.payload_bytes[first : min(first + _BLOCK_ROWS, count)], dtype=np.int64)
        rows = int(np.searchsorted(sizes, _BLOCK_BYTES)) + 1
        if rows <= len(sizes):
            return first + rows
        return first + _BLOCK_ROWS if len(sizes) == _BLOCK_ROWS else None

    def has_path(self, path: str, count: int) -> bool:
        """Whether any of the first `count` rows has a value at a path, as names are compared."""
        while path not in self._names and self._named_rows < count:
            self._names.update(names_in(self._columns.payload(self._named_rows)))
            self._named_rows += 1
        return path in self._names

    def known_paths(self) -> Collection[str]:
        return self._names

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

    def part(self, rows: slice) -> Source:
        """Some of the rows, in place."""
        whole = rows.start == 0 and rows.stop == self.rows
        return self if whole else _Slice(self, rows)


class _Slice:
    """Rows of a source that follow each other, in place."""

    def __init__(self, source: _Source, rows: slice) -> None:
        self.rows = rows.stop - rows.start
        self._source = source
        self._first = rows.start

    def families(self, path: str) -> Mapping[str, pa.Array]:
        families = self._source.families(path)
        return {family: array.slice(self._first, self.rows) for family, array in families.items()}

    def vectors(self) -> Vectors:
        return self._source.vectors()[self._first : self._first + self.rows]


class _GrowingRows:
    """Some rows of a growing segment, (n,) of their numbers, whose columns are made."""

    def __init__(self, filter: GrowingFilter, chosen: NDArray[Any], count: int) -> None:
        self.rows = len(chosen)
        self._filter = filter
        self._chosen = chosen
        self._count = count

    def families(self, path: str) -> Mapping[str, pa.Array]:
        return self._filter.families(path, self._chosen, self._count)

    def vectors(self) -> Vectors:
        return self._filter.vectors(self._chosen)


class _ChosenRows:
    """The same for some rows of a segment, (n,) of their numbers."""

    def __init__(self, columns: Columns, chosen: NDArray[Any], payloads: PayloadColumns) -> None:
        self.rows = len(chosen)
        self._columns = columns
        self._chosen = chosen
        self._payloads = payloads
        self._families: dict[str, Mapping[str, pa.Array]] = {}

    def families(self, path: str) -> Mapping[str, pa.Array]:
        if path not in self._families:
            self._families[path] = self._taken(path)
        return self._families[path]

    def _taken(self, path: str) -> Mapping[str, pa.Array]:
        if path == "id":
            return _id_families(self._columns, self._chosen)
        return {family: decoded(array) for family, array in self._payloads.families(path, self._chosen).items()}

    def vectors(self) -> Vectors:
        chosen: Vectors = self._columns.vectors[self._chosen]
        return chosen


def _mask_steps(
    predicate: Predicate, count: int, source_of: Callable[[slice], Source], rows: NDArray[Any] | None = None
) -> MaskSteps:
    """The mask over so many rows, evaluated piece by piece; where only some rows, (n,), are asked, among these."""
    mask = np.zeros(count, np.bool_)
    for part, source in pieces(predicate.condition, count if rows is None else len(rows), source_of):
        if part.start:
            yield
        truths = predicate.evaluate(source)
        if rows is None:
            mask[part] = truths
        else:
            mask[rows[part][truths]] = True
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
