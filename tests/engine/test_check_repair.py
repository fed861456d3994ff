"""`reddb check --repair`: after it the rest opens, nothing that was there is gone, and what is lost was said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import reddb
from reddb import errors
from tests.engine import folders
from tests.engine.folders import (
    DELETED,
    FIRST,
    GRAPH,
    INSERTED_AGAIN,
    LISTS,
    LOGGED,
    REPLACED,
    SECOND,
    TURBO,
    Looked,
    files_below,
    flip,
    ids_in,
    look,
    partition_of,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("repair") / "made"
    folders.make_folder(data)
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def repaired(data: Path) -> Looked:
    """Repair, and see that nothing is gone and that a second look finds nothing."""
    before = files_below(data)
    found = look(data, repair=True)
    assert found.code == 0, found.lines
    folders.assert_kept(data, before)
    again = look(data)
    assert (again.code, again.having("damaged")) == (0, {})
    assert again.verdict == found.verdict
    return found


def ids_as_expected(data: Path, expected: set[Any]) -> None:
    found = ids_in(data)
    assert len(found) == len(set(found))
    assert set(found) == expected


def all_ids() -> set[Any]:
    return set(folders.all_ids())


# --- segments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flipped", "missing"])
@pytest.mark.parametrize(
    ("of", "name"),
    [
        *((TURBO, name) for name in ("index.1", "codes.1.tv", "fields.1", "columns.arrow")),
        *((GRAPH, name) for name in ("index.2", "graph.2.ckpt")),
        *((LISTS, name) for name in ("index.2", "lists.2.ivf")),
    ],
)
def test_what_can_be_made_anew_costs_no_row(data, of, name, how):
    path = partition_of(data, of) / "segments/2" / name
    if how == "flipped":
        flip(path)
    else:
        path.unlink()
    found = look(data, repair=True) if "fields" in name and how == "missing" else repaired(data)
    assert found.code == 0
    ids_as_expected(data, all_ids())
    collection = {TURBO: "docs", GRAPH: "graphs", LISTS: "lists"}[of]
    with folders.opened(data) as db:  # it was made anew, and finds what it should
        shown = db.execute(f"SHOW SEGMENTS FOR {collection}")
        kinds = [row[shown.columns.index("index")] for row in shown]
        hits = db.search(collection, folders.vectors_of(SECOND)[7], k=1)
    assert kinds[1].startswith({TURBO: "turbo", GRAPH: "hnsw", LISTS: "ivf"}[of])
    assert hits.ids == [SECOND[7]]
    assert look(data).code == 0


@pytest.mark.parametrize("name", ["vectors.f32", "ids", "payloads"])
def test_a_segment_whose_rows_cannot_be_read_is_taken_out(data, name):
    flip(partition_of(data) / "segments/2" / name)
    found = repaired(data)
    text = found.having("repair")["collections/1/0/segments/2"]
    assert "410 rows are lost" in text
    assert name in text
    ids_as_expected(data, all_ids() - {*SECOND, *REPLACED})  # what it replaced stays replaced
    (aside,) = (data / "damaged").iterdir()
    assert len(list((aside / "collections/1/0/segments/2").iterdir())) == 7


def test_a_segment_that_is_missing_is_taken_out(data):
    shutil.rmtree(partition_of(data) / "segments/1")
    assert "up to 600 rows are lost" in repaired(data).having("repair")["collections/1/0/segments/1"]
    ids_as_expected(data, {*REPLACED, *SECOND, *LOGGED, *INSERTED_AGAIN})


@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_deletes_that_cannot_be_read_come_back_but_no_id_twice(data, how):
    path = partition_of(data) / "segments/1/live.1"
    if how == "flipped":
        flip(path)
    else:
        path.unlink()
    text = repaired(data).having("repair")["collections/1/0/segments/1/live.1"]
    came_back = {*DELETED} - {*INSERTED_AGAIN}
    assert "which rows were deleted is lost: 588 of 600 rows live now" in text
    ids_as_expected(data, all_ids() | came_back)
    with folders.opened(data) as db:  # the newer row, not the one that lived again
        (hit,) = db.search("docs", folders.vectors_of(REPLACED)[0] + 1, k=1)
        assert (hit.id, hit.distance) == (REPLACED[0], 0)


def test_deletes_of_two_segments_that_cannot_be_read(data):
    with folders.opened(data) as db:
        db.delete("docs", [SECOND[0], REPLACED[1]])
        db.upsert("docs", ids=["more"], vectors=[[4] * 8])
        db.execute("ALTER COLLECTION docs SEAL")
    for path in (partition_of(data) / "segments").glob("[12]/live.*"):
        flip(path)
    repaired(data)
    ids_as_expected(data, all_ids() | {*DELETED} | {*folders.DELETED_LATER, "more"})
    with folders.opened(data) as db:  # of each id the newest row
        found = db.search("docs", folders.vectors_of(REPLACED) + 1, k=1)
    assert [(hits[0].id, hits[0].distance) for hits in found] == [(row_id, 0) for row_id in REPLACED]


def test_several_files_at_once(data):
    flip(partition_of(data) / "segments/1/live.1")
    flip(partition_of(data) / "segments/1/index.1")
    flip(partition_of(data) / "segments/2/columns.arrow")
    flip(partition_of(data, GRAPH) / "segments/1/ids")
    flip(folders.log_of(data), dict(folders.records_of(data))[7] + 40)
    assert len(look(data).having("damaged")) == 5
    repaired(data)
    ids_as_expected(data, {*FIRST, *SECOND, *LOGGED[:2]})
    assert len(ids_in(data, "graphs")) == len(SECOND) + len(REPLACED)


# --- the log ----------------------------------------------------------------------------------------------


def log_lines(found: Looked, status: str = "repair") -> list[str]:
    lines = [line for line in found.lines if line.startswith(f"{status:<8}") and ".wal: " in line]
    return [line.partition(".wal: ")[2] for line in lines]


def log_line(found: Looked, status: str = "repair") -> str:
    (line,) = log_lines(found, status)
    return line


def test_a_log_is_cut_where_it_is_damaged(data):
    flip(folders.log_of(data), dict(folders.records_of(data))[6] + 40)
    text = log_line(repaired(data))
    assert "lost are LSN 6 and, behind it, 4 whole records, LSN 7 to 10, 4 rows written, 2 deleted" in text
    ids_as_expected(data, {*FIRST, *SECOND, "a"} - {*DELETED})
    with folders.opened(data) as db:  # and it goes on from there
        db.upsert("docs", ids=["new"], vectors=[[1] * 8])
    ids_as_expected(data, {*FIRST, *SECOND, "a", "new"} - {*DELETED})
    assert look(data).code == 0


def test_a_record_is_not_taken_from_behind_at_the_cost_of_those_before(data):
    places = dict(folders.records_of(data))
    copy = folders.log_of(data).read_bytes()[places[6] : places[7]]
    folders.tear(data, copy)
    flip(folders.log_of(data), places[6] + 40)
    repaired(data)
    ids_as_expected(data, {*FIRST, *SECOND, "a"} - {*DELETED})


def test_a_log_whose_first_record_is_damaged_ends_empty(data):
    flip(folders.log_of(data), 60)
    repaired(data)
    ids_as_expected(data, {*FIRST, *SECOND} - {*DELETED})


@pytest.mark.parametrize("place", [0, 17, 25, 30, 35])
def test_a_log_whose_header_is_damaged_loses_nothing(data, place):
    flip(folders.log_of(data), place)
    assert "nothing is lost" in log_line(repaired(data))
    ids_as_expected(data, all_ids())


def test_a_salt_that_is_damaged_takes_the_whole_file(data):
    flip(folders.log_of(data), 12)
    repaired(data)
    ids_as_expected(data, {*FIRST, *SECOND} - {*DELETED})


def test_files_behind_the_damage_are_moved_aside(data):
    first, second = folders.split_log(data, 8)
    assert look(data).code == 0
    flip(first, dict(folders.records_of_file(first))[6] + 40)
    damaged = look(data)
    assert list(damaged.having("damaged")) == [str(first.relative_to(data))]
    assert "3 records, LSN 8 to 10, not reached" in damaged.having("ok")[str(second.relative_to(data))]
    found = repaired(data)
    assert "4 whole records, LSN 7 to 10" in found.having("repair")[str(first.relative_to(data))]
    (aside,) = (data / "damaged").iterdir()
    moved = aside.relative_to(data) / second.relative_to(data)
    assert found.having("repair")[str(second.relative_to(data))] == f"moved to {moved}"
    ids_as_expected(data, {*FIRST, *SECOND, "a"} - {*DELETED})


def test_a_log_file_that_is_missing(data):
    first, second = folders.split_log(data, 8)
    first.unlink()
    found = repaired(data)
    moved, begun = log_lines(found)
    assert "lost are, of this file and later ones, 3 whole records, LSN 8 to 10" in moved
    assert begun == "begun, empty, with LSN 5"
    assert not second.exists()
    ids_as_expected(data, {*FIRST, *SECOND} - {*DELETED})


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_log_of_which_every_file_is_missing(data, is_folder):
    log = folders.log_of(data)
    log.unlink()
    if is_folder:
        log.parent.rmdir()
    with pytest.raises(errors.RedDBError, match="no file of the log") as caught, folders.opened(data):
        pass
    assert (caught.value.code, caught.value.detail["path"]) == (errors.CORRUPT_DATA, str(log.parent))
    found = repaired(data)
    damaged = found.having("damaged")[str(log.parent.relative_to(data))]
    assert damaged == "has no file of the log: what was written behind LSN 4 is lost"
    assert log_line(found) == "begun, empty, with LSN 5"
    ids_as_expected(data, {*FIRST, *SECOND} - {*DELETED})
    with folders.opened(data) as db:
        db.upsert("docs", ids=["new"], vectors=[[1] * 8])
    assert folders.records_of(data)[0][0] == 5


def test_a_log_of_another_collection_is_not_taken_over(data):
    other = partition_of(data, GRAPH)
    with folders.opened(data) as db:
        for number in range(5000, 5006):
            db.upsert("graphs", ids=[number], vectors=[[9] * 8])
    log = folders.log_of(data)
    (stranger,) = (other / "wal").iterdir()
    assert stranger.name == log.name
    shutil.copy(stranger, log)
    assert "belongs to collection 2" in log_line(look(data), "damaged")
    repaired(data)
    ids_as_expected(data, {*FIRST, *SECOND} - {*DELETED})


def test_damage_to_what_is_sealed_costs_nothing(data):
    folders.seal_up_to(data, 6)
    flip(folders.log_of(data), dict(folders.records_of(data))[6] + 40)
    assert look(data).code == 1
    assert "begun anew with LSN 7, nothing is lost" in log_line(repaired(data))
    ids_as_expected(data, all_ids() - {*LOGGED[:2]})
    assert folders.log_of(data).name == f"{7:020d}.wal"


def test_damage_to_what_is_sealed_and_to_what_is_needed(data):
    folders.seal_up_to(data, 6)
    places = dict(folders.records_of(data))
    flip(folders.log_of(data), places[5] + 40)
    flip(folders.log_of(data), places[8] + 40)
    repaired(data)
    ids_as_expected(data, {*FIRST, *SECOND, "c"} - {*DELETED})


@pytest.mark.parametrize("lsn", [10, 50])
def test_a_log_that_ends_before_what_is_sealed(data, lsn):
    folders.seal_up_to(data, lsn)
    if lsn == 10:
        flip(folders.log_of(data), dict(folders.records_of(data))[9] + 40)
    moved, begun = log_lines(repaired(data))
    assert moved.startswith("moved to damaged/")
    assert moved.endswith("lost are, of this file and later ones, no whole record")
    assert begun == f"begun, empty, with LSN {lsn + 1}"
    ids_as_expected(data, {*FIRST, *SECOND} - {*DELETED})
    with folders.opened(data) as db:
        db.upsert("docs", ids=["new"], vectors=[[1] * 8])
    assert folders.log_of(data).name == f"{lsn + 1:020d}.wal"


def test_a_log_that_ends_before_codes_that_were_kept(tmp_path):
    data = tmp_path / "data"
    with folders.opened(data) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 8 METRIC l2")
        for first in range(0, 1500, 500):
            db.insert("docs", range(first, first + 500), [[first + n] * 8 for n in range(500)])
        db.execute("ALTER COLLECTION docs CHECKPOINT")
    log = folders.log_of(data)
    flip(log, len(log.read_bytes().rstrip(b"\0")) - 1)
    damaged = look(data).having("damaged")
    assert list(damaged) == [str(log.relative_to(data))]
    assert damaged[str(log.relative_to(data))].startswith("ends with LSN 2, but 3 was stored")
    assert "lost are LSN 3 and, behind it, no whole record" in log_line(repaired(data))
    with folders.opened(data) as db:
        assert db.execute("SELECT count(*) FROM docs")[0][0] == 1000
        db.insert("docs", range(1000, 1100), [[n] * 8 for n in range(100)])
    with folders.opened(data) as db:
        assert db.execute("SELECT count(*) FROM docs")[0][0] == 1100


def test_a_torn_tail_is_left_to_the_next_start(data):
    folders.tear(data, b"\xff" * 99)
    before = files_below(data)
    assert look(data, repair=True).having("repair") == {}
    assert {**files_below(data), "LOCK": b""} == {**before, "LOCK": b""}


# --- the folder's own files -------------------------------------------------------------------------------


def test_a_missing_version_is_written_anew(data):
    (data / "VERSION").unlink()
    with pytest.raises(reddb.RedDBError, match="no VERSION"):
        ids_in(data)
    repaired(data)
    ids_as_expected(data, all_ids())


def test_a_missing_partition_begins_empty(data):
    shutil.rmtree(partition_of(data, GRAPH).parent)
    repaired(data)
    assert ids_in(data, "graphs") == []
    ids_as_expected(data, all_ids())


@pytest.mark.parametrize("path", ["collections/1/0/MANIFEST", "catalog.sqlite"])
def test_what_only_a_backup_knows_is_left(data, path):
    flip(data / path, 4)
    flip(partition_of(data, GRAPH) / "segments/1/ids")
    before = files_below(data)
    found = look(data, repair=True)
    assert found.code == 1
    assert found.having("repair")[path].startswith("left as it is")
    assert found.verdict.startswith("damaged: 1 of ")
    if path == "catalog.sqlite":
        assert {**files_below(data), "LOCK": b""} == {**before, "LOCK": b""}
    else:
        assert "collections/2/0/segments/1" in found.having("repair")  # the other collections are repaired
