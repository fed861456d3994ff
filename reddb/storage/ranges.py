"""Hands out ranges of tombstones in the memory of a partition, whole pages each.

Invariant: ranges that are taken do not overlap; neighbours that are free are one.
"""

from __future__ import annotations

from collections.abc import Iterable

from reddb import errors, limits
from reddb.storage.memory import PartitionMemory

_PAGE_WORDS = 512


class TombstoneRanges:
    """The owner's list of what is free."""

    def __init__(self, memory: PartitionMemory) -> None:
        self._memory = memory
        self._free = [(0, limits.PARTITION_ROWS_MAX)]

    def adopt(self, taken: Iterable[tuple[int, int]]) -> None:
        """Ranges, by start and rows, that an owner before us took; what lies between them is read by nobody."""
        self._free = []
        end = 0
        for start, rows in sorted([*taken, (limits.PARTITION_ROWS_MAX, 0)]):
            if end < start:
                self._free.append((end, start - end))
                self._memory.release_tombstones(end, start - end)
            end = start + _words(rows)

    def take(self, rows: int) -> int:
        """The start of a range for so many rows; no memory is taken yet. Raises LIMIT_EXCEEDED."""
        words = _words(rows)
        for place, (start, size) in enumerate(self._free):
            if size >= words:
                self._free[place : place + 1] = [(start + words, size - words)] if size > words else []
                return start
        raise errors.LIMIT_EXCEEDED.error(f"a partition has room for {limits.PARTITION_ROWS_MAX} rows")

    def give_back(self, start: int, rows: int) -> None:
        """Release the memory; nobody reads it any more."""
        words = _words(rows)
        self._memory.release_tombstones(start, words)
        merged: list[tuple[int, int]] = []
        for begin, size in sorted([*self._free, (start, words)]):
            if merged and sum(merged[-1]) == begin:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((begin, size))
        self._free = merged


def _words(rows: int) -> int:
    return -(-(rows + 1) // _PAGE_WORDS) * _PAGE_WORDS
