"""The write-ahead log of one partition: numbered files of checksummed records.

    file `<first lsn, 20 digits>.wal`
        offset  type      content
        0       8 bytes   "RedDBWAL"
        8       u32       1, the format's version
        12      u32       salt: random, new for each file
        16      u64       collection id
        24      u32       partition
        28      u32       CRC-32C of the 28 bytes above and the u64 below
        32      u64       LSN of the first record
        40      records, each starting at a multiple of 8
        then    zeros, reserved ahead of the writing

    record
        0       u32       body length
        4       u32       CRC-32C of bytes 8 to 31, the length above and the body, begun with the file's salt
        8       u64       LSN
        16      u64       durable LSN: all up to here was synced before this record was written
        24      u8        operation
        25      7 bytes   0
        32      body, then zeros up to a multiple of 8

All integers are little-endian. The salt makes a record of another file invalid here, so bytes that the disk kept
from an older file cannot be taken for ours.

A record is valid if and only if it lies whole within the file, its CRC is right, and its LSN is one more than that
of the record before. The log ends at the first place that holds no valid record. What stands there decides:

    zeros to the end of the file             the normal end
    a later valid record, whose durable      corruption of acknowledged data: CORRUPT_DATA, nothing is touched
    LSN reaches the missing one
    anything, in any file but the last       the same, for the next file was begun only after a sync of this one
    anything else                            a torn tail: the last group was being written when the machine stopped,
                                             nobody was told it was stored; it is cut away and reported

The durable LSN is needed because a group is many records and one sync: of a torn group the disk may have kept a later
record and lost an earlier one. "A valid record follows, so this one was acknowledged" would refuse a healthy log.

Invariants:
  * After an error in `append` the file is cut back to the end of the last group, or the log is poisoned.
  * After an error in `sync` the log is poisoned: it takes nothing until it is opened anew.
  * Before `open` returns, every file it read and the folder are synced: after a kill they may have been in the page
    cache only, and what we serve now must survive a power cut later.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reddb import errors, limits
from reddb.checksum import crc32c
from reddb.disk import AppendFile, Disk
from reddb.types import Buffer

_MAGIC = b"RedDBWAL"
_VERSION = 1
_FILE_HEADER = struct.Struct("<8sIIQIIQ")
_FILE_HEADER_CRC_AT = 28
_RECORD_LENGTHS = struct.Struct("<II")
_RECORD_NUMBERS = struct.Struct("<QQB7x")
_RECORD_HEADER_BYTES = _RECORD_LENGTHS.size + _RECORD_NUMBERS.size
_ALIGNMENT = 8

assert _FILE_HEADER.size == 40
assert _RECORD_HEADER_BYTES == 32
assert _FILE_HEADER.size % _ALIGNMENT == 0


@dataclass(frozen=True, slots=True)
class Record:
    """One operation as it stands in the log. `body` is a view of the file's bytes."""

    lsn: int
    durable_lsn: int
    operation: int
    body: memoryview


@dataclass(frozen=True, slots=True)
class WalIdentity:
    """Which partition a log belongs to; a file of another one is refused."""

    collection_id: int
    partition: int


@dataclass(frozen=True, slots=True)
class TornTail:
    """What was cut away at `open`."""

    path: Path
    offset: int
    bytes_cut: int


