"""Takes over the memory that a dead owner of a partition left, once all in it was compared with files and log.

    begin       the list of segments in memory is that of the manifest, and growing ones behind them
    confirm     each record of the log up to the published LSN: its rows, byte for byte, and the deaths that it caused
    conclude    nothing in memory is left that no record said: what was published is right

Records behind the published LSN are applied as ever, for whatever the owner had written of them was seen by nobody.
So a successor needs no memory for rows that are there already, and the other cores go on reading where they read.
Rejected: trusting the snapshot alone, as a core may have died because it wrote where it should not; and giving the
old memory back first, which would leave nothing to read for as long as the log takes.

It is for memory of which every core reads the newest list of segments: what that does not name is given back.

Invariants:
  * Nothing that a reader sees is changed before it was found right.
  * What differs anywhere is not adopted: `Differs` is raised, and the rows are made anew from the log.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reddb.index.metrics import inverse_norms
from reddb.partition.encoder import GrowingEncoder
from reddb.partition.operations import Contents
from reddb.partition.segments import OwnedSegment, locate
from reddb.storage.growing import GrowingSegment, GrowingWriter
from reddb.storage.manifest import Manifest, SegmentRecord
from reddb.storage.memory import SLOT_ROWS, JobProgress, PartitionMemory
from reddb.storage.ranges import TombstoneRanges
from reddb.storage.sealed import SealedSegment
from reddb.types import Metric


class Differs(Exception):
    """The memory does not hold what files and log say; nothing in it was changed."""


class Adoption:
    """Compares the memory of one partition, and says where its segments are."""

    def __init__(self, memory: PartitionMemory, manifest: Manifest, metric: Metric) -> None:
        """Raises Differs where the list of segments is another."""
        self._memory = memory
        self._metric = metric
        self._snapshot, entries = memory.table()
        self._entries = {entry.id: entry for entry in entries}
        self._growing = [entry for entry in entries if entry.slot >= 0]
        self._segments: list[OwnedSegment] = []
        self._dead: dict[int, NDArray[np.bool_]] = {}  # by segment, the rows that files and log say to have died
        self._place = 0  # of the growing segment that the next rows are in
        sealed = [(entry.id, entry.rows) for entry in entries if entry.slot < 0]
        self._check(sealed == [(record.id, record.rows) for record in manifest.segments], "the list of segments")
        self._check(entries[len(sealed) :] == self._growing, "the order of segments")

    @property
    def lsn(self) -> int:
        """Up to which records are confirmed, not applied."""
        return self._snapshot.lsn

    @property
    def generation(self) -> int:
        return self._snapshot.generation

    @property
    def next_segment(self) -> int:
        return max(self._entries, default=0) + 1

    def adopt_sealed(self, record: SegmentRecord, rows: SealedSegment, live: NDArray[np.bool_]) -> OwnedSegment:
        """A sealed segment with the deaths that memory knows; `live` is what its file says."""
        at = self._entries[record.id].tombstones_at
        segment = OwnedSegment(
            record.id, rows, self._memory.tombstones(at, record.rows), at, record.rows, record=record
        )
        segment.live_file_dead = int(np.count_nonzero(~live))
        self._dead[record.id] = ~live
        self._segments.append(segment)
        return segment

    def adopt_growing(self, growing: GrowingWriter) -> list[OwnedSegment]:
        """The growing segments, with no row yet: each counts when it is confirmed."""
        segments: list[OwnedSegment] = []
        for entry in self._growing:
            growing.adopt(entry.slot, entry.tombstones_at)
            tombstones = self._memory.tombstones(entry.tombstones_at, SLOT_ROWS)
            rows = GrowingSegment(self._memory, entry.slot)
            segments.append(OwnedSegment(entry.id, rows, tombstones, entry.tombstones_at, 0))
            self._dead[entry.id] = np.zeros(self._rows(len(segments) - 1), np.bool_)
        self._segments += segments
        return segments

    def confirm(self, lsn: int, contents: Contents, growing: GrowingWriter) -> None:
        """A record was applied just so. Raises Differs if it was not."""
        for segment, _, rows in locate(self._segments, ended, lsn - 1) if (ended := contents.ended) else []:
            self._check(bool((segment.tombstones.lsn[rows] == lsn).all()), f"a row that ended at LSN {lsn}")
            self._dead[segment.id][rows] = True
        batch = contents.written
        if len(batch):
            segment = self._next(len(batch), lsn)
            assert isinstance(segment.rows, GrowingSegment)
            norms = inverse_norms(batch.vectors, self._metric)
            self._check(growing.confirm(segment.rows.slot, batch, norms), f"a row of LSN {lsn}")
            segment.count += len(batch)

    def conclude(self, last_lsn: int, growing: GrowingWriter, ranges: TombstoneRanges, encoder: GrowingEncoder) -> int:
        """All is as the log says, whose last record is given: write behind it. Returns how many rows live."""
        self._check(last_lsn >= self.lsn, "the end of the log")
        living = 0
        for segment in self._segments:
            deaths, dead = segment.tombstones.lsn[: segment.count], self._dead[segment.id]
            self._check(len(dead) == segment.count, f"the rows of segment {segment.id}")
            ended = (deaths > 0) & (deaths <= self.lsn)
            self._check(np.array_equal(ended, dead), f"the dead rows of segment {segment.id}")
            living += segment.count - int(np.count_nonzero(dead))
        self._check(living == self._snapshot.live_rows, "the number of live rows")
        for segment in self._segments:
            segment.tombstones.forget(self.lsn, segment.count)
        ranges.adopt((segment.tombstones_at, _range_rows(segment)) for segment in self._segments)
        growing.go_on()
        for segment in self._segments:
            if isinstance(segment.rows, GrowingSegment):
                self._memory.forget_tombstones(segment.tombstones_at, 1 + segment.count, 1 + SLOT_ROWS)
                encoder.adopt(segment.id, segment.rows.slot, segment.count)
        self._memory.write_progress(JobProgress(0, 0, 0, 0))
        return living

    def _next(self, rows: int, lsn: int) -> OwnedSegment:
        """Where so many rows of a record are: a batch lies whole in one segment, and each segment is full of them."""
        first = len(self._segments) - len(self._growing)
        while self._place < len(self._growing):
            segment, capacity = self._segments[first + self._place], self._rows(self._place)
            if segment.count + rows <= capacity:
                return segment
            self._check(segment.count == capacity, f"the place of LSN {lsn}")
            segment.last_lsn = lsn - 1
            self._place += 1
        raise Differs(f"no segment has the rows of LSN {lsn}")

    def _rows(self, place: int) -> int:
        """Of a growing segment, as published."""
        is_last = place == len(self._growing) - 1
        return self._snapshot.last_rows if is_last else self._growing[place].rows

    def _check(self, is_right: bool, what: str) -> None:
        if not is_right:
            raise Differs(f"{what} in memory is not what files and log say")


def _range_rows(segment: OwnedSegment) -> int:
    return segment.count if segment.record is not None else SLOT_ROWS
