"""The columns of one segment, growing or sealed: arrays over memory that stays where it is.

    id                 int64          the id, or where its text begins in the id texts
    id_bytes           uint16         0xFFFF for an integer id, else the text's length
    inverse_norm       float64        1 / length of the vector, 0 for the zero vector
    payload_start      uint64         where its payload begins
    payload_bytes      uint32         its length, 0 for none
    vectors            float32[dim]
    id texts           bytes          UTF-8, end to end
    payloads           bytes          MessagePack maps, end to end

Whether a row lives is not said here but by the segment's tombstones, which every core maps and the owner writes:

    tombstones         uint64         word 0: how many rows are dead
                                      word 1 + r: 0 while row r lives, else the LSN that deleted or replaced it

Invariants:
  * A row, once written, never changes; a row number means the same row for as long as the segment exists.
  * The count of dead rows is raised before a snapshot shows them dead, so 0 means that every row lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.types import IdColumn, RowId, Vectors

INT_ID = 0xFFFF

assert limits.ID_BYTES_MAX < INT_ID


@dataclass(slots=True, eq=False)
class Columns:
    """The arrays of a segment; each has at least as many entries as the segment has rows."""

    id: NDArray[np.int64]
    id_bytes: NDArray[np.uint16]
    id_texts: NDArray[np.uint8]
    inverse_norm: NDArray[np.float64]
    vectors: Vectors
    payload_start: NDArray[np.uint64]
    payload_bytes: NDArray[np.uint32]
    payloads: NDArray[np.uint8]

    def row_id(self, row: int) -> RowId:
        size = int(self.id_bytes[row])
        start = int(self.id[row])
        return start if size == INT_ID else bytes(self.id_texts[start : start + size]).decode()

    def id_column(self, rows: NDArray[np.int64]) -> IdColumn:
        """Ids of the rows (n,), an array where all are integers."""
        if bool((self.id_bytes[rows] == INT_ID).all()):
            return self.id[rows]
        return [self.row_id(row) for row in rows.tolist()]

    def row_ids(self, rows: NDArray[np.int64]) -> list[RowId]:
        """Ids of the rows (n,) as plain values."""
        ids = self.id_column(rows)
        return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)

    def payload(self, row: int) -> bytes:
        """MessagePack bytes of the row's payload, empty if it has none."""
        start = int(self.payload_start[row])
        return bytes(self.payloads[start : start + int(self.payload_bytes[row])])


class Expiries(Protocol):
    """When the first `count` rows of a segment expire (`reddb.storage.expiries`). Deaths are not looked at here."""

    @property
    def earliest_us(self) -> int:
        """No row expires before it; NEVER_US where none ever does."""

    def expired(self, now_us: int, count: int) -> int:
        """How many rows have expired."""

    def expired_rows(self, now_us: int, count: int) -> NDArray[np.int64]:
        """Which."""

    def next_us(self, now_us: int, count: int) -> int:
        """The first instant after `now_us`, NEVER_US if there is none."""

    def unexpired(self, rows: NDArray[np.int64] | slice, now_us: int) -> NDArray[np.bool_]:
        """Which of the rows have not expired, where any may have."""


class SegmentRows(Protocol):
    """Columns that also find rows by id."""

    @property
    def columns(self) -> Columns: ...

    @property
    def expiries(self) -> Expiries: ...

    def find(self, ids: Sequence[RowId], count: int) -> NDArray[np.int64]:
        """The newest of the first `count` rows that has each id, -1 where there is none: (n,)."""


class Tombstones:
    """Which rows of a segment are dead, and since when."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self._words = words
        self._count = memoryview(words[:1])  # gives plain integers, read for every search
        self.lsn = words[1:]

    @property
    def count(self) -> int:
        return int(self._count[0])

    def live(self, rows: NDArray[np.int64] | slice, lsn: int) -> NDArray[np.bool_]:
        """Which of the rows were alive at `lsn`."""
        # 0 - 1 wraps to the largest number, so one comparison covers "never died" and "died later".
        alive: NDArray[np.bool_] = self.lsn[rows] - np.uint64(1) >= np.uint64(lsn)
        return alive

    def copy_from(self, first: int, lsns: NDArray[np.uint64]) -> None:
        """Let rows from `first` on, which all live, be as dead as these words say."""
        self._words[0] += np.uint64(np.count_nonzero(lsns))
        self.lsn[first : first + len(lsns)] = lsns

    def forget(self, lsn: int, count: int) -> None:
        """Of the first `count` rows, let those that died after `lsn`, which nobody has seen, live."""
        deaths = self.lsn[:count]
        if (late := deaths > np.uint64(lsn)).any():
            deaths[late] = 0
        self._words[0] = np.count_nonzero(deaths)

    def mark(self, rows: NDArray[np.int64], lsn: int) -> int:
        """Let the rows be dead from `lsn` on; gives how many of them lived. Distinct rows, and the owner only."""
        rows = rows[self.lsn[rows] == 0]
        self._words[0] += np.uint64(len(rows))
        self.lsn[rows] = lsn
        return len(rows)
