"""Partitions for the tests: a collection, its owner and a reader, and the steps of its life in one call each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from reddb.disk import Disk, OsDisk
from reddb.fields import Field, Fields
from reddb.partition.clock import system_time_us
from reddb.partition.codec_block import CodecBlock
from reddb.partition.jobs import Job, Workshop
from reddb.partition.kinds import codec_of
from reddb.partition.operations import Operation
from reddb.partition.policy import can_checkpoint, compaction, due_job
from reddb.partition.publication import Publication, TombstoneCheckpoint, publication
from reddb.partition.reader import PartitionReader
from reddb.partition.search import Found, Steps
from reddb.partition.writer import Partition
from reddb.rows import RowBatch, id_column, make_batch
from reddb.settings import SettingValue, resolve
from reddb.storage.growing import GrowingSegment
from reddb.storage.manifest import begin_partition
from reddb.types import Collection, Kind, Metric

faiss.omp_set_num_threads(1)  # as in a core

FOLDER = Path("/partition")  # where a disk in memory keeps it


def collection(
    *, dim: int, metric: str = "l2", kind: Kind = Kind.TURBO, fields: Sequence[Field] = (), **settings: SettingValue
) -> Collection:
    return Collection(1, "docs", kind, dim, Metric(metric), resolve(settings, dim), Fields(tuple(fields)))


class Opened:
    """An open partition, as its owner and as a reader see it."""

    def __init__(
        self,
        of: Collection,
        folder: Path = FOLDER,
        disk: Disk | None = None,
        salt: int = 7,
        now_us: Callable[[], int] = system_time_us,
    ) -> None:
        self.collection = of
        self.disk = disk or OsDisk()
        self.folder = folder
        if not self.disk.list_folder(folder):
            begin_partition(self.disk, folder, of, 0, salt)
        self.partition = Partition.open(self.disk, folder, of, 0, lambda: salt, now_us=now_us)
        self.reader = PartitionReader(self.disk, folder, of, 0, self.partition.memory, now_us)

    # --- writes --------------------------------------------------------------------------------------------

    def insert(self, ids: Any, vectors: Any, payloads: Any = None) -> int:
        return self.write(Operation.INSERT, make_batch(ids, vectors, payloads))

    def upsert(self, ids: Any, vectors: Any, payloads: Any = None) -> int:
        return self.write(Operation.UPSERT, make_batch(ids, vectors, payloads))

    def delete(self, ids: Any) -> int:
        return self.write(Operation.DELETE, deletion(ids))

    def write(self, operation: Operation, batch: RowBatch) -> int:
        """The rows affected, once they are stored; on an error nothing has happened."""
        prepared = self.partition.prepare(operation, batch)
        self.commit()
        return prepared.result

    def commit(self) -> None:
        """Store what was prepared; on an error nothing has happened."""
        group = self.partition.take_group()
        if group is None:
            return
        try:
            group.write(self.partition.wal)
        except BaseException:
            self.partition.abort(group)
            raise
        self.partition.complete(group)

    # --- in the background ---------------------------------------------------------------------------------

    def encode(self) -> int:
        """All background encoding there is to do; the number of steps."""
        steps = 0
        while self.partition.encode_step():
            steps += 1
        return steps

    def seal(self) -> None:
        """Seal the growing rows, and all that is due then."""
        assert self.partition.freeze()
        self.settle()

    def settle(self) -> int:
        """All jobs that are due; how many there were."""
        jobs = 0
        while (job := self.due()) is not None:
            self.work(job)
            jobs += 1
        return jobs

    def compact(self) -> None:
        """Leave as few segments and dead rows as there can be."""
        self.seal()
        if can_checkpoint(self.partition):
            self.publish(TombstoneCheckpoint(self.partition))
        while (job := compaction(self.partition)) is not None:
            self.work(job)

    def due(self) -> Job | None:
        return due_job(self.partition, frozenset())

    def begin(self, job: Job) -> Publication:
        """Do the job and open what came of it; nothing has changed for anybody yet."""
        change = publication(self.partition, job)
        of = self.partition
        workshop = Workshop(of.disk, of.folder, of.collection, of.number, of.memory)
        change.open(workshop.run(job, lambda rows: None))
        return change

    def work(self, job: Job) -> None:
        """Do the job and publish it; on an error nothing has changed."""
        self.publish(self.begin(job))

    def publish(self, change: Publication) -> None:
        """Put it in force; on an error nothing has changed."""
        try:
            change.prepare()
            change.write()
        except BaseException:
            change.undo()
            raise
        self.finish(change)

    def finish(self, change: Publication) -> None:
        """What comes after the manifest was written."""
        generation = change.complete()
        assert self.reader.has_let_go(generation)
        change.clean()
        change.retire()

    # --- what is there -------------------------------------------------------------------------------------

    def codec_block(self, place: int = 0) -> CodecBlock:
        """The codec block of the growing segment at a place."""
        codec = codec_of(self.collection)
        assert codec is not None
        return CodecBlock(self.codec_bytes(place), codec.rotation.padded)

    def codec_bytes(self, place: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The same as bytes, to be damaged."""
        rows = self.partition.segments[place].rows
        assert isinstance(rows, GrowingSegment)
        return self.partition.memory.codec[rows.slot]

    def encoded_rows(self) -> int:
        """Rows with codes in the first segment, as its codec block says."""
        return self.codec_block().encoded

    def states(self) -> list[str]:
        """Of each segment whether it grows, waits to be sealed or is sealed."""
        return [
            "frozen" if segment.is_frozen else "growing" if segment.record is None else "sealed"
            for segment in self.partition.segments
        ]

    def with_new_reader(self) -> Opened:
        """The same partition, seen by a reader that has read nothing yet."""
        other = copy(self)
        of = self.disk, self.folder, self.collection, 0
        other.reader = PartitionReader(*of, self.partition.memory, self.partition.now_us)
        return other

    def close(self) -> None:
        self.partition.close()


def finish(steps: Steps, between: Callable[[], object] = lambda: None) -> list[Found]:
    """What a search in slices gives; `between` runs after each slice."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: list[Found] = stop.value
            return found
        between()


def ids_of(found: Found) -> list[Any]:
    """Ids of the rows that a search gave, nearest first."""
    return found.view.row_ids(found.addresses)


def numbers_of(found: list[Found]) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """The same as arrays, for rows whose ids are their numbers."""
    return [np.array(ids_of(item), np.int64) for item in found]


def deletion(ids: Any) -> RowBatch:
    column = id_column(ids)
    return RowBatch(column, np.empty((len(column), 0), np.float32))
