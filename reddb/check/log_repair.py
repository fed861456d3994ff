"""A log whose chain is broken, made whole again with as little loss as there can be.

With `wanted` the first LSN that is needed and cannot be reached:

    a whole record `wanted` lies in the file        the file begins anew with it: only what is sealed, or the file's
                                                    own header, was damaged, and nothing is lost
    `wanted` itself is the damaged one, or the      the file is cut before it, and later files are moved aside
    log ends before what was stored
    the file is not the one that must come here,    the file and later ones are moved aside
    or nothing in it can be read
    there is no file                                one is begun with `wanted`

Every step makes the log shorter or sounder, so they are repeated until the chain is whole. What is left is the
partition after a prefix of its writes, and how much was lost is known but for what the damaged records themselves said.

Invariant: a file is cut or replaced whole, by temp and rename, after a copy of it was synced.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from reddb.check.aside import Aside
from reddb.check.findings import Finding, Report, Status, unread
from reddb.check.log import Damage, Log, Readable, check_log, unreachable
from reddb.check.read_only import ReadOnlyDisk
from reddb.disk import Disk
from reddb.storage.wal import begin_log
from reddb.storage.wal_file import begun_anew, file_name, log_files, records_behind
from reddb.types import RowId


@dataclass(slots=True)
class LostRecords:
    """Records from `first_lsn` to `last_lsn`, 0 if none; what of them could be read wrote and deleted rows with these
    ids, each by its last record, and `unread` of them could not.
    """

    first_lsn: int = 0
    last_lsn: int = 0
    unread: int = 0
    written: set[RowId] = field(default_factory=set)
    deleted: set[RowId] = field(default_factory=set)


def repair_log(disk: Disk, log: Log, damage: Damage, aside: Aside, report: Report, salt: int) -> LostRecords:
    """Repair it, a line for each file that is changed; gives what was lost by that. Raises a disk error."""
    found: Damage | None = damage
    lost: list[Readable] = []
    while found is not None:
        if found.name:
            lost += _step(disk, log, found, aside, report)
        else:
            begin_log(disk, log.folder, log.identity, salt, found.lsn)
            report(Finding(Status.REPAIR, log.folder / file_name(found.lsn), f"begun, empty, with LSN {found.lsn}"))
        found = check_log(ReadOnlyDisk(disk), replace(log, stored_lsn=0), unread)
    return _sum(lost, last_lsn(disk, log), log.stored_lsn)


def last_lsn(disk: Disk, log: Log) -> int:
    """Of a log that is sound."""
    lsns = [log.sealed_lsn]
    check_log(ReadOnlyDisk(disk), replace(log, stored_lsn=0), unread, lambda record: lsns.append(record.lsn))
    return lsns[-1]


def _sum(lost: list[Readable], end: int, stored_lsn: int) -> LostRecords:
    """All of it together: what a later step lost lay before what an earlier one did."""
    found = LostRecords(last_lsn=max([stored_lsn, *(part.last_lsn for part in lost)]))
    if found.last_lsn <= end:
        return LostRecords()
    found.first_lsn = end + 1
    found.unread = found.last_lsn - end - sum(part.records for part in lost)
    for part in reversed(lost):
        found.written = (found.written - part.deleted) | part.written
        found.deleted = (found.deleted - part.written) | part.deleted
    return found


def _step(disk: Disk, log: Log, damage: Damage, aside: Aside, report: Report) -> list[Readable]:
    """One step, and what was lost by it."""
    path, wanted = log.folder / damage.name, max(damage.lsn, log.sealed_lsn + 1)
    content = disk.read_file(path)
    place = _place_of(content, wanted, damage)
    if place is not None:
        target = log.folder / file_name(wanted)
        kept = aside.copy(path)
        if target.name != path.name:
            aside.move(target)  # there is none, unless somebody put it there
        disk.write_file(target, begun_anew(content, log.identity, wanted, place))
        if path.name != target.name:
            disk.remove_file(path)
            disk.sync_folder(log.folder)
        report(Finding(Status.REPAIR, path, f"begun anew with LSN {wanted}, nothing is lost by that; {kept}"))
        return []
    _, names = log_files(disk, log.folder, log.sealed_lsn)
    behind = names[names.index(damage.name) + 1 :]
    if damage.offset and damage.lsn == wanted:
        lost = unreachable(disk, log, damage, wanted + 1)
        kept = aside.copy(path)
        disk.write_file(path, content[: damage.offset])
        text = f"cut at byte {damage.offset}, {kept}; lost are LSN {wanted} and, behind it, {lost}"
    else:
        lost = unreachable(disk, log, damage, wanted)
        text = f"{aside.move(path)}; lost are, of this file and later ones, {lost}"
    report(Finding(Status.REPAIR, path, text))
    for name in behind:
        report(Finding(Status.REPAIR, log.folder / name, aside.move(log.folder / name)))
    return [lost]


def _place_of(content: bytes, lsn: int, damage: Damage) -> int | None:
    """Where the record lies whole behind the damage, if the file may begin with it: it is no stranger's file, and no
    record that is needed stands before the damage.
    """
    if damage.offset is None or (damage.offset and damage.lsn == lsn):
        return None
    return next((place for place, record in records_behind(content, lsn, damage.offset) if record.lsn == lsn), None)
