"""The write-ahead log of a partition, looked at: how far it can be read, and what lies behind damage.

A log is a chain of LSNs over its files, needed from the one behind the manifest's `sealed_lsn` on. The first place
where the chain breaks is the damage. What is behind it may be whole, but nobody may apply it: a record that is missing
might have deleted or replaced what a later one builds on.

Invariant: what is damage and what a torn tail is decided by `storage/wal_file.py` alone, as for the owner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reddb import errors
from reddb.check.findings import Finding, Report, Status, damage_of
from reddb.disk import Disk
from reddb.partition.operations import Contents, contents_of, replayed
from reddb.storage.wal_file import (
    Record,
    WalIdentity,
    first_lsn_of,
    log_files,
    lost_log,
    read_log_file,
    records_behind,
)
from reddb.types import Collection, RowId
from reddb.wording import counted


@dataclass(frozen=True, slots=True)
class Log:
    """Where it lies, whose it is, up to which LSN it is not needed any more, up to which other files say that it was
    stored, and whether there must be a file.
    """

    folder: Path
    identity: WalIdentity
    sealed_lsn: int
    stored_lsn: int
    is_written: bool
    collection: Collection


@dataclass(frozen=True, slots=True)
class Damage:
    """The chain breaks at `lsn`, which should stand at `offset` of the file: 0 if its header is damaged, None if it is
    whole, but not the file that must come here. Without a `name` there is no file at all.
    """

    name: str
    offset: int | None
    lsn: int


@dataclass(frozen=True, slots=True)
class Readable:
    """Whole records that the chain does not reach, and what they come to: ids whose last record writes a row, or one
    that deletes it. An id that is written ten times is one row.
    """

    records: int
    first_lsn: int
    last_lsn: int
    written: frozenset[RowId]
    deleted: frozenset[RowId]

    def __str__(self) -> str:
        if not self.records:
            return "no whole record"
        return (
            f"{counted(self.records, 'whole record')}, LSN {self.first_lsn} to {self.last_lsn}, "
            f"{counted(len(self.written), 'row')} written, {len(self.deleted):,} deleted"
        )


def check_log(
    disk: Disk, log: Log, report: Report, replay: Callable[[Record], None] = lambda record: None
) -> Damage | None:
    """Read all of it, a line for each file, and every record of the unbroken chain into `replay`."""
    released, names = log_files(disk, log.folder, log.sealed_lsn)
    for name in released:
        report(Finding(Status.GARBAGE, log.folder / name, "was released; the next start removes it"))
    if log.is_written and not names:
        reason = lost_log(log.folder, log.sealed_lsn).message.removeprefix(f"{log.folder} ")
        report(Finding(Status.DAMAGED, log.folder, reason))
        return Damage("", None, log.sealed_lsn + 1)
    next_lsn = min(log.sealed_lsn + 1, first_lsn_of(names[0]) if names else log.sealed_lsn + 1)
    for position, name in enumerate(names):
        path, lsns = log.folder / name, [next_lsn - 1]

        def take(record: Record, lsns: list[int] = lsns) -> None:
            if record.lsn > log.sealed_lsn:
                replayed(record, log.collection)
            lsns.append(record.lsn)
            replay(record)

        content = disk.read_file(path)
        try:
            stored_lsn = max(log.sealed_lsn, log.stored_lsn) if position == len(names) - 1 else None
            file = read_log_file(path, content, log.identity, next_lsn, take, stored_lsn=stored_lsn)
        except errors.RedDBError as error:
            _, reason = damage_of(disk, error)
            damage = Damage(name, error.detail.get("offset"), lsns[-1] + 1)
            behind = unreachable(disk, log, damage, max(damage.lsn, log.sealed_lsn + 1))
            report(Finding(Status.DAMAGED, path, f"{reason}; behind that: {behind}"))
            for later in names[position + 1 :]:
                report(Finding(Status.OK, log.folder / later, _described(disk.read_file(log.folder / later), later)))
            return damage
        text = f"{len(content):,} bytes, {_records(len(lsns) - 1, lsns[-1])}"
        if file.torn_bytes:
            text += f", torn tail of {counted(file.torn_bytes, 'byte')}, never acknowledged"
        report(Finding(Status.OK, path, text))
        next_lsn = file.next_lsn
    return None


def unreachable(disk: Disk, log: Log, damage: Damage, from_lsn: int) -> Readable:
    """The whole records from an LSN on, behind the damage and in later files."""
    _, names = log_files(disk, log.folder, log.sealed_lsn)
    lsns: list[int] = []
    is_written: dict[RowId, bool] = {}
    for name in names[names.index(damage.name) :]:
        offset = damage.offset or 0 if name == damage.name else 0
        first = max(from_lsn, first_lsn_of(name))
        for _, record in records_behind(disk.read_file(log.folder / name), first, offset):
            contents = _read(record)
            if contents is None:
                continue  # counted as one that could not be read
            is_written.update(dict.fromkeys(contents.deleted, False))
            is_written.update(dict.fromkeys(contents.written.id_list(), True))
            lsns.append(record.lsn)
    written = frozenset(row_id for row_id, last in is_written.items() if last)
    return Readable(
        len(lsns), min(lsns, default=0), max(lsns, default=0), written, frozenset(is_written.keys() - written)
    )


def _read(record: Record) -> Contents | None:
    """None for a record that is whole, and says nothing that this build can read."""
    try:
        return contents_of(record)
    except errors.RedDBError as error:
        if error.code not in (errors.CORRUPT_DATA, errors.UNSUPPORTED_FORMAT):
            raise
        return None


def _described(content: bytes, name: str) -> str:
    """Of a file that the chain does not reach."""
    lsns = [record.lsn for _, record in records_behind(content, first_lsn_of(name), 0)]
    return f"{len(content):,} bytes, {_records(len(lsns), max(lsns, default=0))}, not reached from the file before"


def _records(count: int, last_lsn: int) -> str:
    if not count:
        return "no record"
    return f"{counted(count, 'record')}, LSN {last_lsn - count + 1} to {last_lsn}"
