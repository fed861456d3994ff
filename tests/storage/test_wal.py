"""The write-ahead log without accidents: what was written is replayed, in files of bounded size."""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors, limits
from reddb.disk import OsDisk
from reddb.storage.wal import Wal, WalIdentity, begin_log
from tests.storage.disks import MemoryDisk
from tests.storage.logs import FOLDER, IDENTITY, SALT, only_file, open_log, replay_of, write_group, write_groups


@pytest.fixture(autouse=True, scope="module")
def _little_is_reserved():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "WAL_PREALLOCATE_BYTES", 64)
        yield


@given(st.lists(st.lists(st.binary(max_size=50), min_size=1, max_size=4), max_size=5))
def test_what_was_written_is_replayed(groups):
    disk = MemoryDisk()
    written = write_groups(disk, groups)
    assert replay_of(disk) == written
    assert replay_of(disk) == written  # reading changes nothing


def test_the_same_on_the_real_disk(tmp_path):
    disk = OsDisk()
    log, replayed = open_log(disk, folder=tmp_path / "wal")
    assert replayed == []
    write_group(log, [b"one", b"two"])
    log.close()
    log, replayed = open_log(disk, folder=tmp_path / "wal")
    write_group(log, [b"three"], operation=9)
    log.close()
    log, again = open_log(disk, folder=tmp_path / "wal")
    log.close()
    assert replayed == [(1, 1, b"one"), (2, 1, b"two")]
    assert again == [*replayed, (3, 9, b"three")]
    assert log.torn_tail is None


def test_reopening_goes_on_with_the_next_lsn():
    disk = MemoryDisk()
    expected = []
    for round_ in range(4):
        log, replayed = open_log(disk, salt=round_)
        assert replayed == expected
        assert log.next_lsn == len(expected) + 1
        write_group(log, [b"a%d" % round_, b"b%d" % round_])
        log.close()
        expected = [*expected, (len(expected) + 1, 1, b"a%d" % round_), (len(expected) + 2, 1, b"b%d" % round_)]
    assert len(disk.list_folder(FOLDER)) == 1


def test_a_record_of_several_parts_is_one_body():
    disk = MemoryDisk()
    log, _ = open_log(disk)
    log.append([(2, [b"ab", np.array([1.0], np.float32), memoryview(b"c"), b""])])
    log.sync()
    log.close()
    assert replay_of(disk) == [(1, 2, b"ab\0\0\x80\x3fc")]


def test_the_bytes_are_those_of_the_layout():
    """Written here a second time from the description, so that a change of the format cannot go unseen."""
    disk = MemoryDisk()
    write_groups(disk, [[b"hello"], [b""]])

    def crc(data: bytes, seed: int = 0) -> int:
        return google_crc32c.extend(seed, data)

    def record(lsn: int, durable: int, body: bytes) -> bytes:
        numbers = struct.pack("<QQB7x", lsn, durable, 1)
        length = struct.pack("<I", len(body))
        padding = bytes(-len(body) % 8)
        return length + struct.pack("<I", crc(numbers + length + body, SALT)) + numbers + body + padding

    head, first_lsn = struct.pack("<8sIIQI", b"RedDBWAL", 1, SALT, 3, 1), struct.pack("<Q", 1)
    expected = head + struct.pack("<I", crc(head + first_lsn)) + first_lsn + record(1, 0, b"hello") + record(2, 1, b"")
    content = bytes(disk.content(only_file(disk)))
    assert content[: len(expected)] == expected
    assert content.strip(b"\0") == expected.strip(b"\0")
    assert only_file(disk).name == f"{1:020d}.wal"


def test_a_group_is_durable_only_up_to_the_sync_before_it():
    disk = MemoryDisk()
    log, _ = open_log(disk)
    for _ in range(2):
        write_group(log, [b"x", b"y"])
    log.append([(1, [b"z"])])
    log.append([(1, [b"z"])])
    log.close()
    durable: list[int] = []
    Wal.open(disk, FOLDER, IDENTITY, lambda record: durable.append(record.durable_lsn), lambda: 0).close()
    assert durable == [0, 0, 2, 2, 4, 4]


def test_space_is_reserved_ahead_and_zero(monkeypatch):
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 1000)
    disk = MemoryDisk()
    write_groups(disk, [[b"x" * 8]])
    content = bytes(disk.content(only_file(disk)))
    assert len(content) == 40 + 40 + 1000
    assert content[80:] == bytes(1000)


@pytest.mark.parametrize("identity", [WalIdentity(4, 1), WalIdentity(3, 0)])
def test_the_log_of_another_partition_is_refused(identity):
    disk = MemoryDisk()
    write_groups(disk, [[b"x"]])
    with pytest.raises(errors.RedDBError, match="belongs to collection 3, partition 1") as caught:
        open_log(disk, identity=identity)
    assert caught.value.code is errors.CORRUPT_DATA


