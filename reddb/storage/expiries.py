"""When the rows of one segment expire, for its owner and for readers alike; numbers as in `reddb.expiry`.

    growing segment    a column in the shared memory that the owner writes with the rows, and beside it the earliest
                       instant, 0 where no row has one; the column has memory only where that is not 0
    sealed segment     the column `expires_at` of its payload columns, taken over at the first use

Rejected: decoding payloads in every reader, as filters do. Rows that were just written would be decoded anew at each
look, a millisecond of Python per search beside steady writes; the owner decodes each row once.

Invariants:
  * Where no row has an instant, nothing is asked but `earliest_us`.
  * The earliest instant is known before the rows are published.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb.expiry import NEVER_US, unexpired
from reddb.fields import EXPIRES_AT
from reddb.storage.memory import PartitionMemory
from reddb.storage.payload_columns import Family, PayloadColumns


class GrowingExpiries:
    """Those of a slot: few rows, and new ones come, so all are looked at."""

    def __init__(self, memory: PartitionMemory, slot: int) -> None:
        self._memory = memory
        self._slot = slot
        self._instants = memory.slot_expiries(slot)

    @property
    def earliest_us(self) -> int:
        return self._memory.earliest_expiry(self._slot) or NEVER_US

    def expired(self, now_us: int, count: int) -> int:
        if now_us < self.earliest_us:
            return 0
        return count - int(np.count_nonzero(unexpired(self._instants[:count], now_us)))

    def expired_rows(self, now_us: int, count: int) -> NDArray[np.int64]:
        if now_us < self.earliest_us:
            return np.empty(0, np.int64)
        return np.flatnonzero(~unexpired(self._instants[:count], now_us))

    def next_us(self, now_us: int, count: int) -> int:
        if now_us < self.earliest_us or not count:
            return self.earliest_us
        instants = self._instants[:count]
        return min(int(instants.min(initial=NEVER_US, where=instants > np.uint64(now_us))), NEVER_US)

    def unexpired(self, rows: NDArray[np.int64] | slice, now_us: int) -> NDArray[np.bool_]:
        return unexpired(self._instants[rows], now_us)


class SealedExpiries:
    """Those of a sealed segment: any number of rows that never change, so they are sorted once."""

    def __init__(self, has_any: Callable[[], bool], columns: Callable[[], PayloadColumns]) -> None:
        """`has_any` tells cheaply whether `columns` has one of expiries."""
        self._has_any = has_any
        self._columns = columns

    @cached_property
    def earliest_us(self) -> int:
        """Raises CORRUPT_DATA."""
        instants = self._instants
        return int(instants.min(initial=NEVER_US, where=instants > 0))

    def expired(self, now_us: int, count: int) -> int:
        if now_us < self.earliest_us:
            return 0
        return int(np.searchsorted(self._sorted, np.uint64(now_us), side="right"))

    def expired_rows(self, now_us: int, count: int) -> NDArray[np.int64]:
        return self._order[: self.expired(now_us, count)] if now_us >= self.earliest_us else np.empty(0, np.int64)

    def next_us(self, now_us: int, count: int) -> int:
        if now_us < self.earliest_us:
            return self.earliest_us
        expired = self.expired(now_us, count)
        return int(self._sorted[expired]) if expired < len(self._sorted) else NEVER_US

    def unexpired(self, rows: NDArray[np.int64] | slice, now_us: int) -> NDArray[np.bool_]:
        return unexpired(self._instants[rows], now_us)

    @cached_property
    def _instants(self) -> NDArray[np.uint64]:
        """Of every row (n,); none (0,) where no row has one."""
        column = self._columns().families(EXPIRES_AT.name).get(Family.TIMESTAMP) if self._has_any() else None
        if column is None:
            return np.empty(0, np.uint64)
        microseconds = column.cast(pa.int64())
        given = microseconds.is_valid().to_numpy(zero_copy_only=False)
        return np.where(given, np.maximum(microseconds.fill_null(0).to_numpy(), 1), 0).astype(np.uint64)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The rows that have an instant, by it."""
        rows = np.flatnonzero(self._instants)
        return rows[np.argsort(self._instants[rows], kind="stable")]

    @cached_property
    def _sorted(self) -> NDArray[np.uint64]:
        return self._instants[self._order]
