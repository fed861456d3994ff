"""The embedded database by its messages: what a request answers, and what is there after closing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from reddb import errors, limits
from reddb.database import Database
from reddb.disk import AppendFile, OsDisk
from reddb.rows import RowBatch, make_batch
from reddb.types import Buffer
from reddb.wire.messages import (
    Delete,
    Get,
    Hits,
    Insert,
    Message,
    Ping,
    Pong,
    Query,
    Result,
    Rows,
    Search,
    Upsert,
    Written,
)
from tests.engine.partitions import deletion

CREATE = "CREATE COLLECTION docs KIND vector.turbo DIM 2 METRIC l2"


@pytest.fixture
def database(tmp_path: Path):
    opened = Database(tmp_path)
    opened.request(Query(CREATE, []))
    yield opened
    opened.close()


def ask(database: Database, text: str, parameters: object = ()) -> list[list[object]]:
    """The rows of a statement's result, of all its parts."""
    parts = database.request(Query(text, list(parameters)))  # type: ignore[call-overload]
    assert all(isinstance(part, Result) for part in parts)
    return [row for part in parts for row in part.rows]


def encoded(batch: RowBatch) -> bytes:
    return b"".join(bytes(memoryview(part).cast("B")) if memoryview(part).nbytes else b"" for part in batch.encode())


def one(database: Database, message: Message) -> Message:
    (answer,) = database.request(message)
    return answer


def insert(ids: list[object], first: float = 0.0) -> Insert:
    vectors = np.array([[first + number, 0.0] for number in range(len(ids))])
    return Insert("docs", encoded(make_batch(ids, vectors, [{"n": number} for number in range(len(ids))])))


def search(vectors: list[list[float]], k: int = 2, **given: object) -> Search:
    fields: dict[str, object] = {
        "collection": "docs",
        "dim": 2,
        "queries": np.array(vectors, np.float32).tobytes(),
        "k": k,
        "ef": None,
        "exact": False,
        "with_payloads": True,
        "with_vectors": False,
        "where": None,
        "parameters": [],
        "recall": None,
        "with_report": False,
    }
    return Search(**{**fields, **given})  # type: ignore[arg-type]


def test_messages_and_statements_write_the_same_rows(database):
    assert one(database, insert(["a", 2])) == Written(2)
    assert one(database, Query("INSERT INTO docs (id, vector, n) VALUES (3, [5, 0], 9)", [])) == Result([], [], 1)
    assert one(database, Upsert("docs", encoded(make_batch([3], np.array([[6.0, 0.0]]))))) == Written(1)
    assert one(database, Delete("docs", encoded(deletion(["a", "zzz"])))) == Written(1)
    assert ask(database, "SELECT id, n FROM docs LIMIT 9") == [[2, 1], [3, None]]
    assert one(database, Ping()) == Pong()


def test_a_search_answers_ids_distances_and_payloads(database):
    one(database, insert(["a", 2, "c"]))
    hits = one(database, search([[0, 0], [2, 0]]))
    assert isinstance(hits, Hits)
    batch = RowBatch.decode(hits.batch)
    assert hits.counts == [2, 2]
    assert batch.id_list() == ["a", 2, "c", 2]
    assert np.frombuffer(hits.distances).tolist() == [0, 1, 0, 1]
    assert batch.vectors.shape == (4, 0)
    assert batch.payloads is not None
    assert batch.payloads.split()[2] == b"\x81\xa1n\x02"
    bare = RowBatch.decode(one(database, search([[0, 0]], with_payloads=False, with_vectors=True)).batch)
    assert bare.payloads is None
    assert bare.vectors.tolist() == [[0, 0], [1, 0]]


def test_a_search_in_nothing_answers_nothing(database):
    for message in (search([[0, 0]]), search([]), search([[0, 0]], k=0)):
        hits = one(database, message)
        assert sum(hits.counts) == 0
        assert hits.distances == b""
        assert len(RowBatch.decode(hits.batch)) == 0


def test_a_search_has_a_filter(database):
    one(database, insert(["a", 2, "c"]))
    for given in ({"where": "n > 0"}, {"where": "n > $1", "parameters": [0]}, {"where": "id = 2 OR id = 'c'"}):
        hits = one(database, search([[0, 0]], **given))
        assert RowBatch.decode(hits.batch).id_list() == [2, "c"]
    assert one(database, search([[0, 0]], where="n > 2")).counts == [0]


