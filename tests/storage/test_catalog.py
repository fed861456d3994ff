"""The catalog: what was created is there after reopening, and a damaged file is told from a missing one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reddb import errors
from reddb.checksum import crc32c
from reddb.fields import Field, Fields, FieldType
from reddb.settings import resolve
from reddb.storage.catalog import FORMAT, Catalog
from reddb.types import Collection, Kind, Metric

SETTINGS = resolve({"bits": 4, "oversample": 7}, 384)
FLAT = resolve({"index": "flat"}, 1)
FIELDS = Fields(
    (
        Field("n", FieldType.INT, not_null=True, default=3),
        Field("at", FieldType.TIMESTAMP, default=datetime(2024, 5, 1, 12, tzinfo=UTC)),
        Field("tags", FieldType.TEXTS, default=["a"]),
    )
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


def collections(path: Path) -> list[Collection]:
    with closing(Catalog(path)) as catalog:
        return catalog.collections()


def error_of(path: Path) -> errors.RedDBError | None:
    """What goes wrong when the catalog is opened and read; any other exception is let through."""
    try:
        collections(path)
    except errors.RedDBError as error:
        return error
    return None


def test_a_collection_comes_back_as_it_was_created(path):
    with closing(Catalog(path)) as catalog:
        made = catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS)
        other = catalog.create("a 'name'; with \"quotes\"", Kind.VECTOR, 1, Metric.HAMMING, FLAT, FIELDS)
        assert made == Collection(made.id, "docs", Kind.TURBO, 384, Metric.IP, SETTINGS)
        assert other.fields is FIELDS
        assert catalog.collections() == [made, other]
    assert collections(path) == [made, other]


def test_changed_settings_stay(path):
    with closing(Catalog(path)) as catalog:
        made = catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS, FIELDS)
        other = catalog.create("other", Kind.TURBO, 2, Metric.L2, SETTINGS)
        catalog.change_settings(made.id, {**SETTINGS, "ef": 9})
        assert catalog.collections() == [made.with_settings({"ef": 9}), other]
    assert collections(path) == [made.with_settings({"ef": 9}), other]


def test_a_name_is_taken_once(path):
    with closing(Catalog(path)) as catalog:
        made = catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS)
        with pytest.raises(errors.RedDBError, match="collection 'docs' exists already") as caught:
            catalog.create("docs", Kind.TURBO, 2, Metric.L2, SETTINGS)
        assert caught.value.code is errors.COLLECTION_EXISTS
        assert catalog.collections() == [made]


def test_a_dropped_collection_is_garbage_until_forgotten(path):
    with closing(Catalog(path)) as catalog:
        first = catalog.create("a", Kind.TURBO, 2, Metric.L2, resolve({}, 2))
        second = catalog.create("b", Kind.TURBO, 2, Metric.L2, resolve({}, 2))
        catalog.drop(first.id)
        assert catalog.collections() == [second]
    with closing(Catalog(path)) as catalog:
        assert catalog.dropped() == [first.id]
        catalog.forget_dropped(first.id)
        assert catalog.dropped() == []
        assert catalog.collections() == [second]


def test_ids_are_never_used_twice(path):
    ids = []
    for _ in range(3):
        with closing(Catalog(path)) as catalog:
            made = catalog.create("a", Kind.TURBO, 2, Metric.L2, resolve({}, 2))
            catalog.drop(made.id)
            catalog.forget_dropped(made.id)
            ids.append(made.id)
    assert len(set(ids)) == 3


def test_a_catalog_of_another_version_is_named_as_such(path):
    collections(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    error = error_of(path)
    assert error is not None
    assert error.code is errors.UNSUPPORTED_FORMAT
    assert f"has format {FORMAT + 1}; this build reads {FORMAT}" in error.message


@pytest.mark.parametrize("content", [b"not a database " * 500, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_damaged(path, content):
    path.write_bytes(content)
    error = error_of(path)
    assert error is not None
    assert error.code is errors.CORRUPT_DATA
    assert error.detail == {"path": str(path)}
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE collections SET metric = 'cosXne'",
        "UPDATE collections SET kind = 'vector.turbX'",
        "UPDATE collections SET settings = '{\"bits\": 4'",
        "UPDATE collections SET name = CAST(x'ff' AS TEXT)",
        'UPDATE collections SET settings = \'{"index": "flXt"}\'',
        "UPDATE collections SET fields = '[{}]'",
        "UPDATE collections SET fields = '[7]'",
        """UPDATE collections SET fields = '[{"name": "n", "type": "INX", "not_null": false, "default": null}]'""",
        """UPDATE collections SET fields = '[{"name": "n", "type": "INT", "not_null": false, "default": "x"}]'""",
        "DROP TABLE collections",
    ],
)
def test_rows_that_nobody_wrote_are_damage(path, change):
    """SQLite has no checksums: a flipped bit in a page may well be read as another value."""
    with closing(Catalog(path)) as catalog:
        catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(change)
    error = error_of(path)
    assert error is not None
    assert error.code is errors.CORRUPT_DATA


def test_a_flipped_bit_is_seen_or_means_nothing(path):
    with closing(Catalog(path)) as catalog:
        catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS, FIELDS)
        other = catalog.create("other", Kind.TURBO, 2, Metric.L2, SETTINGS)
        catalog.drop(catalog.create("gone", Kind.TURBO, 2, Metric.L2, SETTINGS).id)
    right = collections(path), [other.id + 1]
    content = path.read_bytes()
    refused = 0
    # The used bytes: the header, the schema's cells and the rows; between them a page is zeros.
    for place in [place for place, byte in enumerate(content) if byte]:
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        path.with_name(path.name + "-journal").unlink(missing_ok=True)
        error = error_of(path)
        refused += error is not None
        if error is None:
            with closing(Catalog(path)) as catalog:
                assert (catalog.collections(), catalog.dropped()) == right, place
        else:
            assert error.code in (errors.CORRUPT_DATA, errors.UNSUPPORTED_FORMAT, errors.DISK_FAILED), place
    assert refused > 1000


def test_a_row_that_is_missing_or_was_added_is_damage(path):
    for change in (
        "DELETE FROM collections WHERE id = 1",
        "INSERT INTO dropped (id) VALUES (1)",
        "UPDATE sqlite_sequence SET seq = 0",
        "DELETE FROM seal",
        "INSERT INTO seal VALUES (0)",
    ):
        path.unlink(missing_ok=True)
        with closing(Catalog(path)) as catalog:
            catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(change)
        error = error_of(path)
        assert error is not None, change
        assert error.code is errors.CORRUPT_DATA
        assert error.detail == {"path": str(path)}


def test_what_cannot_be_begun_does_not_exist(path):
    def begin(made: Collection) -> None:
        raise errors.DISK_FULL.error(f"no room for {made.id}")

    with closing(Catalog(path)) as catalog:
        with pytest.raises(errors.RedDBError, match="no room for 1"):
            catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS, begin=begin)
        assert catalog.collections() == []
        assert catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS).id == 1
    assert [item.name for item in collections(path)] == ["docs"]


def test_a_cut_file_is_damaged(path):
    with closing(Catalog(path)) as catalog:
        catalog.create("docs", Kind.TURBO, 384, Metric.IP, SETTINGS)
    content = path.read_bytes()
    for size in (512, 4096, len(content) - 4096):
        path.write_bytes(content[:size])
        error = error_of(path)
        assert error is not None, size
        assert error.code is errors.CORRUPT_DATA, size


def test_a_new_catalog_is_begun_and_sealed_in_one_transaction(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Catalog(path).close()
    change_counter = int.from_bytes(path.read_bytes()[24:28], "big")  # SQLite's own, one more with each transaction
    assert change_counter == 1


def test_a_catalog_without_aliases_gets_their_table(path):
    with closing(Catalog(path)) as catalog:
        made = catalog.create("a", Kind.TURBO, 2, Metric.L2, resolve({}, 2))
    with closing(sqlite3.connect(path)) as database:  # as the format before wrote it
        tables = ("SELECT id, name, kind, dim, metric, settings, fields, indexes FROM collections ORDER BY id",)
        tables += ("SELECT id FROM dropped ORDER BY id", "SELECT name, seq FROM sqlite_sequence ORDER BY name")
        rows = [database.execute(table).fetchall() for table in tables]
        database.execute("DROP TABLE aliases")
        database.execute("UPDATE seal SET crc = ?", (crc32c([repr(rows).encode()]),))
        database.execute("PRAGMA user_version = 3")
        database.commit()
    with closing(Catalog(path)) as catalog:
        assert catalog.collections() == [made]
        catalog.set_alias("b", made.id)
    with closing(Catalog(path)) as catalog:
        assert catalog.aliases() == {"b": made.id}
