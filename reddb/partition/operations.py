"""Writes on their way: an operation that was checked, and the group of them that is written and synced together.

The body of an operation's record in the log:

    INSERT         the new rows (`reddb.rows.RowBatch`)
    UPSERT         the rows; those of the same ids end
    DELETE         the ids that end, as a batch with dim 0
    TRANSACTION    u64 bytes of the first batch | a batch with dim 0: ids that end | a batch of rows, as in UPSERT

Invariant: an operation is one record of the log, so it is there whole or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from reddb import errors, limits
from reddb.expiry import expiries_us, may_expire, unexpired
from reddb.query.write_plans import WriteKind
from reddb.rows import RowBatch, id_column
from reddb.storage.memory import SLOT_ROWS
from reddb.storage.wal import Record, Wal
from reddb.types import Buffer, Collection, RowId

_SIZE = struct.Struct("<Q")


class Operation(IntEnum):
    """What a WAL record does; the numbers are part of the file format."""

    INSERT = 1
    UPSERT = 2
    DELETE = 3
    TRANSACTION = 4


OPERATIONS = {
    WriteKind.INSERT: Operation.INSERT,
    WriteKind.UPSERT: Operation.UPSERT,
    WriteKind.DELETE: Operation.DELETE,
}


class Contents(NamedTuple):
    """What the record of an operation says: rows that it writes, ids that it deletes, and whether rows are replaced."""

    written: RowBatch
    deleted: list[RowId]
    replaces: bool

    @property
    def ended(self) -> list[RowId]:
        """Ids whose rows before it end."""
        return self.deleted + self.written.id_list() if self.replaces else self.deleted


def contents_of(record: Record) -> Contents:
    """Read the body of a record. Raises UNSUPPORTED_FORMAT for an operation that this build does not know.

    Raises CORRUPT_DATA for a body that is none.
    """
    try:
        return _contents(record)
    except errors.RedDBError as error:
        if error.code not in (errors.PROTOCOL, errors.INVALID_ID):
            raise
        raise errors.CORRUPT_DATA.error(f"is not of rows: {error.message}") from error
    except struct.error as error:
        raise errors.CORRUPT_DATA.error(f"is not of rows: {error}") from error


def replayed(record: Record, collection: Collection) -> Contents:
    """The same for a record that is applied. Raises CORRUPT_DATA for rows that have no place in the collection.

    Only that: values are as this build or an earlier one took them, and a payload is looked at when it is read.
    """
    contents = contents_of(record)
    batch = contents.written
    if len(batch) > SLOT_ROWS:
        raise errors.CORRUPT_DATA.error(f"has {len(batch)} rows, more than any write")
    if len(batch) and batch.vectors.shape[1] != collection.dim:
        raise errors.CORRUPT_DATA.error(f"has vectors of {batch.vectors.shape[1]} dimensions")
    if not isinstance(batch.ids, np.ndarray):
        longest = max((len(row_id.encode()) for row_id in batch.ids if isinstance(row_id, str)), default=0)
        if longest > limits.ID_BYTES_MAX:
            raise errors.CORRUPT_DATA.error(f"has an id of {longest} bytes")
    return contents


def _contents(record: Record) -> Contents:
    match record.operation:
        case Operation.INSERT | Operation.UPSERT:
            return Contents(RowBatch.decode(record.body), [], record.operation == Operation.UPSERT)
        case Operation.DELETE:
            return Contents(ids_batch([]), RowBatch.decode(record.body).id_list(), False)
        case Operation.TRANSACTION:
            body = memoryview(record.body).cast("B")
            (size,) = _SIZE.unpack_from(body)
            deleted, written = body[_SIZE.size : _SIZE.size + size], body[_SIZE.size + size :]
            return Contents(RowBatch.decode(written), RowBatch.decode(deleted).id_list(), True)
    raise errors.UNSUPPORTED_FORMAT.error(f"WAL record {record.lsn} has the unknown operation {record.operation}")


def ids_batch(ids: list[RowId]) -> RowBatch:
    """Ids as a batch with dim 0."""
    return RowBatch(id_column(ids), np.empty((len(ids), 0), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An operation that passed every check. `result` counts the rows it inserts, replaces or deletes.

    `ids` are all that it is about; of a transaction those that it deletes come first, `deleted` of them. Its rows go to
    the growing segment in `slot`; -1 if it has none.
    """

    operation: Operation
    batch: RowBatch
    ids: list[RowId]
    result: int
    slot: int
    deleted: int = 0

    @property
    def contents(self) -> Contents:
        """What its record will say."""
        if self.operation is Operation.DELETE:
            return Contents(ids_batch([]), self.ids, False)
        return Contents(self.batch, self.ids[: self.deleted], self.operation is not Operation.INSERT)

    def encode(self) -> list[Buffer]:
        """The body of its record, as buffers to be written end to end."""
        if self.operation is not Operation.TRANSACTION:
            return self.batch.encode()
        ended = b"".join(ids_batch(self.ids[: self.deleted]).encode())
        return [_SIZE.pack(len(ended)), ended, *self.batch.encode()]

    def expired_ids(self, now_us: int) -> set[RowId]:
        """Whose rows have expired before they are there."""
        payloads = self.batch.payloads
        if payloads is None or not may_expire(payloads):
            return set()
        rows = np.flatnonzero(~unexpired(expiries_us(payloads), now_us))
        return {self.ids[self.deleted + row] for row in rows.tolist()}

    def writes(self, row_id: RowId) -> bool:
        """Whether it leaves a row with this id, one of `ids`."""
        return self.operation is not Operation.DELETE and (not self.deleted or row_id not in self.ids[: self.deleted])


