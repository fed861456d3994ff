"""The catalog of a folder that a server may have open, read through SQLite: its locks keep changes away meanwhile.

Invariant: the connection is read-only, so the folder stays as it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reddb import errors
from reddb.disk import told_of
from reddb.paths import refuse_other
from reddb.storage.catalog import Catalog
from reddb.storage.folder import CATALOG, refuse_another_mode
from reddb.types import Collection

NAME = CATALOG
_JOURNAL = f"{NAME}-journal"


def catalog_bytes(data: Path) -> bytes:
    """The catalog as one moment saw it. Raises CORRUPT_DATA or DISK_FAILED."""
    with _opened(data) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return copy.serialize()


def collections_of(copied: Path) -> list[Collection]:
    """Those of a folder that nobody else has. Raises CORRUPT_DATA."""
    with closing(Catalog(copied / NAME, may_create=False)) as catalog:
        catalog.verify()
        return catalog.collections()


def collection_ids(data: Path) -> set[int]:
    """Those that there are now."""
    with _opened(data) as source:
        return {id for (id,) in source.execute("SELECT id FROM collections")}


@contextmanager
def _opened(data: Path) -> Iterator[sqlite3.Connection]:
    path = data / NAME
    # By its name: closing a descriptor would end the locks that SQLite has on the file in this process.
    with told_of("open", path):
        found = os.lstat(path) if os.path.lexists(path) else None
    if found is None:
        raise errors.UNSUPPORTED_FORMAT.error(f"{data} is no data folder: it has no {NAME}", path=str(path))
    refuse_other(path, found, is_written=False)
    with told_of("list", data):
        refuse_another_mode(data, os.listdir(data))
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source:
            yield source
    except sqlite3.OperationalError as error:
        hint = ""
        if (data / _JOURNAL).exists():
            hint = "; a change of it was cut short, which the next start of a server rolls back"
        raise errors.DISK_FAILED.error(f"{path}: {error}{hint}", path=str(path)) from error
    except sqlite3.DatabaseError as error:
        raise errors.CORRUPT_DATA.error(f"{path}: {error}", path=str(path)) from error
