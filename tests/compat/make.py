"""Writes a small data folder of this build's format, as an archive that is kept and opened by every later build.

    python -m tests.compat.make [FOLDER]

    format-<n>-catalog-<m>.tar.gz
                         the folder without LOCK; n is what its VERSION says, m the format of its catalog. Same files,
                         same archive: names sorted, no times, no owners
    format-<n>-….json    what must be read of it, by collection:
                         shown       lines of SHOW COLLECTION that a user or the format decides
                         indexes     fields that have one
                         aliases     other names of it
                         segments    partition, state, index, rows, live rows of each
                         rows        [id, float32 vector in hexadecimal, payload]; a time is {"time": ISO 8601}
                         searches    query in hexadecimal, condition, exact or not, ids, distances
                         counts      rows for which a condition holds

Rule: an archive that was released is never written again, so there is no way to overwrite one.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

import reddb
from reddb.storage.catalog import FORMAT as CATALOG_FORMAT

HERE = Path(__file__).resolve().parent
_ROWS_MAX = 10_000  # that a statement gives
_QUERIES = 3
_K = 10
# Derived when it is asked for, or words for a reader.
_FIGURES = {"distance", "range", "zero vector", "coded rows", "segments"}

_FIELDS = (
    "title TEXT NOT NULL, n INT DEFAULT 7, price FLOAT, sold BOOL, "
    "seen TIMESTAMP, tags TEXT[], numbers INT[], more JSON"
)
_DOCS = ["CREATE INDEX ON docs (n)", "CREATE INDEX ON docs (title)"]
_DIM = 8
_GROWING = 1100  # rows of a log whose codes a checkpoint keeps: they are made from 1,024 rows on
_OTHERS = {  # kind, metric, settings; every metric but the one of docs
    "graphs": ("vector", "l2", "index = 'hnsw', codes = 'sq8', m = 8, partitions = 2"),
    "lists": ("vector", "ip", "index = 'ivf', durability = 'flush'"),
    "scanned": ("vector", "manhattan", "index = 'flat', durability = 'none'"),
    "boards": ("vector", "chebyshev", "index = 'flat', durability = 'none'"),
    "bits": ("vector", "hamming", "index = 'flat', durability = 'none'"),
    "sets": ("vector", "jaccard", "index = 'flat', durability = 'none'"),
    "coarse": ("vector.turbo", "pearson", "bits = 2, ef = 99, seal_idle_s = 0, checkpoint_s = 0"),
}
CONDITIONS = {
    "docs": ["n < 30", "title LIKE 'title 1%'", "'red' IN tags", "sold = true AND price > 1.5", "more.deep.er = 3"],
    **{name: ["n < 30"] for name in [*_OTHERS, "growing", "passing"]},
}


def fill(data: Path) -> None:
    """Make the folder and stop in order."""
    with reddb.connect(f"file:{data}") as db:
        db.execute("CREATE COLLECTION dropped KIND vector DIM 2 METRIC l2")
        db.execute("DROP COLLECTION dropped")  # so that ids do not begin with 1
        shape = f"KIND vector.turbo DIM {_DIM} METRIC cosine FIELDS ({_FIELDS})"
        db.execute(f"CREATE COLLECTION docs {shape} WITH (partitions = 2, seal_idle_s = 0)")
        for statement in _DOCS:
            db.execute(statement)
        _live(db, "docs")
        for name, (kind, metric, settings) in _OTHERS.items():
            shape = f"KIND {kind} DIM {_DIM} METRIC {metric} FIELDS (title TEXT NOT NULL, n INT)"
            db.execute(f"CREATE COLLECTION {name} {shape} WITH ({settings})")
            _live(db, name)
            if "'none'" in settings:  # without a log only what is sealed is kept
                db.execute(f"ALTER COLLECTION {name} SEAL")
        shape = "KIND vector.turbo DIM 4 METRIC l2 FIELDS (n INT)"
        db.execute(f"CREATE COLLECTION growing {shape} WITH (bits = 2, seal_idle_s = 0)")
        db.insert("growing", range(_GROWING), _vectors(4, _GROWING, dim=4), [{"n": i % 90} for i in range(_GROWING)])
        db.execute("ALTER COLLECTION growing CHECKPOINT")
        db.delete("growing", [5, 6])
        _fill_passing(db)


def _fill_passing(db: reddb.Client) -> None:
    """Rows that expire, in files and in the log, a transaction, a field that was added, an alias."""
    db.execute(f"CREATE COLLECTION emptied KIND vector DIM {_DIM} METRIC l2 FIELDS (title TEXT NOT NULL, n INT)")
    db.insert("emptied", [1], _vectors(6, 1), [{"title": "gone"}])
    db.execute("ALTER COLLECTION emptied SEAL")
    db.execute("TRUNCATE COLLECTION emptied")
    db.execute("DROP COLLECTION emptied")
    shape = f"KIND vector DIM {_DIM} METRIC l2 FIELDS (title TEXT NOT NULL, n INT)"
    db.execute(f"CREATE COLLECTION passing {shape} WITH (seal_idle_s = 0)")
    db.execute("ALTER COLLECTION passing ADD FIELD added FLOAT DEFAULT 0.5")
    db.execute("CREATE ALIAS standing FOR passing")
    later = datetime(2999, 1, 1, tzinfo=UTC)
    payloads = [{"title": f"title {i}", "n": i} | ({"expires_at": later} if i % 2 else {}) for i in range(40)]
    db.insert("standing", range(40), _vectors(7, 40), payloads)
    db.execute("ALTER COLLECTION passing SEAL")
    db.insert("passing", range(40, 50), _vectors(8, 10), payloads[:10])
    db.execute("UPDATE passing SET expires_at = NULL WHERE id IN (1, 41)")
    with db.transaction() as tx:
        tx.insert("passing", ["in", "one"], _vectors(9, 2), payloads[:2])
        tx.execute("DELETE FROM passing WHERE id IN (2, 42)")
        tx.execute("UPDATE passing SET n = n + 1000 WHERE id IN (3, 43)")


def _live(db: reddb.Client, name: str) -> None:
    """Two sealed segments with dead rows, a checkpoint that knows of them, and a log behind it."""
    count = 60 if name == "docs" else 40
    db.insert(name, _ids(0, count), _vectors(1, count), _payloads(name, range(count)))
    db.execute(f"ALTER COLLECTION {name} SEAL")
    db.delete(name, _ids(3, 9))
    db.upsert(name, _ids(count - 5, 2 * count), _vectors(2, count + 5), _payloads(name, range(1, count + 6)))
    db.execute(f"ALTER COLLECTION {name} SEAL")
    db.delete(name, where="n = 21")
    db.execute(f"ALTER COLLECTION {name} CHECKPOINT")
    _end(db, name)


def _end(db: reddb.Client, name: str) -> None:
    """The log behind what was sealed or put into files: all operations."""
    db.delete(name, _ids(12, 15))
    db.insert(name, ["späť", -(2**63), 2**63 - 1], _vectors(3, 3), _payloads(name, range(50, 53)))
    db.upsert(name, _ids(16, 18), _vectors(5, 2), _payloads(name, range(60, 62)))
    db.execute(f"UPDATE {name} SET title = 'changed', mark = 1.5 WHERE n = 25")
    db.execute(f"DELETE FROM {name} WHERE n = 26")
    db.delete(name, [-(2**63)])


def _ids(first: int, end: int) -> list[int | str]:
    return [f"id {number}" if number % 4 == 0 else number for number in range(first, end)]


def _vectors(seed: int, count: int, dim: int = _DIM) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of few digits, which an archive keeps in few bytes."""
    return np.round(np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32) * 8) / 8


