"""The memory of a partition for the tests: one growing segment, written and read without a partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reddb.rows import RowBatch, make_batch
from reddb.storage.growing import Extent, GrowingSegment, GrowingWriter
from reddb.storage.memory import SLOT_ROWS, MemoryShape, PartitionMemory, SegmentEntry, Snapshot
from reddb.storage.ranges import TombstoneRanges
from reddb.storage.segment_rows import Columns, Tombstones

SHAPE = MemoryShape(dim=2, code_bytes=16, codec_bytes=64)


def extent_of(batch: RowBatch) -> Extent:
    payload_bytes = len(batch.payloads.content) if batch.payloads is not None else 0
    return Extent(len(batch), batch.id_text_bytes(), payload_bytes)


class Growing:
    """An owner that knows of one segment, and what a reader sees of it."""

    def __init__(self, seal_rows: int = SLOT_ROWS) -> None:
        self.memory = PartitionMemory.create(SHAPE)
        self.ranges = TombstoneRanges(self.memory)
        self.writer = GrowingWriter(self.memory, self.ranges, seal_rows)
        self.count = 0
        self.live_rows = 0
        self.slot = -1
        self._generation = 0

    @property
    def columns(self) -> Columns:
        return self.memory.slot_columns(self.slot)

    @property
    def tombstones(self) -> Tombstones:
        return self.memory.tombstones(self.writer.tombstones_at(self.slot), SLOT_ROWS)

    def append(self, ids: Sequence[Any], payloads: Sequence[Any] | None = None) -> list[int]:
        """Rows whose vectors hold their row numbers, unpublished."""
        numbers = np.arange(self.count, self.count + len(ids), dtype=np.float32)
        batch = make_batch(list(ids), np.stack([numbers, -numbers], axis=1), payloads)
        self.slot = self.writer.reserve(extent_of(batch))
        first, self.count = self.writer.append(self.slot, batch, np.ones(len(ids)))
        self.live_rows += len(ids)
        return list(range(first, self.count))

    def mark_dead(self, rows: list[int], lsn: int) -> None:
        self.live_rows -= self.tombstones.mark(np.array(rows, np.int64), lsn)

    def publish(self, lsn: int) -> None:
        if not self._generation:
            self._generation = 1
            at = self.writer.tombstones_at(self.slot)
            self.memory.write_table(1, [SegmentEntry(1, 0, at, self.slot, 0)])
        self.memory.publish(Snapshot(lsn, self.live_rows, self.count, 1, 1))

    def close(self) -> None:
        self.memory.close()


def visible(memory: PartitionMemory, snapshot: Snapshot) -> list[Any]:
    """Ids of the rows of the last segment that live at the snapshot."""
    if not snapshot.segments:
        return []
    entry = memory.table()[1][-1]
    live = memory.tombstones(entry.tombstones_at, SLOT_ROWS).live(slice(0, snapshot.last_rows), snapshot.lsn)
    return GrowingSegment(memory, entry.slot).columns.row_ids(np.flatnonzero(live))
