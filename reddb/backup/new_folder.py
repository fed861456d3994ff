"""A folder that is there whole or not at all.

    with new_folder(disk, target, "a backup", write) as staged:
        …                                          what is made in `<target>.partial-<8 hex digits>`, beside the target
    → synced and renamed to target; after an error it is removed, after a kill it is left

The name is made exclusively and the folder is held by its descriptor: nobody else's files are ever in it, and what is
made goes into it whatever becomes of its name. One that was left is told, for whoever it belongs to may be at work.

Invariants:
  * Nothing that this run did not make is removed or written over.
  * The names of all files are synced when the folder gets its own.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reddb import errors
from reddb.disk import OsDisk, told_of
from reddb.paths import kind_of

_END = re.compile(r"(-[0-9a-f]{8})?")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def new_folder(disk: OsDisk, target: Path, what: str, write: Callable[[str], None]) -> Iterator[Path]:
    """A folder to be filled, which is `target` afterwards; see above. `write` gets a line for each that was left.

    Raises INVALID_VALUE if there is something already, or a disk error.
    """
    disk.make_folder(target.parent)
    with told_of("open", target.parent):
        parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _refuse_existing(parent, target, what)
        for name in _left(parent, target):
            write(f"{target.with_name(name)}: left by a run that was cut short, or of one that is at work; left alone")
        with _made(disk, parent, target) as staged:
            yield staged
            _sync_folders(disk, staged)
            _refuse_existing(parent, target, what)
            with told_of("rename", staged):
                _rename(parent, staged.name, target, what)
                os.fsync(parent)
    finally:
        os.close(parent)


@contextmanager
def _made(disk: OsDisk, parent: int, target: Path) -> Iterator[Path]:
    """The folder under its first name; after an error it goes again, unless it is another's by then."""
    staged = target.with_name(f"{target.name}.partial-{secrets.token_hex(4)}")
    with told_of("create", staged):
        os.mkdir(staged.name, 0o700, dir_fd=parent)
        folder = os.open(staged.name, _FOLDER_FLAGS, dir_fd=parent)
    try:
        disk.hold(staged, folder)
        try:
            yield staged
        except BaseException:
            found = kind_of(parent, staged.name)
            if found is not None and os.path.samestat(found, os.fstat(folder)):
                with told_of("remove", staged):
                    shutil.rmtree(staged.name, dir_fd=parent)
            raise
    finally:
        os.close(folder)


def _rename(parent: int, staged: str, target: Path, what: str) -> None:
    try:
        os.rename(staged, target.name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:  # meanwhile somebody made it: an empty folder gives way, all else stays
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _exists(target, what) from error
        raise


def _refuse_existing(parent: int, target: Path, what: str) -> None:
    """Raises INVALID_VALUE unless there is nothing, or an empty folder; a link is something, wherever it leads."""
    with told_of("open", target):
        if kind_of(parent, target.name) is None:
            return
        try:
            folder = os.open(target.name, _FOLDER_FLAGS, dir_fd=parent)
        except NotADirectoryError as error:
            raise _exists(target, what) from error
        try:
            if os.listdir(folder):
                raise _exists(target, what)
        finally:
            os.close(folder)


def _left(parent: int, target: Path) -> list[str]:
    begin = f"{target.name}.partial"
    ends = {name: name.removeprefix(begin) for name in os.listdir(parent) if name.startswith(begin)}
    return sorted(name for name, end in ends.items() if _END.fullmatch(end))


def _sync_folders(disk: OsDisk, folder: Path) -> None:
    """Sync every folder below and including it."""
    for path in disk.folders_below(folder):
        disk.sync_folder(path)


def _exists(target: Path, what: str) -> errors.RedDBError:
    return errors.INVALID_VALUE.error(f"{target} is there already; {what} is made new", path=str(target))
