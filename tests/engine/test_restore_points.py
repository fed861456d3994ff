"""A log that is archived: restores to every LSN and time, and what an archive does when it is full or not its own.

The partition here lies in a data folder with a catalog, and is driven step by step; its clock goes on by a second with
each write, so write n has LSN n and time n.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from reddb import errors, limits
from reddb.backup.archive import LogArchive
from reddb.disk import OsDisk
from reddb.fields import NO_FIELDS
from reddb.partition.reader import PartitionReader
from reddb.partition.writer import Partition
from reddb.settings import resolve
from reddb.storage.catalog import Catalog
from reddb.storage.folder import DataFolder, partition_folder
from reddb.storage.wal import Wal, WalIdentity, begin_log
from reddb.storage.wal_file import read_log_file
from reddb.types import Collection, Kind, Metric
from tests.engine.backups import Rows, backup, restore, rows_in
from tests.engine.partitions import Opened
from tests.storage.disks import MemoryDisk
from tests.storage.logs import FOLDER, write_group

IDENTITY = WalIdentity(1, 0)
SECOND_US = 1_000_000


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the log holds a few writes."""
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 64)
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 1000)


class Archived(Opened):
    """A partition in a data folder, its log archived, and what it held after each of its writes."""

    def __init__(self, folder: Path, name: str = "data", archive: str = "archive") -> None:
        self.data = folder / name
        self.archive = folder / archive
        self.states: list[Rows] = [{}]
        self._random = Random(name)
        opened = DataFolder.open(OsDisk(), self.data, lambda: 7)
        if not opened.catalog.collections():
            opened.create("docs", Kind.TURBO, 4, Metric("l2"), resolve({}, 4), NO_FIELDS)
        opened.close()
        self._open()

    def _open(self) -> None:
        self.disk = OsDisk()
        self.folder = partition_folder(self.data, 1, 0)
        self.collection = the_collection(self.data)
        keep = LogArchive(self.disk, self.archive, IDENTITY).keep
        of = self.disk, self.folder, self.collection, 0
        self.partition = Partition.open(*of, lambda: self._random.getrandbits(32), keep, self.now_us)
        self.reader = PartitionReader(*of, self.partition.memory, self.now_us)

    def now_us(self) -> int:
        return len(self.states) * SECOND_US

    def step(self) -> None:
        """Write some rows, or delete some."""
        number, rows = len(self.states), dict(self.states[-1])
        ids = self._random.sample(range(60), self._random.randint(1, 12))
        if number % 5 == 0 and rows:
            gone = [row_id for row_id in ids if row_id in rows] or [next(iter(rows))]
            self.delete(gone)
            for row_id in gone:
                del rows[row_id]
        else:
            self.upsert(ids, [[float(number)] * 4] * len(ids), [{"n": number}] * len(ids))
            rows.update(dict.fromkeys(ids, number))
        self.states.append(rows)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def restart(self) -> None:
        self.close()
        self._open()

    @property
    def lsn(self) -> int:
        return len(self.states) - 1

    @property
    def archived(self) -> list[int]:
        """The first LSN of each file in the archive."""
        return sorted(int(path.stem) for path in self.archive.rglob("*.wal"))

    @property
    def logged(self) -> list[int]:
        """The same of the log."""
        return sorted(int(path.stem) for path in (self.folder / "wal").iterdir())


def the_collection(data: Path) -> Collection:
    catalog = Catalog(data / "catalog.sqlite")
    try:
        return catalog.collections()[0]
    finally:
        catalog.close()


@pytest.fixture
def archived(tmp_path: Path) -> Iterator[Archived]:
    """Writes that are sealed, then a backup, then writes of which all but the last are archived."""
    life = Archived(tmp_path)
    life.steps(20)
    life.seal()
    life.steps(7)
    backup(life.data, tmp_path / "backup")
    for _ in range(3):
        life.steps(10)
        life.seal()
    life.step()
    yield life
    life.close()


@contextmanager
def refused(code: errors.ErrorCode, match: str) -> Iterator[None]:
    with pytest.raises(errors.RedDBError, match=match) as caught:
        yield
    assert caught.value.code is code


def archive_of(life: Archived, lsn: int) -> Path:
    return life.archive / "1" / "0" / f"{lsn:020d}.wal"


# --- how far a restore goes ----------------------------------------------------------------------------------


def test_every_lsn_from_the_sealed_one_to_the_end_of_the_archive_gives_its_state(
    archived: Archived, tmp_path: Path
) -> None:
    for lsn in [*range(20, 57, 3), 57]:
        target = tmp_path / "restored" / str(lsn)
        lines = restore(tmp_path / "backup", target, archive=archived.archive, to_lsn=[str(lsn)])
        assert lines[0] == f"docs/0: up to LSN {lsn}, of which the backup has 27"
        assert rows_in(target) == archived.states[lsn], lsn


def test_without_a_target_all_of_the_archive_is_there(archived: Archived, tmp_path: Path) -> None:
    restore(tmp_path / "backup", tmp_path / "newest", archive=archived.archive)
    restore(tmp_path / "backup", tmp_path / "plain")
    assert rows_in(tmp_path / "newest") == archived.states[57]
    assert rows_in(tmp_path / "plain") == archived.states[27]
    assert archived.lsn == 58  # the last write was not archived yet


