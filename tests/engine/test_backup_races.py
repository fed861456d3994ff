"""What happens between two steps of a backup, made to happen there: by disks that do something when they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import reddb
from reddb import limits
from reddb.backup.files import Stock
from reddb.backup.log import read_log
from reddb.backup.partition import PartitionCopy
from reddb.disk import OsDisk
from reddb.storage.manifest import NAME, Manifest
from tests.engine.backups import Course, create
from tests.engine.folders import collection_in, files_below
from tests.storage.disks import MemoryDisk
from tests.storage.logs import FOLDER as LOG
from tests.storage.logs import IDENTITY, write_groups


class BusyDisk(OsDisk):
    """Other things happen right after the manifest was read."""

    def __init__(self, data: Path, happenings: list[Callable[[], object]]) -> None:
        super().__init__()
        self._data = data
        self._happenings = happenings

    def read_file(self, path: Path, bytes_max: int = limits.WAL_FILE_BYTES_MAX) -> bytes:
        content = super().read_file(path, bytes_max)
        if path.name == NAME and self._data in path.parents and self._happenings:
            self._happenings.pop(0)()
        return content


def test_a_manifest_that_is_replaced_meanwhile_is_copied_with_the_log_behind_it(tmp_path: Path) -> None:
    """Else rows are in no copied segment, and in no copied log: the log before the new manifest was released."""
    course, data, staged = Course(6), tmp_path / "data", tmp_path / "staged"
    with reddb.connect(f"file:{data}") as db:
        create(db)
        for _ in range(12):
            course.write(db)
        happenings: list[Callable[[], object]] = [
            lambda: db.execute("ALTER COLLECTION docs SEAL"),  # the log is not needed any more
            lambda: course.write(db),  # nothing but the log changes: this try could be the one
            lambda: db.execute("ALTER COLLECTION docs COMPACT"),  # and segments go
        ]
        record, files = PartitionCopy(
            BusyDisk(data, happenings), data, staged, collection_in(data, 1), 0, Stock(OsDisk(), data, ())
        ).run()
    assert happenings == []
    assert (record.sealed_lsn, record.last_lsn) == (13, 13)
    there = files_below(data)
    assert len(list((staged / "collections/1/0/segments").iterdir())) == 1
    assert files_below(staged) == {name: there[name] for name in {file.path for file in files}}


class LateDisk(MemoryDisk):
    """What the first reading finds of a log: a group that was written behind it is missing before a later one."""

    def __init__(self) -> None:
        super().__init__()
        self.missing = range(0)

    def read_file(self, path: Path) -> bytes:
        content = bytearray(super().read_file(path))
        content[self.missing.start : self.missing.stop] = bytes(len(self.missing))
        self.missing = range(0)
        return bytes(content)


def test_a_group_that_a_reading_missed_is_no_damage() -> None:
    disk = LateDisk()
    written = write_groups(disk, [[b"%08d" % number] for number in range(9)])
    whole = disk.read_file(LOG / f"{1:020d}.wal")
    disk.missing = range(40 + 3 * 40, 40 + 5 * 40)  # records are of 40 bytes, behind a header as long
    (part,), last_lsn = read_log(disk, LOG, IDENTITY, Manifest(), is_written=True)
    assert (last_lsn, part.content) == (len(written), whole.rstrip(b"\0")[: 40 * 10])
    assert disk.missing == range(0)
