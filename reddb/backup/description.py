"""`BACKUP`: what the files of a backup must be, in two lines.

    {"format": 1, "began_us": …, "ended_us": …, "files": […], "partitions": […]}
    crc32c 0123abcd

    began_us, ended_us    when the backup was made: microseconds since 1970
    files                 of each but this one: path, bytes, crc32c
    partitions            of each: collection_id, collection, partition, generation (of its manifest), sealed_lsn,
                          last_lsn

The checksum is of the first line, without its end. Whoever reads it trusts nothing else: a path is one that a backup
may have, or the file is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reddb import errors
from reddb.checksum import crc32c
from reddb.disk import Disk
from reddb.storage.wal_file import WalIdentity

NAME = "BACKUP"
_FORMAT = 1
_PATH = re.compile(
    r"VERSION|catalog\.sqlite|collections/\d+/\d+/(MANIFEST|segments/\d+/[a-z]+(\.[a-z0-9]+)*|wal/\d{20}\.wal)"
)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file: its path below the backup, and what it holds."""

    path: str
    bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """One partition: which of its writes the backup has."""

    collection_id: int
    collection: str
    partition: int
    generation: int
    sealed_lsn: int
    last_lsn: int

    @property
    def name(self) -> str:
        return f"{self.collection}/{self.partition}"

    @property
    def identity(self) -> WalIdentity:
        return WalIdentity(self.collection_id, self.partition)


@dataclass(frozen=True, slots=True)
class Description:
    """All of a backup. Everything acknowledged before `began_us` is in it, nothing written after `ended_us`."""

    began_us: int
    ended_us: int
    files: tuple[FileRecord, ...]
    partitions: tuple[PartitionRecord, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def write_description(disk: Disk, folder: Path, description: Description) -> None:
    """Put it into the folder, synced."""
    body = json.dumps({"format": _FORMAT, **asdict(description)}, ensure_ascii=False).encode()
    disk.write_file(folder / NAME, body + b"\ncrc32c %08x\n" % crc32c([body]))


def read_description(disk: Disk, folder: Path) -> Description:
    """Raises UNSUPPORTED_FORMAT for a folder that is no backup, or none of this build's; CORRUPT_DATA."""
    path = folder / NAME
    if NAME not in disk.list_folder(folder):
        raise errors.UNSUPPORTED_FORMAT.error(f"{folder} is no backup: it has no file {NAME}", path=str(path))
    content = disk.read_file(path)
    body, _, last = content.partition(b"\n")
    if last != b"crc32c %08x\n" % crc32c([body]):
        raise _damaged(path, "does not have the content that its checksum was made of")
    plain = json.loads(body)
    if plain["format"] != _FORMAT:
        raise errors.UNSUPPORTED_FORMAT.error(f"{path} has format {plain['format']}; this build reads {_FORMAT}")
    return _description(path, plain)


def _description(path: Path, plain: dict[str, Any]) -> Description:
    files = tuple(FileRecord(**item) for item in plain["files"])
    for file in files:
        if _PATH.fullmatch(file.path) is None:
            raise _damaged(path, f"names {file.path!r}, which is no file of a backup")
    partitions = tuple(PartitionRecord(**item) for item in plain["partitions"])
    return Description(plain["began_us"], plain["ended_us"], files, partitions)


def _damaged(path: Path, what: str) -> errors.RedDBError:
    return errors.CORRUPT_DATA.error(f"{path.name} {what}", path=str(path))
