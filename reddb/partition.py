"""The single writer of one partition: a synchronous state machine from operations to durable, visible rows.

    prepare(operation)     check it against all that is stored or on its way; it gets a place in the next group
    take_group()           the prepared operations, to be written together
    group.write(wal)       append and sync: the only step that touches the disk, and may run in another thread
    complete(group)        apply to memory, publish, and give the results
    abort(group)           forget it: nothing of it was applied

    encode_step()          a slice of background encoding, when there is nothing better to do

A row is applied after its group is on disk, so nothing that a search returned can be lost by a crash. (Applying first
and publishing later would save no time and need an undo for every failed write.) Operations are checked against
`stored ids + operations on their way`, kept in `_coming`, so groups can be prepared while one is being written.

Recovery is the same `_apply` over the records of the log.

Invariants:
  * LSNs of a group follow one another, and groups complete in the order they were taken.
  * An operation is one WAL record: it is there whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np

from reddb import errors, limits
from reddb.checks import check_batch, check_count, check_distinct, check_ids
from reddb.disk import Disk
from reddb.encoder import SegmentEncoder, codec_block_bytes
from reddb.index.metrics import inverse_norms
from reddb.index.turbo import TurboCodec
from reddb.rows import RowBatch, id_column
from reddb.storage.growing import GrowingRows, GrowingShape, GrowingWriter
from reddb.storage.wal import Record, TornTail, Wal, WalIdentity
from reddb.types import Buffer, Collection, RowId


class Operation(IntEnum):
    """What a WAL record does; the numbers are part of the file format."""

    INSERT = 1
    UPSERT = 2
    DELETE = 3


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that rows will take once they are applied."""

    rows: int
    id_text_bytes: int
    payload_bytes: int

    def plus(self, other: Need) -> Need:
        return Need(
            self.rows + other.rows,
            self.id_text_bytes + other.id_text_bytes,
            self.payload_bytes + other.payload_bytes,
        )

    def minus(self, other: Need) -> Need:
        return self.plus(Need(-other.rows, -other.id_text_bytes, -other.payload_bytes))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An operation that passed every check. `result` counts the rows it inserts, replaces or deletes."""

    operation: Operation
    batch: RowBatch
    ids: list[RowId]
    result: int
    need: Need


@dataclass(slots=True)
class Group:
    """Operations that are written and synced together; the first has LSN `first_lsn`."""

    first_lsn: int
    operations: list[Prepared] = field(default_factory=list)

    def write(self, wal: Wal) -> None:
        """Append and sync. Raises DISK_FULL (nothing is stored) or DISK_FAILED (the log is poisoned)."""
        records: list[tuple[int, Sequence[Buffer]]] = [
            (prepared.operation, prepared.batch.encode()) for prepared in self.operations
        ]
        wal.append(records)
        wal.sync()


def turbo_codec(collection: Collection) -> TurboCodec:
    return TurboCodec(collection.dim, collection.settings["bits"])


def growing_shape(collection: Collection, codec: TurboCodec) -> GrowingShape:
    return GrowingShape(collection.dim, codec.code_bytes, codec_block_bytes(codec))


class Partition:
    """Owns the log and the growing rows of one partition."""

    def __init__(self, collection: Collection, codec: TurboCodec) -> None:
        """Use `open`."""
        self.collection = collection
        self.rows = GrowingRows.create(growing_shape(collection, codec))
        self.wal: Wal
        self._codec = codec
        self._writer = GrowingWriter(self.rows)
        self._row_of: dict[RowId, int] = {}
        self._coming: dict[RowId, tuple[bool, Prepared]] = {}
        self._promised = Need(0, 0, 0)
        self._open_group: list[Prepared] = []
        self._groups_under_way = 0
        self._encoders: list[SegmentEncoder] = []

    @classmethod
    def open(
        cls, disk: Disk, folder: Path, collection: Collection, number: int, random_u32: Callable[[], int]
    ) -> Partition:
        """Create the partition or recover it from its log. Raises CORRUPT_DATA, OUT_OF_MEMORY or a disk error."""
        partition = cls(collection, turbo_codec(collection))
        identity = WalIdentity(collection.id, number)
        try:
            partition.wal = Wal.open(disk, folder / "wal", identity, partition._replay, random_u32)
        except BaseException:
            partition.rows.close()
            raise
        partition._writer.publish(partition.wal.next_lsn - 1)
        return partition

    @property
    def torn_tail(self) -> TornTail | None:
        return self.wal.torn_tail

    def prepare(self, operation: Operation, batch: RowBatch) -> Prepared:
        """Check the operation and give it a place in the next group. Raises an error that names the wrong row.

        A delete takes a batch with dim 0; ids that are not there are left out of it.
        """
        if operation is Operation.DELETE:
            check_count(batch)
            check_ids(batch.ids)
            ids = [row_id for row_id in dict.fromkeys(batch.id_list()) if self._exists(row_id)]
            batch = RowBatch(id_column(ids), np.empty((len(ids), 0), np.float32))
            prepared = Prepared(operation, batch, ids, len(ids), Need(0, 0, 0))
        else:
            check_batch(self.collection, batch)
            ids = batch.id_list()
            check_distinct(ids)
            if operation is Operation.INSERT:
                self._check_absent(ids)
            prepared = Prepared(operation, batch, ids, len(ids), self._reserve(batch))
        if ids:
            self._open_group.append(prepared)
            self._coming.update(dict.fromkeys(ids, (operation is not Operation.DELETE, prepared)))
        return prepared

    def take_group(self) -> Group | None:
        """The prepared operations since the last call, or None. One group at a time is under way."""
        if not self._open_group or self._groups_under_way:
            return None
        group = Group(self.wal.next_lsn, self._open_group)
        self._open_group = []
        self._groups_under_way = 1
        return group

    def complete(self, group: Group) -> None:
        """The group is on disk: apply it and let every reader see it."""
        self._groups_under_way = 0
        for position, prepared in enumerate(group.operations):
            self._apply(group.first_lsn + position, prepared.operation, prepared.batch, prepared.ids)
        self._forget_coming(group.operations)
        self._writer.publish(group.first_lsn + len(group.operations) - 1)

    def abort(self, group: Group) -> list[Prepared]:
        """The group could not be written. Returns it and all that was checked against it: none has happened."""
        self._groups_under_way = 0
        dropped = group.operations + self._open_group
        self._open_group = []
        self._forget_coming(dropped)
        return dropped

    def encode_step(self) -> bool:
        """Encode a slice of the published rows; False when all are done."""
        count = self._writer.count
        while len(self._encoders) * limits.SEGMENT_ROWS < count:
            first_row = len(self._encoders) * limits.SEGMENT_ROWS
            self._encoders.append(SegmentEncoder(self._codec, self.collection, self.rows, first_row))
        for number, encoder in enumerate(self._encoders):
            if encoder.step(min(count - number * limits.SEGMENT_ROWS, limits.SEGMENT_ROWS)):
                return True
        return False

    def close(self) -> None:
        """Close the log; the caller has completed every group."""
        assert not self._open_group
        self.wal.close()
        self.rows.close()

    def _exists(self, row_id: RowId) -> bool:
        coming = self._coming.get(row_id)
        return row_id in self._row_of if coming is None else coming[0]

    def _check_absent(self, ids: list[RowId]) -> None:
        # Two set operations for the usual batch; row by row only to name the culprit.
        if self._row_of.keys().isdisjoint(ids) and self._coming.keys().isdisjoint(ids):
            return
        for row, row_id in enumerate(ids):
            if self._exists(row_id):
                name = self.collection.name
                raise errors.DUPLICATE_ID.error(f"row {row}: id {row_id!r} exists already in {name!r}", row=row)

    def _reserve(self, batch: RowBatch) -> Need:
        """Take memory for this batch behind all that is on its way; once it is on disk nothing can refuse it."""
        need = Need(len(batch), batch.id_text_bytes(), len(batch.payloads.content) if batch.payloads is not None else 0)
        promised = self._promised.plus(need)
        self._writer.reserve(promised.rows, promised.id_text_bytes, promised.payload_bytes)
        self._promised = promised
        return need

    def _forget_coming(self, operations: list[Prepared]) -> None:
        for prepared in operations:
            self._promised = self._promised.minus(prepared.need)
            for row_id in prepared.ids:
                # A later operation on the same id may have taken the place.
                if self._coming[row_id][1] is prepared:
                    del self._coming[row_id]

    def _replay(self, record: Record) -> None:
        if record.operation not in set(Operation):
            raise errors.UNSUPPORTED_FORMAT.error(
                f"WAL record {record.lsn} has the unknown operation {record.operation}"
            )
        batch = RowBatch.decode(record.body)
        need = self._reserve(batch) if record.operation != Operation.DELETE else Need(0, 0, 0)
        self._apply(record.lsn, Operation(record.operation), batch, batch.id_list())
        self._promised = self._promised.minus(need)

    def _apply(self, lsn: int, operation: Operation, batch: RowBatch, ids: list[RowId]) -> None:
        if operation is not Operation.INSERT:
            replaced = [row for row in (self._row_of.pop(row_id, None) for row_id in ids) if row is not None]
            self._writer.mark_dead(replaced, lsn)
        if operation is not Operation.DELETE:
            rows = self._writer.append(batch, inverse_norms(batch.vectors))
            self._row_of.update(zip(ids, rows.tolist(), strict=True))