class Wal:
    """The open log: `append` any number of records, then `sync` once, and they are stored."""

    def __init__(self, disk: Disk, folder: Path, identity: WalIdentity, random_u32: Callable[[], int]) -> None:
        """Use `open`, which reads what is there."""
        self._disk = disk
        self._folder = folder
        self._identity = identity
        self._random_u32 = random_u32
        self._file: AppendFile | None = None
        self._salt = 0
        self._reserved = 0
        self._poison: str | None = None
        self._durable_lsn = 0
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
    ) -> Wal:
        """Read every record beyond `after_lsn` in order into `replay`, cut a torn tail, sync what is trusted.

        Raises CORRUPT_DATA or UNSUPPORTED_FORMAT, naming file and offset, and changes nothing then.
        """
        wal = cls(disk, folder, identity, random_u32)
        disk.make_folder(folder)
        names = [name for name in disk.list_folder(folder) if name.endswith(".wal")]
        # Removing is not synced: of the files that were released any may be there again.
        while len(names) > 1 and _first_lsn(names[1]) <= after_lsn + 1:
            disk.remove_file(folder / names.pop(0))
        wal.next_lsn = min(after_lsn + 1, _first_lsn(names[0]) if names else after_lsn + 1)

        def replay_needed(record: Record) -> None:
            if record.lsn > after_lsn:
                replay(record)

        try:
            for position, name in enumerate(names):
                wal._read_file(folder / name, replay_needed, is_last=position == len(names) - 1)
            disk.sync_folder(folder)
            if wal.next_lsn <= after_lsn:
                raise errors.CORRUPT_DATA.error(
                    f"{folder} ends with LSN {wal.next_lsn - 1}, but {after_lsn} was stored", path=str(folder)
                )
        except BaseException:
            wal.close()
            raise
        wal._durable_lsn = wal.next_lsn - 1
        return wal

    def append(self, records: Sequence[tuple[int, Sequence[Buffer]]]) -> None:
        """Write records `(operation, body parts)` with the next LSNs. They are not stored before `sync`.

        Raises DISK_FULL after taking everything back; DISK_FAILED if that could not be done.
        """
        self._refuse_if_poisoned()
        file = (
            self._file if self._file is not None and self._file.size < limits.WAL_SEGMENT_BYTES else self._begin_file()
        )
        parts: list[Buffer] = []
        for position, (operation, body) in enumerate(records):
            parts += self._encode(self.next_lsn + position, operation, body)
        start = file.size
        try:
            needed = start + sum(memoryview(part).nbytes for part in parts)
            if needed > self._reserved:
                self._reserved = needed + limits.WAL_PREALLOCATE_BYTES
                file.reserve(self._reserved)
            file.append(parts)
        except errors.RedDBError as error:
            self._take_back(file, start, error)
            raise
        self.next_lsn += len(records)

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
        """Remove the files whose every record is at or below `lsn`; what they said stands elsewhere, synced."""
        names = [name for name in self._disk.list_folder(self._folder) if name.endswith(".wal")]
        if self._file is not None and self._durable_lsn == self.next_lsn - 1 <= lsn:
            self.close()  # the next append begins a new file
            ends = [*map(_first_lsn, names[1:]), self.next_lsn]
        else:
            ends = [_first_lsn(name) for name in names[1:]]
        for name, end in zip(names, ends, strict=False):
            if end - 1 <= lsn:
                self._disk.remove_file(self._folder / name)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _poisoned(self, error: errors.RedDBError) -> errors.RedDBError:
        """Poison the log and give the error to raise: after a failed sync nobody knows what is on the device."""
        self._poison = error.message
        return errors.DISK_FAILED.error(f"the outcome is unknown, and writes stop until a restart: {error.message}")

    def _refuse_if_poisoned(self) -> None:
        if self._poison is not None:
            raise errors.DISK_FAILED.error(f"writes stopped until a restart, for the log failed before: {self._poison}")

    def _take_back(self, file: AppendFile, size: int, cause: errors.RedDBError) -> None:
        """After a failed write cut the file back to its last whole group."""
        try:
            file.cut(size)
            self._reserved = size
            file.sync()
        except errors.RedDBError as error:
            self._poison = f"{cause.message}; then {error.message}"
            raise errors.DISK_FAILED.error(f"the log could not be cut back: {self._poison}") from cause

    def _begin_file(self) -> AppendFile:
        if self._file is not None:
            self.sync()
            self.close()
        salt = self._random_u32()
        path = self._folder / f"{self.next_lsn:020d}.wal"
        file = self._disk.open_append(path, 0)
        try:
            file.append([_encode_file_header(self._identity, salt, self.next_lsn)])
        except errors.RedDBError:
            file.close()
            raise
        try:
            file.sync()
            self._disk.sync_folder(self._folder)
        except errors.RedDBError as error:
            file.close()
            raise self._poisoned(error) from error
        self._file, self._salt, self._reserved = file, salt, file.size
        return file

    def _encode(self, lsn: int, operation: int, body: Sequence[Buffer]) -> list[Buffer]:
        length = sum(memoryview(part).nbytes for part in body)
        assert length <= limits.WAL_RECORD_BYTES_MAX
        numbers = _RECORD_NUMBERS.pack(lsn, self._durable_lsn, operation)
        crc = crc32c([numbers, length.to_bytes(4, "little"), *body], self._salt)
        padding = bytes(-length % _ALIGNMENT)
        return [_RECORD_LENGTHS.pack(length, crc) + numbers, *body, padding]

    def _read_file(self, path: Path, replay: Callable[[Record], None], *, is_last: bool) -> None:
        content = self._disk.read_file(path)
        if is_last and not content[_FILE_HEADER.size :].strip(b"\0") and not _has_valid_header(content):
            # The machine stopped while the file was begun: nothing was ever written behind its header.
            self._disk.remove_file(path)
            return
        self._salt = self._check_file_header(path, content)
        end = _FILE_HEADER.size
        while (found := _record_at(memoryview(content), self._salt, end)) is not None and found[1].lsn == self.next_lsn:
            end, record = found
            replay(record)
            self.next_lsn = record.lsn + 1
        rest = content[end:]
        if rest.strip(b"\0"):
            self._judge_rest(path, content, end, is_last=is_last)
        file = self._disk.open_append(path, end if is_last else len(content))
        file.sync()
        if is_last:
            self._file, self._reserved = file, end
        else:
            file.close()

    def _judge_rest(self, path: Path, content: bytes, end: int, *, is_last: bool) -> None:
        """Bytes that are no record follow `end`: a torn tail is noted, corruption raised."""
        later = _find_proof(content, self._salt, self.next_lsn, end)
        if later is not None or not is_last:
            proof = (
                f"the record at byte {later} was written after its sync" if later is not None else "a later file exists"
            )
            raise errors.CORRUPT_DATA.error(
                f"{path.name}: the record at byte {end} (LSN {self.next_lsn}) is damaged; {proof}",
                path=str(path),
                offset=end,
            )
        self.torn_tail = TornTail(path, end, len(content.rstrip(b"\0")) - end)

    def _check_file_header(self, path: Path, content: bytes) -> int:
        """Return the salt. Raises CORRUPT_DATA or UNSUPPORTED_FORMAT."""
        if len(content) < _FILE_HEADER.size or content[:8] != _MAGIC:
            raise errors.CORRUPT_DATA.error(f"{path.name} is not a write-ahead log of RedDB", path=str(path))
        _, version, salt, collection_id, partition, _, first_lsn = _FILE_HEADER.unpack_from(content)
        if version != _VERSION:
            raise errors.UNSUPPORTED_FORMAT.error(f"{path.name} has format {version}; this build reads {_VERSION}")
        if not _has_valid_header(content):
            raise errors.CORRUPT_DATA.error(f"{path.name}: the file header is damaged", path=str(path), offset=0)
        if WalIdentity(collection_id, partition) != self._identity:
            raise errors.CORRUPT_DATA.error(
                f"{path.name} belongs to collection {collection_id}, partition {partition}", path=str(path)
            )
        if first_lsn != self.next_lsn:
            raise errors.CORRUPT_DATA.error(
                f"{path.name} begins with LSN {first_lsn}, but {self.next_lsn} is next: a file is missing",
                path=str(path),
            )
        return int(salt)


