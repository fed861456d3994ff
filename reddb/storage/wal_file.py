"""One file of the write-ahead log: its bytes, and what damage to them means; nothing here writes.

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
        25      u56       time of its group: microseconds since 1970, 0 where nobody said it
        32      body, then zeros up to a multiple of 8

A file is written under another name (`….wal.tmp`), synced and renamed, so one that has its name has a whole header. A
log always has a file: the first is begun before the partition exists, and the newest one is never removed. So a folder
without one has lost it. (Where durability is none nobody writes a log, and there is no file.)

All integers are little-endian. The salt makes a record of another file invalid here, so bytes that the disk kept
from an older file cannot be taken for ours.

A record is valid if and only if it lies whole within the file, its CRC is right, its LSN is one more than that
of the record before, and its durable LSN is below it. The log ends at the first place that holds no valid record.
What stands there decides:

    zeros to the end of the file             the normal end
    a later valid record, whose durable      corruption of acknowledged data: CORRUPT_DATA, nothing is touched
    LSN reaches the missing one
    anything, in any file but the last       the same, for the next file was begun only after a sync of this one
    anything, zeros too, where another file  the same: a manifest, or codes that were kept, say up to which LSN the log
    says that the missing one was stored     was synced; after an orderly stop that is all of it
    anything else                            a torn tail: the last group was being written when the machine stopped,
                                             nobody was told it was stored; it is cut away and reported

The durable LSN is needed because a group is many records and one sync: of a torn group the disk may have kept a later
record and lost an earlier one. "A valid record follows, so this one was acknowledged" would refuse a healthy log.

Invariant: the same bytes are judged alike by the owner, who opens the log, and by `reddb check`, who only looks at it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from reddb import errors, limits
from reddb.checksum import crc32c
from reddb.disk import Disk
from reddb.types import Buffer

_MAGIC = b"RedDBWAL"
_VERSION = 1
_FILE_HEADER = struct.Struct("<8sIIQIIQ")
_FILE_HEADER_CRC_AT = 28
_RECORD_LENGTHS = struct.Struct("<II")
_RECORD_NUMBERS = struct.Struct("<QQB")
_RECORD_TIME_BYTES = 7
_RECORD_HEADER_BYTES = _RECORD_LENGTHS.size + _RECORD_NUMBERS.size + _RECORD_TIME_BYTES
_ALIGNMENT = 8
_BLOCK_BYTES = 1 << 20  # looked through at once for what is not zero

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
    time_us: int = 0


@dataclass(frozen=True, slots=True)
class WalIdentity:
    """Which partition a log belongs to; a file of another one is refused."""

    collection_id: int
    partition: int


@dataclass(frozen=True, slots=True)
class LogFile:
    """What a file of the log holds. `end` is where its records end, and `unproven` where those begin that no later one
    says to have been synced.
    """

    salt: int
    end: int
    next_lsn: int
    torn_bytes: int
    unproven: int


def log_files(disk: Disk, folder: Path, after_lsn: int) -> tuple[list[str], list[str]]:
    """The files that were released and those that hold what is behind `after_lsn`, each in order.

    A release may have failed, and after a power cut any of those that were removed may be there again.
    """
    names = [name for name in disk.list_folder(folder) if name.endswith(".wal")]
    released = sum(1 for _ in takewhile(lambda name: first_lsn_of(name) <= after_lsn + 1, names[1:]))
    return names[:released], names[released:]


def read_log_file(
    path: Path,
    content: bytes | memoryview,
    identity: WalIdentity,
    next_lsn: int,
    replay: Callable[[Record], None],
    *,
    stored_lsn: int | None,
) -> LogFile:
    """Give `replay` every record of a file that begins with `next_lsn`, and judge what follows them.

    `stored_lsn` is what another file proves that the log must reach, 0 where none does, given with its last file.

    Raises CORRUPT_DATA or UNSUPPORTED_FORMAT, naming file and offset.
    """
    salt = _check_file_header(path, content, identity, next_lsn)
    end = _FILE_HEADER.size
    unproven: deque[tuple[int, int]] = deque()
    while (found := _record_at(memoryview(content), salt, end)) is not None and found[1].lsn == next_lsn:
        unproven.append((next_lsn, end))
        end, record = found
        while unproven[0][0] <= record.durable_lsn:
            unproven.popleft()
        try:
            replay(record)
        except errors.RedDBError as error:
            if error.code is not errors.CORRUPT_DATA or "path" in error.detail:
                raise
            place = unproven[-1][1] if unproven else end
            what = f"{path.name}: the record at byte {place} (LSN {next_lsn}) {error.message}"
            raise errors.CORRUPT_DATA.error(what, path=str(path), offset=place) from error
        next_lsn = record.lsn + 1
    torn_bytes = _used_bytes(content, end)
    if torn_bytes or next_lsn <= (stored_lsn or 0):
        _refuse_corruption(path, content, next_lsn, end, stored_lsn)
    return LogFile(salt, end, next_lsn, torn_bytes, unproven[0][1] if unproven else end)


def records_behind(content: Buffer, lsn: int, offset: int) -> Iterator[tuple[int, Record]]:
    """Every valid record from `offset` and `lsn` on, with its place, whatever lies between them."""
    view = memoryview(content)
    if len(view) < _FILE_HEADER.size:
        return
    salt = _FILE_HEADER.unpack_from(view)[2]
    # A header has an operation above 0, so it begins before the last byte that is not zero; its body may be all zeros.
    end = min(_used_bytes(view, 0), len(view) - _RECORD_HEADER_BYTES + 1)
    place = max(offset, _FILE_HEADER.size)
    while place < end:
        # Comparing the numbers first skips almost every place without computing a checksum.
        candidate, durable_lsn, _ = _RECORD_NUMBERS.unpack_from(view, place + _RECORD_LENGTHS.size)
        found = None
        if durable_lsn < candidate and lsn <= candidate <= lsn + len(view):
            found = _record_at(view, salt, place)
        if found is not None:
            yield place, found[1]
        place = place + _ALIGNMENT if found is None else found[0]


def _used_bytes(content: Buffer, start: int) -> int:
    """How many bytes from `start` on, up to the last that is not zero; from the end, and no copy of it all."""
    view, end = memoryview(content), len(content)
    while end > start:
        block = bytes(view[max(start, end - _BLOCK_BYTES) : end])
        used = len(block.rstrip(b"\0"))
        if used:
            return end - len(block) + used - start
        end -= len(block)
    return 0


def begun_anew(content: bytes, identity: WalIdentity, lsn: int, offset: int) -> bytes:
    """A file that begins with the record `lsn`, at `offset` of this one, and says all that this one says from there."""
    salt = _FILE_HEADER.unpack_from(content)[2]
    return encode_file_header(identity, salt, lsn) + content[offset:]


def file_name(lsn: int) -> str:
    """Of the file that begins with this LSN."""
    return f"{lsn:020d}.wal"


def staged_name(lsn: int) -> str:
    """Of the same file until its header is on the device."""
    return f"{file_name(lsn)}.tmp"


def lost_log(folder: Path, after_lsn: int) -> errors.RedDBError:
    """What is wrong with a folder that has no file."""
    return errors.CORRUPT_DATA.error(
        f"{folder} has no file of the log: what was written behind LSN {after_lsn} is lost", path=str(folder)
    )


def is_unwritten(disk: Disk, folder: Path) -> bool:
    """Whether the log in a folder was begun at most, with LSN 1: no record was ever written to it."""
    begun = {file_name(1), staged_name(1)}
    names = disk.list_folder(folder)
    return begun.issuperset(names) and all(len(disk.map_file(folder / name)) <= _FILE_HEADER.size for name in names)


def _refuse_corruption(path: Path, content: Buffer, lsn: int, end: int, stored_lsn: int | None) -> None:
    """Bytes at `end`, where `lsn` was to stand, are no record. Raises CORRUPT_DATA unless they are a torn tail."""
    later = records_behind(content, lsn + 1, end + _ALIGNMENT)
    proof = next((place for place, record in later if lsn <= record.durable_lsn), None)
    if proof is None and stored_lsn is not None:
        if lsn <= stored_lsn:
            lacks = f"ends with LSN {lsn - 1}, but {stored_lsn} was stored: there is no valid record at byte {end}"
            raise errors.CORRUPT_DATA.error(f"{path.name} {lacks}", path=str(path), offset=end)
        return
    why = "a later file exists" if proof is None else f"the record at byte {proof} was written after its sync"
    raise errors.CORRUPT_DATA.error(
        f"{path.name}: the record at byte {end} (LSN {lsn}) is damaged; {why}", path=str(path), offset=end
    )


def _check_file_header(path: Path, content: bytes | memoryview, identity: WalIdentity, next_lsn: int) -> int:
    """Return the salt. Raises CORRUPT_DATA or UNSUPPORTED_FORMAT."""
    if len(content) < _FILE_HEADER.size or content[:8] != _MAGIC:
        raise errors.CORRUPT_DATA.error(f"{path.name} is not a write-ahead log of RedDB", path=str(path), offset=0)
    _, version, salt, collection_id, partition, _, first_lsn = _FILE_HEADER.unpack_from(content)
    if version != _VERSION:
        raise errors.UNSUPPORTED_FORMAT.error(
            f"{path} has format {version}; this build reads {_VERSION}", path=str(path)
        )
    if not _has_valid_header(content):
        raise errors.CORRUPT_DATA.error(f"{path.name}: the file header is damaged", path=str(path), offset=0)
    if WalIdentity(collection_id, partition) != identity:
        raise errors.CORRUPT_DATA.error(
            f"{path.name} belongs to collection {collection_id}, partition {partition}", path=str(path)
        )
    if first_lsn != next_lsn:
        raise errors.CORRUPT_DATA.error(
            f"{path.name} begins with LSN {first_lsn}, but {next_lsn} is next: a file is missing", path=str(path)
        )
    return int(salt)


def first_lsn_of(name: str) -> int:
    """As the name of a file says; its header decides."""
    stem = name.removesuffix(".wal")
    return int(stem) if stem.isdecimal() else 0


def encode_file_header(identity: WalIdentity, salt: int, first_lsn: int) -> bytes:
    head = _FILE_HEADER.pack(_MAGIC, _VERSION, salt, identity.collection_id, identity.partition, 0, first_lsn)
    crc = crc32c([head[:_FILE_HEADER_CRC_AT], head[_FILE_HEADER_CRC_AT + 4 :]])
    return _FILE_HEADER.pack(_MAGIC, _VERSION, salt, identity.collection_id, identity.partition, crc, first_lsn)


def encode_record(
    lsn: int, durable_lsn: int, operation: int, body: Sequence[Buffer], salt: int, time_us: int = 0
) -> list[Buffer]:
    """The record as buffers to be written end to end."""
    length = sum(memoryview(part).nbytes for part in body)
    assert length <= limits.WAL_RECORD_BYTES_MAX
    numbers = _RECORD_NUMBERS.pack(lsn, durable_lsn, operation) + time_us.to_bytes(_RECORD_TIME_BYTES, "little")
    crc = crc32c([numbers, length.to_bytes(4, "little"), *body], salt)
    padding = bytes(-length % _ALIGNMENT)
    return [_RECORD_LENGTHS.pack(length, crc) + numbers, *body, padding]


def _has_valid_header(content: bytes | memoryview) -> bool:
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
    if not durable_lsn < lsn or end > len(content):
        return None
    body = content[body_at : body_at + length]
    numbers = content[offset + _RECORD_LENGTHS.size : body_at]
    if crc != crc32c([numbers, length.to_bytes(4, "little"), body], salt):
        return None
    time_us = int.from_bytes(numbers[_RECORD_NUMBERS.size :], "little")
    return end, Record(lsn, durable_lsn, operation, body, time_us)
