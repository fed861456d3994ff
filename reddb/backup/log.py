"""The log of a partition, read up to its last whole record while its owner may be writing.

What a reader sees of a file that is being written is not what a crash leaves. The bytes are read from the front to
the back, so a group may be missing that was written behind the reader, before a later one that was written ahead of
it and says that the missing one was synced. The engine's reader calls that corruption, and is right about a log that
nobody writes to. So such a file is read again: the record that was missing was written before the first reading
ended, and damage that is still at the same place is damage.

Invariant: what is given is an unbroken chain of valid records, with every record that was complete before the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reddb import errors
from reddb.disk import Disk
from reddb.storage.manifest import Manifest
from reddb.storage.wal_file import Record, WalIdentity, first_lsn_of, log_files, lost_log, read_log_file


@dataclass(frozen=True, slots=True)
class LogPart:
    """A file of the log, cut behind its last record: `next_lsn` comes next, and `is_torn` says whether there is more
    than zeros.
    """

    name: str
    content: bytes
    next_lsn: int
    is_torn: bool

    @property
    def has_records(self) -> bool:
        return self.next_lsn > first_lsn_of(self.name)


def read_log(
    disk: Disk, folder: Path, identity: WalIdentity, manifest: Manifest, *, is_written: bool
) -> tuple[list[LogPart], int]:
    """The files that hold what is behind what is sealed, and the last LSN. Raises CORRUPT_DATA or a disk error."""
    sealed_lsn = manifest.sealed_lsn
    _, names = log_files(disk, folder, sealed_lsn)
    if is_written and not names:
        raise lost_log(folder, sealed_lsn)
    next_lsn = min(sealed_lsn + 1, first_lsn_of(names[0]) if names else sealed_lsn + 1)
    parts: list[LogPart] = []
    for position, name in enumerate(names):
        stored_lsn = max(sealed_lsn, manifest.durable_lsn) if position == len(names) - 1 else None
        part = read_whole_records(disk, folder / name, identity, next_lsn, stored_lsn=stored_lsn)
        next_lsn = part.next_lsn
        parts.append(part)
    return parts, next_lsn - 1


def read_whole_records(
    disk: Disk, path: Path, identity: WalIdentity, next_lsn: int, *, stored_lsn: int | None
) -> LogPart:
    """A file that begins with `next_lsn`, up to its last whole record. Raises CORRUPT_DATA or a disk error.

    `stored_lsn` is what the log must reach, given with its last file.
    """
    damaged_at: int | None = None
    while True:
        content = disk.read_file(path)
        try:
            found = read_log_file(path, content, identity, next_lsn, _ignore, stored_lsn=stored_lsn)
        except errors.RedDBError as error:
            offset = error.detail.get("offset")
            if offset is None or offset == damaged_at:
                raise
            damaged_at = offset
        else:
            return LogPart(path.name, content[: found.end], found.next_lsn, found.torn_bytes > 0)


def _ignore(record: Record) -> None:
    pass  # that it is valid was all that was asked