def _first_lsn(name: str) -> int:
    """As the name of a file says; its header decides."""
    stem = name.removesuffix(".wal")
    return int(stem) if stem.isdecimal() else 0


def _encode_file_header(identity: WalIdentity, salt: int, first_lsn: int) -> bytes:
    head = _FILE_HEADER.pack(_MAGIC, _VERSION, salt, identity.collection_id, identity.partition, 0, first_lsn)
    crc = crc32c([head[:_FILE_HEADER_CRC_AT], head[_FILE_HEADER_CRC_AT + 4 :]])
    return _FILE_HEADER.pack(_MAGIC, _VERSION, salt, identity.collection_id, identity.partition, crc, first_lsn)


def _has_valid_header(content: bytes) -> bool:
    if len(content) < _FILE_HEADER.size:
        return False
    head = content[: _FILE_HEADER.size]
    crc = int.from_bytes(head[_FILE_HEADER_CRC_AT : _FILE_HEADER_CRC_AT + 4], "little")
    return crc == crc32c([head[:_FILE_HEADER_CRC_AT], head[_FILE_HEADER_CRC_AT + 4 :]])


def _record_at(content: memoryview, salt: int, offset: int) -> tuple[int, Record] | None:
    """The valid record at `offset` and the offset behind it, whatever its LSN; None if there is none."""
    if offset + _RECORD_HEADER_BYTES > len(content):
        return None
    length, crc = _RECORD_LENGTHS.unpack_from(content, offset)
    lsn, durable_lsn, operation = _RECORD_NUMBERS.unpack_from(content, offset + _RECORD_LENGTHS.size)
    body_at = offset + _RECORD_HEADER_BYTES
    end = body_at + length + (-length % _ALIGNMENT)
    if lsn == 0 or end > len(content):
        return None
    body = content[body_at : body_at + length]
    numbers = content[offset + _RECORD_LENGTHS.size : body_at]
    if crc != crc32c([numbers, length.to_bytes(4, "little"), body], salt):
        return None
    return end, Record(lsn, durable_lsn, operation, body)


def _find_proof(content: bytes, salt: int, lsn: int, offset: int) -> int | None:
    """Where a valid record behind `offset` says that `lsn` had been synced, if anywhere."""
    view = memoryview(content)
    # A header has an operation above 0, so it begins before the last byte that is not zero; its body may be all zeros.
    end = min(len(content.rstrip(b"\0")), len(content) - _RECORD_HEADER_BYTES + 1)
    for place in range(offset + _ALIGNMENT, end, _ALIGNMENT):
        # Comparing two numbers first skips almost every place without computing a checksum.
        candidate, durable_lsn, _ = _RECORD_NUMBERS.unpack_from(view, place + _RECORD_LENGTHS.size)
        if lsn <= durable_lsn < candidate <= lsn + len(content) and _record_at(view, salt, place) is not None:
            return place
    return None