class Coming:
    """Which ids have a row, or none, because of what is on its way."""

    def __init__(self) -> None:
        self._last: dict[RowId, Prepared] = {}  # the operation that has the last word

    def add(self, prepared: Prepared) -> None:
        """It comes behind all that is on its way."""
        self._last.update(dict.fromkeys(prepared.ids, prepared))

    def forget(self, operations: Sequence[Prepared]) -> None:
        """They were applied, or never will be."""
        for prepared in operations:
            for row_id in prepared.ids:
                # A later operation on the same id may have taken the place.
                if self._last[row_id] is prepared:
                    del self._last[row_id]

    def applied(self, ids: Sequence[RowId], stored: dict[RowId, bool], now_us: int) -> dict[RowId, bool]:
        """`stored` as it will be for these ids: those that have a row, in their order; False where it has expired."""
        last = self._last
        if not stored and last.keys().isdisjoint(ids):  # the usual insert: two set operations
            return {}
        rows: dict[RowId, bool] = {}
        expired: dict[Prepared, set[RowId]] = {}
        for row_id in ids:
            prepared = last.get(row_id)
            if prepared is None:
                if row_id in stored:
                    rows[row_id] = stored[row_id]
            elif prepared.writes(row_id):
                if prepared not in expired:
                    expired[prepared] = prepared.expired_ids(now_us)
                rows[row_id] = row_id not in expired[prepared]
        return rows


@dataclass(slots=True)
class Group:
    """Operations that are written and synced together, as durably as `durability` says; the first has `first_lsn`."""

    first_lsn: int
    durability: str
    operations: list[Prepared] = field(default_factory=list)

    def write(self, wal: Wal) -> None:
        """Append and sync. Raises DISK_FULL (nothing is stored) or DISK_FAILED (the log is poisoned)."""
        if self.durability == "none":
            wal.skip(len(self.operations))
            return
        records: list[tuple[int, Sequence[Buffer]]] = [
            (prepared.operation, prepared.encode()) for prepared in self.operations
        ]
        wal.append(records)
        if self.durability == "fsync":
            wal.sync()