def _payloads(name: str, numbers: range) -> list[dict[str, Any]]:
    """Those of docs are large; the others have what the conditions and the log ask for."""
    return [_payload(i) if name == "docs" else {"title": f"title {i}", "n": i} for i in numbers]


def _payload(number: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"title": f"title {number}", "n": number, "price": number / 8, "sold": number % 2 == 0}
    payload |= {"seen": datetime(2024, 2, 29, tzinfo=UTC) + timedelta(hours=number, microseconds=number)}
    payload |= {"tags": ["red", "grün"][: number % 3], "numbers": [number, -number]}
    payload |= {"more": {"deep": {"er": number % 5}, "list": [None, True, "x"]}, "extra": "ä" * (number % 4)}
    if number % 7 == 0:
        del payload["price"], payload["seen"]
    return payload


def read_all(data: Path) -> dict[str, Any]:
    """What the folder holds, as it stands in JSON."""
    with reddb.connect(f"file:{data}") as db:
        return {name: _read(db, name) for name, *_ in db.execute("SHOW COLLECTIONS")}


def _read(db: reddb.Client, name: str) -> dict[str, Any]:
    shown = {key: value for key, value in db.execute(f"SHOW COLLECTION {name}") if not _is_figure(key)}
    segments = db.execute(f"SHOW SEGMENTS FOR {name}")
    wanted = [segments.columns.index(column) for column in ("partition", "state", "index", "rows", "live")]
    ids = [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT {_ROWS_MAX}")]
    rows = [
        [row.id, _hexadecimal(row.vector), _plain(row.payload)] for row in db.get(name, ids, with_vectors=True) if row
    ]
    return {
        "shown": shown,
        "indexes": [row[0] for row in db.execute(f"SHOW INDEXES FOR {name}")],
        "aliases": [alias for alias, of in db.execute("SHOW ALIASES") if of == name],
        "segments": [[row[at] for at in wanted] for row in segments],
        "rows": sorted(rows, key=str),
        "searches": [
            _search(db, name, query, where, exact=exact)
            for query in _vectors(9, _QUERIES, shown["dim"])
            for where in (None, CONDITIONS[name][0])
            for exact in (True, False)
        ],
        "counts": {where: db.execute(f"SELECT count(*) FROM {name} WHERE {where}")[0][0] for where in CONDITIONS[name]},
    }


def _search(db: reddb.Client, name: str, query: Any, where: str | None, *, exact: bool) -> dict[str, Any]:
    hits = db.search(name, query, k=_K, where=where, exact=exact)
    return {
        "query": _hexadecimal(query),
        "where": where,
        "exact": exact,
        "ids": list(hits.ids),
        "distances": [float(distance) for distance in hits.distances],
    }


def _is_figure(key: str) -> bool:
    return key in _FIGURES or key.startswith("bytes per row")


def _hexadecimal(vector: Any) -> str:
    return np.asarray(vector, "<f4").tobytes().hex()


def _plain(value: Any) -> Any:
    """A payload with times as JSON can have them."""
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def pack(data: Path, archive: Path) -> None:
    """Put the folder's files into an archive that depends on their names and bytes alone."""
    with (
        archive.open("xb") as file,
        gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(data.rglob("*")):
            if path.is_file() and path.name != "LOCK":  # which names the machine
                member = tarfile.TarInfo(str(path.relative_to(data)))
                content = path.read_bytes()
                member.size, member.mode = len(content), 0o600
                tar.addfile(member, io.BytesIO(content))


def unpack(archive: Path, data: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(data, filter="data")


def make(target: Path) -> Path:
    """Write the archive and what is expected of it into a folder; gives the archive."""
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        fill(data)
        archive = archive_of(data, target)
        pack(data, archive)
        expected = json.dumps(read_all(data), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        described = archive.with_name(archive.name.replace(".tar.gz", ".json"))
        described.write_text(expected.replace('"],[', '"],\n[') + "\n")
        return archive


def archive_of(data: Path, target: Path = HERE) -> Path:
    """Where the archive of a folder of this build belongs."""
    number = (data / "VERSION").read_text().split()[-1]
    return target / f"format-{number}-catalog-{CATALOG_FORMAT}.tar.gz"


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
