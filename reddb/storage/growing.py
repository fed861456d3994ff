"""The growing segments of one partition: rows are appended to the open one, which is frozen when it is full.

    reserve   take memory behind all that is on its way, and say which segment the rows will go to
    append    write the rows there, unpublished
    freeze    rows that come from now on go to a new segment
    free      a sealed segment's slot may be used again

A batch lies whole in one segment, so a segment ends between two records of the log: all rows up to an LSN are in it or
before it. Where a batch does not fit into what is left, the rest of the slot stays empty.

Invariants:
  * What was reserved cannot fail to be appended.
  * A slot is used again only after it was freed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.expiry import expiries_us, may_expire
from reddb.rows import RowBatch
from reddb.storage.expiries import GrowingExpiries
from reddb.storage.memory import SLOT_ROWS, PartitionMemory
from reddb.storage.ranges import TombstoneRanges
from reddb.storage.segment_rows import INT_ID, Columns
from reddb.types import Buffer, RowId

# Rows of memory taken at once: as many again as there are, so that a small collection stays small, up to 6 MiB of
# 384-d vectors, so that a large one needs few system calls.
_RESERVE_ROWS_MIN, _RESERVE_ROWS_MAX = 256, 4096
_RESERVE_BYTES = 64 * limits.KIB


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a slot is used, or is needed."""

    rows: int = 0
    id_text_bytes: int = 0
    payload_bytes: int = 0
    may_expire: bool = False

    @classmethod
    def of(cls, batch: RowBatch) -> Extent:
        """What a batch needs."""
        payload_bytes = 0 if batch.payloads is None else len(batch.payloads.content)
        return cls(len(batch), batch.id_text_bytes(), payload_bytes, may_expire(batch.payloads))

    def plus(self, other: Extent) -> Extent:
        return Extent(
            self.rows + other.rows,
            self.id_text_bytes + other.id_text_bytes,
            self.payload_bytes + other.payload_bytes,
            self.may_expire or other.may_expire,
        )


class GrowingSegment:
    """One slot with the rows in it, for its owner and for readers alike: it finds them by id."""

    def __init__(self, memory: PartitionMemory, slot: int) -> None:
        self.slot = slot
        self.columns = memory.slot_columns(slot)
        self.expiries = GrowingExpiries(memory, slot)
        self._row_of: dict[RowId, int] = {}
        self._mapped_rows = 0

    def find(self, ids: Sequence[RowId], count: int) -> NDArray[np.int64]:
        """The newest of the first `count` rows that has each id, -1 where there is none: (n,)."""
        row_of = self._map_rows(count)
        if row_of.keys().isdisjoint(ids):
            return np.full(len(ids), -1)
        rows = np.fromiter((row_of.get(row_id, -1) for row_id in ids), np.int64, len(ids))
        for place in np.flatnonzero(rows >= count).tolist():  # a view of old, and the id was written again since
            rows[place] = self._newest_below(count, ids[place])
        return rows

    def _newest_below(self, count: int, row_id: RowId) -> int:
        """By looking at every row, for the map knows the newest only."""
        ids = self.columns.row_ids(np.arange(count))
        return next((row for row in range(count - 1, -1, -1) if ids[row] == row_id), -1)

    def _map_rows(self, count: int) -> dict[RowId, int]:
        if self._mapped_rows < count:
            new = np.arange(self._mapped_rows, count)
            # A later row of an id replaces the earlier one here as it did in the partition.
            self._row_of.update(zip(self.columns.row_ids(new), new.tolist(), strict=True))
            self._mapped_rows = count
        return self._row_of


@dataclass(slots=True)
class _Open:
    """A slot that is written to."""

    slot: int
    tombstones_at: int
    columns: Columns
    used: Extent
    reserved: Extent


