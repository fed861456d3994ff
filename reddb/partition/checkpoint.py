"""A checkpoint: what is known only to memory and to the log goes to files, so that the next start has less to do.

    on the owner's loop        in a thread
    ------------------------   --------------------------------------------------------------------------
    take                       write

    no row grows               which sealed rows live, and a manifest that needs nothing of the log so far
    rows grow                  their codes (`growing.tv`); the log is needed until they are sealed

At an orderly stop `note_end` lets the manifest say how far the log reaches.

Invariant: the log is synced first, so a checkpoint never knows more than the log does.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from reddb import errors
from reddb.partition.code_snapshot import SegmentCodes, write_codes
from reddb.partition.writer import Partition
from reddb.storage.manifest import write_manifest

_log = structlog.get_logger()


class CodesCheckpoint:
    """The codes of the growing rows at one moment."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._moment = partition.moment
        self._segments: list[tuple[int, Callable[[int], SegmentCodes | None]]] = []
        first = 0
        for segment in partition.segments:
            if segment.record is None:
                self._segments.append((first, partition.encoder.encoded(segment.id)))
                first += segment.count

    def write(self) -> None:
        """Sync the log, then write the codes. Raises DISK_FULL or DISK_FAILED.

        Without a log there are no rows at a start that they could be of.
        """
        partition = self._partition
        if not partition.collection.is_logged:
            return
        partition.sync()
        copied = [copy(first) for first, copy in self._segments]
        codes = [item for item in copied if item is not None]
        if codes:
            of = partition.disk, partition.folder, partition.collection, partition.number
            write_codes(*of, self._moment, codes)


def note_end(partition: Partition) -> None:
    """Let the manifest say how far the log reaches, so that damage to its last record is no torn tail.

    Nothing is written where the manifest says so already, so an empty or idle partition costs nothing. Without the note
    the next start finds all rows, and judges the end of the log as after a kill.
    """
    manifest, durable_lsn = partition.manifest, partition.wal.durable_lsn
    if not partition.collection.is_logged or partition.manifest_is_unknown or durable_lsn <= manifest.durable_lsn:
        return
    partition.manifest = manifest.next(durable_lsn=durable_lsn)
    of = partition.disk, partition.folder, partition.collection, partition.number
    try:
        write_manifest(*of, partition.manifest)
    except errors.RedDBError as error:
        _log.warning("how far the log reaches was not noted", folder=str(partition.folder), error=str(error))
