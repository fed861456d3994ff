"""Copying and linking the files of a backup.

Invariant: a copy is synced when its function returns.
"""

from __future__ import annotations

from pathlib import Path

from reddb import errors
from reddb.backup.description import FileRecord
from reddb.checksum import crc32c
from reddb.disk import Disk, OsDisk
from reddb.storage.checked_file import check_length

_BLOCK_BYTES = 1 << 24


def checksum_of(content: memoryview) -> int:
    """The CRC-32C of a file that is mapped."""
    crc = 0
    for start in range(0, len(content), _BLOCK_BYTES):
        crc = crc32c([content[start : start + _BLOCK_BYTES]], crc)
    return crc


def copy_file(disk: Disk, content: memoryview, target: Path) -> int:
    """Write it to a new file; gives its CRC-32C. Raises DISK_FULL or DISK_FAILED."""
    crc = 0
    file = disk.open_append(target, 0)
    try:
        for start in range(0, len(content), _BLOCK_BYTES):
            block = content[start : start + _BLOCK_BYTES]
            crc = crc32c([block], crc)
            file.append([block])
        file.sync()
    finally:
        file.close()
    return crc


class Stock:
    """The files of a backup before this one, to be linked from rather than copied."""

    def __init__(self, disk: OsDisk, folder: Path, files: tuple[FileRecord, ...]) -> None:
        self._disk = disk
        self._folder = folder
        self._files = {file.path: file for file in files}

    def has(self, file: FileRecord) -> bool:
        """Whether it has the same file under the same path, as it says of itself."""
        return self._files.get(file.path) == file

    def link(self, file: FileRecord, target: Path) -> bool:
        """Link it from there, if it still is what it was."""
        source = self._folder / file.path
        if not self.has(file) or not self._disk.link_file(source, target):
            return False
        content = self._disk.map_file(target)
        if len(content) == file.bytes and checksum_of(content) == file.crc32c:
            return True
        self._disk.remove_file(target)
        return False


def stage_immutable(disk: OsDisk, data: Path, staged: Path, path: Path, stock: Stock) -> FileRecord | None:
    """Link a file that never changes, or copy it; None if it is gone.

    Raises CORRUPT_DATA for one that says another length than it has, unread; or a disk error.
    """
    source, target = data / path, staged / path
    try:
        check_length(disk, source)
        if disk.link_file(source, target):
            content = disk.map_file(target)
            return FileRecord(str(path), len(content), checksum_of(content))
        content = disk.map_file(source)  # from now on it may go: the mapping keeps it
    except errors.RedDBError as error:
        if is_gone(error):
            return None
        raise
    record = FileRecord(str(path), len(content), checksum_of(content))
    if not stock.link(record, target):
        copy_file(disk, content, target)
    return record


def is_gone(error: errors.RedDBError) -> bool:
    """Whether a disk says that there is no such file."""
    return isinstance(error.__cause__, FileNotFoundError)
