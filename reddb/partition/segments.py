"""The segments of a partition as their owner keeps them, and how rows of replaced ones became rows of the new one.

Invariant: an id has at most one row that lives, in all segments together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reddb.storage.growing import GrowingSegment
from reddb.storage.manifest import SegmentRecord
from reddb.storage.memory import SegmentEntry
from reddb.storage.sealed import SealedSegment
from reddb.storage.segment_rows import Tombstones
from reddb.types import RowId

Rows = NDArray[np.int64]

NOW = 2**64 - 2  # as an LSN: whoever has died by now lived at none as late


@dataclass(slots=True, eq=False)
class OwnedSegment:
    """One segment. `record` is None and `last_lsn` 0 while it grows; `last_lsn` alone is set once it is frozen."""

    id: int
    rows: GrowingSegment | SealedSegment
    tombstones: Tombstones
    tombstones_at: int
    count: int
    last_lsn: int = 0
    record: SegmentRecord | None = None
    live_file_dead: int = 0  # rows that its `live` file says were dead at the manifest's `sealed_lsn`

    @property
    def entry(self) -> SegmentEntry:
        slot = self.rows.slot if isinstance(self.rows, GrowingSegment) else -1
        index = self.record.index if self.record is not None else 0
        return SegmentEntry(self.id, self.count, self.tombstones_at, slot, index)

    @property
    def is_frozen(self) -> bool:
        """Whether it waits to be sealed."""
        return self.record is None and self.last_lsn > 0

    @property
    def dead_share(self) -> float:
        """Of the rows that a merge would leave out."""
        return self.live_file_dead / max(self.count, 1)


def locate(
    segments: Sequence[OwnedSegment], ids: Sequence[RowId], lsn: int = NOW
) -> Iterator[tuple[OwnedSegment, Rows, Rows]]:
    """Where ids have a row that lived at `lsn`: segment, places in `ids`, row numbers; others are left out."""
    remaining = np.arange(len(ids))
    for segment in reversed(segments):
        wanted = ids if len(remaining) == len(ids) else [ids[place] for place in remaining.tolist()]
        rows = segment.rows.find(wanted, segment.count)
        hit = np.flatnonzero(rows >= 0)
        hit = hit[segment.tombstones.live(rows[hit], lsn)]
        if len(hit):
            yield segment, remaining[hit], rows[hit]
            remaining = np.delete(remaining, hit)
            if not len(remaining):
                return


def undeleted_ids(segments: Sequence[OwnedSegment], ids: Sequence[RowId], now_us: int) -> dict[RowId, bool]:
    """The ids that have a live row; False where that has expired."""
    found: dict[RowId, bool] = {}
    for segment, places, rows in locate(segments, ids):
        found.update((ids[place], True) for place in places.tolist())
        expiries = segment.rows.expiries
        if now_us >= expiries.earliest_us:
            found.update((ids[place], False) for place in places[~expiries.unexpired(rows, now_us)].tolist())
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """A replaced segment: its rows `kept`, ascending, are those from `first` on of the new one."""

    segment: OwnedSegment
    kept: Rows
    first: int


@dataclass(frozen=True, slots=True)
class Succession:
    """Segments and the one that replaces them. Until every core reads the new one, a row is marked dead in both."""

    sources: tuple[Source, ...]
    target: OwnedSegment

    def copy_tombstones(self) -> None:
        """Let the target's rows be as dead as those they came from."""
        for source in self.sources:
            self.target.tombstones.copy_from(source.first, source.segment.tombstones.lsn[source.kept])

    def mirror(self, segment: OwnedSegment, rows: Rows, lsn: int) -> None:
        """Mark the same rows of the other side."""
        if segment is self.target:
            for source in self.sources:
                mine = rows[(rows >= source.first) & (rows < source.first + len(source.kept))]
                source.segment.tombstones.mark(source.kept[mine - source.first], lsn)
            return
        for source in self.sources:
            if source.segment is segment:
                places = np.searchsorted(source.kept, rows)
                known = places < len(source.kept)
                known[known] = source.kept[places[known]] == rows[known]
                self.target.tombstones.mark(source.first + places[known], lsn)
