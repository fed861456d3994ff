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
            elif prepared.operation is not Operation.DELETE:
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
            (prepared.operation, prepared.batch.encode()) for prepared in self.operations
        ]
        wal.append(records)
        if self.durability == "fsync":
            wal.sync()
