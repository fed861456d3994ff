"""The data folder: one holder at a time, one format, nothing of a stranger's touched."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reddb import errors
from reddb.disk import OsDisk
from reddb.fields import NO_FIELDS
from reddb.settings import resolve
from reddb.storage.folder import DataFolder, collection_folder, partition_folder
from reddb.storage.manifest import begin_partition
from reddb.types import Kind, Metric


def open_folder(path: Path) -> DataFolder:
    return DataFolder.open(OsDisk(), path, lambda: 7)


def contents(path: Path) -> dict[str, bytes]:
    """Every file below the path but LOCK, whose holder's name is all that an opening may write before it knows."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "LOCK"]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def refused(path: Path) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        open_folder(path)
    return caught.value


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_a_new_folder_has_the_described_files(tmp_path):
    folder = open_folder(tmp_path / "new" / "data")
    assert (folder.path / "VERSION").read_text() == "reddb data format 1\n"
    assert {"LOCK", "VERSION", "catalog.sqlite"} <= set(os.listdir(folder.path))
    folder.close()
    again = open_folder(tmp_path / "new" / "data")
    assert again.catalog.collections() == []
    again.close()


def test_a_second_holder_is_told_who_the_first_is(tmp_path):
    folder = open_folder(tmp_path)
    error = refused(tmp_path)
    assert error.code is errors.DATA_IN_USE
    assert f"pid {os.getpid()} on {os.uname().nodename}" in error.message
    assert str(tmp_path) in error.message
    folder.close()
    open_folder(tmp_path).close()


def test_another_process_holds_the_folder_until_it_ends(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from reddb.disk import OsDisk; from reddb.storage.folder import DataFolder\n"
        f"folder = DataFolder.open(OsDisk(), Path({str(tmp_path)!r}), lambda: 7)\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert f"pid {process.pid} on " in refused(tmp_path).message
        process.kill()  # no goodbye: the lock is the system's, not ours to clean up
        process.wait(timeout=10)
    open_folder(tmp_path).close()


@pytest.mark.parametrize(
    "version", ["reddb data format 2\n", "reddb data format 10\n", "", "something else", "\xff\xfe"]
)
def test_an_unknown_version_is_refused_before_anything_is_written(tmp_path, version):
    open_folder(tmp_path).close()
    (tmp_path / "VERSION").write_bytes(version.encode("latin-1"))
    before, open_before = contents(tmp_path), descriptors()
    error = refused(tmp_path)
    assert error.code is errors.UNSUPPORTED_FORMAT
    assert error.detail == {"path": str(tmp_path / "VERSION")}
    assert contents(tmp_path) == before
    assert descriptors() == open_before


def test_a_catalog_without_a_version_is_refused_as_damaged(tmp_path):
    open_folder(tmp_path).close()
    (tmp_path / "VERSION").unlink()
    before = contents(tmp_path)
    assert refused(tmp_path).code is errors.CORRUPT_DATA
    assert contents(tmp_path) == before


@pytest.mark.parametrize("size", [None, 0, 1])
def test_a_lost_catalog_is_no_new_database(tmp_path, size):
    """It would begin again with collection 1, and find the rows of the old one in its folder."""
    folder = open_folder(tmp_path)
    made = folder.catalog.create("docs", Kind.TURBO, 2, Metric.L2, {})
    partition_folder(tmp_path, made.id, 0).mkdir(parents=True)
    folder.close()
    catalog = tmp_path / "catalog.sqlite"
    if size is None:
        catalog.unlink()
    else:
        catalog.write_bytes(catalog.read_bytes()[:size])
    for _ in range(2):  # nor is the second try
        assert refused(tmp_path).code is errors.CORRUPT_DATA


def test_a_damaged_catalog_leaves_the_folder_unlocked(tmp_path):
    (tmp_path / "VERSION").write_text("reddb data format 1\n")
    (tmp_path / "catalog.sqlite").write_bytes(b"no database" * 1000)
    open_before = descriptors()
    assert refused(tmp_path).code is errors.CORRUPT_DATA
    assert refused(tmp_path).code is errors.CORRUPT_DATA  # and not DATA_IN_USE
    assert descriptors() == open_before


def test_a_new_folder_is_its_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        open_folder(tmp_path / "data").close()
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) for name in ("", "LOCK", "VERSION")}
    assert modes == {"": 0o700, "LOCK": 0o600, "VERSION": 0o600}


def test_paths_are_made_of_numbers():
    assert collection_folder(Path("/d"), 12) == Path("/d/collections/12")
    assert partition_folder(Path("/d"), 12, 0) == Path("/d/collections/12/0")


def test_only_the_folders_of_dropped_collections_are_removed(tmp_path):
    folder = open_folder(tmp_path)
    kept, dropped = (
        folder.catalog.create(name, Kind.TURBO, 2, Metric.L2, resolve({}, 2)) for name in ("kept", "dropped")
    )
    for collection_id in (kept.id, dropped.id, 999):  # 999: nothing says that it is garbage
        path = partition_folder(tmp_path, collection_id, 0)
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"x")
    folder.catalog.drop(dropped.id)
    folder.close()
    folder = open_folder(tmp_path)
    folder.remove_dropped()
    assert sorted(os.listdir(tmp_path / "collections")) == sorted([str(kept.id), "999"])
    assert folder.catalog.dropped() == []
    folder.remove_dropped()
    folder.close()


def test_what_a_create_left_that_was_cut_short_is_removed(tmp_path):
    folder = open_folder(tmp_path)
    settings = resolve({"partitions": 3}, 2)
    made = folder.create("docs", Kind.TURBO, 2, Metric.L2, settings, NO_FIELDS)
    before = contents(tmp_path)
    for number in (0, 1):  # as if killed in the next one, before the catalog knew of it
        begin_partition(OsDisk(), partition_folder(tmp_path, made.id + 1, number), made, number, salt=7)
    assert contents(tmp_path) != before
    folder.remove_dropped()
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path / "collections") == [str(made.id)]
    folder.close()


def test_a_collection_that_cannot_be_begun_does_not_exist(tmp_path):
    folder = open_folder(tmp_path)
    (tmp_path / "collections").write_bytes(b"")  # no folder can be made here
    with pytest.raises(errors.RedDBError, match=r"CORRUPT_DATA: .*is a file, where a folder belongs"):
        folder.create("docs", Kind.TURBO, 2, Metric.L2, resolve({}, 2), NO_FIELDS)
    assert folder.catalog.collections() == []
    folder.close()
