"""One moment of a collection as a reader sees it: segments, their rows, and the LSN and the time that say who lives.

A row is addressed by its segment's place in the view (upper 32 bits) and its number in the segment (lower 32).

Invariants:
  * One view is one snapshot of each partition: what was written to it at once is in the view whole, or not at all.
  * An address means nothing outside its view.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import errors
from reddb.index.metrics import Distances, exact_distances
from reddb.partition.expiry import Expired
from reddb.partition.filters import Mask, MaskSteps
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.settled import SettledIndex
from reddb.partition.view_rows import ViewRows
from reddb.query.execute import finish
from reddb.query.families import arrays, concatenate, take
from reddb.query.predicate import Predicate
from reddb.rows import PayloadColumn
from reddb.storage.segment_rows import SegmentRows, Tombstones
from reddb.types import Collection, IdColumn, Metric, RowId, Vectors

Addresses: TypeAlias = NDArray[np.int64]

_ROW_BITS = 32
_ROW_MASK = 2**_ROW_BITS - 1
_SCAN_BLOCK_ROWS = 4096


class Filter(Protocol):
    def mask_steps(self, predicate: Predicate, count: int) -> MaskSteps: ...

    def families(self, path: str, rows: NDArray[np.int64], count: int) -> Mapping[str, pa.Array]: ...

    def mask_of_steps(self, predicate: Predicate, count: int, rows: NDArray[np.int64]) -> MaskSteps: ...

    def has_path(self, path: str, count: int) -> bool:
        """Whether any of the first `count` rows has a value at a path, as names are compared."""

    def known_paths(self) -> abc.Collection[str]:
        """The paths that were found so far, as names are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentView:
    """A segment with its first `count` rows. `index` is None for a growing segment without codes."""

    id: int
    is_growing: bool
    rows: SegmentRows
    tombstones: Tombstones
    count: int
    index: GrowingCodes | SettledIndex | None
    distances: Distances
    filter: Filter
    index_number: int = 0
    partition: int = 0


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class View:
    """The segments of a partition at one moment, or those of all `parts`, in order.

    `lsns` are those of the partitions that the segments belong to; `generation` is the partition's. `undeleted_rows`
    counts rows that have expired too.
    """

    collection: Collection
    generation: int
    undeleted_rows: int
    segments: tuple[SegmentView, ...]
    lsns: tuple[int, ...]
    expired: Expired
    parts: tuple[View, ...] = ()

    @classmethod
    def of_all(cls, parts: tuple[View, ...]) -> View:
        """The partitions of a collection as one."""
        segments = tuple(segment for part in parts for segment in part.segments)
        lsns = tuple(lsn for part in parts for lsn in part.lsns)
        undeleted_rows = sum(part.undeleted_rows for part in parts)
        expired = Expired.of_all([part.expired for part in parts])
        return cls(parts[0].collection, 0, undeleted_rows, segments, lsns, expired, parts)

    @property
    def live_rows(self) -> int:
        """Rows that are neither dead nor expired."""
        return self.undeleted_rows - sum(map(self.expired_rows, range(len(self.segments))))

    def live(self, place: int, rows: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
        """Which of the rows of the segment at this place live."""
        segment = self.segments[place]
        live = segment.tombstones.live(rows, self.lsns[place])
        if self.expired.rows[place]:
            live &= segment.rows.expiries.unexpired(rows, self.expired.now_us)
        return live

    def all_live(self, place: int) -> bool:
        """Whether every row of the segment lives, so that none need be asked."""
        return not self.segments[place].tombstones.count and not self.expired.rows[place]

    def gone_rows(self, place: int) -> int:
        """How many rows of the segment are dead or expired."""
        return self.segments[place].tombstones.count + self.expired_rows(place)

    def expired_rows(self, place: int) -> int:
        """How many rows of the segment have expired and are not deleted yet."""
        if not self.expired.rows[place]:
            return 0
        segment = self.segments[place]
        expired = segment.rows.expiries.expired_rows(self.expired.now_us, segment.count)
        return int(np.count_nonzero(segment.tombstones.live(expired, self.lsns[place])))

    def mask_steps(self, place: int, predicate: Predicate) -> MaskSteps:
        """Which rows of the segment at this place match. Raises INVALID_VALUE if it cannot be said of a live one."""
        segment = self.segments[place]
        try:
            return (yield from segment.filter.mask_steps(predicate, segment.count))
        except errors.RedDBError as error:
            if error.code is not errors.INVALID_VALUE or self.all_live(place):
                raise
        live = np.flatnonzero(self.live(place, slice(0, segment.count)))
        return (yield from segment.filter.mask_of_steps(predicate, segment.count, live))

    def get(self, ids: Sequence[RowId]) -> Addresses:
        """Where each id's live row is, -1 where there is none: (n,)."""
        found: Addresses = np.full(len(ids), -1)
        remaining = np.arange(len(ids))
        for place in range(len(self.segments) - 1, -1, -1):
            segment = self.segments[place]
            wanted = ids if len(remaining) == len(ids) else [ids[item] for item in remaining.tolist()]
            rows = segment.rows.find(wanted, segment.count)
            hit = np.flatnonzero(rows >= 0)
            hit = hit[self.live(place, rows[hit])]
            found[remaining[hit]] = address(place, rows[hit])
            remaining = np.delete(remaining, hit)
            if not len(remaining):
                break
        return found

    def blocks(self, predicate: Predicate | None = None) -> Iterator[Addresses]:
        """The live rows that match, a few thousand at a time; each partition in its rows' order.

        None at a time while it is found out which match, so that whoever asks can do something else in between.
        """
        for place, segment in enumerate(self.segments):
            mask = None
            if predicate is not None:
                mask = yield from _as_blocks(self.mask_steps(place, predicate))
            for first in range(0, segment.count, _SCAN_BLOCK_ROWS):
                block = slice(first, min(first + _SCAN_BLOCK_ROWS, segment.count))
                keep = self.live(place, block)
                if mask is not None:
                    keep &= mask[block]
                yield address(place, first + np.flatnonzero(keep))

    def scan(self, count: int, offset: int = 0, predicate: Predicate | None = None) -> Addresses:
        """The first `count` live rows that match, after `offset` of them; each partition in its rows' order."""
        parts: list[Addresses] = [np.empty(0, np.int64)]
        wanted = offset + count
        for block in self.blocks(predicate) if wanted else ():
            parts.append(block)
            wanted -= len(block)
            if wanted <= 0:
                break
        return np.concatenate(parts)[offset : offset + count]

    def count(self, predicate: Predicate | None = None) -> int:
        """Live rows, or those that match."""
        return finish(self.count_steps(predicate))

    def count_steps(self, predicate: Predicate | None = None) -> Generator[None, None, int]:
        """The same in slices: yields between them."""
        if predicate is None:
            return self.live_rows
        total = 0
        for place, segment in enumerate(self.segments):
            mask = yield from self.mask_steps(place, predicate)
            yield
            if mask.matches and not self.all_live(place):
                total += int(np.count_nonzero(mask.rows & self.live(place, slice(0, segment.count))))
            else:
                total += mask.matches
        return total

    def id_column(self, addresses: Addresses) -> IdColumn:
        """Ids of the rows (n,), an array where all are integers."""
        if len(self.segments) == 1:
            return self.segments[0].rows.columns.id_column(addresses & _ROW_MASK)
        parts = self._by_segment(addresses)
        columns = [self.segments[place].rows.columns.id_column(rows) for place, _, rows in parts]
        if all(isinstance(column, np.ndarray) for column in columns):
            ids = np.empty(len(addresses), np.int64)
            for (_, where, _), column in zip(parts, columns, strict=True):
                ids[where] = column
            return ids
        mixed: list[RowId] = [0] * len(addresses)
        for (_, where, _), column in zip(parts, columns, strict=True):
            for position, row_id in zip(where.tolist(), list(column), strict=True):
                mixed[position] = row_id if isinstance(row_id, str) else int(row_id)
        return mixed

    def row_ids(self, addresses: Addresses) -> list[RowId]:
        """Ids of the rows (n,) as plain values."""
        ids = self.id_column(addresses)
        return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)

    def vectors(self, addresses: Addresses) -> Vectors:
        """A copy of the vectors: (n, dim)."""
        vectors = np.empty((len(addresses), self.collection.dim), np.float32)
        for place, where, rows in self._by_segment(addresses):
            vectors[where] = self.segments[place].rows.columns.vectors[rows]
        return vectors

    def payload_bytes(self, addresses: Addresses) -> int:
        """Bytes of the payloads of rows together."""
        total = 0
        for place, _, rows in self._by_segment(addresses):
            total += int(self.segments[place].rows.columns.payload_bytes[rows].sum(dtype=np.int64))
        return total

    def payloads(self, addresses: Addresses) -> list[bytes]:
        """MessagePack bytes of each row's payload, empty where it has none."""
        segments = self.segments
        return [segments[item >> _ROW_BITS].rows.columns.payload(item & _ROW_MASK) for item in addresses.tolist()]

    def payload_column(self, addresses: Addresses) -> PayloadColumn | None:
        """The same as a column of a batch; None where no row has a payload."""
        payloads = self.payloads(addresses)
        if not any(payloads):
            return None
        lengths = np.array([len(payload) for payload in payloads], np.uint32)
        return PayloadColumn(lengths, memoryview(b"".join(payloads)))

    def distances(self, metric: Metric, query: Vectors, addresses: Addresses) -> NDArray[np.float64]:
        """Exact distances (n,) of the rows (n,) to a query (dim,)."""
        if metric is not self.collection.metric:
            return exact_distances(metric, self.vectors(addresses), query)
        distances = np.empty(len(addresses))
        for place, where, rows in self._by_segment(addresses):
            distances[where] = self.segments[place].distances.exact(query, rows)
        return distances

    def families(self, path: str, addresses: Addresses) -> Mapping[str, pa.Array]:
        """The arrays (n,) of a path of the payloads by their family, or of "id"."""
        parts, counts, places = [], [], [np.empty(0, np.int64)]
        for place, where, rows in self._by_segment(addresses):
            segment = self.segments[place]
            parts.append(arrays(segment.filter.families(path, rows, segment.count), len(rows)))
            counts.append(len(rows))
            places.append(where)
        if len(parts) == 1:
            return parts[0]
        return take(concatenate(parts, counts), np.argsort(np.concatenate(places)))

    def row_source(
        self,
        addresses: Addresses,
        query: tuple[Metric, Vectors] | None = None,
        distances: NDArray[np.float64] | None = None,
    ) -> ViewRows:
        """These rows as a source; with metric and query (dim,) or distances (n,) they have a "distance"."""
        return ViewRows(self, addresses, query, distances)

    def _by_segment(self, addresses: Addresses) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Place, positions in `addresses`, row numbers."""
        places, rows = addresses >> _ROW_BITS, addresses & _ROW_MASK
        parts = []
        for place in np.unique(places).tolist():
            where = np.flatnonzero(places == place)
            parts.append((place, where, rows[where]))
        return parts


def _as_blocks(steps: MaskSteps) -> Generator[Addresses, None, NDArray[np.bool_]]:
    """A block of no rows between two steps."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            mask: Mask = stop.value
            return mask.rows
        yield np.empty(0, np.int64)


def address(place: int, rows: NDArray[np.int64]) -> Addresses:
    """Addresses of rows of the segment at a place."""
    return rows + (place << _ROW_BITS)


def split(addresses: Addresses) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places and row numbers."""
    return addresses >> _ROW_BITS, addresses & _ROW_MASK
