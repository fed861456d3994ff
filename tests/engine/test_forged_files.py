"""Files whose checksums are right and which say what nobody wrote: each is refused by name, and caches are not used."""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import msgpack
import numpy as np
import pytest

import reddb
from reddb import limits
from reddb.checksum import crc32c
from reddb.disk import OsDisk
from reddb.partition.code_snapshot import NAME as CODES
from reddb.rows import make_batch
from reddb.storage import catalog
from reddb.storage.checked_file import FileIdentity, open_checked, write_checked
from reddb.storage.field_index import index_file
from reddb.storage.sealed import FILES, FILTERS, IDS, identity_of, segment_folder
from reddb.storage.wal import Wal, WalIdentity
from tests.engine import folders
from tests.engine.backups import backup
from tests.engine.folders import GRAPH, LISTS, TURBO, all_ids, ids_in, look, opened, partition_of
from tests.fuzz.folder_forgery import hot_journal


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folders.make_folder(tmp_path / "data")
    return tmp_path / "data"


def forge(data: Path, collection_id: int, name: str, kind: bytes, change: Callable[[bytes], bytes]) -> Path:
    """Have a file of the first segment say something else, with a right checksum."""
    of = folders.collection_in(data, collection_id)
    path = segment_folder(partition_of(data, collection_id), 1) / name
    _rewrite(path, identity_of(of, 0, 1, kind, 600), change)
    return path


def _rewrite(path: Path, identity: FileIdentity, change: Callable[[bytes], bytes]) -> None:
    content = bytes(open_checked(OsDisk(), path, identity, verify=True))
    path.unlink()
    write_checked(OsDisk(), path, identity, [change(content)])


def fails(data: Path) -> reddb.RedDBError:
    """The error that the folder is refused with."""
    with pytest.raises(reddb.RedDBError) as raised, opened(data):
        pass
    assert raised.value.name == "CORRUPT_DATA"
    return raised.value


# --- caches ------------------------------------------------------------------------------------------------


