"""A partition whose owner, reader and builder are one thread: for the embedded database.

Invariant: between two calls nothing is due, and nothing is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from reddb import errors
from reddb.disk import Disk
from reddb.partition.jobs import Job, Workshop
from reddb.partition.policy import compaction, due_job
from reddb.partition.publication import publication
from reddb.partition.reader import PartitionReader
from reddb.partition.writer import Partition
from reddb.storage.manifest import remove_garbage
from reddb.types import Collection

_log = structlog.get_logger()


class EmbeddedPartition:
    """Opens the partition and does each step of its life when it is due."""

    def __init__(self, disk: Disk, folder: Path, collection: Collection, random_u32: Callable[[], int]) -> None:
        """Raises CORRUPT_DATA, OUT_OF_MEMORY or a disk error."""
        self.owner = Partition.open(disk, folder, collection, 0, random_u32)
        self.reader = PartitionReader(disk, folder, collection, 0, self.owner.memory)
        self._settle_or_log(first=lambda: remove_garbage(disk, folder, self.owner.manifest))

    def commit(self) -> None:
        """Write what was prepared, apply it, and do what is due then. Raises a disk error: nothing has happened.

        What is due and fails is logged and due again at the next write, for this one is stored.
        """
        group = self.owner.take_group()
        if group is None:
            return
        try:
            group.write(self.owner.wal)
        except BaseException:
            self.owner.abort(group)
            raise
        self.owner.complete(group)
        self._settle_or_log()

    def seal(self) -> None:
        """Seal the growing rows. Raises a disk error."""
        self.owner.check_manifest()
        self.owner.freeze()
        self._settle()

    def compact(self) -> None:
        """Leave as few segments and dead rows as there can be."""
        self.seal()
        while (job := compaction(self.owner)) is not None:
            self._do(job)

    def rebuild(self) -> None:
        """Build the index of every sealed segment anew."""
        self.seal()
        unsettled = {segment.id for segment in self.owner.segments if segment.record is not None}
        while unsettled and (job := due_job(self.owner, frozenset(unsettled))) is not None:
            self._do(job)
            unsettled -= job.source_ids

    def change_collection(self, collection: Collection) -> None:
        """New settings hold from now on."""
        self.owner.change_collection(collection)
        self.reader.change_collection(collection)

    def close(self) -> None:
        self.owner.close()

    def _settle_or_log(self, first: Callable[[], None] = lambda: None) -> None:
        """Do what is due; what fails is due again, and keeps nobody from reading and writing."""
        try:
            first()
            self._settle()
        except errors.RedDBError as error:
            _log.error("a segment was not settled", collection=self.owner.collection.name, error=str(error))

    def _settle(self) -> None:
        while (job := due_job(self.owner, frozenset())) is not None:
            self._do(job)
        while self.owner.encode_step():
            pass

    def _do(self, job: Job) -> None:
        owner = self.owner
        change = publication(owner, job)
        workshop = Workshop(owner.disk, owner.folder, owner.collection, owner.number, owner.memory)
        change.open(workshop.run(job, lambda _: None))
        try:
            change.prepare()
            change.write()
        except BaseException:
            change.undo()
            raise
        change.complete()
        self.reader.view()
        try:
            change.clean()
        finally:
            change.retire()
