"""Files that are written once and read mapped: any content, then a trailer that says what it is and proves it.

    offset           type       content
    0                bytes      the content, so that it begins on a page
    padded to 8      8 bytes    "RedDBSEG"
                     u32        1, the format's version
                     4 bytes    what the content is: "vecs", "ids ", …
                     u64        collection id
                     u64        segment id
                     u32        partition
                     u32        dim
                     u64        rows
                     u64        seed of the rotation the codes were made with
                     u64        length of the content
                     u32        CRC-32C of the content
                     u32        CRC-32C of the 68 bytes above

All integers are little-endian.

Invariant: a file is used only after its trailer fits what was expected, and by its owner only after the content's
checksum was computed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reddb import errors
from reddb.checksum import crc32c
from reddb.disk import AppendFile, Disk
from reddb.types import Buffer

_MAGIC = b"RedDBSEG"
_VERSION = 1
_TRAILER = struct.Struct("<8sI4sQQIIQQQI")
_CRC = struct.Struct("<I")
_TRAILER_BYTES = _TRAILER.size + _CRC.size
_BLOCK_BYTES = 1 << 24  # read at once for a checksum

ROTATION_SEED = 0x71558807FED42913

assert _TRAILER.size == 68


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a file is and whose: a file that says otherwise is refused."""

    content: bytes
    collection_id: int
    partition: int
    segment_id: int
    dim: int
    rows: int


def write_checked(disk: Disk, path: Path, identity: FileIdentity, parts: Iterable[Buffer]) -> int:
    """Write the parts end to end and sync; gives the size of the file. Raises DISK_FULL or DISK_FAILED."""
    file = disk.open_append(path, 0)
    try:
        crc = 0
        for part in parts:
            file.append([part])
            crc = crc32c([part], crc)
        _finish(file, identity, crc)
        return file.size
    finally:
        file.close()


def add_trailer(disk: Disk, path: Path, identity: FileIdentity) -> int:
    """Make a checked file of one that somebody else wrote; gives its size. Raises DISK_FULL or DISK_FAILED."""
    content = disk.map_file(path)
    crc = _crc_of(content)
    file = disk.open_append(path, len(content))
    try:
        _finish(file, identity, crc)
        return file.size
    finally:
        file.close()


def open_checked(disk: Disk, path: Path, identity: FileIdentity, *, verify: bool) -> memoryview:
    """Map the content. `verify` reads all of it and computes its checksum. Raises CORRUPT_DATA naming the file."""
    view, found, length, crc = _with_trailer(disk, path)
    if found != identity:
        raise _damaged(path, f"is {found}, but {identity} is expected")
    if verify and _crc_of(view[:length]) != crc:
        raise _damaged(path, "does not have the content that its checksum was made of")
    return view[:length]


def check_length(disk: Disk, path: Path) -> None:
    """Raises CORRUPT_DATA for what has no trailer that fits its length: a hole that takes hours to read, say."""
    _with_trailer(disk, path)


def _with_trailer(disk: Disk, path: Path) -> tuple[memoryview, FileIdentity, int, int]:
    """All of a file, what it is, the length of its content, and the checksum that this should have."""
    view = disk.map_file(path)
    at = len(view) - _TRAILER_BYTES
    if at < 0 or bytes(view[at : at + 8]) != _MAGIC:
        raise _damaged(path, "has no valid trailer: it was cut, or is no file of RedDB")
    if _CRC.unpack_from(view, at + _TRAILER.size)[0] != crc32c([view[at : at + _TRAILER.size]]):
        raise _damaged(path, "has a damaged trailer")
    _, version, content, collection_id, segment_id, partition, dim, rows, seed, length, crc = _TRAILER.unpack_from(
        view, at
    )
    if version != _VERSION:
        raise errors.UNSUPPORTED_FORMAT.error(f"{path} has format {version}; this build reads {_VERSION}")
    if seed != ROTATION_SEED:
        raise _damaged(path, f"has codes of another rotation, {seed:#x}")
    if length + (-length % 8) != at:
        raise _damaged(path, f"says that it holds {length} bytes, but has {at}")
    return view, FileIdentity(content, collection_id, partition, segment_id, dim, rows), length, crc


def _finish(file: AppendFile, identity: FileIdentity, crc: int) -> None:
    length = file.size
    trailer = _TRAILER.pack(
        _MAGIC,
        _VERSION,
        identity.content,
        identity.collection_id,
        identity.segment_id,
        identity.partition,
        identity.dim,
        identity.rows,
        ROTATION_SEED,
        length,
        crc,
    )
    file.append([bytes(-length % 8), trailer, _CRC.pack(crc32c([trailer]))])
    file.sync()


def _crc_of(content: memoryview) -> int:
    crc = 0
    for start in range(0, len(content), _BLOCK_BYTES):
        crc = crc32c([content[start : start + _BLOCK_BYTES]], crc)
    return crc


def _damaged(path: Path, what: str) -> errors.RedDBError:
    return errors.CORRUPT_DATA.error(f"{path} {what}", path=str(path))