def said_otherwise(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda content: bytes(msgpack.packb({**msgpack.unpackb(content), **changes}))


WRONG_DESCRIPTIONS = [
    {"kind": 7},
    {"kind": "../turbo"},
    {"scale": float("nan")},
    {"calibration": 5},
    {"calibration": [[[0.99, -1]], [], 0.5, [], [], []]},
    {"calibration": [[], [], 0.5, [], [600], []]},
    {"calibration": [[], [], "far", [], [], []]},
    {"more": 1},
]


@pytest.mark.parametrize("changes", WRONG_DESCRIPTIONS, ids=str)
def test_an_index_that_is_not_described_as_one_is_not_used(data, changes):
    path = forge(data, TURBO, "index.1", b"indx", said_otherwise(**changes))
    assert str(path.relative_to(data)) in look(data).having("damaged")
    assert sorted(ids_in(data), key=str) == all_ids()
    assert look(data).code == 0, "it was built anew"


def test_a_description_that_nests_too_deep_is_not_used(data):
    path = forge(data, TURBO, "index.1", b"indx", lambda _: b"\x91" * 50_000)
    assert str(path.relative_to(data)) in look(data).having("damaged")
    assert sorted(ids_in(data), key=str) == all_ids()


def linked_beyond_its_rows(content: bytes) -> bytes:
    """A graph whose first link leads to a row that there is not."""
    path = Path("/dev/shm") / f"graph-{os.getpid()}"
    path.write_bytes(content)
    try:
        index: Any = faiss.read_index(str(path))
        faiss.rev_swig_ptr(index.hnsw.neighbors.data(), 1)[0] = 2**31 - 1
        faiss.write_index(index, str(path))
        return path.read_bytes()
    finally:
        path.unlink()


def test_a_graph_whose_links_lead_out_of_it_is_not_walked(data):
    path = forge(data, GRAPH, "graph.2.ckpt", b"hnsw", linked_beyond_its_rows)
    assert str(path.relative_to(data)) in look(data).having("damaged")
    with opened(data) as db:
        assert len(db.search("graphs", np.ones(8), 10)) == 10


def test_lists_of_which_a_row_is_named_twice_are_not_scanned(data):
    def named_twice(content: bytes) -> bytes:
        index = faiss.deserialize_index(np.frombuffer(content, np.uint8))
        lists: Any = faiss.downcast_index(index.index).invlists
        full = next(number for number in range(lists.nlist) if lists.list_size(number) > 1)
        faiss.rev_swig_ptr(lists.get_ids(full), 2)[:] = 5
        return bytes(faiss.serialize_index(index).tobytes())

    path = forge(data, LISTS, "lists.2.ivf", b"ivfl", named_twice)
    assert str(path.relative_to(data)) in look(data).having("damaged")
    with opened(data) as db:
        assert len(db.search("lists", np.ones(8), 10)) == 10


@pytest.mark.parametrize("content", [b"", b"x" * 4_000, b"ARROW1\0\0" * 90])
def test_an_index_of_fields_that_is_none_is_not_used(data, content):
    path = forge(data, TURBO, index_file(1), b"fidx", lambda _: content)
    assert str(path.relative_to(data)) in look(data).having("damaged")
    with opened(data) as db:
        ((count,),) = db.execute("SELECT count(*) FROM docs WHERE n = 3")
        assert count == len([row for row in all_ids() if isinstance(row, int) and 10 <= row < 600 and row % 7 == 3])


@pytest.mark.parametrize(
    "change", [{"rows": -32}, {"rows": 2**40}, {"scale": "x"}, {"fitted_rows": None}, {"first": []}]
)
def test_kept_codes_that_are_none_are_not_used(tmp_path, change):
    data = tmp_path / "data"
    with opened(data) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 4 METRIC l2 WITH (seal_idle_s = 0)")
        db.insert("docs", range(1100), np.random.default_rng(3).normal(size=(1100, 4)))
        db.execute("ALTER COLLECTION docs CHECKPOINT")

    def changed(content: bytes) -> bytes:
        (length,) = struct.unpack_from("<I", content)
        plain = msgpack.unpackb(content[4 : 4 + length])
        plain["segments"][0].update(change)
        head = msgpack.packb(plain)
        return struct.pack("<I", len(head)) + head + content[4 + length :]

    _rewrite(partition_of(data) / CODES, FileIdentity(b"grow", 1, 0, 0, 4, 0), changed)
    assert f"collections/1/0/{CODES}" in look(data).having("damaged")
    assert len(ids_in(data)) == 1100


# --- rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 8, 600 * 8, 600 * 18 - 4])
def test_a_file_with_too_few_bytes_for_its_rows_is_refused(data, cut):
    path = forge(data, TURBO, IDS, FILES[IDS], lambda content: content[:cut])
    assert str(path) in str(fails(data))
    assert look(data).code == 1


def test_an_order_that_names_no_row_is_refused(data):
    place = 600 * 18
    forge(data, TURBO, IDS, FILES[IDS], lambda content: content[:place] + b"\xff" * 4 + content[place + 4 :])
    assert "names rows that there are not" in str(fails(data))


def test_texts_that_begin_within_a_letter_are_refused(tmp_path):
    data = tmp_path / "data"
    with opened(data) as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 2")
        db.insert("docs", ["é", "x"], [[1, 2], [3, 4]])
        db.execute("ALTER COLLECTION docs SEAL")
    of, path = folders.collection_in(data, 1), segment_folder(partition_of(data), 1) / IDS
    _rewrite(path, identity_of(of, 0, 1, FILES[IDS], 2), lambda content: b"\1" + content[1:])
    assert "has ids that are no texts of it" in str(fails(data))


def test_columns_of_other_rows_are_refused_where_they_are_asked(data):
    other = segment_folder(partition_of(data), 2) / FILTERS
    of = folders.collection_in(data, TURBO)
    rows = 400 + len(folders.REPLACED)
    content = bytes(open_checked(OsDisk(), other, identity_of(of, 0, 2, FILES[FILTERS], rows), verify=True))
    forge(data, TURBO, FILTERS, FILES[FILTERS], lambda _: content)
    with opened(data) as db, pytest.raises(reddb.RedDBError, match=f"has {rows} rows, not 600"):
        db.execute("SELECT id FROM docs WHERE n % 7 = 3")


# --- the log -----------------------------------------------------------------------------------------------


def vectors_of_another_dimension() -> bytes:
    return b"".join(bytes(part) for part in make_batch([5000], [[1.0] * 9]).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"no batch of rows", vectors_of_another_dimension(), struct.pack("<BBHIIIQ", 1, 0, 0, 2**32 - 1, 8, 0, 0)],
)
def test_a_record_that_is_whole_and_says_nonsense_is_refused_and_can_be_cut(data, body):
    (log,) = (partition_of(data) / "wal").iterdir()
    wal = Wal.open(OsDisk(), log.parent, WalIdentity(TURBO, 0), lambda _: None, lambda: 5, 4)
    wal.append([(1, [body])])
    wal.append([(1, [b"".join(bytes(part) for part in make_batch([6000], [[1.0] * 8]).encode())])])
    wal.sync()
    wal.close()
    error = fails(data)
    assert error.detail["path"] == str(log)
    assert "(LSN 11)" in error.message
    assert str(log.relative_to(data)) in look(data).having("damaged")
    look(data, repair=True)
    assert sorted(ids_in(data), key=str) == all_ids()