def test_rows_are_changed_and_deleted_by_what_they_say(database):
    one(database, insert(list(range(10))))
    told = ["no row of docs has tag"]  # until now
    assert one(database, Query("UPDATE docs SET n = 100, tag = $1 WHERE n >= 8", ["x"])) == Result([], [], 2, told)
    assert ask(database, "SELECT id, n, tag FROM docs WHERE tag = 'x' LIMIT 9") == [[8, 100, "x"], [9, 100, "x"]]
    assert ask(database, "SELECT vector FROM docs WHERE id = 9")[0][0].tolist() == [9, 0]
    assert one(database, Query("UPDATE docs SET vector = [50, 0], n = NULL WHERE id IN (8, 77)", [])).affected == 1
    assert ask(database, "SELECT id, distance FROM docs ORDER BY vector <-> [50, 0] LIMIT 1") == [[8, 0]]
    assert ask(database, "SELECT count(*) FROM docs WHERE n IS NULL") == [[1]]
    assert one(database, Query("DELETE FROM docs WHERE n < 5", [])).affected == 5
    assert one(database, Query("DELETE FROM docs WHERE n < 5", [])).affected == 0
    assert sorted(row[0] for row in ask(database, "SELECT id FROM docs LIMIT 99")) == [5, 6, 7, 8, 9]


def test_columns_are_compared_with_one_another(database):
    one(database, insert([5, 1, 0]))
    assert ask(database, "SELECT id FROM docs WHERE id = n LIMIT 9") == [[1]]
    assert one(database, Query("DELETE FROM docs WHERE id = n", [])).affected == 1


def test_segments_are_sealed_compacted_and_shown(database, tmp_path):
    one(database, insert(list(range(30))))
    one(database, Query("ALTER COLLECTION docs SEAL", []))
    one(database, Query("DELETE FROM docs WHERE n < 3", []))
    one(database, insert(["new"]))
    shown = [row[2:6] for row in ask(database, "SHOW SEGMENTS FOR docs")]
    assert shown == [["sealed", "turbo4", 30, 27], ["growing", "turbo", 1, 1]]
    before = ask(database, "SELECT id, n, vector FROM docs LIMIT 99")
    one(database, Query("ALTER COLLECTION docs COMPACT", []))
    assert [row[2:6] for row in ask(database, "SHOW SEGMENTS FOR docs")] == [["sealed", "turbo4", 28, 28]]
    one(database, Query("ALTER COLLECTION docs REBUILD WITH (m = 8)", []))
    assert ["m", 8] in ask(database, "SHOW COLLECTION docs")
    database.close()
    again = Database(tmp_path)
    for one_row, other in zip(ask(again, "SELECT id, n, vector FROM docs LIMIT 99"), before, strict=True):
        assert one_row[:2] == other[:2]
        assert one_row[2].tolist() == other[2].tolist()
    again.close()


def test_settings_change_and_stay(database, tmp_path):
    one(database, Query("ALTER COLLECTION docs SET (oversample = 9)", []))
    database.close()
    again = Database(tmp_path)
    assert ["oversample", 9] in ask(again, "SHOW COLLECTION docs")
    again.close()


def test_explain_tells_what_was_done(database):
    one(database, insert(list(range(10))))
    text = "SELECT id FROM docs WHERE n < 4 ORDER BY vector <-> [0, 0] LIMIT 2"
    plain = [line for (line,) in ask(database, f"EXPLAIN {text}")]
    assert plain[0] == "Select id: limit 2 (statement)"
    assert plain[2:] == [
        "   ├─ Filter n < 4: about 4 of 10 rows match",
        "   └─ Segment 1: growing, 10 rows, 0 by turbo codes, the rest exactly",
    ]
    done = "\n".join(line for (line,) in ask(database, f"EXPLAIN ANALYZE {text}"))
    assert "Filter n < 4  [rows 4, " in done
    assert ask(database, "EXPLAIN ANALYZE SELECT count(*) FROM docs")[0][0].startswith("Count rows  [rows 10, ")


