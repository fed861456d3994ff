"""The only door to files: append, sync, rename, and the errors they give, with the path in each.

A storage class is handed a `Disk`; tests hand in one that fails or loses power. Rules that every caller relies on:

    append      writes all bytes or raises; a short write is continued, never ignored
    sync        returns only when the bytes are on the device; if it raises, nothing may be trusted any more
                (the kernel may have dropped the dirty pages: a second sync would lie)
    rename      is durable only after `sync_folder` of the parent

Invariants:
  * A full disk raises DISK_FULL, a lack of descriptors TOO_MANY_FILES, anything else DISK_FAILED; all name the path.
  * No other module of the storage layer opens, writes or removes a file.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from reddb import errors
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

    def read_file(self, path: Path) -> bytes: ...

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

    def folder_bytes(self, path: Path) -> int:
        """Bytes of the files in a folder, 0 if it is missing; files that are removed meanwhile may count or not."""

    def remove_file(self, path: Path) -> None: ...

    def remove_tree(self, path: Path) -> None: ...

    def sync_folder(self, path: Path) -> None: ...

    def lock(self, path: Path, owner: str) -> int:
        """Take an exclusive lock, write `owner` into the file; return the descriptor that holds it."""


@contextmanager
def _named(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError into an error of the catalogue that names the action and the path."""
    try:
        yield
    except OSError as error:
        code = _CODES.get(error.errno or 0, errors.DISK_FAILED)
        raise code.error(f"cannot {action} {path}: {error.strerror}", path=str(path)) from error


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    """A descriptor of a folder that is to be synced."""
    with _named("open", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class OsDisk:
    """The operating system's files."""

    def make_folder(self, path: Path) -> None:
        with _named("open", path):
            is_there = path.is_dir()
        if is_there:  # whoever made it may have been killed before he had it synced
            if path != path.parent:
                self.sync_folder(path.parent)
            return
        self.make_folder(path.parent)
        with _named("create", path):
            path.mkdir(mode=0o700, exist_ok=True)
        self.sync_folder(path.parent)

    def list_folder(self, path: Path) -> list[str]:
        with _named("list", path):
            return sorted(os.listdir(path)) if path.is_dir() else []

    def read_file(self, path: Path) -> bytes:
        with _named("read", path):
            return path.read_bytes()

    def map_file(self, path: Path) -> memoryview:
        with _named("map", path), path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")  # which cannot be mapped
            return memoryview(mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ))

    def open_append(self, path: Path, size: int) -> OsAppendFile:
        with _named("open", path):
            return OsAppendFile(path, size)

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
        with _opened_folder(new.parent) as folder:  # before anything changes: there may be no descriptor left
            with _named("rename", old):
                os.replace(old, new)
            with _named("sync", new.parent):
                os.fsync(folder)

    def folder_bytes(self, path: Path) -> int:
        with _named("list", path):
            return sum(_size(path / name) for name in os.listdir(path)) if path.is_dir() else 0

    def remove_file(self, path: Path) -> None:
        with _named("remove", path):
            path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        with _named("remove", path):
            if path.is_dir():
                shutil.rmtree(path)

    def sync_folder(self, path: Path) -> None:
        with _opened_folder(path) as folder, _named("sync", path):
            os.fsync(folder)

    def lock(self, path: Path, owner: str) -> int:
        # flock, not lockf: a POSIX lock is lost as soon as any descriptor of the file is closed.
        with _named("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise errors.DATA_IN_USE.error(
                f"the data folder {path.parent} is in use by {holder}", path=str(path.parent)
            ) from None
        with _named("write", path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, owner.encode(), 0)
        return descriptor


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class OsAppendFile:
    """An open file of the operating system, written at a position of our own."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = size
        os.ftruncate(self._descriptor, size)

    @property
    def size(self) -> int:
        return self._size

    def append(self, parts: Sequence[Buffer]) -> None:
        with _named("write", self._path):
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
        with _named("extend", self._path):
            os.posix_fallocate(self._descriptor, 0, size)

    def write_again(self, start: int, content: Buffer) -> None:
        rest = memoryview(content).cast("B")
        with _named("write", self._path):
            while rest:
                written = os.pwrite(self._descriptor, rest, start)
                rest, start = rest[written:], start + written

    def cut(self, size: int) -> None:
        with _named("cut", self._path):
            os.ftruncate(self._descriptor, size)
        self._size = size

    def sync(self) -> None:
        with _named("sync", self._path):
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
