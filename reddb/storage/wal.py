"""The write-ahead log of one partition: numbered files of checksummed records (`storage/wal_file.py`).

    append     write records with the next LSNs
    sync       return when they are on the device
    release    remove the files that nobody needs any more, each after `archive` has a copy of it; never the newest one,
               so a new file is begun where all records of that are released
    begin_log  the first file of a new log
    open       give every record to `replay`, and cut a torn tail

Invariants:
  * After an error in `append` the file is cut back to the end of the last group, or the log is poisoned.
  * After an error in `sync` the log is poisoned: it takes nothing until it is opened anew. So it is once the folder's
    lock is lost, which the disk says before it writes and behind each sync.
  * A file goes only after `archive` returned; where that fails it stays, and the next `release` or `open` tries again.
  * The newest file stays, so it does not matter which of the removed ones a power cut brings back.
  * A file is begun before anything is written to it: after an error the group is not stored.
  * Before `open` returns, every file it read and the folder are synced: after a kill they may have been in the page
    cache only, and what we serve now must survive a power cut later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog

from reddb import errors, limits
from reddb.disk import AppendFile, Disk
from reddb.storage.wal_file import (
    Record,
    WalIdentity,
    encode_file_header,
    encode_record,
    file_name,
    first_lsn_of,
    log_files,
    lost_log,
    read_log_file,
)
from reddb.types import Buffer

__all__ = ["Archive", "Record", "TornTail", "Wal", "WalIdentity", "begin_log", "keep_no_copy", "time_unknown"]

_log = structlog.get_logger()

_STAGED = ".wal.tmp"
_NOT_OURS = (errors.LOCK_LOST, errors.OTHER_PROCESS)  # the folder's lock is not this process's, or not any more

# Returns when there is a synced copy of the file. Raises a disk error, or CORRUPT_DATA for a file not worth a copy.
Archive: TypeAlias = Callable[[Path], None]


def keep_no_copy(path: Path) -> None:
    """The archive of those who have none."""


def time_unknown() -> int:
    """The clock of those who have none."""
    return 0


def begin_log(disk: Disk, folder: Path, identity: WalIdentity, salt: int, lsn: int = 1) -> None:
    """Make a log without records whose next one is `lsn`, durably. Raises a disk error."""
    disk.make_folder(folder)
    disk.write_file(folder / file_name(lsn), encode_file_header(identity, salt, lsn))


@dataclass(frozen=True, slots=True)
class TornTail:
    """What was cut away at `open`."""

    path: Path
    offset: int
    bytes_cut: int


class Wal:
    """The open log: `append` any number of records, then `sync` once, and they are stored."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        identity: WalIdentity,
        random_u32: Callable[[], int],
        archive: Archive,
        now_us: Callable[[], int],
        *,
        is_written: bool,
    ) -> None:
        """Use `open`, which reads what is there."""
        self._disk = disk
        self._folder = folder
        self._identity = identity
        self._random_u32 = random_u32
        self._archive = archive
        self._now_us = now_us
        self._is_written = is_written
        self._file: AppendFile | None = None
        self._name = ""
        self._salt = 0
        self._reserved = 0
        self._poison: errors.RedDBError | None = None
        self._durable_lsn = 0
        self._sizes: dict[str, int] = {}
        self.next_lsn = 1
        self.torn_tail: TornTail | None = None

    @classmethod
    def open(
        cls,
        disk: Disk,
        folder: Path,
        identity: WalIdentity,
        replay: Callable[[Record], None],
        random_u32: Callable[[], int],
        after_lsn: int = 0,
        archive: Archive = keep_no_copy,
        now_us: Callable[[], int] = time_unknown,
        *,
        is_written: bool = True,
        stored_lsn: int = 0,
    ) -> Wal:
        """Read every record beyond `after_lsn` in order into `replay`, cut a torn tail, sync what is trusted.

        `now_us` is asked once for each group: microseconds since 1970, which its records will hold. A log that
        `is_written` has a file, and its records reach `stored_lsn`, which another file proves, or it is damaged.

        Raises CORRUPT_DATA or UNSUPPORTED_FORMAT, naming file and offset, and changes nothing then.
        """
        wal = cls(disk, folder, identity, random_u32, archive, now_us, is_written=is_written)
        released, names = log_files(disk, folder, after_lsn)
        if is_written and not names:
            raise lost_log(folder, after_lsn)
        disk.make_folder(folder)
        wal.next_lsn = min(after_lsn + 1, first_lsn_of(names[0]) if names else after_lsn + 1)

        def replay_needed(record: Record) -> None:
            if record.lsn > after_lsn:
                replay(record)

        try:
            for position, name in enumerate(names):
                is_last = position == len(names) - 1
                wal._read_file(folder / name, replay_needed, max(after_lsn, stored_lsn) if is_last else None)
            wal._remove_unneeded(released)
            disk.sync_folder(folder)
        except BaseException:
            wal.close()
            raise
        wal._durable_lsn = wal.next_lsn - 1
        return wal

    @property
    def durable_lsn(self) -> int:
        """All records up to here are on the device."""
        return self._durable_lsn

    @property
    def bytes(self) -> int:
        """Of all files that are needed, without what is merely reserved."""
        return sum(self._sizes.values())

    def append(self, records: Sequence[tuple[int, Sequence[Buffer]]]) -> None:
        """Write records `(operation, body parts)` with the next LSNs. They are not stored before `sync`.

        Raises DISK_FULL or TOO_MANY_FILES, and nothing has changed; DISK_FAILED if that could not be done.
        """
        self._refuse_if_poisoned()
        file = (
            self._file if self._file is not None and self._file.size < limits.WAL_SEGMENT_BYTES else self._begin_file()
        )
        parts: list[Buffer] = []
        time_us = self._now_us()
        for position, (operation, body) in enumerate(records):
            parts += encode_record(self.next_lsn + position, self._durable_lsn, operation, body, self._salt, time_us)
        start = file.size
        try:
            needed = start + sum(memoryview(part).nbytes for part in parts)
            if needed > limits.WAL_FILE_BYTES_MAX:
                raise errors.OUT_OF_MEMORY.error(f"{needed - start:,} bytes at once are more than the log can take")
            if needed > self._reserved:
                self._reserved = needed + limits.WAL_PREALLOCATE_BYTES
                file.reserve(self._reserved)
            file.append(parts)
        except errors.RedDBError as error:
            self._take_back(file, start, error)
            raise
        self.next_lsn += len(records)
        self._sizes[self._name] = file.size

    def skip(self, count: int) -> None:
        """Give so many records their LSNs without writing them: a collection that asked for no durability.

        Nothing may ever be appended behind them.
        """
        assert self._file is None
        self.next_lsn += count
        self._durable_lsn = self.next_lsn - 1

    def sync(self) -> None:
        """Return when everything appended is on the device; on an error poison the log and raise DISK_FAILED."""
        self._refuse_if_poisoned()
        if self._file is None:
            return
        try:
            self._file.sync()
        except errors.RedDBError as error:
            raise self._poisoned(error) from error
        self._durable_lsn = self.next_lsn - 1

    def release(self, lsn: int) -> None:
        """Remove the files whose every record is at or below `lsn`; what they said stands elsewhere, synced.

        Raises a disk error, or what kept a file from the archive: it and those behind it stay.
        """
        is_over = self._poison is None and self._durable_lsn == self.next_lsn - 1 <= lsn
        # Without an open file one could not be begun: if it is there, its name may not be on the device.
        if self._is_written and is_over and (self._file is None or first_lsn_of(self._name) < self.next_lsn):
            self._begin_file()
        released, _ = log_files(self._disk, self._folder, lsn)
        for name in released:
            self._sizes.pop(name, None)
        self._remove(released)

    def _remove(self, names: Sequence[str]) -> None:
        """In order, so that those in the archive follow one another."""
        for name in names:
            self._archive(self._folder / name)
            self._disk.remove_file(self._folder / name)

    def _remove_unneeded(self, released: Sequence[str]) -> None:
        """What a release left, and what was never begun."""
        try:
            self._remove(released)
            for name in self._disk.list_folder(self._folder):
                if name.endswith(_STAGED):
                    self._disk.remove_file(self._folder / name)
        except errors.RedDBError as error:
            _log.error("files of the log that nobody needs are left", folder=str(self._folder), error=str(error))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _poisoned(self, error: errors.RedDBError) -> errors.RedDBError:
        """Poison the log and give the error to raise: after a failed sync nobody knows what is on the device."""
        self._poison = error
        code = error.code if error.code in _NOT_OURS else errors.DISK_FAILED
        return code.error(f"the outcome is unknown, and writes stop until a restart: {error.message}")

    def _refuse_if_poisoned(self) -> None:
        if self._poison is None:
            return
        if self._poison.code in _NOT_OURS:
            raise self._poison.code.error(self._poison.message)
        message = f"writes stopped until a restart, for the log failed before: {self._poison.message}"
        raise errors.DISK_FAILED.error(message)

    def _take_back(self, file: AppendFile, size: int, cause: errors.RedDBError) -> None:
        """After a failed write cut the file back to its last whole group."""
        if cause.code in _NOT_OURS:  # it may be another's file now
            self._poison = cause
            return
        try:
            file.cut(size)
            self._reserved = size
            file.sync()
        except errors.RedDBError as error:
            code = error.code if error.code in _NOT_OURS else errors.DISK_FAILED
            self._poison = code.error(f"the log could not be cut back: {cause.message}; then {error.message}")
            raise self._poison from cause

    def _begin_file(self) -> AppendFile:
        """Let the next record be the first of a new file.

        After an error the next append does it once more, and nothing goes to the file before: the new one may be there.
        """
        self.sync()
        self.close()
        salt, name = self._random_u32(), file_name(self.next_lsn)
        header = encode_file_header(self._identity, salt, self.next_lsn)
        self._disk.write_file(self._folder / name, header)
        file = self._disk.open_append(self._folder / name, len(header))
        self._file, self._name, self._salt, self._reserved = file, name, salt, file.size
        self._sizes[name] = file.size
        return file

    def _read_file(self, path: Path, replay: Callable[[Record], None], stored_lsn: int | None) -> None:
        """`stored_lsn` is what the log must reach, given with its last file."""
        is_last = stored_lsn is not None
        size = self._disk.file_bytes(path)
        if size > limits.WAL_FILE_BYTES_MAX:  # it may be a hole that takes no disk, and hours to be looked through
            text = f"{path} has {size:,} bytes; {limits.WAL_FILE_BYTES_MAX:,} are the most that it can have"
            raise errors.CORRUPT_DATA.error(text, path=str(path))
        content = self._disk.map_file(path)  # a copy would need memory that a core died for
        found = read_log_file(path, content, self._identity, self.next_lsn, replay, stored_lsn=stored_lsn)
        self._salt, self.next_lsn = found.salt, found.next_lsn
        if found.torn_bytes:
            self.torn_tail = TornTail(path, found.end, found.torn_bytes)
        file = self._disk.open_append(path, found.end if is_last else len(content))
        # A sync of the process before may have failed; the page cache then shows what the device never took, as clean.
        file.write_again(found.unproven, bytes(content[found.unproven : found.end]))
        file.sync()
        self._sizes[path.name] = found.end
        if is_last:
            self._file, self._name, self._reserved = file, path.name, found.end
        else:
            file.close()