def test_get_answers_the_rows_that_exist(database):
    one(database, insert(["a", 2, "c"]))
    rows = one(database, Get("docs", encoded(deletion(["c", "zzz", "a"])), True))
    assert isinstance(rows, Rows)
    batch = RowBatch.decode(rows.batch)
    assert batch.id_list() == ["c", "a"]
    assert batch.vectors.tolist() == [[2, 0], [0, 0]]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"collection": "nope"}, errors.UNKNOWN_COLLECTION),
        ({"where": "a ="}, errors.SYNTAX),
        ({"where": "a = $1"}, errors.INVALID_PARAMETER),
        ({"where": "a = $1", "parameters": [1, 2]}, errors.INVALID_PARAMETER),
        ({"where": "vector = 1"}, errors.INVALID_VALUE),
        ({"parameters": [1]}, errors.INVALID_PARAMETER),
        ({"k": -1}, errors.LIMIT_EXCEEDED),
        ({"k": limits.K_MAX + 1}, errors.LIMIT_EXCEEDED),
        ({"ef": 0}, errors.LIMIT_EXCEEDED),
        ({"ef": limits.EF_MAX + 1}, errors.LIMIT_EXCEEDED),
        ({"dim": 0}, errors.INVALID_VECTOR),
        ({"dim": -2}, errors.INVALID_VECTOR),
        ({"dim": 3}, errors.INVALID_VECTOR),
        ({"dim": 1}, errors.INVALID_DIMENSION),
        ({"queries": b"\0" * 7}, errors.INVALID_VECTOR),
        ({"queries": b"\0\0\xc0\x7f" * 2}, errors.INVALID_VECTOR),
        ({"queries": b"\0" * 8 * (limits.QUERIES_MAX + 1)}, errors.LIMIT_EXCEEDED),
    ],
    ids=lambda part: getattr(part, "name", repr(part)[:30]),
)
def test_a_wrong_search_is_refused(database, given, code):
    with pytest.raises(errors.RedDBError) as caught:
        database.request(search([[0, 0]], **given))
    assert caught.value.code is code


@pytest.mark.parametrize("message", [Pong(), Written(1), Result([], [], None)])
def test_what_only_a_server_says_is_refused(database, message):
    with pytest.raises(errors.RedDBError, match="is not for a database"):
        database.request(message)


def test_collections_come_and_go(database):
    with pytest.raises(errors.RedDBError) as caught:
        database.request(Query(CREATE, []))
    assert caught.value.code is errors.COLLECTION_EXISTS
    one(database, Query(CREATE.replace("docs", "IF NOT EXISTS docs").replace("DIM 2", "DIM 5"), []))
    one(database, insert([1]))
    assert ask(database, "SHOW COLLECTIONS") == [["docs", "vector.turbo", 2, "l2", 1]]
    one(database, Query("DROP COLLECTION docs", []))
    assert ask(database, "SHOW COLLECTIONS") == []
    with pytest.raises(errors.RedDBError, match="UNKNOWN_COLLECTION"):
        database.request(Query("DROP COLLECTION docs", []))
    one(database, Query("DROP COLLECTION IF EXISTS docs", []))
    one(database, Query(CREATE, []))
    assert ask(database, "SELECT count(*) FROM docs") == [[0]]  # and not the rows of the one before


def test_everything_is_there_after_closing(database, tmp_path):
    one(database, insert(["a", 2]))
    one(database, Query(CREATE.replace("docs", "other").replace("l2", "cosine"), []))
    before = [
        ask(database, text) for text in ("SHOW COLLECTIONS", "SHOW COLLECTION other", "SELECT id, n FROM docs LIMIT 9")
    ]
    database.close()
    again = Database(tmp_path)
    assert [
        ask(again, text) for text in ("SHOW COLLECTIONS", "SHOW COLLECTION other", "SELECT id, n FROM docs LIMIT 9")
    ] == before
    again.close()


def test_a_dropped_collection_leaves_no_files(database, tmp_path):
    one(database, insert([1]))
    assert os.listdir(tmp_path / "collections") == ["1"]
    one(database, Query("DROP COLLECTION docs", []))
    assert os.listdir(tmp_path / "collections") == []


def test_closing_twice_is_no_error_and_frees_the_folder(tmp_path):
    first = Database(tmp_path)
    with pytest.raises(errors.RedDBError, match="DATA_IN_USE"):
        Database(tmp_path)
    first.close()
    second = Database(tmp_path)
    first.close()  # must not take the lock of another
    with pytest.raises(errors.RedDBError, match="DATA_IN_USE"):
        Database(tmp_path)
    second.close()


