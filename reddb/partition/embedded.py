"""A collection whose owners, readers and builders are one thread: for the embedded database.

Invariant: between two calls nothing is due, and nothing is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from reddb import errors
from reddb.disk import Disk
from reddb.partition.changes import Change, Changed, concerned, merged, prepare_change
from reddb.partition.checkpoint import CodesCheckpoint, note_end
from reddb.partition.jobs import Job, Workshop
from reddb.partition.operations import Operation
from reddb.partition.placement import of_batch, shares, stored_in_part
from reddb.partition.policy import can_checkpoint, compaction, due_job, log_is_due
from reddb.partition.publication import Publication, TombstoneCheckpoint, publication
from reddb.partition.reader import PartitionReader, Reader, reader_of
from reddb.partition.sweep import SWEEP_PAUSE_S, SWEEP_ROWS_MAX, prepare_sweep
from reddb.partition.transaction import prepare_transaction
from reddb.partition.writer import Partition
from reddb.query.plan import Work
from reddb.query.write_plans import RowsPlan, TransactionPlan
from reddb.rows import RowBatch
from reddb.storage.folder import partition_folder
from reddb.storage.manifest import remove_garbage
from reddb.types import Collection

_log = structlog.get_logger()


class EmbeddedCollection:
    """All partitions of a collection."""

    def __init__(
        self,
        disk: Disk,
        data: Path,
        collection: Collection,
        random_u32: Callable[[], int],
        now_us: Callable[[], int],
    ) -> None:
        """Open or recover it. Raises CORRUPT_DATA, OUT_OF_MEMORY or a disk error."""
        self._collection = collection
        self._partitions: list[EmbeddedPartition] = []
        try:
            for number in range(collection.number("partitions")):
                self._partitions.append(EmbeddedPartition(disk, data, collection, number, random_u32, now_us))
        except BaseException:
            self.close()
            raise
        self.reader: Reader = reader_of([partition.reader for partition in self._partitions])

    def write(self, operation: Operation, batch: RowBatch) -> int:
        """The rows affected, once they are stored. Raises what is wrong with the batch, or a disk error."""

        def prepare() -> int:
            count = 0
            for share in shares(self._collection, operation, batch):
                try:
                    count += self._partitions[share.partition].owner.prepare(operation, share.batch).result
                except errors.RedDBError as error:
                    raise of_batch(error, share) from error
            return count

        return self._commit(prepare)

    def change(self, plan: RowsPlan | TransactionPlan) -> Changed:
        """The same for what must read first."""
        changes: list[Change] = []

        def prepare() -> int:
            if isinstance(plan, TransactionPlan):
                only = self._partitions[plan.partition]
                changes.append(prepare_transaction(only.owner, only.reader.view(), plan))
                return 0
            for number in concerned(plan):
                partition = self._partitions[number]
                changes.append(prepare_change(partition.owner, partition.reader.view(), plan))
            return 0

        self._commit(prepare)
        done = [change.changed for change in changes]
        return done[0] if isinstance(plan, TransactionPlan) else merged(done, plan)

    def work(self, work: Work) -> None:
        """Do what ALTER COLLECTION asked for."""
        for partition in self._partitions:
            match work:
                case Work.SEAL:
                    partition.seal()
                case Work.COMPACT:
                    partition.compact()
                case Work.REBUILD:
                    partition.rebuild()
                case Work.CHECKPOINT:
                    partition.checkpoint()

    def change_collection(self, collection: Collection) -> None:
        """New settings hold from now on."""
        self._collection = collection
        for partition in self._partitions:
            partition.change_collection(collection)

    def close(self) -> None:
        for partition in self._partitions:
            partition.close()

    def _commit(self, prepare: Callable[[], int]) -> int:
        """Prepare in every partition, then write; what is refused in one is prepared in none."""
        try:
            count = prepare()
        except BaseException:
            for partition in self._partitions:
                partition.forget()
            raise
        stored: list[int] = []
        try:
            for partition in self._partitions:
                stored += [partition.owner.number] if partition.commit() else []
        except errors.RedDBError as error:
            for partition in self._partitions:
                partition.forget()
            raise stored_in_part(error, stored) from error
        return count


class EmbeddedPartition:
    """Opens the partition and does each step of its life when it is due."""

    def __init__(
        self,
        disk: Disk,
        data: Path,
        collection: Collection,
        number: int,
        random_u32: Callable[[], int],
        now_us: Callable[[], int],
    ) -> None:
        """Raises CORRUPT_DATA, OUT_OF_MEMORY or a disk error."""
        folder = partition_folder(data, collection.id, number)
        self.owner = Partition.open(disk, folder, collection, number, random_u32, now_us=now_us)
        self.reader = PartitionReader(disk, folder, collection, number, self.owner.memory, now_us)
        self._sweep_us = 0  # not before
        if self.owner.wal.torn_tail is not None:
            tail = self.owner.wal.torn_tail
            _log.warning("cut an unfinished write", file=str(tail.path), offset=tail.offset, bytes=tail.bytes_cut)
        for refused in self.owner.refused_caches:
            _log.warning("an index is built anew, for it cannot be used", reason=str(refused))
        self._settle_or_log(first=lambda: remove_garbage(disk, folder, self.owner.manifest))

    def commit(self) -> bool:
        """Write what was prepared, apply it, and do what is due then. Raises a disk error: nothing has happened.

        False if nothing was prepared.

        What is due and fails is logged and due again at the next write, for this one is stored.
        """
        if not self._write():
            return False
        self._settle_or_log()
        return True

    def forget(self) -> None:
        """Take back what was prepared."""
        group = self.owner.take_group()
        if group is not None:
            self.owner.abort(group)

    def seal(self) -> None:
        """Seal the growing rows. Raises a disk error."""
        self.owner.check_manifest()
        self._sweep_all()
        self.owner.freeze()
        self._settle()

    def compact(self) -> None:
        """Leave as few segments and dead rows as there can be."""
        self.seal()
        if can_checkpoint(self.owner):
            self._publish(TombstoneCheckpoint(self.owner))  # only what is dead in files is left out
        while (job := compaction(self.owner)) is not None:
            self._do(job)

    def rebuild(self) -> None:
        """Build the index of every sealed segment anew."""
        self.seal()
        unsettled = {segment.id for segment in self.owner.segments if segment.record is not None}
        while unsettled and (job := due_job(self.owner, frozenset(unsettled))) is not None:
            self._do(job)
            unsettled -= job.source_ids

    def checkpoint(self) -> None:
        """Put what only memory and the log know into files. Raises a disk error."""
        self.owner.check_manifest()
        self._sweep_all()
        if not self.owner.collection.is_logged:
            self.seal()
        if can_checkpoint(self.owner):
            self._publish(TombstoneCheckpoint(self.owner))
        else:
            CodesCheckpoint(self.owner).write()
        self.owner.note_checkpoint(self.owner.lsn)

    def change_collection(self, collection: Collection) -> None:
        """New settings hold from now on."""
        self.owner.change_collection(collection)
        self.reader.change_collection(collection)

    def close(self) -> None:
        """Sync what was written without, note how far the log reaches, and let go of the files. Raises DISK_FAILED."""
        try:
            if self.owner.collection.settings["durability"] == "flush":
                self.owner.sync()
            note_end(self.owner)
        finally:
            self.owner.close()

    def _write(self) -> bool:
        """Write what was prepared and apply it; False if there is nothing. Raises a disk error."""
        group = self.owner.take_group()
        if group is None:
            return False
        try:
            group.write(self.owner.wal)
        except BaseException:
            self.owner.abort(group)
            raise
        self.owner.complete(group)
        return True

    def _sweep(self) -> None:
        """Delete some of the rows that have expired, if it is time to look."""
        now_us = self.owner.now_us()
        if now_us < self._sweep_us:
            return
        left_rows = self._sweep_once() == SWEEP_ROWS_MAX
        self._sweep_us = 0 if left_rows else now_us + int(1e6 * SWEEP_PAUSE_S)

    def _sweep_all(self) -> None:
        while self._sweep_once() == SWEEP_ROWS_MAX:
            pass

    def _sweep_once(self) -> int:
        swept = sum(item.result for item in prepare_sweep(self.owner))
        self._write()
        return swept

    def _settle_or_log(self, first: Callable[[], None] = lambda: None) -> None:
        """Do what is due; what fails is due again, and keeps nobody from reading and writing."""
        try:
            first()
            self._settle()
        except errors.RedDBError as error:
            _log.error("a segment was not settled", collection=self.owner.collection.name, error=str(error))

    def _settle(self) -> None:
        self._sweep()
        if log_is_due(self.owner):
            if can_checkpoint(self.owner):
                self._publish(TombstoneCheckpoint(self.owner))
            self.owner.freeze()
        while (job := due_job(self.owner, frozenset())) is not None:
            self._do(job)
        while self.owner.encode_step():
            pass

    def _do(self, job: Job) -> None:
        owner = self.owner
        change = publication(owner, job)
        workshop = Workshop(owner.disk, owner.folder, owner.collection, owner.number, owner.memory)
        change.open(workshop.run(job, lambda _: None))
        self._publish(change)

    def _publish(self, change: Publication) -> None:
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
