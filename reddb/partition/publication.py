"""How the list of segments of a partition changes: one publication after another, beside writes and reads.

    on the owner's loop              in a thread that may wait for the disk
    ------------------------------   -------------------------------------------------------------------
    begin(job)                       a builder writes files, see `reddb.partition.jobs`
                                     open: map the new files, verify every checksum
    prepare: give the new segment
      tombstones, as dead as its
      sources; from now on deaths
      are marked on both sides
                                     write: which rows live, then the manifest: the change is durable
    complete: readers see it
    (every core has seen it)         clean: remove the old files, cut the log
    retire: memory is given back

A failure before the manifest was written undoes the publication; the job is due again.

Invariants:
  * The manifest's `sealed_lsn` is the last LSN of a segment whose rows, and all before it, are in sealed files. The
    `live` files that the same manifest names hold the deaths up to it and none behind it, and a merge leaves out no row
    that lived then: the files are the state at that LSN. Rejected: all deaths so far, which is smaller by a moment, and
    loses for good what a damaged record had replaced.
  * Nothing is removed or given back before every core has let go of it, and before that no other job begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.partition.jobs import Job, JobKind
from reddb.partition.segments import OwnedSegment, Source, Succession
from reddb.partition.settled import open_index
from reddb.partition.writer import Partition
from reddb.storage.field_index import open_field_indexes
from reddb.storage.growing import GrowingSegment
from reddb.storage.manifest import SegmentRecord, put_manifest, remove_garbage, stage_manifest, write_live
from reddb.storage.memory import SLOT_ROWS
from reddb.storage.sealed import SealedSegment, segment_folder


@dataclass(frozen=True, slots=True)
class _LiveFile:
    segment: OwnedSegment
    record: SegmentRecord
    live: NDArray[np.bool_]
    dead: int


def publication(partition: Partition, job: Job) -> Publication:
    """The publication of what the job will make."""
    return Reindexing(partition, job) if job.kind is JobKind.BUILD else Replacement(partition, job)


class Publication(ABC):
    """One change of the list of segments."""

    def __init__(self, partition: Partition, sources: Sequence[OwnedSegment] = ()) -> None:
        """It is under way from now on; the sources stay as they are but for deaths."""
        self._partition = partition
        self._sources = list(sources)
        self._manifest = partition.manifest
        self._live_files: list[_LiveFile] = []

    @abstractmethod
    def open(self, result: dict[str, Any]) -> None:
        """Verify what the builder made. Raises CORRUPT_DATA; for a thread, it reads every file."""

    @abstractmethod
    def prepare(self) -> None:
        """Decide what the manifest will say. Raises OUT_OF_MEMORY, and nothing has changed then."""

    def write(self) -> None:
        """Make it durable; for the thread that writes the log. Raises DISK_FULL or DISK_FAILED."""
        partition = self._partition
        partition.sync()  # the log must not end before what the manifest says, whatever the power does
        if partition.collection.is_logged:
            self._manifest = replace(self._manifest, durable_lsn=partition.wal.durable_lsn)
        of = partition.disk, partition.folder, partition.collection, partition.number
        for file in self._live_files:
            write_live(*of, file.record, file.live)
        stage_manifest(*of, self._manifest)
        try:
            put_manifest(partition.disk, partition.folder)
        except BaseException as error:
            is_as_before = isinstance(error, errors.RedDBError) and error.code is errors.TOO_MANY_FILES
            partition.manifest_is_unknown = not is_as_before
            raise

    def complete(self) -> int:
        """Let readers see it; gives the generation that every core must have seen before `clean`."""
        self._partition.manifest = self._manifest
        for file in self._live_files:
            file.segment.record, file.segment.live_file_dead = file.record, file.dead
        return self._show()

    @abstractmethod
    def undo(self) -> None:
        """It failed before it was durable: nothing has changed."""

    def clean(self) -> None:
        """Remove files and log that nobody needs any more; for a thread."""
        partition = self._partition
        remove_garbage(partition.disk, partition.folder, partition.manifest)
        partition.wal.release(partition.manifest.sealed_lsn)

    @abstractmethod
    def retire(self) -> None:
        """Give back the memory of what was replaced: no core reads it any more."""

    @abstractmethod
    def _show(self) -> int: ...

    def _decide(self, records: list[SegmentRecord], sealed_lsn: int) -> None:
        self._manifest = self._partition.manifest.next(
            sealed_lsn=sealed_lsn, next_segment=self._partition.next_segment, segments=tuple(records)
        )

    def _note_live(self, segment: OwnedSegment, record: SegmentRecord, sealed_lsn: int) -> SegmentRecord:
        """Write which rows lived at `sealed_lsn` anew, if fewer did than the segment's file says."""
        if segment.tombstones.count == segment.live_file_dead:
            return record
        live = segment.tombstones.live(slice(0, segment.count), sealed_lsn)
        dead = segment.count - int(np.count_nonzero(live))
        if dead == segment.live_file_dead:
            return record
        record = replace(record, dead=record.dead + 1)
        self._live_files.append(_LiveFile(segment, record, live, dead))
        return record