def test_a_large_result_comes_in_parts(database):
    count = limits.RESULT_PART_ROWS * 2 + 1
    one(database, insert(list(range(count))))
    parts = database.request(Query("SELECT id FROM docs LIMIT 10000", []))
    assert [len(part.rows) for part in parts] == [limits.RESULT_PART_ROWS, limits.RESULT_PART_ROWS, 1]
    assert [row for part in parts for row in part.rows] == [[number] for number in range(count)]


def test_a_damaged_log_closes_everything_again(database, tmp_path):
    one(database, insert([1]))
    one(database, insert([2]))
    database.close()
    (log,) = (tmp_path / "collections" / "1" / "0" / "wal").iterdir()
    content = bytearray(log.read_bytes())
    content[60] ^= 1
    log.write_bytes(content)
    for _ in range(2):
        with pytest.raises(errors.RedDBError) as caught:
            Database(tmp_path)
        assert caught.value.code is errors.CORRUPT_DATA
        assert caught.value.detail["path"] == str(log)
    content[60] ^= 1
    log.write_bytes(content)
    again = Database(tmp_path)
    assert ask(again, "SELECT id FROM docs LIMIT 9") == [[1], [2]]
    again.close()


class FullDisk(OsDisk):
    """The real disk, on which logs cannot be written while `is_full`."""

    is_full = False
    has_no_room_for_segments = False

    def open_append(self, path: Path, size: int) -> AppendFile:  # type: ignore[override]
        if self.has_no_room_for_segments and "segments" in path.parts:
            raise errors.DISK_FULL.error(f"cannot open {path}: {os.strerror(errno.ENOSPC)}", path=str(path))
        return FullFile(self, path, super().open_append(path, size))


class FullFile:
    """A file of the disk above."""

    def __init__(self, disk: FullDisk, path: Path, file: AppendFile) -> None:
        self._disk, self._path, self._file = disk, path, file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def append(self, parts: list[Buffer]) -> None:
        if self._disk.is_full:
            self._file.append([b"the beginning of a record"])
            raise errors.DISK_FULL.error(
                f"cannot write {self._path}: {os.strerror(errno.ENOSPC)}", path=str(self._path)
            )
        self._file.append(parts)


def test_a_full_disk_refuses_the_write_and_takes_the_next(tmp_path):
    disk = FullDisk()
    database = Database(tmp_path, disk)
    one(database, Query(CREATE, []))
    one(database, insert([1]))
    disk.is_full = True
    with pytest.raises(errors.RedDBError, match="DISK_FULL"):
        database.request(insert([2]))
    assert ask(database, "SELECT id FROM docs LIMIT 9") == [[1]]
    disk.is_full = False
    assert one(database, insert([2])) == Written(1)
    database.close()
    again = Database(tmp_path)
    assert ask(again, "SELECT id FROM docs LIMIT 9") == [[1], [2]]
    again.close()


def test_a_write_whose_segment_cannot_be_sealed_has_happened(tmp_path):
    disk = FullDisk()
    database = Database(tmp_path, disk)
    one(database, Query(f"{CREATE} WITH (seal_rows = 1024)", []))
    disk.has_no_room_for_segments = True
    try:
        assert one(database, insert(list(range(1024)))) == Written(1024)
        assert ask(database, "SELECT count(*) FROM docs") == [[1024]]
        database.close()
        database = Database(tmp_path, disk)  # and it opens, for what is due can wait
        assert ask(database, "SELECT count(*) FROM docs") == [[1024]]
        disk.has_no_room_for_segments = False
        assert one(database, insert([5000])) == Written(1)
        assert ask(database, "SHOW SEGMENTS FOR docs")[0][2:5] == ["sealed", "turbo4", 1024]
    finally:
        database.close()


def test_rows_with_a_ttl_are_there_after_the_clock_jumped_and_came_back(tmp_path):
    days = [20_000, 20_001]
    database = Database(tmp_path, now_us=lambda: days[0] * 86_400_000_000)
    ask(database, CREATE)
    ask(database, "INSERT INTO docs (id, vector) VALUES (1, [1, 2]) WITH TTL 3600")
    days.reverse()
    assert ask(database, "SELECT id FROM docs") == []
    days.reverse()
    ask(database, "INSERT INTO docs (id, vector) VALUES (2, [1, 2]) WITH TTL 3600")
    assert ask(database, "SELECT id FROM docs") == [[2]]
    database.close()