class GrowingWriter:
    """The owner's side of the slots."""

    def __init__(self, memory: PartitionMemory, ranges: TombstoneRanges, seal_rows: int) -> None:
        self._memory = memory
        self._ranges = ranges
        self.seal_rows = seal_rows
        self._free = list(range(limits.GROWING_SEGMENTS_MAX - 1, -1, -1))
        self._planned: _Open | None = None  # where the next batch goes
        self._plan = Extent()  # what of it is used or promised
        self._opened: dict[int, _Open] = {}

    def reserve(self, need: Extent) -> int:
        """Take memory for a batch behind all that is promised; gives the slot it will go to.

        Raises LIMIT_EXCEEDED, TOO_MANY_ROWS or OUT_OF_MEMORY.
        """
        if need.payload_bytes > limits.SEGMENT_PAYLOAD_BYTES:
            raise errors.LIMIT_EXCEEDED.error(
                f"the payloads of a batch take at most {limits.SEGMENT_PAYLOAD_BYTES} bytes, not {need.payload_bytes}"
            )
        planned = self._planned
        if planned is None or not self._fits(need):
            planned = self._begin()
            self._planned, self._plan = planned, Extent()
        plan = self._plan.plus(need)
        self._reserve_to(planned, plan)
        self._plan = plan
        return planned.slot

    def tombstones_at(self, slot: int) -> int:
        """Where the tombstones of the slot begin."""
        return self._opened[slot].tombstones_at

    def freeze(self) -> None:
        """What is reserved from now on goes to a new slot."""
        self._planned = None

    def take_back(self) -> None:
        """Nothing that was reserved and not appended will come: slots that stay empty are free again."""
        for slot in [slot for slot, opened in self._opened.items() if not opened.used.rows]:
            self._ranges.give_back(self._opened[slot].tombstones_at, SLOT_ROWS)
            self.free(slot)
        self._planned = next((item for item in self._opened.values() if item is self._planned), None)
        self._plan = Extent() if self._planned is None else self._planned.used

    def append(self, slot: int, batch: RowBatch, inverse_norms: NDArray[np.float64]) -> tuple[int, int]:
        """Write the rows behind the last one of the slot, unpublished; gives the first and the end of them."""
        opened = self._opened[slot]
        first, last = opened.used.rows, opened.used.rows + len(batch)
        assert last <= opened.reserved.rows
        columns = opened.columns
        columns.vectors[first:last] = batch.vectors
        columns.inverse_norm[first:last] = inverse_norms
        text_bytes = payload_bytes = 0
        if isinstance(batch.ids, np.ndarray):
            columns.id[first:last] = batch.ids
            columns.id_bytes[first:last] = INT_ID
        else:
            text_bytes = _append_ids(columns, first, opened.used.id_text_bytes, batch.ids)
        if batch.payloads is not None:
            starts = opened.used.payload_bytes + np.cumsum(batch.payloads.lengths, dtype=np.uint64)
            columns.payload_start[first:last] = starts - batch.payloads.lengths
            columns.payload_bytes[first:last] = batch.payloads.lengths
            payload_bytes = _put(columns.payloads, opened.used.payload_bytes, batch.payloads.content)
            if may_expire(batch.payloads):
                self._append_expiries(opened, first, expiries_us(batch.payloads))
        opened.used = opened.used.plus(Extent(last - first, text_bytes, payload_bytes))
        return first, last

    def free(self, slot: int) -> None:
        """The slot's rows are sealed and nobody reads them here, or there are none; its tombstones stay taken."""
        del self._opened[slot]
        self._memory.release_slot(slot)
        self._free.append(slot)

    def _append_expiries(self, opened: _Open, first: int, instants: NDArray[np.uint64]) -> None:
        assert opened.reserved.may_expire
        if instants.any():
            self._memory.slot_expiries(opened.slot)[first : first + len(instants)] = instants
            self._memory.note_expiry(opened.slot, int(instants[instants > 0].min()))

    def _fits(self, need: Extent) -> bool:
        after = self._plan.plus(need)
        return (
            self._plan.rows < self.seal_rows
            and after.rows <= SLOT_ROWS
            and after.payload_bytes <= limits.SEGMENT_PAYLOAD_BYTES
        )

    def _begin(self) -> _Open:
        if not self._free:
            raise errors.TOO_MANY_ROWS.error(
                f"{limits.GROWING_SEGMENTS_MAX} segments wait to be sealed: rows come faster than they can be settled"
            )
        tombstones_at = self._ranges.take(SLOT_ROWS)
        slot = self._free.pop()
        opened = _Open(slot, tombstones_at, self._memory.slot_columns(slot), Extent(), Extent())
        self._opened[slot] = opened
        return opened

    def _reserve_to(self, opened: _Open, needed: Extent) -> None:
        have = opened.reserved
        rows, texts, payloads = have.rows, have.id_text_bytes, have.payload_bytes
        if needed.rows > rows:
            chunk = min(max(rows, _RESERVE_ROWS_MIN), _RESERVE_ROWS_MAX)
            rows = min(-(-needed.rows // chunk) * chunk, SLOT_ROWS)
            self._memory.reserve_rows(opened.slot, have.rows, rows)
            self._memory.reserve_tombstones(opened.tombstones_at, have.rows, rows + 1)
        if needed.id_text_bytes > texts:
            texts = -(-needed.id_text_bytes // _RESERVE_BYTES) * _RESERVE_BYTES
            self._memory.reserve_bytes("id_texts", opened.slot, have.id_text_bytes, texts)
        if needed.payload_bytes > payloads:
            payloads = -(-needed.payload_bytes // _RESERVE_BYTES) * _RESERVE_BYTES
            self._memory.reserve_bytes("payloads", opened.slot, have.payload_bytes, payloads)
        if needed.may_expire and not have.may_expire:
            self._memory.reserve_expiries(opened.slot)
        opened.reserved = Extent(rows, texts, payloads, needed.may_expire or have.may_expire)


def _append_ids(columns: Columns, first: int, start: int, ids: Sequence[RowId]) -> int:
    """Write ids of which some are texts; gives the bytes of these."""
    texts: list[bytes] = []
    end = start
    for row, row_id in enumerate(ids, first):
        if isinstance(row_id, int):
            columns.id[row], columns.id_bytes[row] = row_id, INT_ID
            continue
        texts.append(row_id.encode())
        columns.id[row], columns.id_bytes[row] = end, len(texts[-1])
        end += len(texts[-1])
    return _put(columns.id_texts, start, b"".join(texts))


def _put(region: NDArray[np.uint8], start: int, content: Buffer) -> int:
    data = np.frombuffer(content, np.uint8)
    region[start : start + len(data)] = data
    return len(data)
