"""The data folder: what lies where, who may open it, which format it has.

    DATA/LOCK                                   held by flock, as the folder itself is, while anyone has the folder
                                                open; names the holder (`reddb/folder_lock.py`)
    DATA/VERSION                                "reddb data format 1"
    DATA/catalog.sqlite
    DATA/collections/<collection id>/<partition>/MANIFEST, wal/, segments/, growing.tv

Invariants:
  * File names are made of numbers we chose, never of a user's words.
  * A collection that the catalog names has its folders: one without is damaged, not new.
  * Every file is reached through the folder that was locked, by descriptor and through no link; only SQLite opens the
    catalog by its path, which therefore is a file of its own, and refuses to write once that path leads elsewhere.
  * A folder of an unknown format is refused before anything but LOCK is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from reddb import errors, limits
from reddb.disk import Disk
from reddb.fields import Fields
from reddb.folder_lock import FolderLock
from reddb.settings import SettingValue
from reddb.storage.catalog import Catalog
from reddb.storage.manifest import begin_partition, is_unborn
from reddb.types import Collection, Kind, Metric

_log = structlog.get_logger()

CATALOG = "catalog.sqlite"
CATALOG_JOURNAL = f"{CATALOG}-journal"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # with which the name of another file ends
CATALOG_FILES = (CATALOG, CATALOG_JOURNAL)
_OF_ANOTHER_MODE = (f"{CATALOG}-wal", f"{CATALOG}-shm")  # which SQLite would use as well
_DIGITS_MAX = 20  # of 64 bits
VERSION_BYTES_MAX = 256
_FORMAT = 1
_VERSION_TEXT = "reddb data format "


class DataFolder:
    """An opened and locked data folder."""

    def __init__(self, disk: Disk, path: Path, lock: FolderLock, random_u32: Callable[[], int]) -> None:
        """Use `open`."""
        self.path = path
        self.lock = lock
        self._disk = disk
        self._random_u32 = random_u32
        # A new catalog beside old rows would begin with collection 1 again and find another one's rows in its folder.
        may_create = not disk.list_folder(path / "collections")
        check_catalog(disk, path)
        self.catalog = Catalog(path / CATALOG, may_create=may_create, check_lock=disk.check_lock)
        disk.sync_folder(path)

    @classmethod
    def open(cls, disk: Disk, path: Path, random_u32: Callable[[], int]) -> DataFolder:
        """Create the folder or open it. Raises DATA_IN_USE, UNSUPPORTED_FORMAT, CORRUPT_DATA or a disk error."""
        disk.make_folder(path)
        lock = disk.lock(path, f"pid {os.getpid()} on {os.uname().nodename}\n")
        try:
            _check_version(disk, path)
            return cls(disk, path, lock, random_u32)
        except BaseException:
            lock.close()
            raise

    def create(
        self,
        name: str,
        kind: Kind,
        dim: int,
        metric: Metric,
        settings: dict[str, SettingValue],
        fields: Fields,
    ) -> Collection:
        """Add a collection to the catalog once its empty partitions are on disk. Raises COLLECTION_EXISTS."""
        return self.catalog.create(name, kind, dim, metric, settings, fields, self._begin)

    def empty(self, collection: Collection) -> Collection:
        """Put a new collection, without rows, in the place of one."""
        return self.catalog.empty(collection, self._begin)

    def _begin(self, collection: Collection) -> None:
        for number in range(collection.number("partitions")):
            folder = partition_folder(self.path, collection.id, number)
            begin_partition(self._disk, folder, collection, number, self._random_u32())

    def remove_dropped(self) -> None:
        """Remove the folders of dropped collections, and what a CREATE left that was cut short.

        Other unknown folders are left alone: nothing says they are garbage. What cannot be removed now is tried again
        at the next call: a drop has happened once the catalog says so.
        """
        try:
            for collection_id in self.catalog.dropped():
                self._disk.remove_tree(collection_folder(self.path, collection_id))
                self.catalog.forget_dropped(collection_id)
            known = {str(collection.id) for collection in self.catalog.collections()}
            for name in self._disk.list_folder(self.path / "collections"):
                if (
                    name not in known
                    and is_number(name)
                    and was_cut_short(self._disk, self.path / "collections" / name)
                ):
                    self._disk.remove_tree(self.path / "collections" / name)
        except errors.RedDBError as error:
            _log.error("files that nobody needs are left", error=str(error))

    def close(self) -> None:
        """Release the lock, unless a child process that inherited it still lives."""
        self.catalog.close()
        self.lock.close()


def collection_folder(data: Path, collection_id: int) -> Path:
    return data / "collections" / str(collection_id)


def partition_folder(data: Path, collection_id: int, partition: int) -> Path:
    return collection_folder(data, collection_id) / str(partition)


def is_number(name: str) -> bool:
    """Whether a folder has a name that this program gives to collections, partitions and segments."""
    return name.isascii() and name.isdecimal() and name == str(int(name[:_DIGITS_MAX]))


def was_cut_short(disk: Disk, folder: Path) -> bool:
    """Whether a collection's folder never held a row: the catalog did not come to know of it."""
    try:
        return all(is_number(name) and is_unborn(disk, folder / name) for name in disk.list_folder(folder))
    except errors.RedDBError as error:
        if error.code is not errors.CORRUPT_DATA:
            raise
        return False  # it holds what no CREATE makes


