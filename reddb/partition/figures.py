"""What SHOW SEGMENTS, SHOW INDEXES and SHOW COLLECTION say of the rows: counted and measured when asked.

Invariant: bytes on disk are those of the files, bytes of memory those that a page of memory stands behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reddb.partition.filters import SealedFilter
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.reader import PartitionReader, Reader
from reddb.partition.settled import FlatIndex, lacks_index
from reddb.partition.view import SegmentView, View
from reddb.query.execute import Table
from reddb.storage.memory import JobProgress

_STATS = [
    *("partition", "core", "state", "rows", "growing_rows", "segments", "lsn"),
    *("log_bytes", "sealed_lsn", "checkpoint_lsn", "caches_refused"),
]
_COLUMNS = ["partition", "segment", "state", "index", "rows", "live", "bytes_disk", "bytes_memory", "job", "expired"]


def segments_table(reader: Reader) -> Table:
    """SHOW SEGMENTS: one segment a row; `job` says how far the work on it has come, where there is any.

    `expired` are the rows whose time has come and which wait to be deleted; `live` counts none of them.
    """
    rows: list[list[Any]] = []
    for part in reader.parts:
        view = part.view()
        jobs = _jobs(part.memory.progress(), [segment.id for segment in view.segments])
        for place, segment in enumerate(view.segments):
            rows.append([*_row(part, view, place), jobs.get(segment.id), view.expired_rows(place)])
    return Table(_COLUMNS, rows)


def indexes_table(reader: Reader) -> Table:
    """SHOW INDEXES: one index of a field a row, the rows in sealed segments and how many of them it covers.

    Rows that were sealed before their field had an index are scanned until their segment is written or built anew.
    """
    view = reader.view()
    sealed = [item.filter for item in view.segments if isinstance(item.filter, SealedFilter)]
    total = sum(item.rows for item in sealed)
    covered = {path: sum(item.rows for item in sealed if path in item.indexes) for path in view.collection.indexes}
    return Table(["field", "sealed_rows", "covered_rows"], [[path, total, rows] for path, rows in covered.items()])


def stats_table(parts: Sequence[tuple[int | None, str, PartitionReader | None]]) -> Table:
    """SHOW STATS: one partition a row, from (its core, its state, its reader if it can be read)."""
    return Table(_STATS, [[number, core, state, *_stats(reader)] for number, (core, state, reader) in enumerate(parts)])


def _stats(reader: PartitionReader | None) -> list[int | None]:
    if reader is None:
        return [None] * (len(_STATS) - 3)
    view, snapshot, counts = reader.view(), reader.memory.snapshot(), reader.memory.counts()
    growing = sum(segment.count for segment in view.segments if segment.is_growing)
    return [view.live_rows, growing, snapshot.segments, snapshot.lsn, *counts]


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
