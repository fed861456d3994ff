"""Writes on their way: an operation that was checked, and the group of them that is written and synced together.

Invariant: an operation is one record of the log, so it is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from reddb.expiry import expiries_us, may_expire, unexpired
from reddb.rows import RowBatch
from reddb.storage.wal import Wal
from reddb.types import Buffer, RowId


class Operation(IntEnum):
    """What a WAL record does; the numbers are part of the file format."""

    INSERT = 1
    UPSERT = 2
    DELETE = 3


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An operation that passed every check. `result` counts the rows it inserts, replaces or deletes.

    Its rows go to the growing segment in `slot`; -1 for a delete.
    """

    operation: Operation
    batch: RowBatch
    ids: list[RowId]
    result: int
    slot: int

    def expired_ids(self, now_us: int) -> set[RowId]:
        """Whose rows have expired before they are there."""
        payloads = self.batch.payloads
        if payloads is None or not may_expire(payloads):
            return set()
        return {self.ids[row] for row in np.flatnonzero(~unexpired(expiries_us(payloads), now_us)).tolist()}


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
            (prepared.operation, prepared.batch.encode()) for prepared in self.operations
        ]
        wal.append(records)
        if self.durability == "fsync":
            wal.sync()
