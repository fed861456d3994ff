"""The only door to files: append, sync, rename, and the errors they give, with the path in each.

A storage class is handed a `Disk`; tests hand in one that fails or loses power. Rules that every caller relies on:

    append      writes all bytes or raises; a short write is continued, never ignored
    sync        returns only when the bytes are on the device; if it raises, nothing may be trusted any more
                (the kernel may have dropped the dirty pages: a second sync would lie)
    rename      is durable only after `sync_folder` of the parent
    hold        what lies below the folder is reached by descriptors, through no link (`reddb/paths.py`)
    lock        the same for the folder that this process writes to: every write asks whether the lock is still held

Invariants:
  * A full disk raises DISK_FULL, a lack of descriptors TOO_MANY_FILES, anything else DISK_FAILED; all name the path.
  * What is no regular file where a file belongs, or no folder where a folder does, raises CORRUPT_DATA, unopened.
  * Nothing is written once the lock is lost, and no sync returns that came to its end behind the loss.
  * No other module of the storage layer opens, writes or removes a file.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from reddb import errors, limits
from reddb.folder_lock import FolderLock
from reddb.paths import Paths, kind_of
from reddb.types import Buffer

_CODES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), errors.DISK_FULL),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), errors.TOO_MANY_FILES),
}
_IOV_MAX = 1024  # buffers one writev takes (IOV_MAX of Linux)


class AppendFile(Protocol):
    """A file that only grows at its end, or is cut back."""

    @property
    def size(self) -> int:
        """Bytes written so far, without what is merely reserved."""

    def append(self, parts: Sequence[Buffer]) -> None:
        """Write the parts behind the end. On an error the file may hold a part of them: cut it back."""

    def reserve(self, size: int) -> None:
        """Give the file `size` bytes of disk, zeroed beyond what is written."""

    def cut(self, size: int) -> None:
        """Drop everything from byte `size` on."""

    def write_again(self, start: int, content: Buffer) -> None:
        """Write bytes that stand at `start` already: the next sync writes them even if one that failed forgot them."""

    def sync(self) -> None:
        """Return when all that was appended is on the device."""

    def close(self) -> None: ...


class Disk(Protocol):
    """The file system as the engine sees it."""

    def make_folder(self, path: Path) -> None:
        """Create the folder and its parents durably; no error if it is there."""

    def list_folder(self, path: Path) -> list[str]:
        """Sorted names; empty if the folder is missing."""

    def read_file(self, path: Path, bytes_max: int = limits.WAL_FILE_BYTES_MAX) -> bytes:
        """All of a file. Raises CORRUPT_DATA for one that is larger than it may be, unread."""

    def map_file(self, path: Path) -> memoryview:
        """The file's bytes, read-only and mapped: pages are read as they are touched, and shared by processes."""

    def open_append(self, path: Path, size: int) -> AppendFile:
        """Open or create a file whose first `size` bytes are kept and appended to."""

    def write_file(self, path: Path, content: bytes) -> None:
        """Put `content` in place of the file, whole or not at all: temp, sync, rename, sync the folder."""

    def rename(self, old: Path, new: Path) -> None:
        """Put the synced file `old` in place of `new`, and sync the folder they share.

        After TOO_MANY_FILES nothing has changed; after another error nobody knows.
        """

    def file_bytes(self, path: Path) -> int:
        """The size of a file."""

    def check_writable(self, path: Path, bytes_max: int) -> None:
        """Raises CORRUPT_DATA unless it is a file, with no other name, that a library may open for writing."""

    def folder_bytes(self, path: Path) -> int:
        """Bytes of the files in a folder, 0 if it is missing; files that are removed meanwhile may count or not."""

    def remove_file(self, path: Path) -> None: ...

    def remove_tree(self, path: Path) -> None: ...

    def sync_folder(self, path: Path) -> None: ...

    def system_path(self, path: Path) -> AbstractContextManager[Path]:
        """A path to the same file for a library that opens files itself; it leads there within the block."""

    def lock(self, path: Path, owner: str) -> FolderLock:
        """Lock a folder as its only writer, `owner` by name. Raises DATA_IN_USE."""

    def check_lock(self) -> None:
        """Raises LOCK_LOST once the lock that was taken is lost; every write through this disk does so itself."""


