"""What strangers' folders are made of: small data folders of known content, their backups, and how all of it is read.

A tree is what a folder holds: bytes by path, or what stands there instead of a file.

Rule: thresholds below which no index is used are lowered for these few rows.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import reddb
from reddb import limits
from reddb.backup.backup import run_backup
from reddb.partition import encoder
from reddb.query import candidates
from reddb.query.views import VIEWS

_DIM = 8
_FIRST, _SECOND, _LOGGED = range(40), range(40, 80), range(80, 120)
_KINDS = {
    "flat": "KIND vector.turbo DIM 8 METRIC l2 FIELDS (n INT, t TEXT, *) WITH (index = flat)",
    "hnsw": "KIND vector DIM 8 METRIC cosine FIELDS (n INT, t TEXT, *) "
    "WITH (index = hnsw, m = 4, m0 = 8, ef_construction = 16, ef = 16)",
    "ivf": "KIND vector.turbo DIM 8 METRIC l2 FIELDS (n INT, t TEXT, *) WITH (index = ivf, partitions = 2)",
}


class Stranger(NamedTuple):
    """What stands where a file or a folder belongs: `link` and `twin` lead to a target, `giant` has bytes behind a
    hole, `folder`, `fifo` and `socket` are what they say.
    """

    kind: str
    target: str = ""
    size: int = 0


Tree: TypeAlias = dict[str, "bytes | Stranger"]


@dataclass(frozen=True)
class Specimen:
    """A folder as it was made; `is_backup` of its kind. `answers` are what is read of it."""

    name: str
    is_backup: bool
    tree: dict[str, bytes]
    answers: list[Any]


def lower_thresholds() -> None:
    """For this process: so few rows have indexes, and a log has several files."""
    limits.SCANNED_ROWS = 0
    candidates._ROWS_MIN, candidates._CANDIDATE_ROWS = 0, 1
    encoder.FIT_ROWS, limits.WAL_PREALLOCATE_BYTES, limits.WAL_SEGMENT_BYTES = 32, 256, 4_096


def make_specimens(folder: Path) -> Iterator[Specimen]:
    """Of each kind of index a data folder and its backup."""
    for name, shape in _KINDS.items():
        data, backup = folder / name, folder / f"{name}.backup"
        _fill(data, shape)
        run_backup(data, backup, lambda _: None)
        answers = read_answers(data)
        yield Specimen(name, False, tree_of(data), answers)
        yield Specimen(f"{name}.backup", True, tree_of(backup), answers)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def put(tree: Tree, folder: Path, outside: Path) -> None:
    """Make the folder. Targets of links are below `outside`, or paths as they are."""
    for name, content in tree.items():
        path = os.path.join(folder, name)
        above = os.path.dirname(path)
        with suppress(OSError):  # what stands in its way was put there before
            os.makedirs(above, exist_ok=True)
            if os.path.realpath(above) != above:
                continue  # a link stands in its way
            if isinstance(content, bytes):
                with open(path, "xb") as file:
                    file.write(content)
            else:
                _put_stranger(content, path, outside)


def _put_stranger(stranger: Stranger, path: str, outside: Path) -> None:
    target = os.path.join(outside, stranger.target)
    match stranger.kind:
        case "link":
            os.symlink(target, path)
        case "twin":
            os.link(target, path)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening, _inside(os.path.dirname(path)):
                listening.bind(os.path.basename(path))  # a whole path may be longer than its address takes
        case "folder":
            os.mkdir(path)
        case "giant":
            with open(path, "wb") as file:
                file.truncate(stranger.size)
                file.write(stranger.target.encode("latin-1"))


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def state_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What a folder holds and when it was changed, through no link."""
    found: dict[str, tuple[Any, ...]] = {}
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            item = os.lstat(path)
            size = item.st_size if stat.S_ISREG(item.st_mode) else 0
            found[os.path.relpath(path, folder)] = (item.st_mode, size, item.st_mtime_ns)
    return found


def empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


# --- what is in them ---------------------------------------------------------------------------------------


