"""Backups of a folder, taken while it is written to or not, and what is made of them; refusals by name."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import reddb
from reddb import errors
from reddb.backup.description import read_description
from reddb.disk import OsDisk
from tests.engine.backups import Course, backup, create, inodes, restore, rows_in, rows_of
from tests.engine.folders import DELETED, all_ids, files_below, flip, ids_in, look, make_folder, partition_of, tear

SEGMENT = "collections/1/0/segments"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file, and its backup beside it."""
    folder = tmp_path_factory.mktemp("made")
    make_folder(folder / "data")
    backup(folder / "data", folder / "backup")
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A backup of one's own, as files that no other has."""
    target = tmp_path / "backup"
    for name, content in files_below(made / "backup").items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return target


@contextmanager
def refused(code: errors.ErrorCode, match: str) -> Iterator[None]:
    with pytest.raises(errors.RedDBError, match=match) as caught:
        yield
    assert caught.value.code is code


# --- what is in it -----------------------------------------------------------------------------------------


def test_what_is_restored_has_the_same_rows_and_is_sound(made: Path, tmp_path: Path) -> None:
    lines = restore(made / "backup", tmp_path / "data")
    assert lines[0] == "docs/0: up to LSN 10, of which the backup has 10"
    assert look(tmp_path / "data").code == 0
    assert sorted(ids_in(tmp_path / "data"), key=str) == all_ids()
    for name in ("graphs", "lists"):
        assert sorted(ids_in(tmp_path / "data", name)) == [n for n in range(1000) if n not in DELETED]


def test_a_backup_is_itself_a_sound_folder(made: Path) -> None:
    looked = look(made / "backup")
    assert looked.code == 0
    assert list(looked.having("unknown")) == ["BACKUP"]


def test_nothing_in_the_data_folder_changes(made: Path, tmp_path: Path) -> None:
    before = files_below(made / "data")
    backup(made / "data", tmp_path / "another")
    assert files_below(made / "data") == before


def test_the_description_names_each_file_and_how_far_each_partition_goes(made: Path) -> None:
    description = read_description(OsDisk(), made / "backup")
    assert sorted(file.path for file in description.files) == sorted({*files_below(made / "backup")} - {"BACKUP"})
    assert next((item.name, item.last_lsn) for item in description.partitions) == ("docs/0", 10)
    assert (
        description.bytes
        == sum(map(len, files_below(made / "backup").values())) - (made / "backup" / "BACKUP").stat().st_size
    )


def test_what_no_manifest_names_is_left_out(made: Path, tmp_path: Path) -> None:
    restore(made / "backup", data := tmp_path / "data")
    (segment, *_) = sorted((data / SEGMENT).iterdir())
    for garbage in (segment / "graph.7.ckpt", segment / "live.9", data / SEGMENT / "99" / "ids", data / "LOCK"):
        garbage.parent.mkdir(exist_ok=True)
        garbage.write_bytes(b"garbage")
    (partition_of(data) / "MANIFEST.tmp").write_bytes(b"garbage")
    tear(data, b"torn")
    backup(data, tmp_path / "backup")
    assert {*files_below(tmp_path / "backup")} == {*files_below(made / "backup")}


def test_a_folder_without_rows(tmp_path: Path) -> None:
    with reddb.connect(f"file:{tmp_path / 'data'}") as db:
        backup(tmp_path / "data", tmp_path / "no-collection")
        create(db)
        backup(tmp_path / "data", tmp_path / "no-row")
    restore(tmp_path / "no-collection", tmp_path / "first")
    restore(tmp_path / "no-row", tmp_path / "second")
    assert rows_in(tmp_path / "second") == {}
    with reddb.connect(f"file:{tmp_path / 'first'}") as db:
        assert len(db.execute("SHOW COLLECTIONS")) == 0


# --- beside a writer ---------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing of `tmp_path` can be linked to."""
    folder = Path("/dev/shm") / f"reddb-test-{os.getpid()}"
    folder.mkdir()
    try:
        if folder.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no other file system to write to")
        yield folder
    finally:
        OsDisk().remove_tree(folder)


