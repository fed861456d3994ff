"""A data folder, looked at: its own files, and which folders belong to which collection.

The catalog is opened as a copy, beside its journal, in a temporary folder: SQLite may have to roll back what was under
way when the machine stopped, and would do so in the file itself.

The lock is taken shared and through a descriptor that cannot write, so that a check runs on a read-only mount, beside
other checks, and beside no server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from reddb import errors, limits
from reddb.check.findings import Finding, Report, Status
from reddb.check.partition import PartitionState, check_partition
from reddb.check.read_only import ReadOnlyDisk
from reddb.folder_lock import lock_for_reading
from reddb.storage.catalog import Catalog
from reddb.storage.folder import (
    CATALOG,
    CATALOG_FILES,
    CATALOG_JOURNAL,
    check_journal,
    check_version,
    collection_folder,
    is_number,
    refuse_another_mode,
    was_cut_short,
)
from reddb.types import Collection
from reddb.wording import counted

ASIDE = "damaged"  # where a repair puts things
_KNOWN = {"LOCK", "VERSION", *CATALOG_FILES, "collections", ASIDE}


@dataclass(slots=True)
class FolderState:
    """What was learnt; without a catalog that can be read, no partition is known."""

    lacks_version: bool = False
    catalog_is_damaged: bool = False
    collections: list[Collection] = field(default_factory=list)
    partitions: list[PartitionState] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(partition.rows for partition in self.partitions)


@contextmanager
def locked_for_reading(data: Path) -> Iterator[int]:
    """Keep servers away while the folder is looked at, which is given as a descriptor.

    Raises DATA_IN_USE, or UNSUPPORTED_FORMAT for no data folder.
    """
    try:
        if not any(name in os.listdir(data) for name in ("VERSION", CATALOG, "collections")):
            raise errors.UNSUPPORTED_FORMAT.error(f"{data} is no data folder: there is neither VERSION nor a catalog")
        descriptors = lock_for_reading(data)
    except OSError as error:
        raise errors.DISK_FAILED.error(f"cannot open {error.filename}: {error.strerror}") from error
    try:
        yield descriptors[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def check_folder(disk: ReadOnlyDisk, data: Path, report: Report) -> FolderState:
    """Look at every file. Raises what keeps them from being looked at: another format, a disk that does not read."""
    state = FolderState()
    names = disk.list_folder(data)
    if "LOCK" in names:
        report(Finding(Status.OK, data / "LOCK", "nobody has the folder open"))
    if "VERSION" in names:
        check_version(disk, data)
        report(Finding(Status.OK, data / "VERSION", "the format of this build"))
    else:
        state.lacks_version = True
        report(Finding(Status.DAMAGED, data / "VERSION", "is missing"))
    for name in names:
        if name not in _KNOWN:
            report(Finding(Status.UNKNOWN, data / name, "nobody knows this file; it is left alone"))
    for name in disk.list_folder(data / ASIDE):
        report(Finding(Status.UNKNOWN, data / ASIDE / name, "was moved aside by a repair; it is left alone"))
    try:
        state.collections, dropped = _read_catalog(disk, data, report)
    except errors.RedDBError as error:
        if error.code is not errors.CORRUPT_DATA:
            raise
        state.catalog_is_damaged = True
        report(Finding(Status.DAMAGED, data / CATALOG_FILES[0], f"{error.message}; no collection was looked at"))
        return state
    _find_strangers(disk, data, state.collections, dropped, report)
    for collection in state.collections:
        for number in range(collection.number("partitions")):
            state.partitions.append(check_partition(disk, data, collection, number, report))
    return state


def _read_catalog(disk: ReadOnlyDisk, data: Path, report: Report) -> tuple[list[Collection], list[int]]:
    """The collections, and the ids of dropped ones whose folders may be there. Raises CORRUPT_DATA."""
    names = [name for name in CATALOG_FILES if name in disk.list_folder(data)]
    refuse_another_mode(data, disk.list_folder(data))
    if CATALOG_JOURNAL in names:
        check_journal(disk, data / CATALOG_JOURNAL)
    with TemporaryDirectory(prefix="reddb-check-") as temporary:
        copy = Path(temporary) / CATALOG_FILES[0]
        for name in names:
            (copy.parent / name).write_bytes(disk.read_file(data / name, limits.CATALOG_BYTES_MAX))
        try:
            # As `DataFolder` does: without collections, one that is missing or empty was not begun yet.
            catalog = Catalog(copy, may_create=not disk.list_folder(data / "collections"))
            try:
                catalog.verify()
                collections, dropped = catalog.collections(), catalog.dropped()
            finally:
                catalog.close()
        except errors.RedDBError as error:
            said = error.message.removeprefix(str(copy)).lstrip(": ")
            raise errors.RedDBError(error.code, said, error.detail) from error
    for name in names:
        journal = "what it holds is rolled back at the next start, " if name == CATALOG_FILES[1] else ""
        text = f"{disk.file_bytes(data / name):,} bytes, {journal}{counted(len(collections), 'collection')}"
        report(Finding(Status.OK, data / name, text))
    return collections, dropped


def _find_strangers(
    disk: ReadOnlyDisk, data: Path, collections: list[Collection], dropped: list[int], report: Report
) -> None:
    """Folders beside those of the collections and their partitions."""
    partitions = {str(collection.id): collection.number("partitions") for collection in collections}
    for name in disk.list_folder(data / "collections"):
        path = data / "collections" / name
        if name in map(str, dropped):
            report(Finding(Status.GARBAGE, path, "the collection was dropped; the next start removes it"))
        elif name not in partitions and is_number(name) and was_cut_short(disk, path):
            report(Finding(Status.GARBAGE, path, "a CREATE was cut short; the next start removes it"))
        elif name not in partitions:
            report(Finding(Status.UNKNOWN, path, "the catalog names no such collection; it is left alone"))
    for collection in collections:
        folder = collection_folder(data, collection.id)
        for name in disk.list_folder(folder):
            if name not in map(str, range(partitions[str(collection.id)])):
                report(
                    Finding(Status.UNKNOWN, folder / name, f"is no partition of {collection.name}; it is left alone")
                )