@contextmanager
def told_of(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError into an error of the catalogue that names the action and the path."""
    try:
        yield
    except OSError as error:
        code = _CODES.get(error.errno or 0, errors.DISK_FAILED)
        raise code.error(f"cannot {action} {path}: {error.strerror}", path=str(path)) from error


class OsDisk:
    """The operating system's files."""

    def __init__(self) -> None:
        """No folder is held or locked."""
        self._paths = Paths()
        self._lock: FolderLock | None = None

    def hold(self, path: Path, descriptor: int) -> None:
        """Reach what is below the folder through a descriptor of it, its owner's to close, from now on."""
        self._paths.hold(path, lambda: descriptor)

    @contextmanager
    def holding(self, *paths: Path) -> Iterator[None]:
        """The same within a block, for folders that there are. Raises a disk error."""
        with ExitStack() as opened:
            for path in paths:
                with told_of("open", path):
                    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, descriptor)
                self.hold(path, descriptor)
            yield

    def lock(self, path: Path, owner: str) -> FolderLock:
        with told_of("lock", path):
            lock = FolderLock.take(path, owner)
        self.write_under(lock)
        return lock

    def write_under(self, lock: FolderLock) -> None:
        """Write to the folder of this lock, which another process may have taken, for as long as it is held."""
        self._lock = lock
        self._paths.hold(lock.path, lambda: lock.folder)

    def check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def make_folder(self, path: Path) -> None:
        if self._is_folder(path):  # whoever made it may have been killed before he had it synced
            if path != path.parent and not self._paths.is_held(path):
                self.sync_folder(path.parent)
            return
        self.make_folder(path.parent)
        self.check_lock()
        with told_of("create", path), self._paths.parent(path) as (folder, name), suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
        self.sync_folder(path.parent)

    def _is_folder(self, path: Path) -> bool:
        with told_of("open", path):
            try:
                with self._paths.folder(path):
                    return True
            except FileNotFoundError:
                return False

    def list_folder(self, path: Path) -> list[str]:
        with told_of("list", path):
            try:
                with self._paths.folder(path) as folder:
                    return sorted(os.listdir(folder))
            except FileNotFoundError:
                return []

    def read_file(self, path: Path, bytes_max: int = limits.WAL_FILE_BYTES_MAX) -> bytes:
        with told_of("read", path), os.fdopen(self._paths.opened(path, os.O_RDONLY), "rb") as file:
            _check_size(path, file.fileno(), bytes_max)
            return file.read()

    def map_file(self, path: Path) -> memoryview:
        with told_of("map", path):
            descriptor = self._paths.opened(path, os.O_RDONLY)
            try:
                if not os.fstat(descriptor).st_size:
                    return memoryview(b"")  # which cannot be mapped
                return memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ))
            finally:
                os.close(descriptor)

    def open_append(self, path: Path, size: int) -> OsAppendFile:
        self.check_lock()
        with told_of("open", path):
            descriptor = self._paths.opened(path, os.O_RDWR | os.O_CREAT)
            return OsAppendFile(path, descriptor, size, self.check_lock)

    def write_file(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        file = self.open_append(temporary, 0)
        try:
            file.append([content])
            file.sync()
        finally:
            file.close()
        self.rename(temporary, path)

    def rename(self, old: Path, new: Path) -> None:
        self.check_lock()
        # Both before anything changes: there may be no descriptor left.
        with told_of("rename", old), self._paths.parent(old) as source, self._paths.parent(new) as target:
            os.replace(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
            with told_of("sync", new.parent):
                os.fsync(target[0])

    def link_file(self, old: Path, new: Path) -> bool:
        """Give a file another name. False where that cannot be: it is gone, on another file system, or not ours."""
        with told_of("link", old):
            try:
                os.close(self._paths.opened(old, os.O_RDONLY))  # a regular file
                with self._paths.parent(old) as source, self._paths.parent(new) as target:
                    names = source[1], target[1]
                    os.link(*names, src_dir_fd=source[0], dst_dir_fd=target[0], follow_symlinks=False)
            except OSError as error:
                if error.errno in _CODES:
                    raise
                return False
            return True

    def check_writable(self, path: Path, bytes_max: int) -> None:
        with told_of("open", path):
            descriptor = self._paths.opened(path, os.O_RDWR)
            try:
                _check_size(path, descriptor, bytes_max)
            finally:
                os.close(descriptor)

    def file_bytes(self, path: Path) -> int:
        with told_of("open", path), self._paths.parent(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size

    def folder_bytes(self, path: Path) -> int:
        with told_of("list", path):
            try:
                with self._paths.folder(path) as folder:
                    found = [kind_of(folder, name) for name in os.listdir(folder)]
            except FileNotFoundError:
                return 0
            return sum(item.st_size for item in found if item is not None)

    def remove_file(self, path: Path) -> None:
        self.check_lock()
        with told_of("remove", path), suppress(FileNotFoundError), self._paths.parent(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def remove_tree(self, path: Path) -> None:
        self.check_lock()
        with told_of("remove", path), suppress(FileNotFoundError), self._paths.parent(path) as (folder, name):
            found = kind_of(folder, name)
            if found is not None and stat.S_ISDIR(found.st_mode):
                shutil.rmtree(name, dir_fd=folder)

    def folders_below(self, path: Path) -> list[Path]:
        """Every folder below and including it, the deepest first. Raises CORRUPT_DATA for a link among them."""
        with told_of("list", path), self._paths.folder(path) as folder:
            found = {name: kind_of(folder, name) for name in os.listdir(folder)}
        folders = [path / name for name, item in found.items() if item is not None and stat.S_ISDIR(item.st_mode)]
        return [*(item for below in folders for item in self.folders_below(below)), path]

    def sync_folder(self, path: Path) -> None:
        with told_of("open", path), self._paths.folder(path) as folder, told_of("sync", path):
            os.fsync(folder)

    @contextmanager
    def system_path(self, path: Path) -> Iterator[Path]:
        with told_of("open", path), self._paths.parent(path) as (folder, name):
            found = kind_of(folder, name)
            if found is not None and not stat.S_ISREG(found.st_mode):
                raise errors.CORRUPT_DATA.error(f"{path} is no file", path=str(path))
            yield Path(f"/proc/self/fd/{folder}/{name}")


def _check_size(path: Path, descriptor: int, bytes_max: int) -> None:
    size = os.fstat(descriptor).st_size
    if size > bytes_max:
        raise errors.CORRUPT_DATA.error(
            f"{path} has {size:,} bytes; {bytes_max:,} are the most that it can have", path=str(path)
        )


class OsAppendFile:
    """An open file of the operating system, written at a position of our own."""

    def __init__(self, path: Path, descriptor: int, size: int, check_lock: Callable[[], None]) -> None:
        """`descriptor` is closed with it. Raises OSError."""
        self._path = path
        self._descriptor = descriptor
        self._size = size
        self._check_lock = check_lock
        try:
            os.ftruncate(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def size(self) -> int:
        return self._size

    def append(self, parts: Sequence[Buffer]) -> None:
        self._check_lock()
        with told_of("write", self._path):
            for first in range(0, len(parts), _IOV_MAX):
                self._append_some([memoryview(part).cast("B") for part in parts[first : first + _IOV_MAX]])

    def _append_some(self, views: list[memoryview]) -> None:
        while views:
            written = os.pwritev(self._descriptor, views, self._size)
            self._size += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if views:
                views[0] = views[0][written:]

    def reserve(self, size: int) -> None:
        self._check_lock()
        with told_of("extend", self._path):
            os.posix_fallocate(self._descriptor, 0, size)

    def write_again(self, start: int, content: Buffer) -> None:
        self._check_lock()
        rest = memoryview(content).cast("B")
        with told_of("write", self._path):
            while rest:
                written = os.pwrite(self._descriptor, rest, start)
                rest, start = rest[written:], start + written

    def cut(self, size: int) -> None:
        self._check_lock()
        with told_of("cut", self._path):
            os.ftruncate(self._descriptor, size)
        self._size = size

    def sync(self) -> None:
        with told_of("sync", self._path):
            os.fdatasync(self._descriptor)
        self._check_lock()  # what was synced after the loss must not be acknowledged

    def close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1  # the number may soon be another file's