def test_every_time_gives_what_was_written_until_then(archived: Archived, tmp_path: Path) -> None:
    for second in range(20, 57, 4):
        target = tmp_path / "restored" / str(second)
        time_us = second * SECOND_US + SECOND_US // 2
        if second == 20:  # the first record that could tell that all that is sealed was earlier is later itself
            with refused(errors.INVALID_VALUE, "docs/0 has sealed rows that may be later"):
                restore(tmp_path / "backup", target, archive=archived.archive, to_time_us=time_us)
            continue
        restore(tmp_path / "backup", target, archive=archived.archive, to_time_us=time_us)
        assert rows_in(target) == archived.states[second], second
    restore(tmp_path / "backup", tmp_path / "exact", archive=archived.archive, to_time_us=30 * SECOND_US)
    assert rows_in(tmp_path / "exact") == archived.states[30]


def test_a_time_is_written_with_each_record(archived: Archived) -> None:
    times = []
    path = archive_of(archived, archived.archived[0])
    read_log_file(path, path.read_bytes(), IDENTITY, 1, lambda record: times.append(record.time_us), stored_lsn=0)
    assert times == [lsn * SECOND_US for lsn in range(1, len(times) + 1)]
    assert times


def test_a_point_that_is_not_there_is_refused(archived: Archived, tmp_path: Path) -> None:
    said = {"19": "is sealed up to LSN 20 in this backup", "58": "ends with LSN 57; 58 is not there"}
    for word in ("19", "58", "x", "docs/1:30", "docs/0:", "other:30", "-1"):
        with refused(errors.INVALID_VALUE, said.get(word, f"'{word}' is no LSN of one partition")):
            restore(tmp_path / "backup", tmp_path / "restored", archive=archived.archive, to_lsn=[word])
    with refused(errors.INVALID_VALUE, "'30' is no LSN of one partition"):
        restore(tmp_path / "backup", tmp_path / "restored", archive=archived.archive, to_lsn=["29", "30"])
    assert not (tmp_path / "restored").exists()
    assert not (tmp_path / "restored.partial").exists()


def test_without_an_archive_a_backup_can_be_cut_too(archived: Archived, tmp_path: Path) -> None:
    restore(tmp_path / "backup", tmp_path / "cut", to_lsn=["docs/0:23"])
    assert rows_in(tmp_path / "cut") == archived.states[23]
    with refused(errors.INVALID_VALUE, "docs/0 ends with LSN 27; 28 is not there"):
        restore(tmp_path / "backup", tmp_path / "more", to_lsn=["28"])


def test_where_the_archive_lacks_a_file_the_records_are_named(archived: Archived, tmp_path: Path) -> None:
    first, second, after = [lsn for lsn in archived.archived if lsn > 27][:3]
    archive_of(archived, second).unlink()
    lacking = f"docs/0: no file has LSN {second} to {after - 1}, and .* goes on with {after:020d}.wal"
    for where in ({}, {"to_lsn": [str(after)]}, {"to_time_us": after * SECOND_US}):
        with refused(errors.CORRUPT_DATA, lacking):
            restore(tmp_path / "backup", tmp_path / "restored", archive=archived.archive, **where)
    for number, where in enumerate(({"to_lsn": [str(first)]}, {"to_time_us": first * SECOND_US})):
        restore(tmp_path / "backup", target := tmp_path / str(number), archive=archived.archive, **where)
        assert rows_in(target) == archived.states[first]


def test_a_damaged_file_of_the_archive_is_named(archived: Archived, tmp_path: Path) -> None:
    path = archive_of(archived, next(lsn for lsn in archived.archived if lsn > 27))
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with refused(errors.CORRUPT_DATA, f"{path.name}: the record at byte 40 .* is damaged"):
        restore(tmp_path / "backup", tmp_path / "restored", archive=archived.archive)


def test_a_restored_folder_is_written_to_archived_and_backed_up_again(archived: Archived, tmp_path: Path) -> None:
    restore(tmp_path / "backup", tmp_path / "again", archive=archived.archive)
    other = Archived(tmp_path, "again")
    other.states = archived.states[:58]
    other.steps(5)
    other.seal()
    other.close()
    restore(tmp_path / "backup", tmp_path / "newest", archive=archived.archive)
    assert rows_in(tmp_path / "newest") == other.states[62]


# --- the archive ---------------------------------------------------------------------------------------------


def test_what_is_archived_is_every_record_that_was_released(archived: Archived) -> None:
    assert archived.archived[0] == 1
    assert archived.logged == [58]
    assert len(archived.archived) > 10
    found: list[int] = []
    for lsn in archived.archived:
        content = archive_of(archived, lsn).read_bytes()
        read_log_file(Path("x"), content, IDENTITY, lsn, lambda record: found.append(record.lsn), stored_lsn=None)
    assert found == list(range(1, 58))


