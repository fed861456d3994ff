"""Gives back the space of rows that have expired: by ordinary deletes, so the log, replay and merges know nothing new.

The owner reads and writes in one step: what is deleted is the row that expired, never one that took its place.
(Rejected: leaving expired rows out of merges alone. A row would keep its memory until its segment is due, growing rows
would be written to files first, and the log would say that they live.)

Invariant: readers do not wait for a sweep; for them a row is gone when its time has come.
"""

from __future__ import annotations

from reddb.expiry import NEVER_US
from reddb.partition.operations import Prepared
from reddb.partition.segments import OwnedSegment, Rows
from reddb.partition.writer import Partition
from reddb.types import RowId

SWEEP_ROWS_MAX = 2048  # of one sweep, which holds up other requests for a few milliseconds
SWEEP_PAUSE_S = 1.0  # between two sweeps, unless the first left rows


def sweep_due_us(partition: Partition) -> int:
    """When there is something to sweep: now or earlier if there is already, NEVER_US if there will be nothing."""
    now_us = partition.now_us()
    due_us = NEVER_US
    for segment in partition.segments:
        expiries = segment.rows.expiries
        if now_us < expiries.earliest_us:
            due_us = min(due_us, expiries.earliest_us)
        elif len(_expired_rows(segment, now_us)):
            return now_us
        else:
            due_us = min(due_us, expiries.next_us(now_us, segment.count))
    return due_us


def prepare_sweep(partition: Partition) -> list[Prepared]:
    """Prepare to delete rows that have expired, SWEEP_ROWS_MAX at most. Nothing may be on its way."""
    assert partition.is_quiet
    now_us = partition.now_us()
    ids: list[RowId] = []
    for segment in partition.segments:
        rows = _expired_rows(segment, now_us)[: SWEEP_ROWS_MAX - len(ids)]
        ids += segment.rows.columns.row_ids(rows)
    return [partition.prepare_deletion(ids)] if ids else []


def _expired_rows(segment: OwnedSegment, now_us: int) -> Rows:
    """Those that are not deleted yet."""
    rows = segment.rows.expiries.expired_rows(now_us, segment.count)
    undeleted: Rows = rows[segment.tombstones.lsn[rows] == 0]
    return undeleted
