"""What SHOW SEGMENTS, STATS, INDEXES, COLLECTION and METRICS say of the rows: counted and measured when asked.

Invariant: bytes on disk are those of the files, bytes of memory those that a page of memory stands behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from reddb.index.turbo import BLOCK_ROWS
from reddb.metrics import Sample
from reddb.partition.encoder import FIT_ROWS
from reddb.partition.filters import SealedFilter
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.reader import PartitionReader, Reader
from reddb.partition.settled import FlatIndex, lacks_index
from reddb.partition.view import SegmentView, View
from reddb.query.views import VIEWS
from reddb.storage.memory import JobProgress
from reddb.types import Collection

# The core that writes a partition (None where there are none), its state, its reader if it can be read.
PartitionState: TypeAlias = tuple[int | None, str, PartitionReader | None]

# Of the views: without their first column, the collection.
_SEGMENT_FIGURES = len(VIEWS["segments"].columns) - 1
_STATS_FIGURES = len(VIEWS["stats"].columns) - 1


def segment_rows(reader: Reader) -> list[list[Any]]:
    """SHOW SEGMENTS of a collection: one segment a row."""
    rows: list[list[Any]] = []
    for part in reader.parts:
        view = part.view()
        jobs = _jobs(part.memory.progress(), [segment.id for segment in view.segments])
        for place, segment in enumerate(view.segments):
            rows.append([*_row(part, view, place), jobs.get(segment.id), view.expired_rows(place)])
    return rows


def partition_without_segments(number: int, state: str) -> list[Any]:
    """The row of SHOW SEGMENTS for a partition that cannot be read, and why."""
    return [number, None, state, *[None] * (_SEGMENT_FIGURES - 3)]


def index_rows(collection: Collection, reader: Reader | None) -> list[list[Any]]:
    """SHOW INDEXES of a collection: one index of a field a row, the rows in sealed segments and how many it covers.

    Rows that were sealed before their field had an index are scanned until their segment is written or built anew.
    """
    if reader is None:
        return [[path, None, None] for path in collection.indexes]
    view = reader.view()
    sealed = [item.filter for item in view.segments if isinstance(item.filter, SealedFilter)]
    total = sum(item.rows for item in sealed)
    covered = {path: sum(item.rows for item in sealed if path in item.indexes) for path in view.collection.indexes}
    return [[path, total, rows] for path, rows in covered.items()]


def stats_rows(parts: Sequence[PartitionState]) -> list[list[Any]]:
    """SHOW STATS of a collection: one partition a row."""
    return [[number, core, state, *_stats(reader)] for number, (core, state, reader) in enumerate(parts)]


def _stats(reader: PartitionReader | None) -> list[int | None]:
    if reader is None:
        return [None] * (_STATS_FIGURES - 3)
    view, snapshot, counts = reader.view(), reader.memory.snapshot(), reader.memory.counts()
    growing = sum(segment.count for segment in view.segments if segment.is_growing)
    return [view.live_rows, growing, snapshot.segments, snapshot.lsn, *counts]


def is_turbo_ready(reader: Reader) -> bool:
    """Whether codes or an index find every row: nothing waits to be encoded or built.

    The last rows of a segment, fewer than a block, and segments too small to learn codes from have none, ever.
    """
    return all(_is_ready(part, segment) for part in reader.parts for segment in part.view().segments)


def _is_ready(part: PartitionReader, segment: SegmentView) -> bool:
    if not isinstance(segment.index, GrowingCodes):
        return not lacks_index(part.collection, segment.index_number, segment.count)
    block, wanted = segment.index.block, segment.count - segment.count % BLOCK_ROWS
    return wanted < FIT_ROWS or (block.needed > 0 and block.encoded >= wanted)


def owned_samples(readers: Iterable[PartitionReader]) -> Iterator[Sample]:
    """What SHOW METRICS says of the partitions that someone owns."""
    rows, expired, memory, log = 0, 0, 0, 0
    states = Counter({"growing": 0, "building": 0, "sealed": 0})
    for reader in readers:
        view = reader.view()
        rows += view.live_rows
        log += reader.memory.counts().log_bytes
        for place, segment in enumerate(view.segments):
            states[_state(reader, segment)] += 1
            expired += view.expired_rows(place)
            memory += reader.memory_bytes(segment)
    yield Sample("reddb_rows", "", rows)
    yield Sample("reddb_expired_rows", "", expired)
    for state, count in sorted(states.items()):
        yield Sample("reddb_segments", f'state="{state}"', count)
    yield Sample("reddb_segment_memory_bytes", "", memory)
    yield Sample("reddb_log_bytes", "", log)


def collection_figures(reader: Reader) -> dict[str, Any]:
    """The properties of SHOW COLLECTION that change."""
    views = [(part, part.view()) for part in reader.parts]
    rows = [_row(part, view, place) for part, view in views for place in range(len(view.segments))]
    stored = max(sum(row[4] for row in rows), 1)
    return {
        "rows": reader.count(),
        "coded rows": reader.coded_rows(),
        "segments": len(rows),
        "bytes per row on disk": round(sum(row[6] for row in rows) / stored, 1),
        "bytes per row in memory": round(sum(row[7] for row in rows) / stored, 1),
    }


def _jobs(progress: JobProgress, segments: list[int]) -> dict[int, str]:
    """What is being done to which of the segments."""
    if not progress.total or progress.first not in segments or progress.last not in segments:
        return {}
    share = f"{100 * progress.done // progress.total} %"
    return dict.fromkeys(segments[segments.index(progress.first) : segments.index(progress.last) + 1], share)


def _row(reader: PartitionReader, view: View, place: int) -> list[Any]:
    segment = view.segments[place]
    live = segment.count - view.gone_rows(place)
    of = [segment.partition, segment.id, _state(reader, segment), _index(segment), segment.count, live]
    return [*of, reader.disk_bytes(segment), reader.memory_bytes(segment)]


def _state(reader: PartitionReader, segment: SegmentView) -> str:
    if segment.is_growing:
        return "growing"
    return "building" if lacks_index(reader.collection, segment.index_number, segment.count) else "sealed"


def _index(segment: SegmentView) -> str:
    index = segment.index
    if index is None:
        return "exact"
    if isinstance(index, GrowingCodes):
        return "turbo"
    described = index.description
    return f"{described.kind} {described.codes}".strip() if not isinstance(index, FlatIndex) else described.codes
