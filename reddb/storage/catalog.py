"""The catalog: which collections there are, in SQLite, written by one process.

    collections(id, name, kind, dim, metric, settings, fields, indexes)    one row each; ids are never used twice
    dropped(id)                                                            its folder may still be there

SQLite with synchronous=FULL is the best-tested way to change a few rows atomically; a format of our own would only be
another thing to get wrong.

Invariant: a change has been committed to disk when its method returns.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reddb import errors
from reddb.fields import NO_FIELDS, Field, Fields
from reddb.settings import SettingValue, resolve
from reddb.types import Collection, Kind, Metric

_FORMAT = 2
_SCHEMA = """
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    dim INTEGER NOT NULL,
    metric TEXT NOT NULL,
    settings TEXT NOT NULL,
    fields TEXT NOT NULL,
    indexes TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE dropped (id INTEGER PRIMARY KEY) STRICT;
"""


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

    def __init__(self, path: Path, *, may_create: bool = True) -> None:
        """Open it. If it is empty, begin it or, unless `may_create`, raise CORRUPT_DATA and write nothing."""
        self._path = path
        with self._named():
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            version = int(self._database.execute("PRAGMA user_version").fetchone()[0])
            if version == 0 and not may_create:
                self._database.close()
                raise errors.CORRUPT_DATA.error(
                    f"{path} is missing or empty, but there are collections", path=str(path)
                )
            if version == 0:
                path.chmod(0o600)
                self._database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;")
            elif version != _FORMAT:
                raise errors.UNSUPPORTED_FORMAT.error(
                    f"{path} has format {version}; this build reads {_FORMAT}", path=str(path)
                )

    def collections(self) -> list[Collection]:
        """All collections by id."""
        with self._named():
            rows = self._database.execute(
                "SELECT id, name, kind, dim, metric, settings, fields, indexes FROM collections ORDER BY id"
            ).fetchall()
        # SQLite has no checksums: a flipped bit in a page may well be read as another value.
        try:
            return [
                Collection(
                    id=id,
                    name=name,
                    kind=Kind(kind),
                    dim=dim,
                    metric=Metric(metric),
                    settings=resolve(json.loads(settings), dim),  # those that came later have their defaults
                    fields=_fields(json.loads(fields)),
                    indexes=_indexes(json.loads(indexes)),
                )
                for id, name, kind, dim, metric, settings, fields, indexes in rows
            ]
        except (ValueError, TypeError, AttributeError, KeyError, errors.RedDBError) as error:
            raise errors.CORRUPT_DATA.error(f"{self._path}: a collection is not valid: {error}") from error

    def verify(self) -> None:
        """Let SQLite look at every page. Raises CORRUPT_DATA."""
        with self._named():
            found = [text for (text,) in self._database.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise errors.CORRUPT_DATA.error(f"{self._path}: {'; '.join(found)}", path=str(self._path))

    def create(
        self,
        name: str,
        kind: Kind,
        dim: int,
        metric: Metric,
        settings: dict[str, SettingValue],
        fields: Fields = NO_FIELDS,
    ) -> Collection:
        """Add a collection. Raises COLLECTION_EXISTS."""
        plain = [field.to_plain() for field in fields]
        row = (name, str(kind), dim, str(metric), json.dumps(settings, sort_keys=True), json.dumps(plain))
        with self._named():
            try:
                cursor = self._database.execute(
                    "INSERT INTO collections (name, kind, dim, metric, settings, fields) VALUES (?, ?, ?, ?, ?, ?)", row
                )
            except sqlite3.IntegrityError:
                raise errors.COLLECTION_EXISTS.error(f"collection {name!r} exists already") from None
        assert cursor.lastrowid is not None
        return Collection(cursor.lastrowid, name, kind, dim, metric, settings, fields)

    def change_settings(self, collection_id: int, settings: dict[str, SettingValue]) -> None:
        """Replace the settings of a collection."""
        with self._named():
            self._database.execute(
                "UPDATE collections SET settings = ? WHERE id = ?",
                (json.dumps(settings, sort_keys=True), collection_id),
            )

    def change_indexes(self, collection_id: int, indexes: Sequence[str]) -> None:
        """Replace the paths that are indexed."""
        with self._named():
            self._database.execute(
                "UPDATE collections SET indexes = ? WHERE id = ?", (json.dumps(list(indexes)), collection_id)
            )

    def drop(self, collection_id: int) -> None:
        """Forget the collection; its folder is known as garbage until `forget_dropped`."""
        with self._named(), self._database:
            self._database.execute("BEGIN")
            self._database.execute("DELETE FROM collections WHERE id = ?", (collection_id,))
            self._database.execute("INSERT INTO dropped (id) VALUES (?)", (collection_id,))

    def dropped(self) -> list[int]:
        """Ids whose folders may be removed."""
        with self._named():
            return [id for (id,) in self._database.execute("SELECT id FROM dropped ORDER BY id")]

    def forget_dropped(self, collection_id: int) -> None:
        """The folder is gone."""
        with self._named():
            self._database.execute("DELETE FROM dropped WHERE id = ?", (collection_id,))

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            code = _DISK_ERRORS.get(_primary(error), errors.CORRUPT_DATA)
            raise code.error(f"{self._path}: {error}", path=str(self._path)) from error
        except sqlite3.DatabaseError as error:
            raise errors.CORRUPT_DATA.error(f"{self._path}: {error}", path=str(self._path)) from error


def _fields(plain: list[dict[str, Any]]) -> Fields:
    return Fields(tuple(Field.from_plain(item) for item in plain))


def _indexes(plain: Any) -> tuple[str, ...]:
    if not isinstance(plain, list) or not all(isinstance(path, str) for path in plain):
        raise ValueError(f"{plain!r} are no paths")
    return tuple(plain)


def _primary(error: sqlite3.Error) -> int:
    """SQLite's error code without its extension; errors of Python's own module have none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
