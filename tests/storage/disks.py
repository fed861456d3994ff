"""A disk in memory that fills up, fails when told to, and loses power.

It keeps two versions of everything: what programs see, and what has been synced. `power_loss` gives a disk as a
machine may find it after a restart: of what was not synced any sector of 512 bytes, any length and any name of a file
or folder may be old or new, or, where a file was cut and written again meanwhile, of any time in between.

Rules: the same Disk protocol as the real one, checked by the same tests (test_disk.py). Every step of an operation
that a crash could come between asks `may_fail` first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random

import numpy as np

from reddb import errors, limits
from reddb.folder_lock import FolderLock
from reddb.types import Buffer

SECTOR = 512
_CODES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), errors.DISK_FULL),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), errors.TOO_MANY_FILES),
}


class _File:
    """The content that programs see and the content that a sync has made safe."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.safe = b""
        self.between: list[bytes] = []  # since the last sync, before and after each cut

    def sync(self) -> None:
        self.safe = bytes(self.seen)
        self.between = []

    def cut(self, size: int) -> None:
        if size < len(self.seen):
            self.between += [bytes(self.seen), bytes(self.seen[:size])]
            self.seen[size:] = b""

    def lose(self, random: Random) -> None:
        """As after a sync that failed: of what was not synced some is on the device, and the rest is forgotten."""
        size = len(self.seen)
        self.seen = self.after_power_loss(random, 0.5).seen
        self.seen += bytes(max(size - len(self.seen), 0))
        self.sync()

    def after_power_loss(self, random: Random, kept: float) -> _File:
        found = _File()
        if self.seen == self.safe and not self.between:
            found.seen += self.safe
        else:
            older: list[Buffer] = [self.safe, *self.between]
            size = len(self.seen if random.random() < kept else random.choice(older))
            for start in range(0, size, SECTOR):
                end = min(start + SECTOR, size)
                sector = bytes((self.seen if random.random() < kept else random.choice(older))[start:end])
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
        self._safe_folders: set[Path] = {Path("/")}
        self._locked: dict[Path, str] = {}
        self.lock_is_lost = False
        self._failures: list[tuple[str, int, int]] = []

    # --- what tests do to it -------------------------------------------------------------------------------

    def fail_next(self, action: str, number: int, written: int = 0) -> None:
        """Let the next `action` (write, extend, cut, sync, "sync folder", open, …) fail with the error number.

        With number 0 it does not fail, so that a later one can. A failing write first writes `written` bytes, a failing
        sync may be called again and then lies, as Linux's does.
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
        self._folders.update(path.parents)
        self._safe_folders.update(path.parents)

    def power_loss(self, random: Random, kept: float = 0.5) -> MemoryDisk:
        """The disk that is found after the power came back; this one is not to be used any more.

        `kept` is the share of what was not synced that is found. A removed folder may come back with what was in it,
        and one that was made may be gone, with all that is in it.
        """
        found = MemoryDisk(self.capacity)
        for path in sorted(self._folders | self._safe_folders):
            folders = self._folders if random.random() < kept else self._safe_folders
            if path in folders and path.parent in found._folders:
                found._folders.add(path)
        found._safe_folders = set(found._folders)
        for path in sorted(self._seen.keys() | self._safe.keys()):
            file = (self._seen if random.random() < kept else self._safe).get(path)
            if file is not None and path.parent in found._folders:
                found._seen[path] = found._safe[path] = file.after_power_loss(random, kept)
        return found

    # --- the protocol --------------------------------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        if path in self._folders:
            self.sync_folder(path.parent)
            return
        self.make_folder(path.parent)
        self.may_fail("create", path)
        self._folders.add(path)
        self.sync_folder(path.parent)

    def list_folder(self, path: Path) -> list[str]:
        return sorted(item.name for item in _directly_in(path, [*self._seen, *self._folders]))

    def read_file(self, path: Path, bytes_max: int = limits.WAL_FILE_BYTES_MAX) -> bytes:
        self.may_fail("read", path)
        if path not in self._seen:
            raise disk_error("read", path, errno.ENOENT)
        if len(self._seen[path].seen) > bytes_max:
            raise errors.CORRUPT_DATA.error(f"{path} is larger than it may be", path=str(path))
        return bytes(self._seen[path].seen)

    def map_file(self, path: Path) -> memoryview:
        return memoryview(self.read_file(path))

    def rename(self, old: Path, new: Path) -> None:
        self.may_fail("rename", old)
        if old not in self._seen:
            raise disk_error("rename", old, errno.ENOENT)
        self._seen[new] = self._seen.pop(old)
        self.sync_folder(new.parent)

    def open_append(self, path: Path, size: int) -> MemoryAppendFile:
        self.may_fail("open", path)
        if path.parent not in self._folders:
            raise disk_error("open", path, errno.ENOENT)
        file = self._seen.setdefault(path, _File())
        file.cut(size)
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
        for file in sorted(file for file in self._seen if path in file.parents):
            self.remove_file(file)
        for folder in sorted((folder for folder in self._folders if path in (folder, *folder.parents)), reverse=True):
            self.may_fail("remove", folder)
            self._folders.discard(folder)

    def sync_folder(self, path: Path) -> None:
        self.may_fail("sync folder", path)
        for file in _directly_in(path, self._safe):
            del self._safe[file]
        self._safe.update({file: self._seen[file] for file in _directly_in(path, self._seen)})
        self._safe_folders.difference_update(_directly_in(path, self._safe_folders))
        self._safe_folders.update(_directly_in(path, self._folders))

    def file_bytes(self, path: Path) -> int:
        if path not in self._seen:
            raise disk_error("open", path, errno.ENOENT)
        return len(self._seen[path].seen)

    def check_writable(self, path: Path, bytes_max: int) -> None:
        self.read_file(path, bytes_max)

    def system_path(self, path: Path) -> AbstractContextManager[Path]:
        return nullcontext(path)  # where nothing is: no library reads this disk

    def lock(self, path: Path, owner: str) -> FolderLock:
        if path in self._locked:
            raise errors.DATA_IN_USE.error(f"the data folder {path} is in use by {self._locked[path].strip()}")
        self._locked[path] = owner
        return FolderLock(path, os.memfd_create("folder"), os.memfd_create("lock"))

    def check_lock(self) -> None:
        if self.lock_is_lost:
            raise errors.LOCK_LOST.error("LOCK was removed")

    # --- for its files -------------------------------------------------------------------------------------

    def may_fail(self, action: str, path: Path) -> int:
        """Raise if this is the action that shall fail now, but for a write: that gets the bytes it may write first."""
        if not self._failures or self._failures[0][0] != action:
            return -1
        _, number, written = self._failures.pop(0)
        if action == "write":
            self._failures.insert(0, ("written", number, 0))
            return written
        if number:
            raise disk_error(action, path, number)
        return -1


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
            raise disk_error("write", self._path, errno.ENOSPC)

    def reserve(self, size: int) -> None:
        assert self._is_open
        self._disk.may_fail("extend", self._path)
        if size - len(self._file.seen) > self._disk.capacity - self._disk.used:
            raise disk_error("extend", self._path, errno.ENOSPC)
        self._file.seen += bytes(max(size - len(self._file.seen), 0))

    def cut(self, size: int) -> None:
        assert self._is_open
        self._disk.may_fail("cut", self._path)
        self._file.cut(size)
        self._size = size

    def write_again(self, start: int, content: Buffer) -> None:
        assert self._is_open
        self._disk.may_fail("write again", self._path)
        assert self._file.seen[start : start + len(content)] == content

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


def _directly_in(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are entries of the folder. By text, for a million comparisons of paths are slow."""
    begin = f"{folder}/" if folder.name else "/"
    return [path for path in paths if str(path).startswith(begin) and path.name and "/" not in str(path)[len(begin) :]]


def disk_error(action: str, path: Path, number: int) -> errors.RedDBError:
    """What the real disk makes of an error number."""
    code = _CODES.get(number, errors.DISK_FAILED)
    return code.error(f"cannot {action} {path}: {os.strerror(number)}", path=str(path))
