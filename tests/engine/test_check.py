"""`reddb check` looks: every file has its line, every damage is found, and nothing is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reddb import errors
from reddb.check.findings import Finding, Status
from reddb.check.partition import check_partition
from reddb.check.read_only import ReadOnlyDisk
from reddb.database import Database
from reddb.disk import OsDisk
from reddb.storage.checked_file import write_checked
from reddb.storage.folder import partition_folder
from reddb.storage.manifest import SegmentRecord, read_manifest, write_manifest
from reddb.storage.sealed import FILES, IDS, PAYLOADS, identity_of, open_file, segment_folder
from reddb.storage.wal import Wal, WalIdentity
from tests.engine import folders
from tests.engine.folders import GRAPH, LISTS, TURBO, files_below, flip, look, partition_of
from tests.engine.partitions import Opened, collection

SEGMENT = "collections/{}/0/segments/1/"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("check") / "made"
    folders.make_folder(data)
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


# --- a sound folder ---------------------------------------------------------------------------------------


def test_a_sound_folder_has_a_line_for_each_file_and_a_verdict(data):
    found = look(data)
    assert found.having("ok").keys() == files_below(data).keys()
    rows = len(folders.all_ids()) + 2 * (len(folders.FIRST) + len(folders.SECOND) - len(folders.DELETED))
    assert found.verdict == f"sound: {len(files_below(data))} files, 3 collections, {rows:,} rows"
    assert (found.code, len(found.lines)) == (0, len(files_below(data)) + 1)
    path = SEGMENT.format(TURBO) + "vectors.f32"
    size = (data / path).stat().st_size
    assert f"ok      {path}   {size:,} bytes, 600 rows" in found.lines
    assert found.having("ok")[SEGMENT.format(TURBO) + "live.1"].endswith("580 of 600 rows live")


def test_the_rows_are_those_that_the_database_finds(data):
    assert sorted(folders.ids_in(data), key=str) == folders.all_ids()


def test_there_is_a_file_of_each_kind(data):
    names = {Path(name).name for name in files_below(data)}
    assert {*FILES, "live.1", "index.1", "codes.1.tv", "fields.1", "graph.2.ckpt", "lists.2.ivf", "MANIFEST"} <= names


@pytest.mark.parametrize("state", ["sound", "damaged"])
def test_nothing_is_changed(data, state):
    """Neither what the next start would: a torn tail, garbage, a manifest that was staged, a journal."""
    folders.tear(data, b"torn")
    (partition_of(data) / "segments/1/graph.7.ckpt").write_bytes(b"half a graph")
    (partition_of(data) / "segments/9").mkdir()
    (partition_of(data) / "MANIFEST.tmp").write_bytes(b"half a manifest")
    (data / "catalog.sqlite-journal").write_bytes(bytes(512))
    if state == "damaged":
        flip(partition_of(data) / "segments/2/ids")
    before = files_below(data), folders.times_below(data)
    found = look(data)
    assert (files_below(data), folders.times_below(data)) == before
    assert found.code == (state == "damaged")
    assert found.having("garbage").keys() == {
        *("collections/1/0/segments/1/graph.7.ckpt", "collections/1/0/segments/9", "collections/1/0/MANIFEST.tmp")
    }
    assert "torn tail of 4 bytes, never acknowledged" in found.having("ok")[str(folders.log_of(data).relative_to(data))]


def test_what_nobody_knows_is_named_and_is_no_damage(data):
    (data / "notes.txt").touch()
    (data / "collections/7/0").mkdir(parents=True)
    (data / "collections/7/0/ids").touch()
    (data / "collections/8/0").mkdir(parents=True)
    (data / "collections/1/1").mkdir()
    (partition_of(data) / "notes.txt").touch()
    (partition_of(data) / "wal/notes.txt").touch()
    (partition_of(data) / "segments/1/notes.txt").touch()
    found = look(data)
    assert found.having("unknown").keys() == {
        *("notes.txt", "collections/7", "collections/1/1"),
        *(f"collections/1/0/{folder}notes.txt" for folder in ("", "wal/", "segments/1/")),
    }
    assert "catalog names no such collection" in found.having("unknown")["collections/7"]
    assert "a CREATE was cut short" in found.having("garbage")["collections/8"]
    assert (found.code, found.having("damaged")) == (0, {})


def test_the_folder_of_a_dropped_collection_is_garbage(data, monkeypatch):
    monkeypatch.setattr("reddb.storage.folder.DataFolder.remove_dropped", lambda self: None)  # as if killed before it
    with folders.opened(data) as db:
        db.execute("DROP COLLECTION lists")
    found = look(data)
    assert "was dropped" in found.having("garbage")[f"collections/{LISTS}"]
    assert (found.code, found.verdict.split(", ")[1]) == (0, "2 collections")


def test_a_log_file_that_was_released_is_garbage(data):
    log = folders.log_of(data)
    (log.parent / f"{1:020d}.wal").write_bytes(b"of long ago")
    found = look(data)
    assert list(found.having("garbage")) == [f"collections/1/0/wal/{1:020d}.wal"]
    assert found.code == 0


def test_a_new_folder_is_sound(tmp_path):
    Database(tmp_path).close()
    assert look(tmp_path).verdict == "sound: 3 files, 0 collections, 0 rows"
    (tmp_path / "catalog.sqlite").unlink()  # the machine stopped before it was begun
    assert look(tmp_path).verdict == "sound: 2 files, 0 collections, 0 rows"


# --- what cannot be looked at -----------------------------------------------------------------------------


def refused(data: Path, *, repair: bool = False) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        look(data, repair=repair)
    return caught.value


@pytest.mark.parametrize("repair", [False, True])
def test_a_folder_in_use_is_refused(data, repair):
    with folders.opened(data):
        error = refused(data, repair=repair)
    assert error.code is errors.DATA_IN_USE
    assert "in use by pid" in error.message
    assert look(data).code == 0


@pytest.mark.parametrize("repair", [False, True])
def test_what_is_no_data_folder_is_refused_and_left_alone(tmp_path, repair):
    assert "is no data folder" in refused(tmp_path, repair=repair).message
    assert files_below(tmp_path) == {}


def test_a_folder_of_another_format_is_refused(data):
    (data / "VERSION").write_text("reddb data format 2\n")
    assert refused(data, repair=True).code is errors.UNSUPPORTED_FORMAT


def test_a_folder_without_its_lock_is_looked_at(data):
    (data / "LOCK").unlink()
    assert look(data).code == 0
    assert not (data / "LOCK").exists()


def test_a_file_that_the_disk_does_not_read_is_not_called_damaged(data, monkeypatch):
    whole = OsDisk.map_file

    def map_file(disk: OsDisk, path: Path) -> memoryview:
        if path.name == "ids":
            raise errors.DISK_FAILED.error(f"cannot map {path}: Input/output error", path=str(path))
        return whole(disk, path)

    monkeypatch.setattr(OsDisk, "map_file", map_file)
    before = {name: content for name, content in files_below(data).items() if name != "LOCK"}
    assert "Input/output error" in refused(data, repair=True).message
    assert {name: content for name, content in files_below(data).items() if name != "LOCK"} == before


# --- damage -----------------------------------------------------------------------------------------------

KINDS = [
    *(f"collections/{TURBO}/0/segments/1/{name}" for name in (*FILES, "live.1", "index.1", "codes.1.tv", "fields.1")),
    *(f"collections/{GRAPH}/0/segments/2/{name}" for name in ("index.2", "graph.2.ckpt")),
    *(f"collections/{LISTS}/0/segments/2/{name}" for name in ("index.2", "lists.2.ivf")),
    f"collections/{TURBO}/0/MANIFEST",
]


@pytest.mark.parametrize("how", ["flipped", "cut", "missing", "another's"])
@pytest.mark.parametrize("path", KINDS)
def test_every_damaged_file_is_found_and_named(data, path, how):
    match how:
        case "flipped":
            flip(data / path)
        case "cut":
            (data / path).write_bytes((data / path).read_bytes()[:-9])
        case "missing":
            (data / path).unlink()
        case _:
            others = [name for name in files_below(data) if name.endswith("/0/MANIFEST") and name != path]
            (data / path).write_bytes((data / others[0]).read_bytes())
    found = look(data)
    if how == "missing" and "fields" in path:
        assert found.code == 0  # there may be none, if the index was made later than the segment
        return
    assert list(found.having("damaged")) == [path]
    assert found.code == 1
    assert found.verdict.startswith("damaged: 1 of ")
    if how == "missing":
        assert found.having("damaged")[path].startswith("is missing")


@pytest.mark.parametrize("kind", ["catalog.sqlite", "VERSION"])
def test_damage_to_the_folders_own_files(data, kind):
    if kind == "VERSION":
        (data / kind).unlink()
    else:
        (data / kind).write_bytes(b"SQLite format 2\0" + (data / kind).read_bytes()[16:])
    found = look(data)
    assert list(found.having("damaged")) == [kind]
    assert found.code == 1


def test_a_page_of_the_catalog_that_contradicts_another_is_found(data):
    content = (data / "catalog.sqlite").read_bytes()
    page = content.rindex(b"CREATE TABLE dropped") // 4096 * 4096  # the schema, whose cells begin at its end
    (data / "catalog.sqlite").write_bytes(content[: page + 4096] + bytes(4096) + content[page + 8192 :])
    assert list(look(data).having("damaged")) == ["catalog.sqlite"]


@pytest.mark.parametrize("what", ["collection", "partition"])
def test_a_missing_folder_is_damage(data, what):
    folder = partition_of(data, GRAPH)
    shutil.rmtree(folder if what == "partition" else folder.parent)
    assert list(look(data).having("damaged")) == [f"collections/{GRAPH}/0"]


def test_a_partition_without_a_manifest_is_damaged_even_where_nothing_else_is_there(data):
    shutil.rmtree(partition_of(data, GRAPH))
    partition_of(data, GRAPH).mkdir()
    (partition_of(data, GRAPH) / "MANIFEST.tmp").touch()
    found = look(data)
    manifest = partition_of(data, GRAPH) / "MANIFEST"
    assert found.having("damaged").keys() == {str(manifest.relative_to(data))}
    assert found.code == 1


def test_a_damaged_log_says_what_lies_behind(data):
    log = folders.log_of(data)
    flip(log, dict(folders.records_of(data))[6] + 40)
    text = look(data).having("damaged")[str(log.relative_to(data))]
    assert "LSN 6) is damaged" in text
    assert "4 whole records, LSN 7 to 10, 4 rows written, 2 deleted" in text


def write_log(data: Path, after_lsn: int, bodies: list[bytes]) -> None:
    """Go on with the log of the first collection, in a file of its own."""
    wal = Wal.open(OsDisk(), partition_of(data) / "wal", WalIdentity(TURBO, 0), lambda _: None, lambda: 5, after_lsn)
    wal.append([(1, [body]) for body in bodies])
    wal.sync()
    wal.close()


def test_a_record_that_its_owner_could_not_apply_is_damage(data):
    write_log(data, 4, [b"no batch of rows"])
    (told,) = look(data).having("damaged").values()
    assert "(LSN 11) is not of rows" in told


def test_a_log_that_ends_before_what_is_sealed_is_damage(data):
    manifest = read_manifest(OsDisk(), partition_of(data), folders.collection_in(data, TURBO), 0)
    write_manifest(OsDisk(), partition_of(data), folders.collection_in(data, TURBO), 0, manifest.next(sealed_lsn=99))
    told = look(data).having("damaged")[str(folders.log_of(data).relative_to(data))]
    assert "ends with LSN 10, but 99 was stored" in told


# --- files that are sound, but do not fit together ---------------------------------------------------------


def test_an_id_that_lives_twice_is_found(data):
    disk, of = OsDisk(), folders.collection_in(data, TURBO)
    manifest = read_manifest(disk, partition_of(data), of, 0)
    first, second = manifest.segments
    records = (SegmentRecord(first.id, first.rows, 0, first.index), second)  # as if no row of it was dead
    write_manifest(disk, partition_of(data), of, 0, manifest.next(segments=records))
    text = look(data).having("damaged")["collections/1/0"]
    assert "has 2 rows that live" in text


def test_a_row_of_another_partition_is_found(tmp_path):
    of = collection(dim=2, partitions=2)
    folder = partition_folder(tmp_path, of.id, 0)
    made = Opened(of, folder)
    made.insert(range(100), np.ones((100, 2)))
    made.close()
    found: list[Finding] = []
    check_partition(ReadOnlyDisk(OsDisk()), tmp_path, of, 0, found.append)
    (damaged,) = [finding for finding in found if finding.status is Status.DAMAGED]
    assert "is of another partition" in damaged.text


def swap_keys(content: bytearray) -> None:
    content[600 * 8 : 600 * 8 + 16] = content[600 * 8 + 8 : 600 * 8 + 16] + content[600 * 8 : 600 * 8 + 8]


def name_a_row_twice(content: bytearray) -> None:
    order = 600 * 18
    content[order : order + 4] = content[order + 4 : order + 8]


def lengthen_a_payload(content: bytearray) -> None:
    content[600 * 8 + 2] = 0xFF


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (IDS, swap_keys, "has keys that are not in order"),
        (IDS, name_a_row_twice, "does not name every row once"),
        (PAYLOADS, lengthen_a_payload, "has payloads that lie beyond its end"),
    ],
)
def test_arrays_that_contradict_each_other_are_found(data, name: str, change: Callable[[bytearray], None], said: str):
    disk, of = OsDisk(), folders.collection_in(data, TURBO)
    folder = segment_folder(partition_of(data), 1)
    content = bytearray(open_file(disk, folder, of, 0, 1, 600, name))
    change(content)
    (folder / name).unlink()
    write_checked(disk, folder / name, identity_of(of, 0, 1, FILES[name], 600), [content])
    assert said in look(data).having("damaged")["collections/1/0"]


def test_an_index_of_other_rows_is_found(data):
    disk, of = OsDisk(), folders.collection_in(data, TURBO)
    folder = segment_folder(partition_of(data), 1)
    content = (folder / "codes.1.tv").read_bytes()
    (folder / "codes.1.tv").unlink()
    identity = identity_of(of, 0, 1, b"turb", 600)
    write_checked(disk, folder / "codes.1.tv", identity, [content[: 4 * 32 + 32 * 16 * 18]])  # a block less
    found = look(data).having("damaged")
    assert "are not the codes of 600 rows" in found["collections/1/0/segments/1/codes.1.tv"]
