"""What every disk promises: the real one and the one in memory that the other tests use, by the same tests."""

from __future__ import annotations

import os
import resource
import stat
import threading
from pathlib import Path
from random import Random

import numpy as np
import pytest

from reddb import errors, limits
from reddb.disk import Disk, OsDisk
from tests.storage.disks import SECTOR, MemoryDisk


@pytest.fixture(params=[OsDisk, MemoryDisk])
def disk(request: pytest.FixtureRequest) -> Disk:
    return request.param()


@pytest.fixture
def folder(disk: Disk, tmp_path: Path) -> Path:
    path = tmp_path / "a" / "b"
    disk.make_folder(path)
    return path


def refused(code: errors.ErrorCode, path: Path):
    return pytest.raises(errors.RedDBError, match=f"^{code.name}: .*{path}")


def test_appended_parts_lie_end_to_end(disk, folder):
    file = disk.open_append(folder / "x", 0)
    file.append([b"ab", memoryview(b"cd"), np.array([1], "<u2"), b"", bytearray(b"e")])
    file.append([b"f"] * 3000)  # more buffers than one call of the system takes
    assert file.size == 7 + 3000
    file.close()
    assert disk.read_file(folder / "x") == b"abcd\x01\x00e" + b"f" * 3000


def test_reserved_bytes_are_zero_and_no_part_of_the_size(disk, folder):
    file = disk.open_append(folder / "x", 0)
    file.append([b"abc"])
    file.reserve(10)
    assert file.size == 3
    file.append([b"d"])
    assert disk.read_file(folder / "x") == b"abcd" + b"\0" * 6
    file.reserve(4)  # never shortens
    assert len(disk.read_file(folder / "x")) == 10
    file.close()


def test_a_cut_drops_the_rest(disk, folder):
    file = disk.open_append(folder / "x", 0)
    file.append([b"abcdef"])
    file.reserve(100)
    file.cut(2)
    assert file.size == 2
    file.append([b"X"])
    file.sync()
    file.close()
    assert disk.read_file(folder / "x") == b"abX"


@pytest.mark.parametrize(("size", "expected"), [(2, b"abZ"), (4, b"abcdZ"), (0, b"Z")])
def test_opening_keeps_the_first_bytes(disk, folder, size, expected):
    disk.write_file(folder / "x", b"abcd")
    file = disk.open_append(folder / "x", size)
    file.append([b"Z"])
    file.close()
    assert disk.read_file(folder / "x") == expected


def test_folders_list_sorted_names_and_missing_ones_nothing(disk, folder):
    disk.write_file(folder / "b", b"")
    disk.write_file(folder / "a", b"")
    disk.make_folder(folder / "c")
    disk.make_folder(folder / "c")
    assert disk.list_folder(folder) == ["a", "b", "c"]
    assert disk.list_folder(folder / "missing") == []


def test_writing_a_file_replaces_it_and_leaves_nothing_else(disk, folder):
    disk.write_file(folder / "x", b"long old content")
    disk.write_file(folder / "x", b"new")
    assert disk.read_file(folder / "x") == b"new"
    assert disk.list_folder(folder) == ["x"]


def test_a_mapped_file_shows_its_bytes_and_takes_none(disk, folder):
    disk.write_file(folder / "x", b"content")
    disk.write_file(folder / "empty", b"")
    view = disk.map_file(folder / "x")
    assert bytes(view) == b"content"
    assert view.readonly
    assert bytes(disk.map_file(folder / "empty")) == b""
    with refused(errors.DISK_FAILED, folder / "missing"):
        disk.map_file(folder / "missing")


def test_a_mapping_outlives_its_file(disk, folder):
    disk.write_file(folder / "x", b"old content")
    view = disk.map_file(folder / "x")
    disk.write_file(folder / "x", b"new")
    assert bytes(view) == b"old content"
    disk.remove_file(folder / "x")
    assert bytes(view) == b"old content"


def test_a_renamed_file_takes_the_place_of_another(disk, folder):
    disk.write_file(folder / "x", b"old")
    disk.write_file(folder / "y", b"new")
    disk.rename(folder / "y", folder / "x")
    assert disk.list_folder(folder) == ["x"]
    assert disk.read_file(folder / "x") == b"new"
    with refused(errors.DISK_FAILED, folder / "missing"):
        disk.rename(folder / "missing", folder / "x")


def test_the_bytes_of_a_folder_are_those_of_its_files(disk, folder):
    disk.write_file(folder / "x", b"12345")
    disk.write_file(folder / "y", b"678")
    assert disk.folder_bytes(folder) == 8
    assert disk.folder_bytes(folder / "missing") == 0


def test_removing_what_is_not_there_is_no_error(disk, folder):
    disk.write_file(folder / "c", b"")
    disk.remove_file(folder / "c")
    disk.remove_file(folder / "c")
    disk.make_folder(folder / "d" / "e")
    disk.write_file(folder / "d" / "e" / "f", b"")
    disk.remove_tree(folder / "d")
    disk.remove_tree(folder / "d")
    assert disk.list_folder(folder) == []


