"""A disk in memory that fills up, fails when told to, and loses power.

It keeps two versions of everything: what programs see, and what has been synced. `power_loss` gives a disk as a
machine may find it after a restart: of what was not synced any sector of 512 bytes, any length and any name may be
old or new.

Rules: the same Disk protocol as the real one, checked by the same tests (test_disk.py).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from reddb import errors
from reddb.types import Buffer

SECTOR = 512
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _File:
    """The content that programs see and the content that a sync has made safe."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.safe = b""

    def sync(self) -> None:
        self.safe = bytes(self.seen)

    def after_power_loss(self, random: Random) -> _File:
        found = _File()
        size = random.choice([len(self.safe), len(self.seen)])
        for start in range(0, size, SECTOR):
            end = min(start + SECTOR, size)
            sector = bytes(random.choice([self.safe, self.seen])[start:end])
            found.seen += sector + bytes(end - start - len(sector))
        found.sync()
        return found


class MemoryDisk:
    """Files in memory. `capacity` is the number of bytes that all files may take together."""

    def __init__(self, capacity: int = 2**40) -> None:
        self.capacity = capacity
        self._seen: dict[Path, _File] = {}
        self._safe: dict[Path, _File] = {}
        self._folders: set[Path] = {Path("/")}
        self._locked: dict[Path, str] = {}
        self._failures: list[tuple[str, int, int]] = []

    # --- what tests do to it -------------------------------------------------------------------------------

    def fail_next(self, action: str, number: int, written: int = 0) -> None:
        """Let the next `action` (write, extend, cut, sync, "sync folder", open, …) fail with the error number.

        A failing write first writes `written` bytes, a failing sync may be called again and then lies, as Linux's does.
        """
        self._failures.append((action, number, written))

    @property
    def used(self) -> int:
        return sum(len(file.seen) for file in self._seen.values())

    def content(self, path: Path) -> bytearray:
        """The file's bytes, to look at or to damage; a damaged byte is on the device."""
        return self._seen[path].seen

    def put(self, path: Path, content: bytes) -> None:
        file = self._seen.setdefault(path, _File())
        file.seen = bytearray(content)
        file.sync()
        self._safe[path] = file

    def power_loss(self, random: Random) -> MemoryDisk:
        """The disk that is found after the power came back; this one is not to be used any more."""
        found = MemoryDisk(self.capacity)
        found._folders = set(self._folders)
        for path in sorted(self._seen.keys() | self._safe.keys()):
            file = random.choice([self._seen.get(path), self._safe.get(path)])
            if file is not None:
                found._seen[path] = found._safe[path] = file.after_power_loss(random)
                found._folders.update(path.parents)  # a removed folder may come back with what was in it
        return found

    # --- the protocol --------------------------------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        self._folders.update([path, *path.parents])

    def list_folder(self, path: Path) -> list[str]:
        return sorted(file.name for file in [*self._seen, *self._folders] if file.parent == path and file != path)

    def read_file(self, path: Path) -> bytes:
        self.may_fail("read", path)
        if path not in self._seen:
            raise _error("read", path, errno.ENOENT)
        return bytes(self._seen[path].seen)

    def map_file(self, path: Path) -> memoryview:
        return memoryview(self.read_file(path))

    def rename(self, old: Path, new: Path) -> None:
        self.may_fail("rename", old)
        if old not in self._seen:
            raise _error("rename", old, errno.ENOENT)
        self._seen[new] = self._seen.pop(old)
        self.sync_folder(new.parent)

    def open_append(self, path: Path, size: int) -> MemoryAppendFile:
        self.may_fail("open", path)
        if path.parent not in self._folders:
            raise _error("open", path, errno.ENOENT)
        file = self._seen.setdefault(path, _File())
        file.seen[size:] = b""
        file.seen += bytes(size - len(file.seen))
        return MemoryAppendFile(self, path, file, size)

    def write_file(self, path: Path, content: bytes) -> None:
        file = _File()
        handle = MemoryAppendFile(self, path, file, 0)
        handle.append([content])
        handle.sync()
        self.may_fail("rename", path)
        self._seen[path] = file
        self.sync_folder(path.parent)

    def folder_bytes(self, path: Path) -> int:
        return sum(len(file.seen) for name, file in self._seen.items() if name.parent == path)

    def remove_file(self, path: Path) -> None:
        self.may_fail("remove", path)
        self._seen.pop(path, None)

    def remove_tree(self, path: Path) -> None:
        self.may_fail("remove", path)
        self._seen = {file: kept for file, kept in self._seen.items() if path not in file.parents}
        self._folders = {folder for folder in self._folders if folder != path and path not in folder.parents}

    def sync_folder(self, path: Path) -> None:
        self.may_fail("sync folder", path)
        self._safe = {file: kept for file, kept in self._safe.items() if file.parent != path}
        self._safe.update({file: kept for file, kept in self._seen.items() if file.parent == path})

    def lock(self, path: Path, owner: str) -> int:
        if path in self._locked:
            raise errors.DATA_IN_USE.error(f"the data folder {path.parent} is in use by {self._locked[path].strip()}")
        self._locked[path] = owner
        return os.memfd_create("lock")

    # --- for its files -------------------------------------------------------------------------------------

    def may_fail(self, action: str, path: Path) -> int:
        """Raise if this is the action that shall fail now, but for a write: that gets the bytes it may write first."""
        if not self._failures or self._failures[0][0] != action:
            return -1
        _, number, written = self._failures.pop(0)
        if action == "write":
            self._failures.insert(0, ("written", number, 0))
            return written
        raise _error(action, path, number)


class MemoryAppendFile:
    """An open file of a disk in memory."""

    def __init__(self, disk: MemoryDisk, path: Path, file: _File, size: int) -> None:
        self._disk = disk
        self._path = path
        self._file = file
        self._size = size
        self._is_open = True

    @property
    def size(self) -> int:
        return self._size

    def append(self, parts: Sequence[Buffer]) -> None:
        assert self._is_open
        data = b"".join(
            np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else part for part in parts
        )
        allowed = self._disk.may_fail("write", self._path)
        if allowed >= 0:
            self._put(data[:allowed])
            self._disk.may_fail("written", self._path)
        free = max(self._disk.capacity - self._disk.used, 0) + len(self._file.seen) - self._size
        self._put(data[:free])
        if free < len(data):
            raise _error("write", self._path, errno.ENOSPC)

    def reserve(self, size: int) -> None:
        assert self._is_open
        self._disk.may_fail("extend", self._path)
        if size - len(self._file.seen) > self._disk.capacity - self._disk.used:
            raise _error("extend", self._path, errno.ENOSPC)
        self._file.seen += bytes(max(size - len(self._file.seen), 0))

    def cut(self, size: int) -> None:
        assert self._is_open
        self._disk.may_fail("cut", self._path)
        self._file.seen[size:] = b""
        self._size = size

    def sync(self) -> None:
        assert self._is_open
        self._disk.may_fail("sync", self._path)
        self._file.sync()

    def close(self) -> None:
        assert self._is_open
        self._is_open = False

    def _put(self, data: bytes) -> None:
        self._file.seen[self._size : self._size + len(data)] = data
        self._size += len(data)


def _error(action: str, path: Path, number: int) -> errors.RedDBError:
    code = errors.DISK_FULL if number in _FULL else errors.DISK_FAILED
    return code.error(f"cannot {action} {path}: {os.strerror(number)}", path=str(path))