@pytest.mark.parametrize("place", ["tmp_path", "elsewhere"])  # linked, copied
def test_each_of_many_backups_beside_a_writer_is_a_prefix_with_all_that_was_acknowledged(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    target: Path = request.getfixturevalue(place)
    course, done, last = Course(1), [0], threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with reddb.connect(f"file:{tmp_path / 'data'}") as db:
                while not last.is_set():
                    course.write(db)
                    done[0] += 1
        except BaseException as error:
            failures.append(error)

    with reddb.connect(f"file:{tmp_path / 'data'}") as db:
        create(db)
    writer = threading.Thread(target=write)
    writer.start()
    acknowledged: list[int] = []
    try:
        for number in range(5):
            while done[0] < 30 * number and writer.is_alive():
                last.wait(0.005)
            acknowledged.append(done[0])
            base = target / str(number - 1) if number % 2 else None
            backup(tmp_path / "data", target / str(number), base)
    finally:
        last.set()
        writer.join()
    assert not failures
    sealed = [read_description(OsDisk(), target / str(number)).partitions[0].generation for number in range(5)]
    assert sealed[-1] > 12, "nothing was sealed or merged meanwhile"
    for number, before in enumerate(acknowledged):
        restore(target / str(number), tmp_path / "restored" / str(number))
        prefixes = course.prefixes(rows_in(tmp_path / "restored" / str(number)))
        assert prefixes, f"backup {number} is no prefix of the writes"
        assert max(prefixes) >= before


def test_a_collection_that_is_dropped_meanwhile_is_in_it_whole_or_not_at_all(tmp_path: Path) -> None:
    data, last = tmp_path / "data", threading.Event()
    failures: list[BaseException] = []

    def create_and_drop() -> None:
        try:
            with reddb.connect(f"file:{data}") as db:
                while not last.is_set():
                    create(db, name="fleeting")
                    db.upsert("fleeting", ids=range(1100), vectors=[[7.0] * 4] * 1100, payloads=[{"n": 7}] * 1100)
                    db.execute("DROP COLLECTION fleeting")
        except BaseException as error:
            failures.append(error)

    with reddb.connect(f"file:{data}") as db:
        create(db)
        db.upsert("docs", ids=[1], vectors=[[5.0] * 4], payloads=[{"n": 5}])
    other = threading.Thread(target=create_and_drop)
    other.start()
    made: list[Path] = []
    try:
        for number in range(10):
            try:
                backup(data, tmp_path / str(number))
                made.append(tmp_path / str(number))
            except errors.RedDBError as error:
                if error.code is not errors.UNAVAILABLE:  # it was not dropped at every try
                    raise
    finally:
        last.set()
        other.join()
    assert not failures
    assert made
    for target in made:
        restore(target, restored := tmp_path / "restored" / target.name)
        with reddb.connect(f"file:{restored}") as db:
            assert rows_of(db) == {1: 5}
            if len(db.execute("SHOW COLLECTIONS")) == 2:
                assert len(rows_of(db, "fleeting")) in (0, 1100)


# --- links -------------------------------------------------------------------------------------------------


def test_sealed_files_are_linked_and_a_restore_links_nothing(made: Path, tmp_path: Path) -> None:
    of_data, of_backup = inodes(made / "data"), inodes(made / "backup")
    linked = {name for name in of_backup if of_data.get(name) == of_backup[name]}
    assert linked == {name for name in of_backup if "/segments/" in name}
    restore(made / "backup", tmp_path / "data")
    assert not {*inodes(tmp_path / "data").values()} & {*of_backup.values()}


def test_on_another_file_system_what_the_base_has_is_linked_from_there(tmp_path: Path, elsewhere: Path) -> None:
    course, data = Course(5), tmp_path / "data"
    with reddb.connect(f"file:{data}") as db:
        create(db)
        for _ in range(40):
            course.write(db)
        db.execute("ALTER COLLECTION docs SEAL")
        assert " new " not in backup(data, elsewhere / "first")[-1]
        course.write(db)
        db.execute("ALTER COLLECTION docs SEAL")
        lines = backup(data, elsewhere / "second", elsewhere / "first")
    first, second = inodes(elsewhere / "first"), inodes(elsewhere / "second")
    linked = {name for name in second if first.get(name) == second[name]}
    assert linked
    assert all("/segments/" in name for name in linked)
    before, after = files_below(elsewhere / "first"), files_below(elsewhere / "second")
    new_bytes = sum(len(content) for name, content in after.items() if before.get(name) != content)
    new_bytes -= len(after["BACKUP"])
    assert f", {new_bytes:,} of them new since {elsewhere / 'first'}" in lines[-1]
    # A base that is damaged gives nothing: what it lacks is copied.
    victim = next(name for name in sorted(linked) if name.endswith("vectors.f32"))
    flip(elsewhere / "first" / victim)
    backup(data, elsewhere / "third", elsewhere / "first")
    assert inodes(elsewhere / "third")[victim] != first[victim]
    restore(elsewhere / "third", tmp_path / "restored")
    assert course.prefixes(rows_in(tmp_path / "restored"))[-1] == 41


# --- what is refused ---------------------------------------------------------------------------------------


def test_every_file_that_was_changed_cut_or_taken_away_is_named(copied: Path, tmp_path: Path) -> None:
    names = [name for name in files_below(copied) if name.count("/") == 0 or name.startswith("collections/1/")]
    for number, name in enumerate(names):
        path = copied / name
        content = path.read_bytes()
        damages = [bytes([content[0] ^ 1]) + content[1:], content[:-1], None]
        for damaged in damages if name == "BACKUP" else damages[number % 3 :][:1]:
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            code = errors.UNSUPPORTED_FORMAT if (name, damaged) == ("BACKUP", None) else errors.CORRUPT_DATA
            with refused(code, f": {name} |file BACKUP"):
                restore(copied, tmp_path / "data")
            path.write_bytes(content)
    assert {*tmp_path.iterdir()} == {copied}
    restore(copied, tmp_path / "data")


def test_damaged_data_gives_no_backup(made: Path, tmp_path: Path) -> None:
    restore(made / "backup", data := tmp_path / "data")
    for name in ("vectors.f32", "payloads", "codes.1.tv", "live.1"):
        path = next((data / SEGMENT).glob(f"*/{name}"))
        content = path.read_bytes()
        flip(path)
        with refused(errors.CORRUPT_DATA, f": {path.relative_to(data)}: "):
            backup(data, tmp_path / "backup")
        path.write_bytes(content)
    flip(partition_of(data) / "MANIFEST")
    with refused(errors.CORRUPT_DATA, ": collections/1/0/MANIFEST: "):
        backup(data, tmp_path / "backup")
    assert {*tmp_path.iterdir()} == {data}


def test_a_missing_file_gives_no_backup(made: Path, tmp_path: Path) -> None:
    restore(made / "backup", data := tmp_path / "data")
    victim = next((data / SEGMENT).glob("*/ids"))
    victim.unlink()
    with refused(errors.CORRUPT_DATA, f": {victim.relative_to(data)} is missing"):
        backup(data, tmp_path / "backup")


def test_acknowledged_records_that_are_damaged_give_no_backup(made: Path, tmp_path: Path) -> None:
    restore(made / "backup", data := tmp_path / "data")
    (log,) = (partition_of(data) / "wal").iterdir()
    flip(log, 60)
    with refused(errors.CORRUPT_DATA, "was written after its sync"):
        backup(data, tmp_path / "backup")


def test_nothing_is_put_over_what_is_there(made: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "there", tmp_path / "file"):
        with refused(errors.INVALID_VALUE, "is there already"):
            backup(made / "data", target)
        with refused(errors.INVALID_VALUE, "is there already"):
            restore(made / "backup", target)
    with refused(errors.INVALID_VALUE, "lies in"):
        backup(made / "data", made / "data" / "backup")
    (tmp_path / "empty").mkdir()
    restore(made / "backup", tmp_path / "empty")
    assert (tmp_path / "there" / "notes").read_text() == "mine"


def test_what_is_no_data_folder_and_no_backup(made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with refused(errors.UNSUPPORTED_FORMAT, "is no data folder"):
        backup(tmp_path / "empty", tmp_path / "backup")
    with refused(errors.UNSUPPORTED_FORMAT, "is no backup"):
        restore(made / "data", tmp_path / "data")
    with refused(errors.UNSUPPORTED_FORMAT, "is no backup"):
        backup(made / "data", tmp_path / "backup", made / "data")


def test_what_was_left_is_told_and_left_alone(made: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "notes").write_text("mine")
    left = [tmp_path / "backup.partial", tmp_path / "backup.partial-0123abcd"]
    left[0].symlink_to(stranger)
    (left[1] / "collections").mkdir(parents=True)
    lines = backup(made / "data", tmp_path / "backup")
    assert [line for line in lines if "left alone" in line] == [
        f"{path}: left by a run that was cut short, or of one that is at work; left alone" for path in left
    ]
    assert {*files_below(tmp_path / "backup")} == {*files_below(made / "backup")}
    with refused(errors.INVALID_VALUE, "is there already"):
        restore(made / "backup", left[0])  # a link is not followed
    assert {*tmp_path.iterdir()} == {tmp_path / "backup", stranger, *left}
    assert (stranger / "notes").read_text() == "mine"


def test_a_catalog_that_was_cut_short_is_not_guessed_at(made: Path, tmp_path: Path) -> None:
    """A journal that must be rolled back: only who may write to the folder can do that."""
    restore(made / "backup", data := tmp_path / "data")
    database = sqlite3.connect(data / "catalog.sqlite", isolation_level=None)
    database.execute("PRAGMA cache_size = 1")
    database.execute("BEGIN IMMEDIATE")
    for number in range(50_000):
        database.execute("INSERT INTO dropped (id) VALUES (?)", (1000 + number,))
    journal, catalog = (data / "catalog.sqlite-journal").read_bytes(), (data / "catalog.sqlite").read_bytes()
    database.rollback()
    database.close()
    (data / "catalog.sqlite").write_bytes(catalog)
    (data / "catalog.sqlite-journal").write_bytes(journal)
    with refused(errors.DISK_FAILED, "the next start of a server rolls back"):
        backup(data, tmp_path / "backup")


def test_an_index_that_is_made_anew_leaves_the_linked_one_alone(tmp_path: Path) -> None:
    """It has the same number, for the one before was damaged; written over in place, it would change the backup."""
    data = tmp_path / "data"
    with reddb.connect(f"file:{data}") as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 4 METRIC l2")
        db.execute("CREATE INDEX ON docs (n)")
        for first in (0, 1500):
            rows = range(first, first + 1500)
            db.insert("docs", rows, [[n, 1, 2, 3] for n in rows], [{"n": n, "m": n} for n in rows])
            db.execute("ALTER COLLECTION docs SEAL")
        db.execute("ALTER COLLECTION docs COMPACT")
        db.execute("CREATE INDEX ON docs (m)")
        backup(data, tmp_path / "backup")
    (codes,) = data.rglob("codes.2.tv")
    content = codes.read_bytes()
    codes.unlink()  # what is damaged here is not the backup's file
    codes.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    with reddb.connect(f"file:{data}") as db:
        assert [tuple(row) for row in db.execute("SHOW INDEXES FOR docs")] == [("m", 3000, 3000), ("n", 3000, 3000)]
    restore(tmp_path / "backup", tmp_path / "again")
    with reddb.connect(f"file:{tmp_path / 'again'}") as db:
        assert [tuple(row) for row in db.execute("SHOW INDEXES FOR docs")] == [("m", 3000, 0), ("n", 3000, 3000)]
