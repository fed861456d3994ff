"""Copying and linking files, and a folder that is there whole or not at all.

    with new_folder(disk, target) as staged:
        …                                       what is made in `<target>.partial`
    → synced and renamed to target; after an error it is removed, after a kill the next try removes it

The folder is locked while it is made: two that make the same one know of each other.

Invariant: a copy is synced when its function returns; the names of all are, when the folder is renamed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reddb import errors
from reddb.backup.description import FileRecord
from reddb.checksum import crc32c
from reddb.disk import Disk

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


def link_file(source: Path, target: Path) -> bool:
    """Give the file a second name. False where that cannot be: it is gone, on another file system, or not ours."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


class Stock:
    """The files of a backup before this one, to be linked from rather than copied."""

    def __init__(self, disk: Disk, folder: Path, files: tuple[FileRecord, ...]) -> None:
        self._disk = disk
        self._folder = folder
        self._files = {file.path: file for file in files}

    def has(self, file: FileRecord) -> bool:
        """Whether it has the same file under the same path, as it says of itself."""
        return self._files.get(file.path) == file

    def link(self, file: FileRecord, target: Path) -> bool:
        """Link it from there, if it still is what it was."""
        source = self._folder / file.path
        if not self.has(file) or not link_file(source, target):
            return False
        content = self._disk.map_file(target)
        if len(content) == file.bytes and checksum_of(content) == file.crc32c:
            return True
        self._disk.remove_file(target)
        return False


def stage_immutable(disk: Disk, data: Path, staged: Path, path: Path, stock: Stock) -> FileRecord | None:
    """Link a file that never changes, or copy it; None if it is gone. Raises a disk error."""
    source, target = data / path, staged / path
    if link_file(source, target):
        content = disk.map_file(target)
        return FileRecord(str(path), len(content), checksum_of(content))
    try:
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


def refuse_existing(disk: Disk, target: Path, what: str) -> None:
    """Raises INVALID_VALUE unless there is nothing, or an empty folder."""
    if os.path.lexists(target) and (not target.is_dir() or disk.list_folder(target)):
        raise errors.INVALID_VALUE.error(f"{target} is there already; {what} is made new", path=str(target))


@contextmanager
def new_folder(disk: Disk, target: Path) -> Iterator[Path]:
    """A folder to be filled, which is `target` afterwards; see above. Raises DATA_IN_USE or a disk error."""
    staged = target.with_name(f"{target.name}.partial")
    disk.make_folder(staged)
    with _locked(staged):
        for path in sorted(staged.iterdir()):  # of one that was killed
            disk.remove_tree(path)
            if path.exists():
                disk.remove_file(path)
        try:
            yield staged
            sync_folders(disk, staged)
            disk.rename(staged, target)
        except BaseException:
            disk.remove_tree(staged)
            raise


def sync_folders(disk: Disk, folder: Path) -> None:
    """Sync every folder below and including it."""
    for root, _, _ in os.walk(folder, topdown=False):
        disk.sync_folder(Path(root))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(descriptor), os.stat(folder))
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:  # whoever had the lock may have renamed it meanwhile
            raise errors.DATA_IN_USE.error(f"{folder} is being made by another process", path=str(folder))
        yield
    finally:
        os.close(descriptor)