def test_a_record_that_says_to_be_synced_before_it_was_written_is_none(data):
    (log,) = (partition_of(data) / "wal").iterdir()
    content = bytearray(log.read_bytes())
    (_, place), *_ = folders.records_of(data)
    length, _ = struct.unpack_from("<II", content, place)
    struct.pack_into("<Q", content, place + 16, 2**60)
    salt = struct.unpack_from("<8sII", content)[2]
    head = bytes(content[place + 8 : place + 32])
    crc = crc32c([head, struct.pack("<I", length), content[place + 32 : place + 32 + length]], salt)
    struct.pack_into("<I", content, place + 4, crc)
    log.write_bytes(content)
    assert str(log.name) in str(fails(data))


def test_a_log_with_a_hole_of_any_size_is_refused_unread(data):
    (log,) = (partition_of(data) / "wal").iterdir()
    os.truncate(log, 1 << 40)
    began = time.monotonic()
    assert f"{limits.WAL_FILE_BYTES_MAX:,}" in str(fails(data))
    assert time.monotonic() - began < 10


def test_a_backup_reads_no_file_that_is_longer_than_it_says(data, tmp_path):
    path = segment_folder(partition_of(data), 1) / "vectors.f32"
    trailer = path.read_bytes()[-72:]
    with path.open("r+b") as file:
        file.seek(1 << 40)
        file.write(trailer)
    began = time.monotonic()
    with pytest.raises(reddb.RedDBError, match="says that it holds"):
        backup(data, tmp_path / "backup")
    assert time.monotonic() - began < 10


# --- the catalog -------------------------------------------------------------------------------------------


def change_catalog(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "catalog.sqlite", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
        rows = [database.execute(sealed).fetchmany(9) for sealed in catalog._SEALED]
        database.execute("UPDATE seal SET crc = ?", (crc32c([repr(rows).encode()]),))


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE aliases RENAME TO a", "CREATE VIEW aliases AS SELECT 'a' AS name, 1 AS collection"),
        ("CREATE TRIGGER t AFTER UPDATE ON seal BEGIN DELETE FROM collections; END",),
        ("UPDATE collections SET dim = 9000000000",),
        ("UPDATE collections SET metric = 'hamming' WHERE id = 1",),
        ("UPDATE collections SET name = '' WHERE id = 1",),
        ("UPDATE collections SET id = -1 WHERE id = 1",),
        (f"UPDATE collections SET fields = '{'[' * 50_000}'",),
        ("UPDATE collections SET fields = '{\"a\": 1}'",),
        ('UPDATE collections SET fields = \'[{"name": "id", "type": "INT", "not_null": false, "default": null}]\'',),
        ('UPDATE collections SET fields = \'[{"name": "n", "type": "INT", "not_null": 1, "default": null}]\'',),
        ("UPDATE collections SET settings = '[]'",),
        ("UPDATE collections SET indexes = '\"abc\"'",),
    ],
    ids=lambda statements: statements[0][:60],
)
def test_a_catalog_that_says_nonsense_is_refused(data, statements):
    change_catalog(data, *statements)
    assert "catalog.sqlite" in str(fails(data))
    assert look(data).code == 1


@pytest.mark.parametrize("name", ["catalog.sqlite-wal", "catalog.sqlite-shm"])
def test_a_catalog_has_no_log_of_changes(data, tmp_path, name):
    (data / name).write_bytes(b"x" * 100)
    assert name in str(fails(data))
    assert name in "".join(look(data).lines)
    with pytest.raises(reddb.RedDBError, match=name):
        backup(data, tmp_path / "backup")


def test_a_journal_removes_no_file_that_it_names(data, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious\n")
    journal = data / "catalog.sqlite-journal"
    journal.write_bytes(hot_journal((data / "catalog.sqlite").read_bytes(), str(precious)))
    assert str(journal) in str(fails(data))
    assert look(data).code == 1
    assert precious.read_bytes() == b"precious\n"
