"""The long work of a partition, as a builder process does it: from memory and files to the files of one segment.

    seal     a frozen growing segment: its rows and codes to files
    build    a sealed segment: its index
    merge    neighbours, the dead rows left out: rows and index of the segment that will replace them

Each of them writes the indexes of the collection's fields too.

A job is a plain description that travels to the builder; its result is a plain map. A builder may be killed at any
moment: what it wrote is nobody's until the owner has published it, and is written anew by the next one.

Invariant: a job reads rows that do not change and writes a folder that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reddb.disk import Disk
from reddb.partition.index_builder import IndexBuilder
from reddb.partition.settled import wants_graph
from reddb.storage.field_index import write_field_indexes
from reddb.storage.memory import PartitionMemory, SegmentEntry
from reddb.storage.sealed import SealedSegment, segment_folder, write_segment
from reddb.storage.segment_rows import Columns, Tombstones
from reddb.types import Collection


class JobKind(StrEnum):
    SEAL = "seal"
    BUILD = "build"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class Job:
    """What to do: `segment_id` is the segment that will come of it, `index` the number of its index files.

    A merge leaves out what was dead at `lsn`.
    """

    kind: JobKind
    segment_id: int
    sources: tuple[SegmentEntry, ...]
    index: int
    lsn: int

    @property
    def source_ids(self) -> frozenset[int]:
        return frozenset(source.id for source in self.sources)

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources)

    def kept_rows(self, tombstones: Tombstones, count: int) -> NDArray[np.int64]:
        """Which of the first `count` rows of a source are taken; the same whenever it is asked."""
        if self.kind is not JobKind.MERGE:
            return np.arange(count)
        return np.flatnonzero(tombstones.live(slice(0, count), self.lsn))

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Job:
        sources = tuple(SegmentEntry(*source) for source in plain["sources"])
        return cls(**{**plain, "kind": JobKind(plain["kind"]), "sources": sources})


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a job is done: the partition's folder and memory."""

    disk: Disk
    folder: Path
    collection: Collection
    partition: int
    memory: PartitionMemory

    def run(self, job: Job, progress: Callable[[int], None]) -> dict[str, Any]:
        """Do it; `progress` gets rows done. Gives {rows, index}; raises a disk error or MemoryError."""
        folder = segment_folder(self.folder, job.segment_id)
        rows = job.rows
        if job.kind is not JobKind.BUILD:
            parts = [self._part(job, source) for source in job.sources]
            rows = sum(len(kept) for _, kept in parts)
            if not rows:
                return {"rows": 0, "index": 0}
            self._write(job, folder, parts)
        # A fresh segment is to be searchable by its codes soon: its graph is a job of its own.
        graph = wants_graph(self.collection, rows)
        is_fresh = job.kind is JobKind.SEAL
        index = 0 if is_fresh and graph and not self.memory.shape.code_bytes else job.index
        segment, of = self._sealed(job.segment_id, rows), (self.collection, self.partition, job.segment_id)
        write_field_indexes(self.disk, folder, *of, segment, index)
        if index:
            IndexBuilder(self.disk, folder, *of, progress).build(segment, index, graph=graph and not is_fresh)
        return {"rows": rows, "index": index}

    def _part(self, job: Job, source: SegmentEntry) -> tuple[Columns, NDArray[np.int64]]:
        if source.slot >= 0:
            columns = self.memory.slot_columns(source.slot)
        else:
            columns = self._sealed(source.id, source.rows).columns
        return columns, job.kept_rows(self.memory.tombstones(source.tombstones_at, source.rows), source.rows)

    def _write(self, job: Job, folder: Path, parts: Sequence[tuple[Columns, NDArray[np.int64]]]) -> None:
        self.disk.remove_tree(folder)  # a builder before may have left something
        write_segment(self.disk, folder, self.collection, self.partition, job.segment_id, parts)

    def _sealed(self, segment_id: int, rows: int) -> SealedSegment:
        folder = segment_folder(self.folder, segment_id)
        return SealedSegment(self.disk, folder, self.collection, self.partition, segment_id, rows, verify=False)
