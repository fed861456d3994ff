"""Write-ahead logs for the tests: opened with what they replay, and written in groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reddb.disk import Disk
from reddb.storage.wal import Record, Wal, WalIdentity, begin_log
from tests.storage.disks import MemoryDisk

FOLDER = Path("/wal")
IDENTITY = WalIdentity(collection_id=3, partition=1)
SALT = 0x5A17

Replayed = list[tuple[int, int, bytes]]  # LSN, operation, body


def open_log(
    disk: Disk, *, identity: WalIdentity = IDENTITY, salt: int = SALT, folder: Path = FOLDER, after_lsn: int = 0
) -> tuple[Wal, Replayed]:
    replayed: Replayed = []

    def replay(record: Record) -> None:
        replayed.append((record.lsn, record.operation, bytes(record.body)))

    if not disk.list_folder(folder):
        begin_log(disk, folder, identity, salt)
    return Wal.open(disk, folder, identity, replay, lambda: salt, after_lsn), replayed


def replay_of(disk: Disk, after_lsn: int = 0) -> Replayed:
    """What the log on this disk says, when it is opened and closed again."""
    log, replayed = open_log(disk, after_lsn=after_lsn)
    log.close()
    return replayed


def write_group(log: Wal, bodies: Sequence[bytes], operation: int = 1) -> None:
    log.append([(operation, [body]) for body in bodies])
    log.sync()


def write_groups(disk: Disk, groups: Sequence[Sequence[bytes]]) -> Replayed:
    """Write the groups to the log on this disk; what it must say then."""
    log, before = open_log(disk)
    first = len(before) + 1
    for group in groups:
        write_group(log, group)
    log.close()
    bodies = [body for group in groups for body in group]
    return before + [(lsn, 1, body) for lsn, body in enumerate(bodies, first)]


def only_file(disk: MemoryDisk) -> Path:
    (name,) = disk.list_folder(FOLDER)
    return FOLDER / name


def copy_of(disk: MemoryDisk, damage: dict[int, int] | None = None, *, cut: int | None = None) -> MemoryDisk:
    """The same folder on a new disk, its only file cut or with bytes changed by exclusive or."""
    path = only_file(disk)
    content = bytearray(disk.content(path))[:cut]
    for place, bits in (damage or {}).items():
        content[place] ^= bits
    copy = MemoryDisk()
    copy.make_folder(FOLDER)
    copy.put(path, bytes(content))
    return copy