def _fill(data: Path, shape: str) -> None:
    """Two segments with dead rows and indexes, codes that were kept, and several files of a log behind them."""
    generator = np.random.default_rng(5)
    with reddb.connect(f"file:{data}") as db:
        db.execute(f"CREATE COLLECTION docs {shape}")
        db.execute("CREATE INDEX ON docs (n)")
        db.execute("CREATE ALIAS papers FOR docs")
        for rows in (_FIRST, _SECOND):
            db.upsert("docs", _ids(rows), generator.normal(size=(len(rows), _DIM)), _payloads(rows))
            db.execute("ALTER COLLECTION docs SEAL")
            db.delete("docs", _ids(rows)[:3])
        db.execute("ALTER COLLECTION docs REBUILD")
        db.execute("ALTER COLLECTION docs CHECKPOINT")
        for first in range(_LOGGED.start, _LOGGED.stop, 8):
            rows = range(first, first + 8)
            db.insert("docs", _ids(rows), generator.normal(size=(len(rows), _DIM)), _payloads(rows))
        db.execute("ALTER COLLECTION docs CHECKPOINT")
        db.delete("docs", _ids(_SECOND)[5:7])
        if "partitions" not in shape:
            with db.transaction() as tx:
                tx.execute("DELETE FROM docs WHERE id IN ($1, $2)", _ids(_FIRST)[8:10])
                tx.upsert("docs", [7], [[1.0] * _DIM], [{"n": 7}])


def _ids(rows: range) -> list[int | str]:
    return [f"id {number}" if number % 4 == 0 else number for number in rows]


def _payloads(rows: range) -> list[dict[str, Any]]:
    return [
        {"n": number, "t": f"text {number % 3}", "tags": ["even"] if number % 2 == 0 else [], "more": {"deep": 0.5}}
        for number in rows
    ]


def read_answers(data: Path) -> list[Any]:
    """What is the same however the rows are found."""
    with reddb.connect(f"file:{data}") as db:
        return answers_of(db)


def answers_of(db: reddb.Client) -> list[Any]:
    answers: list[Any] = [list(db.execute("SHOW ALIASES"))]
    for name, dim in list(db.execute("SELECT name, dim FROM red.collections")):
        quoted, query = _quoted(name), [0.5] * dim
        answers += [
            sorted(
                (str(row_id), vector.tobytes(), str(payload))
                for row_id, vector, payload in db.execute(f"SELECT id, vector, payload FROM {quoted} LIMIT 10000")
            ),
            list(db.execute(f"SELECT count(*), min(n), max(t) FROM {quoted}")),
            list(db.execute(f"SELECT id FROM {quoted} WHERE n < 30 AND t = 'text 1' ORDER BY n, id LIMIT 50")),
            list(db.execute(f"SELECT id FROM {quoted} WHERE 'even' IN tags AND more.deep > 0 ORDER BY id LIMIT 50")),
            [hit.id for hit in db.search(name, query, 5, exact=True)],
            [row and row.id for row in db.get(name, [1, "id 4", "id 84", 7])],
        ]
    return answers


def read_rest(db: reddb.Client) -> None:
    """Everything else that can be asked for."""
    for view in VIEWS.keys() - {"collection"}:
        list(db.execute(f"SHOW {view}"))
    for name, dim in list(db.execute("SELECT name, dim FROM red.collections")):
        quoted, query = _quoted(name), np.ones((2, dim), np.float32)
        list(db.execute(f"SHOW COLLECTION {quoted}"))
        for where in (None, "n < 50", "t LIKE 'text%'"):
            for ef in (None, 12):
                db.search(name, query, 5, where=where, ef=ef, with_vectors=True)
        db.search(name, query, 60)
        list(db.execute(f"SELECT t, count(*) FROM {quoted} GROUP BY t ORDER BY t LIMIT 20"))
        list(
            db.execute(
                f"EXPLAIN ANALYZE SELECT id FROM {quoted} WHERE n = 3 ORDER BY vector <-> $1 LIMIT 3", [query[0]]
            )
        )


def write_to(db: reddb.Client) -> None:
    """Rows that come and go, and every work on the files."""
    for name, dim in list(db.execute("SELECT name, dim FROM red.collections")):
        quoted = _quoted(name)
        db.upsert(name, [1, "new"], np.ones((2, dim), np.float32), [{"n": 1}, {"n": 2}])
        db.execute(f"UPDATE {quoted} SET n = n + 1 WHERE n < 9")
        db.execute(f"DELETE FROM {quoted} WHERE n = 60")
        for work in ("SEAL", "CHECKPOINT", "REBUILD", "COMPACT"):
            db.execute(f"ALTER COLLECTION {quoted} {work}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
