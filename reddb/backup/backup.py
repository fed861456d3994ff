"""`reddb backup DATA DEST [--base PREVIOUS]`: a copy of a data folder, which a server may have open and write to.

    VERSION, catalog      the catalog through SQLite, as one moment saw it
    partitions            one after the other (`reddb.backup.partition`), each by itself: they share no write
    catalog again         a collection was dropped meanwhile: begin anew
    BACKUP                what all files must be (`reddb.backup.description`)

No lock is taken, and nothing in DATA changes. On one file system sealed files are linked, not copied: such a backup
costs next to nothing, and does not outlive the disk. Elsewhere what the backup before has is linked from there.

Invariant: DEST is there whole, synced and described, or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from reddb import errors
from reddb.backup import catalog
from reddb.backup.description import Description, FileRecord, PartitionRecord, read_description, write_description
from reddb.backup.files import Stock, checksum_of
from reddb.backup.new_folder import new_folder
from reddb.backup.partition import PartitionCopy
from reddb.disk import Disk, OsDisk
from reddb.storage.folder import VERSION_BYTES_MAX, check_version
from reddb.types import Collection
from reddb.wording import counted

_TRIES = 10


def run_backup(data: Path, target: Path, write: Callable[[str], None], base: Path | None = None) -> None:
    """Make the backup, and give `write` a few lines about it. The paths are absolute.

    Raises CORRUPT_DATA for damaged data; INVALID_VALUE, DATA_IN_USE or UNSUPPORTED_FORMAT for a wrong call; UNAVAILABLE
    if the folder changed at every try; a disk error.
    """
    disk = OsDisk()
    if target == data or data in target.parents:
        raise errors.INVALID_VALUE.error(f"{target} lies in {data}; a backup lies elsewhere", path=str(target))
    with disk.holding(data, *([] if base is None else [base])):
        stock = Stock(disk, data, ()) if base is None else Stock(disk, base, read_description(disk, base).files)
        if "VERSION" not in disk.list_folder(data):
            raise errors.UNSUPPORTED_FORMAT.error(f"{data} is no data folder: it has no VERSION", path=str(data))
        check_version(disk, data)
        with new_folder(disk, target, "a backup", write) as staged:
            description = _copy_folder(disk, data, staged, stock)
            write_description(disk, staged, description)
    for partition in description.partitions:
        lsns = f"sealed up to LSN {partition.sealed_lsn}, last LSN {partition.last_lsn}"
        write(f"{partition.name}: {lsns}, generation {partition.generation}")
    new_bytes = sum(file.bytes for file in description.files if not stock.has(file))
    since = "" if base is None else f", {new_bytes:,} of them new since {base}"
    write(f"{target}: {counted(len(description.files), 'file')}, {description.bytes:,} bytes{since}")


def _copy_folder(disk: OsDisk, data: Path, staged: Path, stock: Stock) -> Description:
    began_us = _now_us()
    for _ in range(_TRIES):
        disk.remove_tree(staged / "collections")
        files = [_write(disk, staged, "VERSION", disk.read_file(data / "VERSION", VERSION_BYTES_MAX))]
        files.append(_write(disk, staged, catalog.NAME, catalog.catalog_bytes(data)))
        collections = catalog.collections_of(staged)
        try:
            partitions, copied = _copy_partitions(disk, data, staged, collections, stock)
        except errors.RedDBError:
            if not _was_dropped(data, collections):
                raise
            continue
        if not _was_dropped(data, collections):
            return Description(began_us, _now_us(), (*files, *copied), tuple(partitions))
    raise errors.UNAVAILABLE.error(f"collections of {data} were dropped during each of {_TRIES} tries to copy it")


def _copy_partitions(
    disk: OsDisk, data: Path, staged: Path, collections: list[Collection], stock: Stock
) -> tuple[list[PartitionRecord], list[FileRecord]]:
    partitions: list[PartitionRecord] = []
    files: list[FileRecord] = []
    for collection in collections:
        for number in range(collection.number("partitions")):
            partition, copied = PartitionCopy(disk, data, staged, collection, number, stock).run()
            partitions.append(partition)
            files += copied
    return partitions, files


def _was_dropped(data: Path, collections: list[Collection]) -> bool:
    return not {collection.id for collection in collections} <= catalog.collection_ids(data)


def _write(disk: Disk, staged: Path, name: str, content: bytes) -> FileRecord:
    disk.write_file(staged / name, content)
    return FileRecord(name, len(content), checksum_of(memoryview(content)))


def _now_us() -> int:
    return time.time_ns() // 1000
