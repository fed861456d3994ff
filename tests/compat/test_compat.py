"""Folders that earlier builds wrote are read as they were written, and those of later formats are refused whole.

An archive `format-….tar.gz` and what is expected of it (`make.py`) are never changed once they were released.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reddb
from reddb.check import run_check
from reddb.checksum import crc32c
from reddb.storage.catalog import FORMAT as CATALOG_FORMAT
from tests.compat.make import HERE, archive_of, pack, read_all, unpack
from tests.engine.folders import files_below, opened
from tests.oracle import distances

ARCHIVES = sorted(HERE.glob("format-*.tar.gz"))
NEWEST = HERE / "format-1-catalog-4.tar.gz"
TOLERANCE = 1e-9  # relative, of distances; absolute below 1
TRAILER = struct.Struct("<8sI4sQQIIQQQI")  # of a checked file; its CRC follows

each_archive = pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)


def expected_of(archive: Path) -> dict[str, Any]:
    return json.loads(archive.with_name(archive.name.replace(".tar.gz", ".json")).read_text())


def unpacked(archive: Path, tmp_path: Path) -> Path:
    unpack(archive, tmp_path / "data")
    return tmp_path / "data"


def nearer_than_the_last(search: dict[str, Any]) -> set[Any]:
    """The rows that were found, but for those at the last distance: which of these are there is a matter of order."""
    last = search["distances"][-1] * (1 - TOLERANCE) - TOLERANCE
    return {row_id for row_id, distance in zip(search["ids"], search["distances"], strict=True) if distance < last}


@each_archive
def test_a_folder_holds_what_it_held(archive, tmp_path):
    data = unpacked(archive, tmp_path)
    expected = expected_of(archive)
    for _ in range(2):  # the second time as this build has left it
        found = read_all(data)
        assert found.keys() == expected.keys()
        for name, wanted in expected.items():
            shown = {key: found[name]["shown"].get(key) for key in wanted["shown"]}  # settings may have been added
            assert shown == wanted["shown"], name
            for part in wanted.keys() - {"shown", "searches"}:
                assert found[name][part] == wanted[part], f"{part} of {name}"
            for now, then in zip(found[name]["searches"], wanted["searches"], strict=True):
                assert nearer_than_the_last(now) == nearer_than_the_last(then), name
                assert {**now, "ids": None, "distances": None} == {**then, "ids": None, "distances": None}, name
                np.testing.assert_allclose(now["distances"], then["distances"], TOLERANCE, TOLERANCE)


@each_archive
def test_its_collections_take_any_key_as_they_did(archive, tmp_path):
    data = unpacked(archive, tmp_path)
    with reddb.connect(f"file:{data}") as db:
        for name, dim in list(db.execute("SELECT name, dim FROM red.collections")):
            assert dict(db.execute(f"SHOW COLLECTION {name}"))["free_keys"] is True
            fields = [key for key, _ in db.execute(f"SHOW COLLECTION {name}") if key.startswith("field title")]
            payload = {"nobodyDeclaredIt": 5} | ({"title": "x"} if fields else {})
            row_id = "a new one"
            db.insert(name, [row_id], np.ones((1, dim)), [payload])
            assert db.get(name, [row_id])[0].payload.items() >= payload.items()
            assert list(db.execute(f"SELECT id FROM {name} WHERE NOBODYdeclaredit = 5")) == [(row_id,)]


@each_archive
def test_what_is_expected_is_right(archive):
    """Each distance is that of its row, and exact searches have the nearest."""
    for name, wanted in expected_of(archive).items():
        assert len(wanted["rows"]) == wanted["shown"]["rows"] > 0
        for search in wanted["searches"]:
            rows = [row for row in wanted["rows"] if search["where"] is None or row[2].get("n", 99) < 30]
            place = {row[0]: number for number, row in enumerate(rows)}
            base = np.stack([vector_of(row[1]) for row in rows])
            far = distances(wanted["shown"]["metric"], base, vector_of(search["query"]))
            right = far[[place[row_id] for row_id in search["ids"]]]
            np.testing.assert_allclose(search["distances"], right, TOLERANCE, TOLERANCE, err_msg=name)
            if search["exact"]:
                np.testing.assert_allclose(right, np.sort(far)[: len(right)], TOLERANCE, TOLERANCE, err_msg=name)


def vector_of(text: str) -> Any:
    return np.frombuffer(bytes.fromhex(text), "<f4")


@each_archive
def test_a_check_calls_it_sound_and_changes_nothing(archive, tmp_path):
    data = unpacked(archive, tmp_path)
    before = files_below(data)
    lines: list[str] = []
    assert run_check(data, lines.append) == 0, lines
    assert without_lock(files_below(data)) == before


@each_archive
def test_it_can_be_written_to(archive, tmp_path):
    data = unpacked(archive, tmp_path)
    expected = expected_of(archive)
    with opened(data) as db:
        for name, wanted in expected.items():
            dim = wanted["shown"]["dim"]
            db.insert(name, ["new"], np.ones((1, dim)), [{"title": "new", "n": 29}])
            db.execute(f"ALTER COLLECTION {name} COMPACT")
    found = read_all(data)
    for name, wanted in expected.items():
        ids = {row[0] for row in wanted["rows"]}
        assert {row[0] for row in found[name]["rows"]} == ids | {"new"}, name
        assert [row for row in found[name]["rows"] if row[0] != "new"] == wanted["rows"], name


def test_the_format_of_this_build_has_an_archive(tmp_path):
    with opened(tmp_path / "data"):
        pass
    assert archive_of(tmp_path / "data") == NEWEST


@each_archive
def test_an_archive_holds_every_kind_of_file_and_packs_again_to_the_same_bytes(archive, tmp_path):
    data = unpacked(archive, tmp_path)
    names = {path.name.partition(".")[0] for path in data.rglob("*") if path.is_file()} - {
        path.stem for path in data.rglob("*.wal")
    }
    assert names == {
        *("VERSION", "catalog", "MANIFEST", "growing", "live"),
        *("vectors", "ids", "payloads", "columns", "index", "codes", "graph", "lists", "fields"),
    }
    pack(data, tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()


# --- formats to come ---------------------------------------------------------------------------------------


def newer_folder(path: Path) -> tuple[int, int]:
    word, number = path.read_text().rsplit(maxsplit=1)
    path.write_text(f"{word} {int(number) + 1}\n")
    return int(number) + 1, int(number)


def newer_catalog(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {CATALOG_FORMAT + 1}")
    return CATALOG_FORMAT + 1, CATALOG_FORMAT


def newer_log(path: Path) -> tuple[int, int]:
    content = bytearray(path.read_bytes())
    (number,) = struct.unpack_from("<I", content, 8)
    struct.pack_into("<I", content, 8, number + 1)
    path.write_bytes(content)
    return number + 1, number


def newer_checked_file(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    content, trailer = content[: -TRAILER.size - 4], content[-TRAILER.size - 4 : -4]
    magic, number, *others = TRAILER.unpack(trailer)
    assert magic == b"RedDBSEG"
    trailer = TRAILER.pack(magic, number + 1, *others)
    path.write_bytes(content + trailer + struct.pack("<I", crc32c([trailer])))
    return number + 1, number


NEWER: dict[str, Callable[[Path], tuple[int, int]]] = {
    "VERSION": newer_folder,
    "catalog.sqlite": newer_catalog,
    "*.wal": newer_log,
    "MANIFEST": newer_checked_file,
    "vectors.f32": newer_checked_file,
    "ids": newer_checked_file,
    "payloads": newer_checked_file,
    "columns.arrow": newer_checked_file,
    "live.*": newer_checked_file,
}


@pytest.mark.parametrize("pattern", NEWER)
def test_a_later_format_is_refused_and_nothing_is_changed(pattern, tmp_path):
    data = unpacked(NEWEST, tmp_path)
    path = min(data.rglob(pattern))
    numbers = NEWER[pattern](path)
    # The folder whole, or the partition: those before it may have been opened by then, which their logs note.
    refused = data if path.parent == data else data.joinpath(*path.relative_to(data).parts[:3])
    before = files_below(refused)
    with pytest.raises(reddb.RedDBError) as caught, opened(data):
        pass
    assert caught.value.code is reddb.errors.UNSUPPORTED_FORMAT
    said = caught.value.message
    assert path.name in f"{said} {caught.value.detail.get('path', '')}"
    assert all(str(number) in said.replace(str(path), "") for number in numbers), said
    assert without_lock(files_below(refused)) == before


def without_lock(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name != "LOCK"}