def small_files(monkeypatch, groups: int = 12) -> tuple[MemoryDisk, list[tuple[int, int, bytes]]]:
    """A log whose files take two groups of two records each."""
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 200)
    disk = MemoryDisk()
    return disk, write_groups(disk, [[b"%08d" % number, b"second"] for number in range(groups)])


def test_a_new_file_is_begun_at_the_limit_and_named_by_its_first_lsn(monkeypatch):
    disk, written = small_files(monkeypatch)
    assert disk.list_folder(FOLDER) == [f"{lsn:020d}.wal" for lsn in (1, 5, 9, 13, 17, 21)]
    assert replay_of(disk) == written
    written = write_groups(disk, [[b"more"]])
    assert replay_of(disk) == written


def test_each_file_has_a_salt_of_its_own(monkeypatch):
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 41)
    disk = MemoryDisk()
    salts = iter([11, 22, 33])
    begin_log(disk, FOLDER, IDENTITY, next(salts))
    log = Wal.open(disk, FOLDER, IDENTITY, lambda record: None, lambda: next(salts))
    for _ in range(3):
        write_group(log, [b"x"])
    log.close()
    found = [struct.unpack_from("<I", disk.content(FOLDER / name), 12)[0] for name in disk.list_folder(FOLDER)]
    assert found == [11, 22, 33]


@pytest.mark.parametrize("lost", range(1, 5))
def test_a_missing_file_in_the_middle_is_corruption(monkeypatch, lost):
    disk, _ = small_files(monkeypatch)
    disk.remove_file(FOLDER / disk.list_folder(FOLDER)[lost])
    with pytest.raises(errors.RedDBError, match="a file is missing") as caught:
        open_log(disk)
    assert caught.value.code is errors.CORRUPT_DATA


def test_a_missing_first_file_is_corruption(monkeypatch):
    """Only what was released may be gone: a log that begins later than what is needed has lost rows."""
    disk, _ = small_files(monkeypatch)
    disk.remove_file(FOLDER / disk.list_folder(FOLDER)[0])
    with pytest.raises(errors.RedDBError) as caught:
        open_log(disk)
    assert caught.value.code is errors.CORRUPT_DATA


def test_any_damage_in_a_file_that_is_not_the_last_is_corruption(monkeypatch):
    disk, _ = small_files(monkeypatch, groups=6)
    names = disk.list_folder(FOLDER)
    for name in names[:-1]:
        whole = bytes(disk.content(FOLDER / name))
        end = len(whole.rstrip(b"\0"))
        for cut in range(end):
            disk.put(FOLDER / name, whole[:cut])
            with pytest.raises(errors.RedDBError) as caught:
                open_log(disk)
            assert caught.value.code is errors.CORRUPT_DATA, (name, cut)
        disk.put(FOLDER / name, whole[:40] + bytes(len(whole) - 40))  # as if the device had lost all of it
        with pytest.raises(errors.RedDBError, match="CORRUPT_DATA"):
            open_log(disk)
        disk.put(FOLDER / name, whole)


def test_a_refused_log_is_left_as_it_was(monkeypatch):
    disk, _ = small_files(monkeypatch)
    middle = FOLDER / disk.list_folder(FOLDER)[2]
    disk.content(middle)[60] ^= 1
    before = {name: bytes(disk.content(FOLDER / name)) for name in disk.list_folder(FOLDER)}
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match=r"a later file exists|was written after its sync") as caught:
            open_log(disk)
        assert caught.value.detail == {"path": str(middle), "offset": 40}
    assert {name: bytes(disk.content(FOLDER / name)) for name in disk.list_folder(FOLDER)} == before


def test_other_files_in_the_folder_are_left_alone():
    disk = MemoryDisk()
    written = write_groups(disk, [[b"x"]])
    disk.put(FOLDER / "notes.txt", b"mine")
    assert replay_of(disk) == written
    assert bytes(disk.content(FOLDER / "notes.txt")) == b"mine"


def test_a_file_of_a_newer_format_is_named_as_such():
    disk = MemoryDisk()
    write_groups(disk, [[b"x"]])
    disk.content(only_file(disk))[8] = 2
    with pytest.raises(errors.RedDBError, match="has format 2; this build reads 1") as caught:
        open_log(disk)
    assert caught.value.code is errors.UNSUPPORTED_FORMAT


def test_a_file_that_is_no_log_is_refused():
    disk = MemoryDisk()
    disk.make_folder(FOLDER)
    disk.put(FOLDER / f"{1:020d}.wal", b"some other text, longer than a header of ours would be")
    with pytest.raises(errors.RedDBError, match="is not a write-ahead log") as caught:
        open_log(disk)
    assert caught.value.code is errors.CORRUPT_DATA
