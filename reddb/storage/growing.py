"""The growing segments of one partition: rows are appended to the open one, which is frozen when it is full.

    reserve   take memory behind all that is on its way, and say which segment the rows will go to
    append    write the rows there, unpublished
    adopt     take over a slot that a dead owner filled, and `confirm` each batch of it
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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.expiry import expiries_us, may_expire
from reddb.headroom import headroom
from reddb.rows import RowBatch
from reddb.storage.expiries import GrowingExpiries
from reddb.storage.memory import SLOT_ROWS, PartitionMemory
from reddb.storage.ranges import TombstoneRanges
from reddb.storage.segment_rows import INT_ID, Columns
from reddb.types import IdColumn, RowId

# Rows of memory taken at once: as many again as there are, so that a small collection stays small, up to 6 MiB of
# 384-d vectors, so that a large one needs few system calls.
_RESERVE_ROWS_MIN, _RESERVE_ROWS_MAX = 256, 4096
_RESERVE_BYTES = 64 * limits.KIB
_NEVER = np.zeros(1, np.uint64)


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
        self.is_short = False  # of memory: rows were refused, and sealing would help
        self._recovering = 0  # seal_rows of afterwards, while rows are recovered
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

    def begin_recovery(self) -> None:
        """Rows come that were there before: with the setting of today they might need more slots than there are."""
        self._recovering, self.seal_rows = self.seal_rows, SLOT_ROWS

    def end_recovery(self) -> None:
        """From now on rows are new, and segments as large as is set."""
        self._recovering, self.seal_rows = 0, self._recovering

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
        first = opened.used.rows
        assert first + len(batch) <= opened.reserved.rows
        instants = _instants(batch)
        if instants.any():
            self._memory.note_expiry(slot, int(instants[instants > 0].min()))
        if opened.reserved.may_expire:
            self._memory.slot_expiries(slot)[first : first + len(batch)] = instants
        pieces, opened.used = _placed(opened.columns, opened.used, batch, inverse_norms)
        for place, content in pieces:
            place[:] = content
        return first, opened.used.rows

    def adopt(self, slot: int, tombstones_at: int) -> None:
        """The slot has rows of an owner before us; `confirm` says which."""
        self._free.remove(slot)
        self._opened[slot] = _Open(slot, tombstones_at, self._memory.slot_columns(slot), Extent(), Extent())

    def confirm(self, slot: int, batch: RowBatch, inverse_norms: NDArray[np.float64]) -> bool:
        """Whether `append` would have put this batch behind what was confirmed, byte for byte, and so it counts."""
        opened = self._opened[slot]
        first = opened.used.rows
        pieces, opened.used = _placed(opened.columns, opened.used, batch, inverse_norms)
        if self._memory.earliest_expiry(slot):
            pieces.append((self._memory.slot_expiries(slot)[first : opened.used.rows], _instants(batch)))
        elif _instants(batch).any():
            return False
        return all(bool(np.all(place == content)) for place, content in pieces)

    def go_on(self) -> None:
        """All that was adopted is confirmed: write behind it. The memory of other slots is given back."""
        for slot in self._free:
            self._memory.release_slot(slot)
        for opened in self._opened.values():
            opened.used = replace(opened.used, may_expire=self._memory.earliest_expiry(opened.slot) > 0)
            opened.reserved = opened.used
            self._planned, self._plan = opened, opened.used  # the last of them

    def free(self, slot: int) -> None:
        """The slot's rows are sealed and nobody reads them here, or there are none; its tombstones stay taken."""
        del self._opened[slot]
        self._memory.release_slot(slot)
        self._free.append(slot)

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
        if needed.id_text_bytes > texts:
            texts = -(-needed.id_text_bytes // _RESERVE_BYTES) * _RESERVE_BYTES
        if needed.payload_bytes > payloads:
            payloads = -(-needed.payload_bytes // _RESERVE_BYTES) * _RESERVE_BYTES
        wanted = Extent(rows, texts, payloads, needed.may_expire or have.may_expire)
        if wanted == have:
            return
        self._ask_for(wanted, have)
        if rows > have.rows:
            self._memory.reserve_rows(opened.slot, have.rows, rows)
            self._memory.reserve_tombstones(opened.tombstones_at, have.rows, rows + 1)
        self._memory.reserve_bytes("id_texts", opened.slot, have.id_text_bytes, texts)
        self._memory.reserve_bytes("payloads", opened.slot, have.payload_bytes, payloads)
        if wanted.may_expire and not have.may_expire:
            self._memory.reserve_expiries(opened.slot)
        opened.reserved = wanted

    def _ask_for(self, wanted: Extent, have: Extent) -> None:
        """Raises OUT_OF_MEMORY where the kernel would kill for it."""
        size = (wanted.rows - have.rows) * self._memory.row_bytes
        size += wanted.id_text_bytes - have.id_text_bytes + wanted.payload_bytes - have.payload_bytes
        try:
            headroom().take(size, share=limits.RECOVERY_FREE_SHARE if self._recovering else 1)
        except errors.RedDBError:
            self.is_short = True
            raise


def _placed(
    columns: Columns, used: Extent, batch: RowBatch, inverse_norms: NDArray[np.float64]
) -> tuple[list[tuple[NDArray[Any], Any]], Extent]:
    """Where the rows of a batch go behind what is used and what is written there, and how much is used then."""
    rows = slice(used.rows, used.rows + len(batch))
    ids, sizes, texts = _id_columns(batch.ids, used.id_text_bytes)
    texts_end = used.id_text_bytes + len(texts)
    pieces: list[tuple[NDArray[Any], Any]] = [
        (columns.vectors[rows], batch.vectors),
        (columns.inverse_norm[rows], inverse_norms),
        (columns.id[rows], ids),
        (columns.id_bytes[rows], sizes),
    ]
    if texts:
        pieces.append((columns.id_texts[used.id_text_bytes : texts_end], np.frombuffer(texts, np.uint8)))
    if batch.payloads is None:
        pieces.append((columns.payload_bytes[rows], 0))
        return pieces, Extent(rows.stop, texts_end, used.payload_bytes)
    lengths, content = batch.payloads.lengths, np.frombuffer(batch.payloads.content, np.uint8)
    payloads_end = used.payload_bytes + len(content)
    pieces += [
        (columns.payload_start[rows], used.payload_bytes + np.cumsum(lengths, dtype=np.uint64) - lengths),
        (columns.payload_bytes[rows], lengths),
        (columns.payloads[used.payload_bytes : payloads_end], content),
    ]
    return pieces, Extent(rows.stop, texts_end, payloads_end)


def _instants(batch: RowBatch) -> NDArray[np.uint64]:
    """When the rows expire, (n,), or one 0 for all that never do."""
    return expiries_us(batch.payloads) if batch.payloads is not None and may_expire(batch.payloads) else _NEVER


def _id_columns(ids: IdColumn, start: int) -> tuple[NDArray[np.int64], Any, bytes]:
    """The columns `id` and `id_bytes`, and the texts, which begin at `start`."""
    if isinstance(ids, np.ndarray):
        return ids, INT_ID, b""
    texts = [b"" if isinstance(row_id, int) else row_id.encode() for row_id in ids]
    starts = start + np.cumsum([0, *map(len, texts)])[:-1]
    values = [row_id if isinstance(row_id, int) else at for row_id, at in zip(ids, starts.tolist(), strict=True)]
    sizes = [INT_ID if isinstance(row_id, int) else len(text) for row_id, text in zip(ids, texts, strict=True)]
    return np.array(values, np.int64), np.array(sizes, np.uint16), b"".join(texts)
