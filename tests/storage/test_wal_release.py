"""A log whose beginning stands elsewhere: what is replayed then, which files go, and which must be there."""

from __future__ import annotations

from random import Random

import pytest

from reddb import errors, limits
from reddb.disk import OsDisk
from reddb.storage.wal import Wal
from tests.storage.disks import MemoryDisk
from tests.storage.logs import FOLDER, IDENTITY, Replayed, open_log, replay_of, write_group, write_groups


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    """Files of two groups of two records each: they begin with LSN 1, 5, 9, …"""
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 64)
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 200)


def started(groups: int = 12) -> tuple[MemoryDisk, Replayed]:
    """A closed log of two records a group."""
    disk = MemoryDisk()
    return disk, write_groups(disk, [[b"%08d" % number, b"second"] for number in range(groups)])


def first_lsns(disk: MemoryDisk) -> list[int]:
    return [int(name.removesuffix(".wal")) for name in disk.list_folder(FOLDER)]


def release(disk: MemoryDisk, after_lsn: int, lsn: int) -> None:
    log, _ = open_log(disk, after_lsn=after_lsn)
    log.release(lsn)
    log.close()


@pytest.mark.parametrize("after_lsn", [0, 1, 4, 5, 11, 23, 24])
def test_only_records_beyond_the_given_one_are_replayed(after_lsn):
    disk, written = started()
    assert replay_of(disk, after_lsn) == written[after_lsn:]
    log, _ = open_log(disk, after_lsn=after_lsn)
    assert log.next_lsn == 25
    log.close()


@pytest.mark.parametrize(
    ("lsn", "left"),
    [
        (0, [1, 5, 9, 13, 17, 21]),
        (3, [1, 5, 9, 13, 17, 21]),
        (4, [5, 9, 13, 17, 21]),
        (11, [9, 13, 17, 21]),
        (20, [21]),
        (23, [21]),
        (24, [25]),
        (99, [25]),
    ],
)
def test_files_whose_every_record_is_released_go(lsn, left):
    disk, written = started()
    release(disk, 0, lsn)
    assert first_lsns(disk) == left
    lsn = min(lsn, 24)
    assert replay_of(disk, lsn) == written[lsn:]


def test_what_is_written_after_a_release_is_there():
    """Also when no record was left: a file was begun with the next LSN."""
    disk, written = started()
    log, _ = open_log(disk)
    for round_ in range(5):
        log.release(log.next_lsn - 1)
        log.release(log.next_lsn - 1)
        assert first_lsns(disk) == [25 + 2 * round_]
        assert log.bytes == 40
        write_group(log, [b"more", b"%d" % round_])
        assert first_lsns(disk) == [25 + 2 * round_]
    log.close()
    assert replay_of(disk, 32) == [(33, 1, b"more"), (34, 1, b"4")]
    assert len(written) == 24


def test_a_record_that_was_not_synced_is_not_released():
    disk, _ = started(groups=1)
    log, _ = open_log(disk)
    log.append([(1, [b"unsynced"])])
    log.release(99)
    assert first_lsns(disk) == [1]
    log.sync()
    log.release(99)
    assert first_lsns(disk) == [4]
    log.close()


def test_other_files_are_not_released():
    disk, _ = started()
    disk.put(FOLDER / "00000000000000000000.txt", b"mine")
    release(disk, 0, 99)
    assert disk.list_folder(FOLDER) == ["00000000000000000000.txt", f"{25:020d}.wal"]


def test_the_same_on_the_real_disk(tmp_path):
    log, _ = open_log(OsDisk(), folder=tmp_path)
    for number in range(12):
        write_group(log, [b"%08d" % number, b"second"])
    log.release(11)
    log.close()
    log, replayed = open_log(OsDisk(), folder=tmp_path, after_lsn=11)
    log.close()
    assert [lsn for lsn, _, _ in replayed] == list(range(12, 25))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("lost", [2, 3, 4])
def test_a_needed_file_that_is_missing_is_corruption(lost):
    disk, _ = started()
    disk.remove_file(FOLDER / disk.list_folder(FOLDER)[lost])
    for after_lsn in (0, 4, 8):
        with pytest.raises(errors.RedDBError, match="a file is missing") as caught:
            open_log(disk, after_lsn=after_lsn)
        assert caught.value.code is errors.CORRUPT_DATA


@pytest.mark.parametrize("after_lsn", [0, 3, 7])
def test_a_log_that_begins_too_late_is_corruption(after_lsn):
    disk, _ = started()
    for name in disk.list_folder(FOLDER)[:2]:
        disk.remove_file(FOLDER / name)
    with pytest.raises(errors.RedDBError, match="a file is missing"):
        open_log(disk, after_lsn=after_lsn)
    assert replay_of(disk, 8)[0][0] == 9


def test_a_log_that_ends_too_early_is_corruption():
    """What was stored elsewhere up to an LSN was in the log before: a shorter log is not this one, or was damaged."""
    disk, _ = started()
    with pytest.raises(errors.RedDBError, match="ends with LSN 24, but 30 was stored") as caught:
        open_log(disk, after_lsn=30)
    assert caught.value.code is errors.CORRUPT_DATA
    assert caught.value.detail["path"] == str(FOLDER / disk.list_folder(FOLDER)[-1])


@pytest.mark.parametrize("after_lsn", [0, 7, 24])
def test_a_log_without_a_file_is_lost(after_lsn):
    """Whether it was sealed up to its end or not: the newest file is never removed."""
    disk, _ = started()
    release(disk, after_lsn, after_lsn)
    for name in disk.list_folder(FOLDER):
        disk.remove_file(FOLDER / name)
    for has_folder in (True, False):
        with pytest.raises(errors.RedDBError, match=f"no file of the log: .* behind LSN {after_lsn} is lost") as caught:
            Wal.open(disk, FOLDER, IDENTITY, lambda record: None, lambda: 0, after_lsn)
        assert (caught.value.code, caught.value.detail) == (errors.CORRUPT_DATA, {"path": str(FOLDER)})
        if has_folder:
            disk.remove_tree(FOLDER)


def test_a_log_that_nobody_writes_has_no_file():
    disk = MemoryDisk()
    log = Wal.open(disk, FOLDER, IDENTITY, lambda record: None, lambda: 0, 7, is_written=False)
    log.skip(3)
    log.release(10)
    assert (log.next_lsn, disk.list_folder(FOLDER)) == (11, [])


def test_whatever_a_power_cut_brings_back_is_removed_again():
    for seed in range(50):
        disk, written = started()
        release(disk, 0, 24)
        again = disk.power_loss(Random(seed))
        assert replay_of(again, 24) == []
        assert first_lsns(again) == [25]
    assert len(written) == 24


def test_a_release_that_fails_half_way_leaves_a_log():
    disk, written = started()
    log, _ = open_log(disk)
    disk.fail_next("remove", 5)
    with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
        log.release(16)
    log.release(16)
    assert first_lsns(disk) == [17, 21]
    log.close()
    assert replay_of(disk, 16) == written[16:]


def test_power_lost_after_a_release_loses_nothing():
    """A removed name may come back, any of them."""
    for seed in range(50):
        disk, written = started()
        release(disk, 0, 17)
        after = disk.power_loss(Random(seed))
        assert replay_of(after, 17) == written[17:]
