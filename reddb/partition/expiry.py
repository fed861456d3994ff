"""How far the rows of a view have expired: taken once per view, so that a question sees one time of day.

A view is right for as long as no further row expires. Where none ever does, nobody looks at the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from reddb.expiry import NEVER_US
from reddb.storage.segment_rows import SegmentRows


class _Segment(Protocol):
    @property
    def rows(self) -> SegmentRows: ...

    @property
    def count(self) -> int: ...


class Expired(NamedTuple):
    """`rows` has for each segment how many of its rows have expired at `now_us`, dead or not; `until_us` is when the
    next one will.
    """

    now_us: int
    rows: tuple[int, ...]
    until_us: int

    @classmethod
    def at(cls, now_us: int, segments: Sequence[_Segment]) -> Expired:
        """What has expired at this time."""
        rows, until_us = [0] * len(segments), NEVER_US
        for place, segment in enumerate(segments):
            expiries = segment.rows.expiries
            earliest_us = expiries.earliest_us
            if now_us >= earliest_us:
                rows[place] = expiries.expired(now_us, segment.count)
                earliest_us = expiries.next_us(now_us, segment.count)
            until_us = min(until_us, earliest_us)
        return cls(now_us, tuple(rows), until_us)

    @classmethod
    def of_all(cls, parts: Sequence[Expired]) -> Expired:
        """Those of several partitions, each of which is still right at the latest of their times."""
        rows = tuple(count for part in parts for count in part.rows)
        return cls(max(part.now_us for part in parts), rows, min(part.until_us for part in parts))
