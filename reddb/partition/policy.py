"""Which job of a partition is due: the oldest frozen segment is sealed, then neighbours are merged, then indexes built.

Merging is tiered by size: four neighbours of about one size, and smaller ones between them, become one. So a row is
written anew about once for each power of `limits.MERGE_SEGMENTS_MIN` that its segment grows by, and the number of
segments stays a logarithm of the rows, up to `segment_rows_max` rows a segment. Neighbours only, so that rows keep
their order. A segment with many dead rows is written anew by itself.

Where the log grows long before a segment is full (wide rows written again and again, or nothing but deletes), or many
sealed rows are dead by the log alone, growing rows are sealed early, and deletes go to files. Only what is dead in
files is left out of a merge: files stay the state at the manifest's `sealed_lsn`.

Invariant: deciding changes nothing but the number of the next segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from reddb import limits
from reddb.partition.jobs import Job, JobKind
from reddb.partition.segments import OwnedSegment
from reddb.partition.settled import FRESH_INDEX, SETTLED_INDEX, lacks_index
from reddb.partition.writer import Partition


def due_job(partition: Partition, unsettled: frozenset[int]) -> Job | None:
    """The next job, None if nothing is due or may be done any more.

    `unsettled` are sealed segments whose index is to be built anew.
    """
    if partition.manifest_is_unknown:
        return None
    for segment in partition.segments:
        if segment.is_frozen:
            return _job(partition, JobKind.SEAL, [segment], segment.id, FRESH_INDEX)
    merged = _to_merge(partition)
    if merged:
        return _job(partition, JobKind.MERGE, merged, partition.take_segment_id(), SETTLED_INDEX)
    for segment in partition.segments:
        if segment.record is None:
            continue
        if segment.id in unsettled or lacks_index(partition.collection, segment.record.index, segment.count):
            index = max(segment.record.index + 1, SETTLED_INDEX)
            return _job(partition, JobKind.BUILD, [segment], segment.id, index)
    return None


def log_is_long(partition: Partition) -> bool:
    """Whether the log should be made shorter."""
    return partition.wal.bytes > partition.collection.number("checkpoint_wal_mib") * limits.MIB


def log_is_due(partition: Partition) -> bool:
    """Whether what only the log says should go to files: it is long, or many sealed rows died by it."""
    return log_is_long(partition) or any(
        segment.tombstones.count > limits.DEAD_SHARE_MAX * segment.count and segment.dead_share <= limits.DEAD_SHARE_MAX
        for segment in partition.segments
        if segment.record is not None
    )


def can_checkpoint(partition: Partition) -> bool:
    """Whether a checkpoint would make the log superfluous as it is: no row grows, but some have died."""
    return (
        not partition.manifest_is_unknown
        and partition.lsn > partition.manifest.sealed_lsn
        and all(segment.record is not None for segment in partition.segments)
    )


def compaction(partition: Partition) -> Job | None:
    """The next job that leaves as few segments and dead rows as there can be, None if there is nothing to gain."""
    cap = partition.collection.number("segment_rows_max")
    run: list[OwnedSegment] = []
    for segment in [*partition.segments, None]:
        if segment is not None and segment.record is not None and _live(run) + _live([segment]) <= cap:
            run.append(segment)
            continue
        if len(run) > 1 or any(item.live_file_dead for item in run):
            break
        run = [segment] if segment is not None and segment.record is not None else []
    if len(run) > 1 or any(item.live_file_dead for item in run):
        return _job(partition, JobKind.MERGE, run, partition.take_segment_id(), SETTLED_INDEX)
    return None


def _to_merge(partition: Partition) -> list[OwnedSegment]:
    """The first window of neighbours with enough of one size and nothing larger, that is not too large together."""
    cap, unit = partition.collection.number("segment_rows_max"), partition.collection.number("seal_rows")
    sealed = [segment for segment in partition.segments if segment.record is not None]
    tiers = [_tier(segment, unit) for segment in sealed]
    rows_before = [0, *accumulate(_live([segment]) for segment in sealed)]
    for tier in sorted(set(tiers)):
        for first in range(len(sealed)):
            end = first
            while end < len(sealed) and tiers[end] <= tier and rows_before[end + 1] - rows_before[first] <= cap:
                end += 1
            if tiers[first:end].count(tier) >= limits.MERGE_SEGMENTS_MIN:
                return sealed[first:end]
    for segment in sealed:
        if segment.dead_share > limits.DEAD_SHARE_MAX:
            return [segment]
    return []


def _tier(segment: OwnedSegment, unit: int) -> int:
    return max(0, round(math.log(max(_live([segment]), 1) / unit, limits.MERGE_SEGMENTS_MIN)))


def _live(segments: Sequence[OwnedSegment]) -> int:
    """Rows that a merge would take."""
    return sum(segment.count - segment.live_file_dead for segment in segments)


def _job(partition: Partition, kind: JobKind, sources: Sequence[OwnedSegment], segment_id: int, index: int) -> Job:
    sealed_lsn = partition.manifest.sealed_lsn
    return Job(kind, segment_id, tuple(segment.entry for segment in sources), index, sealed_lsn)
