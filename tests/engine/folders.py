"""Data folders for the tests of `reddb check`: one with every kind of file in it, its rows, and ways to damage it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import reddb
from reddb.check import run_check
from reddb.disk import OsDisk
from reddb.storage.catalog import Catalog
from reddb.storage.manifest import read_manifest, write_manifest
from reddb.storage.wal_file import WalIdentity, begun_anew, file_name, records_behind
from reddb.types import Collection

TURBO, GRAPH, LISTS = 1, 2, 3  # ids of the collections
FIRST, SECOND = range(600), range(600, 1000)  # rows of the two segments of each

# What `make_folder` does with rows of both segments of the collection `docs`.
REPLACED = range(10)  # by rows of the second segment
DELETED = range(20, 30)  # before the second segment was sealed
DELETED_LATER = (31, 32)  # in the log
INSERTED_AGAIN = (20, 21)  # in the log, after they were deleted
LOGGED = ("a", "b", "c", "d")  # in the log, one record each, before the two above


@dataclass(frozen=True)
class Looked:
    """What a check said."""

    code: int
    lines: list[str]

    @property
    def verdict(self) -> str:
        return self.lines[-1]

    def having(self, status: str) -> dict[str, str]:
        """Path and text of the lines with this status, but for those of a second look."""
        found = {}
        for line in self.lines:
            if line.startswith("looked at again"):
                break
            if line[:8].rstrip() == status:
                path, _, text = line[8:].partition("   " if status == "ok" else ": ")
                found[path] = text
        return found


def look(data: Path, *, repair: bool = False) -> Looked:
    lines: list[str] = []
    code = run_check(data, lines.append, repair=repair)
    return Looked(code, lines)


@contextmanager
def opened(data: Path) -> Iterator[reddb.Client]:
    with reddb.connect(f"file:{data}") as db:
        yield db


def ids_in(data: Path, collection: str = "docs") -> list[Any]:
    """The ids of all rows, as often as they are found."""
    with opened(data) as db:
        found = [row[0] for row in db.execute(f"SELECT id FROM {collection} LIMIT 10000")]
        ((count,),) = db.execute(f"SELECT count(*) FROM {collection}")
        assert len(found) == count
        return found


def vectors_of(ids: range) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(ids.start).standard_normal((len(ids), 8), dtype=np.float32)


def make_folder(data: Path) -> None:
    """Three collections of two sealed segments each, with dead rows, indexes of all kinds, and a log behind them."""
    with opened(data) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 8 METRIC l2 FIELDS (n INT, *)")
        db.execute("CREATE INDEX ON docs (n)")
        db.execute("CREATE COLLECTION graphs KIND vector DIM 8 METRIC l2 WITH (index = hnsw)")
        db.execute("CREATE COLLECTION lists KIND vector DIM 8 METRIC l2 WITH (index = ivf)")
        for name in ("docs", "graphs", "lists"):
            payloads = [{"n": number % 7} for number in FIRST]
            db.upsert(name, ids=FIRST, vectors=vectors_of(FIRST), payloads=payloads)
            db.execute(f"ALTER COLLECTION {name} SEAL")
            db.delete(name, list(DELETED))
            db.upsert(name, ids=SECOND, vectors=vectors_of(SECOND))
            db.upsert(name, ids=REPLACED, vectors=vectors_of(REPLACED) + 1)
            db.execute(f"ALTER COLLECTION {name} SEAL")
        for row_id in LOGGED:
            db.upsert("docs", ids=[row_id], vectors=[[1] * 8])
        db.delete("docs", list(DELETED_LATER))
        db.insert("docs", ids=list(INSERTED_AGAIN), vectors=[[2] * 8, [3] * 8])


def all_ids() -> list[Any]:
    """The ids in `docs`."""
    gone = {*DELETED, *DELETED_LATER} - {*INSERTED_AGAIN}
    return sorted({*FIRST, *SECOND, *LOGGED} - gone, key=str)


def collection_in(data: Path, collection_id: int) -> Collection:
    with closing(Catalog(data / "catalog.sqlite")) as catalog:
        return next(item for item in catalog.collections() if item.id == collection_id)


def partition_of(data: Path, collection_id: int = TURBO) -> Path:
    return data / "collections" / str(collection_id) / "0"


def log_of(data: Path) -> Path:
    (log,) = (partition_of(data) / "wal").iterdir()
    return log


def records_of(data: Path) -> list[tuple[int, int]]:
    """LSN and place of each record of the log, and of what would come next."""
    return records_of_file(log_of(data))


def records_of_file(log: Path) -> list[tuple[int, int]]:
    """The same of one file."""
    content = log.read_bytes()
    found = [(record.lsn, place, len(record.body)) for place, record in records_behind(content, 1, 0)]
    lsn, place, length = found[-1]
    end = place + 32 + length + -length % 8
    return [*((lsn, place) for lsn, place, _ in found), (lsn + 1, end)]


def tear(data: Path, content: bytes) -> None:
    """Write what is no record behind the last one."""
    _, end = records_of(data)[-1]
    whole = log_of(data).read_bytes()
    log_of(data).write_bytes(whole[:end] + content)


def split_log(data: Path, lsn: int) -> list[Path]:
    """Let the log be two files, the second begun with this LSN."""
    log, content = log_of(data), log_of(data).read_bytes()
    place = dict(records_of(data))[lsn]
    second = log.with_name(file_name(lsn))
    second.write_bytes(begun_anew(content, WalIdentity(TURBO, 0), lsn, place))
    log.write_bytes(content[:place])
    return [log, second]


def files_below(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


def times_below(data: Path) -> dict[str, tuple[int, int]]:
    """When files and folders were changed, and their entries."""
    found = {}
    for path in [data, *data.rglob("*")]:
        status = os.stat(path)
        found[str(path.relative_to(data))] = (status.st_mtime_ns, status.st_ctime_ns)
    return found


def flip(path: Path, place: int = -1) -> None:
    """Change a bit of a file, in its first half unless it is said where."""
    content = bytearray(path.read_bytes())
    content[len(content) // 4 if place < 0 else place] ^= 0x04
    path.write_bytes(content)


def assert_kept(data: Path, before: dict[str, bytes]) -> None:
    """Whatever a file held, some file holds; only who holds the lock is written anew."""
    contents = set(files_below(data).values())
    assert [name for name, content in before.items() if name != "LOCK" and content not in contents] == []


def seal_up_to(data: Path, lsn: int) -> None:
    """Let the manifest say that the log is needed from the next LSN on only."""
    of = collection_in(data, TURBO)
    manifest = read_manifest(OsDisk(), partition_of(data), of, 0)
    write_manifest(OsDisk(), partition_of(data), of, 0, manifest.next(sealed_lsn=lsn))