class Replacement(Publication):
    """A new segment takes the place of one that grew, or of several that were merged."""

    def __init__(self, partition: Partition, job: Job) -> None:
        super().__init__(partition, _sources_of(partition, job))
        self.job = job
        self._made: tuple[SegmentRecord, SealedSegment] | None = None  # None where no row was left
        self._target: OwnedSegment | None = None

    def open(self, result: dict[str, Any]) -> None:
        partition, job, rows = self._partition, self.job, int(result["rows"])
        if not rows:
            return
        record = SegmentRecord(job.segment_id, rows, index=result["index"])
        folder = segment_folder(partition.folder, record.id)
        of = partition.disk, folder, partition.collection, partition.number, record.id, rows
        sealed = SealedSegment(*of, verify=True)
        open_index(*of, record.index, verify=True)
        open_field_indexes(*of, record.index)
        self._made = record, sealed

    def prepare(self) -> None:
        partition = self._partition
        sealed_lsn = max(partition.manifest.sealed_lsn, self._sources[-1].last_lsn)
        records: list[SegmentRecord] = []
        for segment in partition.segments:
            if segment is self._sources[0] and self._made is not None:
                record, sealed = self._made
                self._target = partition.add_sealed(record, sealed)
                partition.succession = Succession(self._kept(), self._target)
                partition.succession.copy_tombstones()
                records.append(self._note_live(self._target, record, sealed_lsn))
            elif segment not in self._sources and segment.record is not None:
                records.append(self._note_live(segment, segment.record, sealed_lsn))
        self._decide(records, sealed_lsn)

    def undo(self) -> None:
        partition = self._partition
        partition.succession = None
        if self._target is not None:
            partition.ranges.give_back(self._target.tombstones_at, self._target.count)

    def retire(self) -> None:
        partition = self._partition
        partition.succession = None
        for segment in self._sources:
            growing = isinstance(segment.rows, GrowingSegment)
            partition.ranges.give_back(segment.tombstones_at, SLOT_ROWS if growing else segment.count)
            if isinstance(segment.rows, GrowingSegment):
                partition.growing.free(segment.rows.slot)

    def _show(self) -> int:
        return self._partition.replace_segments(self._sources, [] if self._target is None else [self._target])

    def _kept(self) -> tuple[Source, ...]:
        """Which rows of each source the job took."""
        sources: list[Source] = []
        first = 0
        for segment in self._sources:
            kept = self.job.kept_rows(segment.tombstones, segment.count)
            sources.append(Source(segment, kept, first))
            first += len(kept)
        assert self._made is not None
        assert first == self._made[0].rows, f"{self.job} took {self._made[0].rows} rows of {first}"
        return tuple(sources)


class Reindexing(Publication):
    """A sealed segment gets another index; its rows stay."""

    def __init__(self, partition: Partition, job: Job) -> None:
        super().__init__(partition, _sources_of(partition, job))

    def open(self, result: dict[str, Any]) -> None:
        partition, (segment,) = self._partition, self._sources
        folder = segment_folder(partition.folder, segment.id)
        self._index = int(result["index"])
        of = partition.disk, folder, partition.collection, partition.number, segment.id, segment.count
        open_index(*of, self._index, verify=True)
        open_field_indexes(*of, self._index)

    def prepare(self) -> None:
        sealed_lsn = self._partition.manifest.sealed_lsn
        records: list[SegmentRecord] = []
        for segment in self._partition.segments:
            if segment.record is not None:
                is_ours = segment is self._sources[0]
                record = replace(segment.record, index=self._index) if is_ours else segment.record
                records.append(self._note_live(segment, record, sealed_lsn))
        self._decide(records, sealed_lsn)

    def undo(self) -> None:
        pass  # no memory was given to it

    def retire(self) -> None:
        pass  # the rows and their tombstones go on

    def _show(self) -> int:
        (segment,) = self._sources
        assert segment.record is not None
        segment.record = replace(segment.record, index=self._index)
        return self._partition.replace_segments(self._sources, self._sources)


class TombstoneCheckpoint(Publication):
    """Which rows of the sealed segments live goes to files; nothing else of the log is needed where no rows grow."""

    def open(self, result: dict[str, Any]) -> None:
        pass  # nobody made anything

    def prepare(self) -> None:
        partition = self._partition
        assert all(segment.record is not None for segment in partition.segments)
        records = [
            self._note_live(segment, segment.record, partition.lsn)
            for segment in partition.segments
            if segment.record is not None
        ]
        self._decide(records, partition.lsn)

    def undo(self) -> None:
        pass  # no memory was given to it

    def retire(self) -> None:
        pass  # nothing was replaced

    def _show(self) -> int:
        return 0  # readers see what they saw


def _sources_of(partition: Partition, job: Job) -> list[OwnedSegment]:
    sources = [segment for segment in partition.segments if segment.id in job.source_ids]
    assert len(sources) == len(job.sources)
    return sources