def test_a_killed_server_that_wrote_more_to_an_archived_file_archives_it_again(tmp_path: Path) -> None:
    life = Archived(tmp_path)
    life.steps(2)
    path = life.folder / "wal" / f"{1:020d}.wal"
    LogArchive(life.disk, life.archive, IDENTITY).keep(path)  # and the kill came before the file was removed
    life.restart()
    life.step()
    life.seal()
    assert life.archived == [1]
    life.close()
    found: list[int] = []
    content = archive_of(life, 1).read_bytes()
    read_log_file(path, content, IDENTITY, 1, lambda record: found.append(record.lsn), stored_lsn=None)
    assert found == [1, 2, 3]


def test_another_history_is_not_mixed_with_the_one_that_is_archived(archived: Archived, tmp_path: Path) -> None:
    """A folder restored to an earlier point goes on otherwise: its log stays until it has an archive of its own."""
    before = {path: path.read_bytes() for path in archived.archive.rglob("*.wal")}
    restore(tmp_path / "backup", tmp_path / "other", archive=archived.archive, to_lsn=["40"])
    other = Archived(tmp_path, "other")
    other.states = archived.states[:41]
    other.steps(6)
    with refused(errors.CORRUPT_DATA, "is of another history"):
        other.seal()
    assert {path: path.read_bytes() for path in archived.archive.rglob("*.wal")} == before
    assert other.logged[0] <= 41
    other.archive = tmp_path / "new"
    other.restart()
    other.steps(1)
    other.seal()
    assert other.logged == [other.lsn + 1]
    assert other.archived[0] <= 41
    other.close()
    assert rows_in(tmp_path / "other") == other.states[-1]


def test_damage_behind_the_last_record_is_not_taken_for_its_end(tmp_path: Path) -> None:
    life = Archived(tmp_path)
    life.steps(2)
    life.close()
    path = life.folder / "wal" / f"{1:020d}.wal"
    content = bytearray(path.read_bytes())
    content[len(bytes(content).rstrip(b"\0")) - 1] ^= 1  # of the last record, behind which there is no other
    path.write_bytes(content)
    with refused(errors.CORRUPT_DATA, "is damaged behind LSN 1"):
        LogArchive(OsDisk(), life.archive, IDENTITY).keep(path)
    assert not life.archive.exists()


class Room:
    """An archive that is full at first."""

    def __init__(self) -> None:
        self.is_full = True
        self.kept: list[str] = []

    def keep(self, path: Path) -> None:
        if self.is_full:
            raise errors.DISK_FULL.error(f"cannot write {path.name}: No space left on device")
        self.kept.append(path.name)


def open_log_with(room: Room, disk: MemoryDisk, after_lsn: int = 0) -> tuple[Wal, list[int]]:
    """The log, and the LSNs that were replayed."""
    found: list[int] = []
    if not disk.list_folder(FOLDER):
        begin_log(disk, FOLDER, IDENTITY, salt=5)
    log = Wal.open(
        disk, FOLDER, IDENTITY, lambda record: found.append(record.lsn), lambda: 5, after_lsn, archive=room.keep
    )
    return log, found


def test_a_full_archive_keeps_the_log_and_takes_it_when_there_is_room() -> None:
    disk, room = MemoryDisk(), Room()
    log, _ = open_log_with(room, disk)
    for number in range(80):
        write_group(log, [b"%d" % number * 8])
    names = disk.list_folder(FOLDER)
    assert len(names) > 2
    for _ in range(2):
        with refused(errors.DISK_FULL, "No space left"):
            log.release(80)
        assert disk.list_folder(FOLDER) == [*names, f"{81:020d}.wal"]
    assert log.bytes == 40  # none of those is needed: they do not make a checkpoint due
    write_group(log, [b"more"])
    log.close()
    log, replayed = open_log_with(room, disk, after_lsn=80)  # says so, and opens
    assert replayed == [81]
    assert {*names} < {*disk.list_folder(FOLDER)}
    room.is_full = False
    log.release(81)
    assert (room.kept[:-1], disk.list_folder(FOLDER)) == (names, [f"{82:020d}.wal"])
    log.close()


def test_at_a_start_what_was_not_archived_is() -> None:
    disk, room = MemoryDisk(), Room()
    log, _ = open_log_with(room, disk)
    for number in range(80):
        write_group(log, [b"%d" % number * 8])
    log.close()
    names = disk.list_folder(FOLDER)
    room.is_full = False
    log, _ = open_log_with(room, disk, after_lsn=80)
    log.close()
    assert room.kept == names[:-1]
    assert disk.list_folder(FOLDER) == names[-1:]


def test_an_archive_that_cannot_be_written_keeps_the_log(tmp_path: Path) -> None:
    """On the real disk: a file is where the archive's folder must be made."""
    life = Archived(tmp_path)
    life.archive.write_text("in the way")
    life.steps(12)
    with refused(errors.DISK_FAILED, "cannot open .*/1/0: Not a directory"):
        life.seal()
    assert life.logged[0] == 1
    life.archive.unlink()
    life.step()
    life.seal()
    assert (life.logged, life.archived[0]) == ([life.lsn + 1], 1)
    life.close()
    assert rows_in(life.data) == life.states[-1]