def test_errors_name_the_path(disk, folder):
    with refused(errors.DISK_FAILED, folder / "missing"):
        disk.read_file(folder / "missing")
    with refused(errors.DISK_FAILED, folder / "no" / "x"):
        disk.open_append(folder / "no" / "x", 0)


def test_a_second_lock_names_the_first_owner(disk, folder):
    lock = disk.lock(folder, "pid 4242 on here\n")
    with refused(errors.DATA_IN_USE, folder) as caught:
        disk.lock(folder, "me")
    assert "pid 4242 on here" in caught.value.message
    lock.close()


def test_the_lock_of_the_real_disk_ends_with_its_descriptor(tmp_path):
    disk = OsDisk()
    disk.lock(tmp_path, "a much longer name than the next\n").close()
    lock = disk.lock(tmp_path, "me\n")
    assert (tmp_path / "LOCK").read_text() == "me\n"
    lock.close()


@pytest.fixture
def file_size_max():
    """The real system refuses more, after writing what fits: the nearest thing to a full disk without being root.

    As large as no other file that this process writes: its own log may be one.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.GIB, before[1]))
    yield limits.GIB
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_does_not_fit_is_a_full_disk_and_can_be_cut_back(tmp_path, file_size_max):
    start = file_size_max - 1000
    file = OsDisk().open_append(tmp_path / "x", start)  # a hole, which takes no room
    file.append([b"a" * 900])
    with refused(errors.DISK_FULL, tmp_path / "x"):
        file.append([b"b" * 50, b"c" * 100, b"d"])
    file.cut(start + 900)
    with refused(errors.DISK_FULL, tmp_path / "x"):
        file.reserve(file_size_max + 1000)
    file.append([b"e" * 100])
    file.close()
    with (tmp_path / "x").open("rb") as written:
        written.seek(start)
        assert written.read() == b"a" * 900 + b"e" * 100


def test_files_and_folders_are_their_owners_alone(tmp_path):
    disk = OsDisk()
    before = os.umask(0)
    try:
        disk.make_folder(tmp_path / "f" / "g")
        disk.write_file(tmp_path / "f" / "x", b"")
        disk.open_append(tmp_path / "f" / "y", 0).close()
        disk.lock(tmp_path / "f", "me").close()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "f", *(tmp_path / "f").iterdir()]}
    assert modes == {"f": 0o700, "g": 0o700, "x": 0o600, "y": 0o600, "LOCK": 0o600}


def test_power_loss_keeps_what_was_synced_and_mixes_the_rest():
    """The tests of the log stand on this model, so it is tested itself."""
    outcomes = set()
    for seed in range(64):
        disk = MemoryDisk()
        disk.make_folder(Path("/f"))
        file = disk.open_append(Path("/f/x"), 0)
        file.append([b"a" * SECTOR])
        file.sync()
        disk.sync_folder(Path("/f"))
        file.append([b"b" * SECTOR + b"c"])
        after = disk.power_loss(Random(seed)).read_file(Path("/f/x"))
        assert after[:SECTOR] == b"a" * SECTOR
        outcomes.add(after[SECTOR:].replace(b"b" * SECTOR, b"B").replace(b"\0" * SECTOR, b"0"))
    assert outcomes == {b"", b"Bc", b"0c", b"B\0", b"0\0"}


def test_power_loss_may_lose_a_name_whose_folder_was_not_synced():
    found = set()
    for seed in range(16):
        disk = MemoryDisk()
        disk.make_folder(Path("/f"))
        file = disk.open_append(Path("/f/x"), 0)
        file.append([b"a"])
        file.sync()
        found.add(tuple(disk.power_loss(Random(seed)).list_folder(Path("/f"))))
    assert found == {(), ("x",)}


def test_a_folder_is_measured_while_files_of_it_are_removed(tmp_path):
    """As SHOW SEGMENTS does beside the one who removes what was replaced."""
    disk = OsDisk()
    (tmp_path / "kept").write_bytes(bytes(1000))
    done = threading.Event()

    def replace() -> None:
        while not done.is_set():
            (tmp_path / "passing").write_bytes(bytes(10))
            (tmp_path / "passing").unlink()

    replacing = threading.Thread(target=replace)
    replacing.start()
    try:
        for _ in range(3000):
            assert 1000 <= disk.folder_bytes(tmp_path) <= 1010
    finally:
        done.set()
        replacing.join()


def test_a_folder_that_is_there_is_made_durable_all_the_same(tmp_path, monkeypatch):
    """Who made it may have been killed before its name was synced, and what is put into it next would go with it."""
    synced: list[Path] = []
    disk = OsDisk()
    monkeypatch.setattr(OsDisk, "sync_folder", lambda self, path: synced.append(path))
    (tmp_path / "a").mkdir()
    disk.make_folder(tmp_path / "a")
    assert synced == [tmp_path]
    disk.make_folder(tmp_path / "a" / "b")
    assert synced[1:] == [tmp_path, tmp_path / "a"]
