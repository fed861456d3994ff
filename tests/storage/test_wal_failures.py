"""A log on a disk that fills up or fails: what did not work is undone, or nothing more is taken."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from random import Random

import pytest

from reddb import errors, limits
from reddb.disk import OsDisk
from tests.storage.disks import MemoryAppendFile, MemoryDisk
from tests.storage.logs import FOLDER, open_log, replay_of, write_group, write_groups

CODES = {
    errno.ENOSPC: errors.DISK_FULL,
    errno.EIO: errors.DISK_FAILED,
    errno.EMFILE: errors.TOO_MANY_FILES,
}
SYNC_ERRORS = [errno.EIO, errno.ENOSPC]  # some file systems find out that the disk is full only now


@pytest.fixture(autouse=True)
def _little_is_reserved(monkeypatch):
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 64)


def started() -> tuple[MemoryDisk, object, list[tuple[int, int, bytes]]]:
    """A disk with a log of two groups, open."""
    disk = MemoryDisk()
    written = write_groups(disk, [[b"one"], [b"two", b"three"]])
    log, _ = open_log(disk)
    return disk, log, written


@contextmanager
def no_descriptors() -> Iterator[None]:
    """The process may open no file."""
    limits_before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits_before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits_before)


def assert_poisoned(log) -> None:
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match="until a restart") as caught:
            log.append([(1, [b"more"])])
        assert caught.value.code is errors.DISK_FAILED
        with pytest.raises(errors.RedDBError, match="until a restart"):
            log.sync()


@pytest.mark.parametrize(
    ("action", "written"), [("write", 0), ("write", 1), ("write", 31), ("write", 100), ("extend", 0)]
)
def test_an_append_that_does_not_fit_changes_nothing(action, written):
    disk, log, before = started()
    disk.fail_next(action, errno.ENOSPC, written)
    with pytest.raises(errors.RedDBError) as caught:
        write_group(log, [b"x" * 200, b"y"])
    assert caught.value.code is errors.DISK_FULL
    assert log.next_lsn == 4
    write_group(log, [b"after"])
    log.close()
    assert replay_of(disk) == [*before, (4, 1, b"after")]


def test_a_full_disk_takes_writes_again_once_there_is_room():
    disk = MemoryDisk(capacity=2000)
    log, _ = open_log(disk)
    while disk.capacity - disk.used > 200:
        write_group(log, [b"x" * 100])
    written = log.next_lsn - 1
    assert written > 5
    with pytest.raises(errors.RedDBError) as caught:
        write_group(log, [b"x" * 100, b"y" * 100])
    assert caught.value.code is errors.DISK_FULL
    disk.capacity = 10_000
    write_group(log, [b"after"])
    log.close()
    assert [lsn for lsn, _, _ in replay_of(disk)] == list(range(1, written + 2))


def test_power_lost_after_an_undone_append_does_not_bring_it_back():
    for seed in range(50):
        disk, log, before = started()
        disk.fail_next("write", errno.ENOSPC, 2000)
        with pytest.raises(errors.RedDBError, match="DISK_FULL"):
            log.append([(1, [b"x" * 1500]), (1, [b"y" * 1000])])
        assert replay_of(disk.power_loss(Random(seed))) == before


def test_a_write_error_that_can_be_undone_leaves_the_log_open():
    disk, log, before = started()
    disk.fail_next("write", errno.EIO, 10)
    with pytest.raises(errors.RedDBError) as caught:
        log.append([(1, [b"x"])])
    assert caught.value.code is errors.DISK_FAILED
    write_group(log, [b"after"])
    log.close()
    assert replay_of(disk) == [*before, (4, 1, b"after")]


@pytest.mark.parametrize("then", ["cut", "sync"])
def test_an_append_that_cannot_be_undone_poisons_the_log(then):
    disk, log, before = started()
    disk.fail_next("write", errno.ENOSPC, 10)
    disk.fail_next(then, errno.EIO)
    with pytest.raises(errors.RedDBError, match="could not be cut back") as caught:
        log.append([(1, [b"x"])])
    assert caught.value.code is errors.DISK_FAILED
    assert_poisoned(log)
    log.close()
    assert replay_of(disk) == before


@pytest.mark.parametrize("number", SYNC_ERRORS)
def test_a_failing_sync_poisons_the_log(number):
    disk, log, before = started()
    log.append([(1, [b"x"])])
    disk.fail_next("sync", number)
    with pytest.raises(errors.RedDBError) as caught:
        log.sync()
    # Never DISK_FULL, which says "undone" and "try again": the bytes may be on the device, or lost.
    assert caught.value.code is errors.DISK_FAILED
    assert not caught.value.retryable
    assert_poisoned(log)
    log.close()
    assert replay_of(disk)[:3] == before


def test_a_poisoned_log_opens_again():
    disk, log, before = started()
    log.append([(1, [b"x"])])
    disk.fail_next("sync", errno.EIO)
    with pytest.raises(errors.RedDBError):
        log.sync()
    log.close()
    after = write_groups(disk, [[b"new"]])
    assert after[:3] == before
    assert after[-1][2] == b"new"
    assert replay_of(disk) == after


def test_a_sync_that_fails_while_the_next_file_is_begun_poisons_the_log(monkeypatch):
    """The records before it were not synced, and a second sync would say that they are."""
    disk, log, _ = started()
    log.append([(1, [b"not synced yet"])])
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 41)
    disk.fail_next("sync", errno.EIO)
    with pytest.raises(errors.RedDBError) as caught:
        log.append([(1, [b"x"])])
    assert caught.value.code is errors.DISK_FAILED
    assert_poisoned(log)
    log.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
@pytest.mark.parametrize(
    ("action", "written"),
    [("write", 0), ("write", 17), ("sync", 0), ("rename", 0), ("sync folder", 0), ("open", 0)],
)
def test_a_file_that_cannot_be_begun_is_begun_again_later(monkeypatch, action, written, number):
    """Nothing of the group was written, and whatever there is of the file is put in place once more."""
    for seed in range(10):
        disk, log, before = started()
        monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", log.bytes)
        if action == "sync":
            disk.fail_next("sync", 0)  # that of the file before, which is fine
        disk.fail_next(action, number, written)
        with pytest.raises(errors.RedDBError) as caught:
            log.append([(1, [b"x"])])
        assert caught.value.code is CODES[number]
        log.release(0)
        assert replay_of(deepcopy(disk)) == before
        assert replay_of(deepcopy(disk).power_loss(Random(seed))) == before
        write_group(log, [b"after"])
        log.close()
        assert disk.list_folder(FOLDER) == [f"{lsn:020d}.wal" for lsn in (1, 4)]
        assert replay_of(disk.power_loss(Random(seed))) == [*before, (4, 1, b"after")]


@pytest.mark.parametrize("action", ["write", "sync", "rename", "sync folder", "open"])
def test_a_file_that_cannot_be_begun_keeps_the_one_before(action):
    """A release that fails half-way, and another one after it: at every moment there is a log on the device."""
    for seed in range(10):
        disk, log, before = started()
        if action == "sync":
            disk.fail_next("sync", 0)
        disk.fail_next(action, errno.EIO)
        with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
            log.release(3)
        assert replay_of(deepcopy(disk).power_loss(Random(seed)), 3) == []
        log.release(3)
        assert replay_of(deepcopy(disk).power_loss(Random(seed)), 3) == []
        write_group(log, [b"after"])
        log.close()
        assert replay_of(disk.power_loss(Random(seed)), 3) == [(4, 1, b"after")]
        assert len(before) == 3


def test_writes_go_on_when_there_are_descriptors_again(tmp_path, monkeypatch):
    """On the real disk: without a descriptor no file can be begun and no folder synced."""
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 41)
    log, _ = open_log(OsDisk(), folder=tmp_path)
    write_group(log, [b"one"])
    for _ in range(2):
        with no_descriptors(), pytest.raises(errors.RedDBError) as caught:
            write_group(log, [b"two"])
        assert caught.value.code is errors.TOO_MANY_FILES
        assert caught.value.retryable
    write_group(log, [b"two"])
    with no_descriptors(), pytest.raises(errors.RedDBError):
        log.release(2)
    log.release(2)
    write_group(log, [b"three"])
    log.close()
    log, replayed = open_log(OsDisk(), folder=tmp_path, after_lsn=2)
    log.close()
    assert replayed == [(3, 1, b"three")]


@pytest.mark.parametrize("action", ["read", "open", "sync", "sync folder"])
def test_an_opening_that_fails_says_so_and_can_be_repeated(action):
    disk = MemoryDisk()
    before = write_groups(disk, [[b"one"]])
    disk.fail_next(action, errno.EIO)
    with pytest.raises(errors.RedDBError) as caught:
        open_log(disk)
    assert caught.value.code is errors.DISK_FAILED
    assert replay_of(disk) == before


def test_what_no_later_record_proves_is_written_again_before_it_is_trusted(monkeypatch):
    """After a failed sync the kernel shows bytes that the device never took, and a later sync alone writes nothing."""
    again: list[tuple[int, bytes]] = []
    write_again = MemoryAppendFile.write_again

    def noted(file: MemoryAppendFile, start: int, content: bytes) -> None:
        again.append((start, bytes(content)))
        write_again(file, start, content)

    monkeypatch.setattr(MemoryAppendFile, "write_again", noted)
    disk, log, written = started()
    again.clear()
    write_group(log, [b"proven" * 10])
    before = log.bytes
    write_group(log, [b"acknowledged"])  # it says that the one before was synced, and nothing says so of this one
    log.append([(1, [b"of unknown outcome"])])
    disk.fail_next("sync", errno.EIO)
    with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
        log.sync()
    end = log.bytes
    log.close()
    assert [body for _, _, body in replay_of(disk)[len(written) :]] == [
        b"proven" * 10,
        b"acknowledged",
        b"of unknown outcome",
    ]
    assert again == [(before + 48, bytes(disk.content(FOLDER / disk.list_folder(FOLDER)[-1])[before + 48 : end]))]
