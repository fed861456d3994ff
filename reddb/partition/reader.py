"""Reads partitions from their memory and their sealed files, on whichever core the question came to.

A reader keeps what it opened: when the list of segments changes, only what is new is mapped. What a view saw stays
readable for as long as the owner waits for this core to let go (`has_let_go`).

Invariant: a view is taken anew for each question, so an acknowledged write is in every view taken afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from weakref import WeakSet

import numpy as np

from reddb.accountant import Accountant
from reddb.disk import Disk
from reddb.expiry import NEVER_US
from reddb.index.metrics import Distances
from reddb.partition.expiry import Expired
from reddb.partition.filters import FilterCache, GrowingFilter, ReaderFilters, SealedFilter
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.kinds import codec_of
from reddb.partition.known import KnownRows, Remembered
from reddb.partition.search import Found, SearchReport, Steps, search_steps
from reddb.partition.settled import Graph, Lists, open_index
from reddb.partition.view import Filter, SegmentView, View
from reddb.query.execute import run_steps
from reddb.query.predicate import Predicate
from reddb.query.read_plans import ReadPlan
from reddb.query.select import Steps as ReadSteps
from reddb.storage.field_index import open_field_indexes
from reddb.storage.growing import GrowingSegment
from reddb.storage.memory import SLOT_ROWS, PartitionMemory, SegmentEntry, Snapshot
from reddb.storage.sealed import SealedSegment, segment_folder
from reddb.storage.segment_rows import INT_ID, SegmentRows
from reddb.types import Collection, SearchOptions, Vectors

_FIXED_ROW_BYTES = 8 + 2 + 8 + 8 + 4 + 8  # id, its length, inverse norm, payload's start and length, tombstone


class Reader(ABC):
    """A read-only face of a collection: of its only partition, or of all."""

    def __init__(self) -> None:
        self._remembered = Remembered()

    @property
    @abstractmethod
    def parts(self) -> Sequence[PartitionReader]:
        """The partitions, in order."""

    @abstractmethod
    def view(self) -> View:
        """What is published and has not expired now. Raises CORRUPT_DATA if a sealed file cannot be opened."""

    def search(
        self,
        queries: Vectors,
        options: SearchOptions,
        predicate: Predicate | None = None,
        report: SearchReport | None = None,
    ) -> list[Found]:
        """The nearest live rows for each query of (q, dim), at one snapshot."""
        steps = self.search_steps(queries, options, predicate, report)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                found: list[Found] = stop.value
                return found

    def search_steps(
        self,
        queries: Vectors,
        options: SearchOptions,
        predicate: Predicate | None = None,
        report: SearchReport | None = None,
    ) -> Steps:
        """The same in slices of about a millisecond: yields between them and returns the list."""
        return search_steps(self.view(), queries, options, predicate, report)

    def read_steps(self, plan: ReadPlan) -> ReadSteps:
        """Run a read in slices of a few milliseconds: yields between them and returns the table."""
        view = self.view()
        return run_steps(plan, view, partial(search_steps, view))

    def count(self) -> int:
        return self.view().live_rows

    @property
    def known(self) -> KnownRows:
        """What the rows have, or have had."""
        return KnownRows(self.view, self._remembered)

    def coded_rows(self) -> int:
        """How many rows are found by codes or graphs; the rest is scanned exactly, until an index has them."""
        total = 0
        for segment in self.view().segments:
            if isinstance(segment.index, GrowingCodes):
                block = segment.index.block
                total += block.encoded if block.needed else 0
            elif segment.index is not None and segment.index.description.codes:
                total += segment.count
        return total


class PartitionReader(Reader):
    """A read-only face of one partition."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        collection: Collection,
        partition: int,
        memory: PartitionMemory,
        now_us: Callable[[], int],
        filters: FilterCache | None = None,
    ) -> None:
        """`now_us` says which rows have expired: microseconds since 1970 that never go back.

        `filters` is the cache of this process; where there is none the reader has one of its own.
        """
        super().__init__()
        self.now_us = now_us
        self.memory = memory
        self.number = partition
        self.collection = collection
        self._disk = disk
        self._folder = folder
        self._codec = codec_of(collection)
        self._cache = ReaderFilters(filters or FilterCache(Accountant()["filters"]))
        self._generation = -1
        self._segments: tuple[SegmentView, ...] = ()
        self._entries: dict[SegmentEntry, SegmentView] = {}
        self._sealed: dict[int, SealedSegment] = {}
        self._views: WeakSet[View] = WeakSet()
        self._view: View | None = None
        self._seen: Snapshot | None = None

    @property
    def parts(self) -> Sequence[PartitionReader]:
        return (self,)

    def view(self) -> View:
        return self.view_at(self.now_us)

    def view_at(self, now_us: Callable[[], int]) -> View:
        """The same by another clock, which is not asked where no row ever expires."""
        snapshot = self.memory.snapshot()
        if snapshot == self._seen and self._view is not None:
            until_us = self._view.expired.until_us
            if until_us == NEVER_US or now_us() < until_us:
                return self._view
        if snapshot.generation != self._generation:
            snapshot = self._refresh()
        segments = self._segments
        if segments and segments[-1].is_growing:
            segments = (*segments[:-1], _with_count(segments[-1], snapshot.last_rows))
        expired, lsns = Expired.at(now_us(), segments), (snapshot.lsn,) * len(segments)
        self._view = View(self.collection, snapshot.generation, snapshot.live_rows, segments, lsns, expired)
        self._views.add(self._view)
        self._seen = snapshot
        return self._view

    def has_let_go(self, generation: int) -> bool:
        """Whether no search here reads what a generation before this one showed."""
        self.view()
        return all(view.generation >= generation for view in self._views)

    def change_collection(self, collection: Collection) -> None:
        """New settings hold from now on."""
        self.collection = collection
        self._seen = None

    def disk_bytes(self, segment: SegmentView) -> int:
        """Bytes of the segment's files."""
        return 0 if segment.is_growing else self._disk.folder_bytes(segment_folder(self._folder, segment.id))

    def memory_bytes(self, segment: SegmentView) -> int:
        """Memory that the segment takes: shared by all cores, and this core's copy of its turbo codes or lists."""
        codec = self._codec
        columns, count = segment.rows.columns, segment.count
        private = count * codec.code_bytes if codec is not None and not isinstance(segment.index, Graph | Lists) else 0
        if isinstance(segment.index, Lists):
            private = segment.index.file.memory_bytes
        if not segment.is_growing:
            return 8 * (1 + count) + private
        texts = int(columns.id_bytes[:count][columns.id_bytes[:count] != INT_ID].sum())
        fixed = 4 * self.collection.dim + self.memory.shape.code_bytes + _FIXED_ROW_BYTES
        return count * fixed + texts + int(columns.payload_bytes[:count].sum(dtype=np.int64)) + private

    def _refresh(self) -> Snapshot:
        snapshot, entries = self.memory.table()
        opened: dict[SegmentEntry, SegmentView] = {}
        for entry in entries:
            # A growing segment's rows come to the table only when it is frozen; it stays the same object.
            key = entry._replace(rows=0) if entry.slot >= 0 else entry
            opened[key] = _with_count(self._entries.get(key) or self._open(entry), entry.rows)
        self._entries = opened
        self._segments = tuple(opened.values())
        self._generation = snapshot.generation
        known = {entry.id for entry in entries}
        self._sealed = {id: segment for id, segment in self._sealed.items() if id in known}
        self._cache.forget(known)
        return snapshot

    def _open(self, entry: SegmentEntry) -> SegmentView:
        if entry.slot >= 0:
            codes = None
            if self._codec is not None:
                codes = GrowingCodes(self._codec, self.collection, self.memory, entry.slot)
            growing = GrowingSegment(self.memory, entry.slot)
            filter: Filter = GrowingFilter(entry.id, growing.columns, self._cache)
            return self._segment(entry, growing, codes, filter, SLOT_ROWS)
        folder = segment_folder(self._folder, entry.id)
        of = self._disk, folder, self.collection, self.number, entry.id, entry.rows
        if entry.id not in self._sealed:
            self._sealed[entry.id] = SealedSegment(*of, verify=False)
        sealed = self._sealed[entry.id]
        index = open_index(*of, entry.index_number, verify=False)
        open_fields = partial(open_field_indexes, *of, entry.index_number)
        filter = SealedFilter(entry.id, sealed, self._cache, open_fields)
        return self._segment(entry, sealed, index, filter, entry.rows)

    def _segment(
        self, entry: SegmentEntry, rows: SegmentRows, index: object, filter: Filter, capacity: int
    ) -> SegmentView:
        columns = rows.columns
        return SegmentView(
            id=entry.id,
            is_growing=entry.slot >= 0,
            rows=rows,
            tombstones=self.memory.tombstones(entry.tombstones_at, capacity),
            count=entry.rows,
            index=index,  # type: ignore[arg-type]  # one of the kinds that SegmentView names
            distances=Distances(self.collection.metric, columns.vectors, columns.inverse_norm),
            filter=filter,
            index_number=entry.index_number,
            partition=self.number,
        )


class CollectionReader(Reader):
    """All partitions of a collection as one: their segments are searched together."""

    def __init__(self, parts: Sequence[PartitionReader]) -> None:
        super().__init__()
        self._parts = tuple(parts)
        self._view: View | None = None

    @property
    def parts(self) -> Sequence[PartitionReader]:
        return self._parts

    def view(self) -> View:
        now_us = self._parts[0].now_us()
        views = tuple(part.view_at(lambda: now_us) for part in self._parts)
        if self._view is None or any(new is not seen for new, seen in zip(views, self._view.parts, strict=True)):
            self._view = View.of_all(views)
        return self._view


def reader_of(parts: Sequence[PartitionReader]) -> Reader:
    """The reader of a collection; a single partition is read without a step between."""
    return parts[0] if len(parts) == 1 else CollectionReader(parts)


def _with_count(segment: SegmentView, count: int) -> SegmentView:
    """The same segment with so many rows."""
    if segment.count == count:
        return segment
    return replace(segment, count=count)
