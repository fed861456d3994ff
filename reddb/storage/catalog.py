"""The catalog: which collections there are, in SQLite, written by one process.

    collections(id, name, kind, dim, metric, settings, fields, indexes)    one row each; ids are never used twice
    aliases(name, collection)                                              other names; `collection` is an id
    dropped(id)                                                            its folder may still be there
    seal(crc)                                                              CRC-32C of all rows of the tables above, and
                                                                           of the last id that was given

SQLite with synchronous=FULL is the best-tested way to change a few rows atomically; a format of our own would only be
another thing to get wrong.

SQLite has no checksums of its own, and one flipped bit in an id would have the wrong collection's folder removed: so
every change renews the seal in its transaction, and nothing is believed before the seal was compared.

Invariants:
  * A change has been committed to disk when its method returns.
  * The rows that are read are those that were written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack

from reddb import errors, limits
from reddb.checksum import crc32c
from reddb.described import from_json, is_of, list_of, map_of
from reddb.fields import NO_FIELDS, Fields
from reddb.settings import SettingValue, resolve
from reddb.types import INDEXABLE, RESERVED_FIELD_NAMES, Collection, Kind, Metric
from reddb.wording import shown

FORMAT = 4
_WITHOUT_ALIASES = 3  # a format that can be read, and is changed to this one when it is opened
_ALIASES = "CREATE TABLE aliases (name TEXT PRIMARY KEY, collection INTEGER NOT NULL) STRICT"
_SCHEMA = (
    """CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    dim INTEGER NOT NULL,
    metric TEXT NOT NULL,
    settings TEXT NOT NULL,
    fields TEXT NOT NULL,
    indexes TEXT NOT NULL DEFAULT '[]'
) STRICT""",
    "CREATE TABLE dropped (id INTEGER PRIMARY KEY) STRICT",
    _ALIASES,
    "CREATE TABLE seal (crc INTEGER NOT NULL) STRICT",
    "INSERT INTO seal VALUES (0)",
    f"PRAGMA user_version = {FORMAT}",
)
_TABLES = {
    "CREATE TABLE sqlite_sequence(name,seq)",  # which AUTOINCREMENT makes
    *(statement for statement in _SCHEMA if statement.startswith("CREATE TABLE")),
}
_SEALED = (
    "SELECT id, name, kind, dim, metric, settings, fields, indexes FROM collections ORDER BY id",
    "SELECT id FROM dropped ORDER BY id",
    "SELECT name, seq FROM sqlite_sequence ORDER BY name",
    "SELECT name, collection FROM aliases ORDER BY name",
)


# What the disk did; any other error of SQLite says that the file is not what we wrote.
_DISK_ERRORS = {
    sqlite3.SQLITE_FULL: errors.DISK_FULL,
    sqlite3.SQLITE_IOERR: errors.DISK_FAILED,
    sqlite3.SQLITE_CANTOPEN: errors.DISK_FAILED,
    sqlite3.SQLITE_READONLY: errors.DISK_FAILED,
    sqlite3.SQLITE_PERM: errors.DISK_FAILED,
    sqlite3.SQLITE_BUSY: errors.DISK_FAILED,
    sqlite3.SQLITE_LOCKED: errors.DISK_FAILED,
}


class Catalog:
    """The open catalog. Raises CORRUPT_DATA for a damaged file, UNSUPPORTED_FORMAT for another version's."""

    def __init__(self, path: Path, *, may_create: bool = True, check_lock: Callable[[], None] = lambda: None) -> None:
        """Open it. If it is empty, begin it or, unless `may_create`, raise CORRUPT_DATA and write nothing.

        `check_lock` raises once somebody else may be writing: nothing is changed then.
        """
        self._path = path
        self._check_lock = check_lock
        with self._named():
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._open(may_create=may_create)
        except BaseException:
            self._database.close()
            raise

    def _open(self, *, may_create: bool) -> None:
        with self._named():
            self._read("PRAGMA synchronous = FULL")
            version = int(self._read("PRAGMA user_version")[0][0])
        if version == 0 and not may_create:
            raise self._damaged("is missing or empty, but there are collections")
        if version in (FORMAT, _WITHOUT_ALIASES):
            self._check_schema(version)
        if version == 0:
            self._path.chmod(0o600)
            with (
                self._change()
            ):  # the seal too: a catalog that was begun and not sealed would be taken for a damaged one
                for statement in _SCHEMA:
                    self._database.execute(statement)
        elif version == _WITHOUT_ALIASES:
            self._check_seal(_SEALED[:-1])
            with self._change():
                self._database.execute(_ALIASES)
                self._database.execute(f"PRAGMA user_version = {FORMAT}")
        elif version != FORMAT:
            raise errors.UNSUPPORTED_FORMAT.error(
                f"{self._path} has format {version}; this build reads {FORMAT}", path=str(self._path)
            )
        self._check_seal(_SEALED)

    def _check_schema(self, version: int) -> None:
        """Raises CORRUPT_DATA unless there are our tables alone: a view or a computed column is a program to be run."""
        with self._named():
            found = {sql for (sql,) in self._read("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
        if found != (_TABLES - {_ALIASES} if version == _WITHOUT_ALIASES else _TABLES):
            raise self._damaged("does not have the tables of a catalog")

    def _check_seal(self, sealed: Sequence[str]) -> None:
        with self._named():
            seals = self._read("SELECT crc FROM seal")
            if seals != [(self._crc(sealed),)]:
                raise self._damaged("does not have the rows that its seal was made of")

    def collections(self) -> list[Collection]:
        """All collections by id."""
        with self._named():
            rows = self._read(_SEALED[0])
        # What a build with more settings or types wrote is no damage to its seal, but cannot be understood.
        try:
            return [_collection(*row) for row in rows]
        except (ValueError, TypeError, errors.RedDBError) as error:
            raise self._damaged(f"has a collection that is not valid: {error}") from error

    def verify(self) -> None:
        """Let SQLite look at every page. Raises CORRUPT_DATA."""
        with self._named():
            found = [text for (text,) in self._database.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise self._damaged(f"is damaged: {'; '.join(found)}")

    def create(
        self,
        name: str,
        kind: Kind,
        dim: int,
        metric: Metric,
        settings: dict[str, SettingValue],
        fields: Fields = NO_FIELDS,
        begin: Callable[[Collection], None] = lambda _: None,
    ) -> Collection:
        """Add a collection, after `begin` has made what must be there once it exists. Raises COLLECTION_EXISTS."""
        plain = fields.to_plain()
        row = (name, str(kind), dim, str(metric), json.dumps(settings, sort_keys=True), json.dumps(plain))
        with self._change():
            try:
                cursor = self._database.execute(
                    "INSERT INTO collections (name, kind, dim, metric, settings, fields) VALUES (?, ?, ?, ?, ?, ?)", row
                )
            except sqlite3.IntegrityError:
                raise errors.COLLECTION_EXISTS.error(f"collection {name!r} exists already") from None
            assert cursor.lastrowid is not None
            made = check_definition(Collection(cursor.lastrowid, name, kind, dim, metric, settings, fields))
            begin(made)
        return made

    def change_settings(self, collection_id: int, settings: dict[str, SettingValue]) -> None:
        """Replace the settings of a collection."""
        with self._change():
            self._database.execute(
                "UPDATE collections SET settings = ? WHERE id = ?",
                (json.dumps(settings, sort_keys=True), collection_id),
            )

    def change_indexes(self, collection_id: int, indexes: Sequence[str]) -> None:
        """Replace the paths that are indexed."""
        with self._change():
            self._database.execute(
                "UPDATE collections SET indexes = ? WHERE id = ?", (json.dumps(list(indexes)), collection_id)
            )

    def change_fields(self, collection_id: int, fields: Fields) -> None:
        """Replace the declared fields."""
        plain = json.dumps(fields.to_plain())
        with self._change():
            self._database.execute("UPDATE collections SET fields = ? WHERE id = ?", (plain, collection_id))

    def empty(self, collection: Collection, begin: Callable[[Collection], None]) -> Collection:
        """Put a new collection without rows, and with another id, in the place of one, aliases and all.

        The old one's folder is known as garbage, as after `drop`; `begin` makes the new one's.
        """
        row = (json.dumps(collection.settings, sort_keys=True), json.dumps(list(collection.indexes)))
        plain = json.dumps(collection.fields.to_plain())
        of = (collection.name, str(collection.kind), collection.dim, str(collection.metric), plain)
        with self._change():
            self._database.execute("DELETE FROM collections WHERE id = ?", (collection.id,))
            self._database.execute("INSERT INTO dropped (id) VALUES (?)", (collection.id,))
            columns = "name, kind, dim, metric, fields, settings, indexes"
            cursor = self._database.execute(
                f"INSERT INTO collections ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", (*of, *row)
            )
            assert cursor.lastrowid is not None
            made = replace(collection, id=cursor.lastrowid)
            self._database.execute("UPDATE aliases SET collection = ? WHERE collection = ?", (made.id, collection.id))
            begin(made)
        return made

    def aliases(self) -> dict[str, int]:
        """The id of the collection that each alias stands for."""
        with self._named():
            return dict(self._read(_SEALED[3]))

    def set_alias(self, name: str, collection_id: int) -> None:
        """Make an alias, or point it at another collection."""
        with self._change():
            self._database.execute(
                "INSERT OR REPLACE INTO aliases (name, collection) VALUES (?, ?)", (name, collection_id)
            )

    def drop_alias(self, name: str) -> None:
        with self._change():
            self._database.execute("DELETE FROM aliases WHERE name = ?", (name,))

    def drop(self, collection_id: int) -> None:
        """Forget the collection, which has no aliases; its folder is known as garbage until `forget_dropped`."""
        with self._change():
            self._database.execute("DELETE FROM collections WHERE id = ?", (collection_id,))
            self._database.execute("INSERT INTO dropped (id) VALUES (?)", (collection_id,))

    def dropped(self) -> list[int]:
        """Ids whose folders may be removed."""
        with self._named():
            return [id for (id,) in self._read(_SEALED[1])]

    def forget_dropped(self, collection_id: int) -> None:
        """The folder is gone."""
        with self._change():
            self._database.execute("DELETE FROM dropped WHERE id = ?", (collection_id,))

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction, and a new seal."""
        with self._named(), self._database:
            self._check_lock()
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("UPDATE seal SET crc = ?", (self._crc(),))
        self._check_lock()  # what was committed after the loss must not be acknowledged

    def _crc(self, sealed: Sequence[str] = _SEALED) -> int:
        return crc32c([repr([self._read(statement) for statement in sealed]).encode(errors="surrogatepass")])

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(statement).fetchall()
        except (UnicodeDecodeError, OverflowError) as error:  # Python's module, of what SQLite found in a damaged page
            raise self._damaged(f"holds what cannot be read: {error}") from error

    def _damaged(self, what: str) -> errors.RedDBError:
        return errors.CORRUPT_DATA.error(f"{self._path} {what}", path=str(self._path))

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            code = _DISK_ERRORS.get(_primary(error), errors.CORRUPT_DATA)
            raise code.error(f"{self._path}: {error}", path=str(self._path)) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(f"cannot be read: {error}") from error


def check_definition(collection: Collection) -> Collection:
    """The collection. Raises LIMIT_EXCEEDED where its definition is larger than may be told to other processes."""
    size = len(msgpack.packb(collection.to_plain()))
    if size > limits.COLLECTION_BYTES_MAX:
        raise errors.LIMIT_EXCEEDED.error(
            f"the settings, fields and indexes of {collection.name!r} would take {size} bytes; "
            f"they may take {limits.COLLECTION_BYTES_MAX}"
        )
    return collection


def _collection(
    id: int, name: str, kind: str, dim: int, metric: str, settings: str, fields: str, indexes: str
) -> Collection:
    """Of one row, whoever wrote it. Raises ValueError, TypeError or RedDBError."""
    if id < 1 or not 1 <= dim <= limits.DIM_MAX or not 1 <= len(name.encode()) <= limits.NAME_BYTES_MAX:
        raise ValueError(f"{shown(name)} has the id {id} and {dim} dimensions")
    if kind == Kind.TURBO and metric not in INDEXABLE:
        raise ValueError(f"{shown(name)} has codes for the metric {shown(metric)}")
    return Collection(
        id=id,
        name=name,
        kind=Kind(kind),
        dim=dim,
        metric=Metric(metric),
        # Those that came later have the defaults of a collection that declares nothing: a build before
        # `free_keys` took any key, whatever was declared.
        settings=resolve(map_of(from_json(settings.encode())), dim),
        fields=_fields(from_json(fields.encode())),
        indexes=_indexes(from_json(indexes.encode())),
    )


def _fields(plain: Any) -> Fields:
    items = [map_of(item, "name", "type", "not_null", "default") for item in list_of(plain)]
    names = [item["name"] for item in items]
    if not all(is_of(name, str) and name not in RESERVED_FIELD_NAMES for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{shown(names)} are no fields")
    if not all(is_of(item["type"], str) and is_of(item["not_null"], bool) for item in items):
        raise ValueError(f"{shown(items)} are no fields")
    return Fields.from_plain(items)


def _indexes(plain: Any) -> tuple[str, ...]:
    if not all(is_of(path, str) for path in list_of(plain)) or len(plain) > limits.FIELD_INDEXES_MAX:
        raise ValueError(f"{shown(plain)} are no paths")
    return tuple(plain)


def _primary(error: sqlite3.Error) -> int:
    """SQLite's error code without its extension; errors of Python's own module have none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
