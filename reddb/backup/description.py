"""`BACKUP`: what the files of a backup must be, in two lines.

    {"format": 1, "began_us": …, "ended_us": …, "files": […], "partitions": […]}
    crc32c 0123abcd

    began_us, ended_us    when the backup was made: microseconds since 1970
    files                 of each but this one: path, bytes, crc32c
    partitions            of each: collection_id, collection, partition, generation (of its manifest), sealed_lsn,
                          last_lsn

The checksum is of the first line, without its end. Whoever reads it trusts nothing else, for it may come from a
stranger: a path is one that a backup may have, an id a number, a name what the catalog says, or the file is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reddb import errors, limits
from reddb.checksum import crc32c
from reddb.described import NotDescribed, from_json, list_of, map_of, record_of
from reddb.disk import Disk
from reddb.storage.wal_file import WalIdentity
from reddb.wording import shown

NAME = "BACKUP"
_FORMAT = 1
_PATH = re.compile(
    r"VERSION|catalog\.sqlite|collections/(0|[1-9][0-9]{0,18})/(0|[1-9][0-9]?)/"
    r"(MANIFEST|segments/(0|[1-9][0-9]{0,18})/[a-z]+(\.[a-z0-9]+){0,2}|wal/[0-9]{20}\.wal)"
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
    """Put it into the folder, synced. Raises LIMIT_EXCEEDED for more files than one backup may have."""
    body = json.dumps({"format": _FORMAT, **asdict(description)}, ensure_ascii=False).encode()
    content = body + b"\ncrc32c %08x\n" % crc32c([body])
    if len(content) > limits.BACKUP_BYTES_MAX:
        raise errors.LIMIT_EXCEEDED.error(f"{len(description.files):,} files are more than one backup can describe")
    disk.write_file(folder / NAME, content)


def read_description(disk: Disk, folder: Path) -> Description:
    """Raises UNSUPPORTED_FORMAT for a folder that is no backup, or none of this build's; CORRUPT_DATA."""
    path = folder / NAME
    if NAME not in disk.list_folder(folder):
        raise errors.UNSUPPORTED_FORMAT.error(f"{folder} is no backup: it has no file {NAME}", path=str(path))
    content = disk.read_file(path, limits.BACKUP_BYTES_MAX)
    body, _, last = content.partition(b"\n")
    if last != b"crc32c %08x\n" % crc32c([body]):
        raise _damaged(path, "does not have the content that its checksum was made of")
    try:
        plain = map_of(from_json(body), "format", "began_us", "ended_us", "files", "partitions")
        if plain["format"] != _FORMAT:
            raise errors.UNSUPPORTED_FORMAT.error(
                f"{path} has format {shown(plain['format'])}; this build reads {_FORMAT}", path=str(path)
            )
        return _description(plain)
    except NotDescribed as error:
        raise _damaged(path, str(error)) from error


def _description(plain: dict[str, Any]) -> Description:
    files = tuple(record_of(FileRecord, item) for item in list_of(plain["files"]))
    for file in files:
        if _PATH.fullmatch(file.path) is None:
            raise NotDescribed(f"names {shown(file.path)}, which is no file of a backup")
    partitions = tuple(record_of(PartitionRecord, item) for item in list_of(plain["partitions"]))
    for partition in partitions:
        if not partition.collection_id or partition.partition >= limits.PARTITIONS_MAX:
            raise NotDescribed(f"names partition {partition.partition} of collection {partition.collection_id}")
    for kind, names in (("file", [file.path for file in files]), ("partition", [of.identity for of in partitions])):
        if len(set(names)) < len(names):
            raise NotDescribed(f"names a {kind} twice")
    times = {name: plain[name] for name in ("began_us", "ended_us")}
    return record_of(Description, times, files=files, partitions=partitions)


def _damaged(path: Path, what: str) -> errors.RedDBError:
    return errors.CORRUPT_DATA.error(f"{path.name} {what}", path=str(path))
