"""Paths resolved by descriptors: what lies below a held folder is reached through no link, wherever the folder went.

    hold       from now on every path below the folder begins at a descriptor of it
    parent     a descriptor of the folder that a path lies in, and its name there
    folder     a descriptor of a folder
    opened     a descriptor of a regular file

A path below no held folder is found as the system finds it, links and all, but for its last name.

Invariants:
  * Nothing but a regular file is ever opened as a file, so a FIFO makes nobody wait and a device is not touched.
  * A file that has another name somewhere is not opened to be written: what is there would change too.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reddb import errors

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}


class Paths:
    """The folders that are held, and the way from them to what lies below."""

    def __init__(self) -> None:
        """None is held yet."""
        self._held: dict[Path, Callable[[], int]] = {}

    def hold(self, path: Path, descriptor: Callable[[], int]) -> None:
        """It gives the folder's descriptor, which stays its owner's to close, and less than 0 once it is closed."""
        self._held[path] = descriptor

    def is_held(self, path: Path) -> bool:
        """Whether this very folder is held."""
        return path in self._held and self._held[path]() >= 0

    @contextmanager
    def folder(self, path: Path) -> Iterator[int]:
        """A descriptor of the folder. Raises OSError if it is missing, CORRUPT_DATA if it is none."""
        descriptor = self._walk(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def parent(self, path: Path) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that a path lies in, and its name there."""
        with self.folder(path.parent) as folder:
            yield folder, path.name

    def opened(self, path: Path, flags: int) -> int:
        """A descriptor of a regular file, to be closed. Raises OSError, or CORRUPT_DATA for anything else."""
        is_written = flags & (os.O_WRONLY | os.O_RDWR) != 0
        with self.parent(path) as (folder, name):
            found = kind_of(folder, name)
            if found is None and not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            if found is not None:
                refuse_other(path, found, is_written=is_written)
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # it may be replaced between the two
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            refuse_other(path, os.fstat(descriptor), is_written=is_written)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _walk(self, path: Path) -> int:
        held = next((held for held in (path, *path.parents) if self.is_held(held)), None)
        if held is None:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        descriptor, here = os.open(".", _FOLDER_FLAGS, dir_fd=self._held[held]()), held
        for name in path.relative_to(held).parts:
            assert name != "..", f"{path} leads out of {held}"
            here /= name
            try:
                deeper = os.open(name, _FOLDER_FLAGS, dir_fd=descriptor)
            except (NotADirectoryError, FileNotFoundError) as error:
                found = kind_of(descriptor, name)
                if found is None:
                    raise
                raise _other(here, found, "a folder") from error
            finally:
                os.close(descriptor)
            descriptor = deeper
        return descriptor


def kind_of(folder: int, name: str) -> os.stat_result | None:
    """What has this name in a folder, itself and not what it links to; None if nothing has."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def refuse_other(path: Path, found: os.stat_result, *, is_written: bool) -> None:
    """Raises CORRUPT_DATA unless it is a regular file, and one that may be written if it is to be."""
    if not stat.S_ISREG(found.st_mode):
        raise _other(path, found, "a file")
    if is_written and found.st_nlink > 1:
        raise errors.CORRUPT_DATA.error(
            f"{path} has another name (a hard link), so whoever writes to it would change that file too",
            path=str(path),
            hint="make a copy of the file and put it in place of the link",
        )


def _other(path: Path, found: os.stat_result, wanted: str) -> errors.RedDBError:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    return errors.CORRUPT_DATA.error(f"{path} is {kind}, where {wanted} belongs", path=str(path))
