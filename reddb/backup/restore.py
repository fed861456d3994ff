"""`reddb restore BACKUP DATA …`: a data folder made of a backup.

    BACKUP         read: what the files must be
    files          copied, the checksum of each compared; the partitions must be those of the catalog
    logs           made longer from an archive, or cut where they shall end (`reddb.backup.restore_point`)
    check          every file and row of the new folder is looked at, as `reddb check` does
    DATA           the folder gets its name

Files are copied, never linked: what a server does to its folder must not reach the backup. A backup may come from a
stranger: nothing of it is opened but by a name that a backup may have, below its folder and through no link, and
nothing is written but below the new folder.

Invariant: DATA is there whole, synced and sound, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from reddb import errors
from reddb.backup.catalog import collections_of
from reddb.backup.description import NAME, Description, FileRecord, PartitionRecord, read_description
from reddb.backup.files import copy_file, is_gone
from reddb.backup.new_folder import new_folder
from reddb.backup.restore_point import LogOfPartition, Target, target_of
from reddb.check.data_folder import check_folder
from reddb.check.findings import Status, Tally
from reddb.check.read_only import ReadOnlyDisk
from reddb.disk import Disk, OsDisk
from reddb.storage.catalog import Catalog
from reddb.storage.folder import check_version, partition_folder
from reddb.storage.manifest import read_manifest, write_manifest
from reddb.wording import counted


def run_restore(
    backup: Path,
    data: Path,
    write: Callable[[str], None],
    *,
    archive: Path | None = None,
    to_lsn: list[str] | None = None,
    to_time_us: int | None = None,
) -> None:
    """Make the data folder, and give `write` a few lines about it. The paths are absolute.

    Raises CORRUPT_DATA for a backup or an archive that is damaged; INVALID_VALUE, DATA_IN_USE or UNSUPPORTED_FORMAT
    for a wrong call; a disk error.
    """
    disk = OsDisk()
    with disk.holding(backup, *([] if archive is None else [archive])):
        description = read_description(disk, backup)
        target = target_of(to_lsn or [], to_time_us, description)
        with new_folder(disk, data, "a data folder", write) as staged:
            for file in description.files:
                _copy(disk, backup, staged, file)
            check_version(disk, staged)
            _check_partitions(staged, backup, description)
            last_lsns = _bring_logs(disk, staged, description, archive, target)
            rows = _check(disk, staged)
    for partition in description.partitions:
        write(f"{partition.name}: up to LSN {last_lsns[partition.name]}, of which the backup has {partition.last_lsn}")
    copied = f"{counted(len(description.files), 'file')}, {description.bytes:,} bytes"
    write(f"{data}: {copied}, {counted(rows, 'row')}, every one looked at")


def _copy(disk: Disk, backup: Path, staged: Path, file: FileRecord) -> None:
    source, target = backup / file.path, staged / file.path
    try:
        content = disk.map_file(source)
    except errors.RedDBError as error:
        if is_gone(error):
            raise errors.CORRUPT_DATA.error(f"{file.path} is missing", path=str(source)) from error
        raise
    if len(content) != file.bytes:
        has = f"has {len(content):,} bytes instead of {file.bytes:,}"
        raise errors.CORRUPT_DATA.error(f"{file.path} {has}", path=str(source))
    disk.make_folder(target.parent)
    if copy_file(disk, content, target) != file.crc32c:
        raise errors.CORRUPT_DATA.error(f"{file.path} is not what was backed up", path=str(source))


def _check_partitions(staged: Path, backup: Path, description: Description) -> None:
    """Raises CORRUPT_DATA unless the partitions are those of the catalog."""
    described = {(of.collection_id, of.partition, of.collection) for of in description.partitions}
    if described != {
        (collection.id, number, collection.name)
        for collection in collections_of(staged)
        for number in range(collection.number("partitions"))
    }:
        raise errors.CORRUPT_DATA.error("BACKUP has other partitions than the catalog", path=str(backup / NAME))


def _bring_logs(
    disk: Disk, staged: Path, description: Description, archive: Path | None, target: Target
) -> dict[str, int]:
    last_lsns: dict[str, int] = {}
    for partition in description.partitions:
        last_lsns[partition.name] = partition.last_lsn
        disk.make_folder(partition_folder(staged, partition.collection_id, partition.partition))
        if archive is not None or target != Target({}):
            log = LogOfPartition(disk, staged, partition, archive, description.ended_us)
            last_lsns[partition.name] = log.bring_to(target)
            _expect(disk, staged, partition, last_lsns[partition.name])
    return last_lsns


def _expect(disk: Disk, staged: Path, partition: PartitionRecord, last_lsn: int) -> None:
    """Let the manifest know that the log was cut."""
    with closing(Catalog(staged / "catalog.sqlite")) as catalog:
        of = next(item for item in catalog.collections() if item.id == partition.collection_id)
    folder = partition_folder(staged, partition.collection_id, partition.partition)
    manifest = read_manifest(disk, folder, of, partition.partition)
    if manifest.durable_lsn > last_lsn:
        write_manifest(disk, folder, of, partition.partition, manifest.next(durable_lsn=last_lsn))


def _check(disk: Disk, staged: Path) -> int:
    """The rows of the folder. Raises CORRUPT_DATA unless it is sound."""
    lines: list[str] = []
    tally = Tally(staged, lines.append, frozenset({Status.DAMAGED}))
    state = check_folder(ReadOnlyDisk(disk), staged, tally)
    if not tally.is_sound:
        raise errors.CORRUPT_DATA.error(lines[0].removeprefix(Status.DAMAGED).strip())
    return state.rows