def check_catalog(disk: Disk, data: Path) -> None:
    """Raises CORRUPT_DATA unless the files that SQLite would open are files, ours, and of this folder alone."""
    names = disk.list_folder(data)
    refuse_another_mode(data, names)
    for name in CATALOG_FILES:
        if name in names:
            disk.check_writable(data / name, limits.CATALOG_BYTES_MAX)
    if CATALOG_JOURNAL in names:
        check_journal(disk, data / CATALOG_JOURNAL)


def refuse_another_mode(data: Path, names: Sequence[str]) -> None:
    """Raises CORRUPT_DATA for a log of changes to the catalog, of which this program never writes one."""
    for name in _OF_ANOTHER_MODE:
        if name in names:
            text = f"{data / name} is no file of this program, and would change what the catalog says"
            raise errors.CORRUPT_DATA.error(text, path=str(data / name), hint="move it out of the folder")


def check_journal(disk: Disk, path: Path) -> None:
    """Raises CORRUPT_DATA for a journal of SQLite that names another file, which SQLite would remove, wherever it is.

    One is named where a change was made to several databases at once; ours is one.
    """
    if bytes(disk.map_file(path)[-len(_JOURNAL_MAGIC) :]) == _JOURNAL_MAGIC:
        raise errors.CORRUPT_DATA.error(f"{path} is of several databases, which a catalog never is", path=str(path))


def _check_version(disk: Disk, path: Path) -> None:
    file = path / "VERSION"
    if "VERSION" not in disk.list_folder(path):
        if CATALOG in disk.list_folder(path):
            raise errors.CORRUPT_DATA.error(f"{path} has a catalog but no VERSION file", path=str(file))
        write_version(disk, path)
        return
    check_version(disk, path)


def write_version(disk: Disk, path: Path) -> None:
    """Say that the folder has the format of this build."""
    disk.write_file(path / "VERSION", f"{_VERSION_TEXT}{_FORMAT}\n".encode())


def check_version(disk: Disk, path: Path) -> None:
    """Raises UNSUPPORTED_FORMAT for a folder whose VERSION file names another format."""
    file = path / "VERSION"
    text = disk.read_file(file, VERSION_BYTES_MAX).decode(errors="replace").strip()
    if text != f"{_VERSION_TEXT}{_FORMAT}":
        raise errors.UNSUPPORTED_FORMAT.error(
            f"{file} says {text!r}; this build reads '{_VERSION_TEXT}{_FORMAT}'", path=str(file)
        )
