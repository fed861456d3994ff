"""The log of a restored partition: made longer from an archive, and cut where the database is to stop.

Files of the archive go on where those of the backup end. The last file of the backup is the beginning of a file of the
archive, which takes its place. A chain with a gap is refused, for a record that is missing might have deleted or
replaced what a later one builds on.

    at LSN n       nothing behind record n
    at time t      nothing from the first record on that was written later than t; records without a time are not later

Invariant: what is left is an unbroken chain of valid records from the sealed LSN to the one that was asked for.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from reddb import errors
from reddb.backup.archive import archive_folder
from reddb.backup.description import Description, PartitionRecord
from reddb.backup.log import LogPart, read_whole_records
from reddb.disk import Disk
from reddb.storage.folder import partition_folder
from reddb.storage.wal import begin_log
from reddb.storage.wal_file import first_lsn_of, records_behind


@dataclass(frozen=True, slots=True)
class Target:
    """Where to stop: partitions that `lsns` does not name go as far as the log does, or as `time_us`."""

    lsns: dict[str, int]
    time_us: int | None = None


def target_of(lsns: list[str], time_us: int | None, description: Description) -> Target:
    """Of words as `120` or `docs/0:120`. Raises INVALID_VALUE."""
    names = [partition.name for partition in description.partitions]
    found: dict[str, int] = {}
    for word in lsns:
        name, _, number = word.rpartition(":")
        if not name and len(names) == 1:
            name = names[0]
        if name not in names or name in found or not number.isdecimal():
            raise errors.INVALID_VALUE.error(
                f"{word!r} is no LSN of one partition; say <collection>/<partition>:<LSN>, of {', '.join(names)}"
            )
        found[name] = int(number)
    return Target(found, time_us)


class LogOfPartition:
    """The chain of one partition's log, in the staged folder and the archive."""

    def __init__(
        self, disk: Disk, staged: Path, partition: PartitionRecord, archive: Path | None, ended_us: int
    ) -> None:
        """`ended_us` is when the backup was made."""
        self._disk = disk
        self._partition = partition
        self._ended_us = ended_us
        self._folder = partition_folder(staged, partition.collection_id, partition.partition) / "wal"
        self._archive = None if archive is None else archive_folder(archive, partition.identity)
        self._chain: list[LogPart] = []
        self._gap: errors.RedDBError | None = None
        self._next_lsn = 0
        self._is_written = False

    def bring_to(self, target: Target) -> int:
        """Make the log end where it shall; gives the last LSN.

        Raises INVALID_VALUE for a point that the log does not have, CORRUPT_DATA if the chain breaks before it.
        """
        wanted = target.lsns.get(self._partition.name)
        self._read_chain(wanted)
        if wanted is not None:
            self._check_wanted(wanted)
            last_lsn = wanted
        elif target.time_us is not None:
            last_lsn = self._last_before(target.time_us)
        else:
            last_lsn = self._next_lsn - 1
            self._refuse_gap()
        self._write_chain(last_lsn)
        return last_lsn

    # --- what there is -------------------------------------------------------------------------------------

    def _read_chain(self, wanted_lsn: int | None) -> None:
        """Every file from the sealed LSN to where the chain ends. Raises CORRUPT_DATA for one that is damaged."""
        names = self._names()
        self._is_written = bool(names)
        self._next_lsn = self._partition.sealed_lsn + 1
        if names:
            self._next_lsn = min(self._next_lsn, first_lsn_of(names[0]))
        for position, name in enumerate(names):
            if wanted_lsn is not None and wanted_lsn < self._next_lsn:
                return
            if first_lsn_of(name) > self._next_lsn:
                lacking = f"{self._partition.name}: no file has LSN {self._next_lsn} to {first_lsn_of(name) - 1}"
                self._gap = errors.CORRUPT_DATA.error(f"{lacking}, and {self._archive} goes on with {name}")
                return
            self._take(name, is_last=position == len(names) - 1)

    def _names(self) -> list[str]:
        """Of the files that hold what is behind the sealed LSN, in order."""
        archived = [] if self._archive is None else self._disk.list_folder(self._archive)
        names = sorted({*self._disk.list_folder(self._folder), *(name for name in archived if name.endswith(".wal"))})
        first = sum(1 for name in names[1:] if first_lsn_of(name) <= self._partition.sealed_lsn + 1)
        return names[first:]

    def _take(self, name: str, *, is_last: bool) -> None:
        """Read a file where it has the most records; the other one must be its beginning."""
        folders = [self._folder] if self._archive is None else [self._folder, self._archive]
        of = self._partition.identity, self._next_lsn
        found = [
            read_whole_records(self._disk, folder / name, *of, stored_lsn=0 if is_last else None)
            for folder in folders
            if name in self._disk.list_folder(folder)
        ]
        found.sort(key=lambda part: len(part.content))
        if not found[-1].content.startswith(found[0].content):
            raise errors.CORRUPT_DATA.error(
                f"{name} in {self._archive} is of another history than the backup", path=str(self._archive)
            )
        self._chain.append(found[-1])
        self._next_lsn = found[-1].next_lsn

    # --- where to stop -------------------------------------------------------------------------------------

    def _refuse_gap(self) -> None:
        if self._gap is not None:
            raise self._gap

    def _check_wanted(self, lsn: int) -> None:
        first, last = self._partition.sealed_lsn, self._next_lsn - 1
        if lsn < first:
            raise errors.INVALID_VALUE.error(
                f"{self._partition.name} is sealed up to LSN {first} in this backup; an older one may reach {lsn}"
            )
        if lsn > last:
            self._refuse_gap()
            raise errors.INVALID_VALUE.error(f"{self._partition.name} ends with LSN {last}; {lsn} is not there")

    def _last_before(self, time_us: int) -> int:
        """The last LSN before the first record that is later.

        What is sealed has no times. It is not later if all of the backup is not, or a record behind it.
        """
        sealed_lsn = self._partition.sealed_lsn
        is_earlier = time_us >= self._ended_us or not sealed_lsn
        for part in self._chain:
            for _, record in records_behind(part.content, first_lsn_of(part.name), 0):
                if record.lsn > sealed_lsn and record.time_us > time_us:
                    self._check_earlier(is_earlier)
                    return record.lsn - 1
                is_earlier |= record.lsn >= sealed_lsn and record.time_us > 0
        self._check_earlier(is_earlier)
        self._refuse_gap()
        return self._next_lsn - 1

    def _check_earlier(self, is_earlier: bool) -> None:
        if not is_earlier:
            raise errors.INVALID_VALUE.error(
                f"{self._partition.name} has sealed rows that may be later than this; restore an older backup"
            )

    def _write_chain(self, last_lsn: int) -> None:
        self._disk.remove_tree(self._folder)
        self._disk.make_folder(self._folder)
        for part in self._chain:
            first = first_lsn_of(part.name)
            if first > last_lsn:
                break
            later = (place for place, record in records_behind(part.content, first, 0) if record.lsn > last_lsn)
            self._disk.write_file(self._folder / part.name, part.content[: next(later, len(part.content))])
        if self._is_written and not self._disk.list_folder(self._folder):
            begin_log(self._disk, self._folder, self._partition.identity, secrets.randbits(32), last_lsn + 1)
