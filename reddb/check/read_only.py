"""A disk that reads what is there and writes nothing: what would open a partition only looks at it.

What an opening does in passing, such as making a folder that is there or cutting a torn tail, is taken and forgotten;
a write of something new is a mistake of ours and raises INTERNAL.

Invariant: no call through here changes a file, a folder or a time of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from reddb import errors, limits
from reddb.disk import Disk
from reddb.folder_lock import FolderLock
from reddb.types import Buffer


class ReadOnlyDisk:
    """Another disk, without its writes."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def make_folder(self, path: Path) -> None:
        pass

    def list_folder(self, path: Path) -> list[str]:
        return self._disk.list_folder(path)

    def read_file(self, path: Path, bytes_max: int = limits.WAL_FILE_BYTES_MAX) -> bytes:
        return self._disk.read_file(path, bytes_max)

    def map_file(self, path: Path) -> memoryview:
        return self._disk.map_file(path)

    def open_append(self, path: Path, size: int) -> UnwrittenFile:
        return UnwrittenFile(path, size)

    def write_file(self, path: Path, content: bytes) -> None:
        raise _unwanted(path)

    def rename(self, old: Path, new: Path) -> None:
        raise _unwanted(old)

    def folder_bytes(self, path: Path) -> int:
        return self._disk.folder_bytes(path)

    def file_bytes(self, path: Path) -> int:
        return self._disk.file_bytes(path)

    def check_writable(self, path: Path, bytes_max: int) -> None:
        raise _unwanted(path)

    def system_path(self, path: Path) -> AbstractContextManager[Path]:
        return self._disk.system_path(path)

    def remove_file(self, path: Path) -> None:
        pass

    def remove_tree(self, path: Path) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass

    def lock(self, path: Path, owner: str) -> FolderLock:
        raise _unwanted(path)

    def check_lock(self) -> None:
        pass  # nothing is written


class UnwrittenFile:
    """A log as it would be open for writing."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self.size = size

    def append(self, parts: Sequence[Buffer]) -> None:
        raise _unwanted(self._path)

    def reserve(self, size: int) -> None:
        raise _unwanted(self._path)

    def write_again(self, start: int, content: Buffer) -> None:
        pass

    def cut(self, size: int) -> None:
        raise _unwanted(self._path)

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def _unwanted(path: Path) -> errors.RedDBError:
    return errors.INTERNAL.error(f"{path} would have been written by a check", path=str(path))
