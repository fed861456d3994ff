"""What is damaged: small folders whose content is known, and how each is read.

Partitions with each kind of index, rows sealed and still in the log, and a data folder with a catalog.

Rule: thresholds below which no index is used are lowered for these few rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import reddb
from reddb import limits
from reddb.partition import encoder
from reddb.partition.checkpoint import CodesCheckpoint, note_end
from reddb.query import candidates
from reddb.storage.catalog import Catalog
from reddb.types import Collection, Kind
from tests.engine.lives import Life, Rows, Where
from tests.engine.partitions import collection

_DIM = 8
_QUERIES = np.random.default_rng(1).normal(size=(4, _DIM)).astype(np.float32)
_FILTERS = (
    Where("n < 30", lambda _, payload: payload["n"] < 30),
    Where("t = 'text 1' AND 'even' IN tags", lambda _, payload: payload["t"] == "text 1" and payload["n"] % 2 == 0),
)
_QUESTIONS = (
    "SHOW COLLECTIONS",
    "SHOW COLLECTION docs",
    "SHOW COLLECTION notes",
    "SHOW ALIASES",
    "SELECT count(*) FROM papers",
    "SELECT id, n, at FROM docs LIMIT 100",
    "SELECT id, n FROM docs WHERE at >= '2024-05-03T00:00:00Z' AND n > 3 LIMIT 100",
    "SELECT id, distance FROM docs ORDER BY vector <-> [1, 2] LIMIT 10",
    "SELECT id, distance FROM notes ORDER BY vector <=> [1, 2] LIMIT 10",
)


@dataclass
class Specimen:
    """A folder, its files, which of them to damage, and those of another collection's folder of the same rows, `twin`.
    `examine` reads everything, raises if anything is not right, and gives how rows were found.
    """

    name: str
    folder: Path
    examine: Callable[[], list[str]]
    contents: dict[str, bytes]
    damaged: list[str]
    twin: dict[str, bytes]

    def put(self, file: str, content: bytes | None) -> None:
        """As a new file, for the one before may still be mapped; None for no file or folder."""
        path = self.folder / file
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def restore(self) -> None:
        found = contents_of(self.folder)
        for file, _ in found.items() ^ self.contents.items():
            self.put(file, self.contents.get(file))


def every_specimen(folder: Path) -> Iterator[Specimen]:
    """One by one: partitions with each index and kind of ids, and a data folder."""
    limits.SCANNED_ROWS = 0
    candidates._ROWS_MIN, candidates._CANDIDATE_ROWS = 0, 1
    encoder.FIT_ROWS, limits.WAL_PREALLOCATE_BYTES = 32, 256
    graph = {"metric": "cosine", "index": "hnsw", "m": 4, "m0": 8, "ef_construction": 16, "ef": 16}
    yield _partition(folder / "flat", collection(dim=_DIM, index="flat"), [40, 40], lambda n: n)
    yield _partition(folder / "hnsw", collection(dim=_DIM, kind=Kind.VECTOR, **graph), [60], "row {}".format)
    ivf = collection(dim=_DIM, metric="ip", index="ivf")
    yield _partition(folder / "ivf", ivf, [60], lambda n: n if n % 2 else f"row {n}")
    yield _data(folder / "data")


def _partition(folder: Path, of: Collection, sizes: list[int], name: Callable[[int], Any]) -> Specimen:
    """A segment of each size, and rows and deletes in the log."""
    of, other = of.with_index("n").with_index("t"), folder.with_suffix(".twin")
    rows = _fill(folder, of, sizes, name)
    _fill(other, replace(of, id=2), sizes, name)
    least: list[float] = []  # recall of each search, in the folder as it is

    def examine() -> list[str]:
        life = Life(of, folder)
        try:
            recalls = _read_all(life, rows)
            _, report = life.search(life.readers[0], _QUERIES, 10, ef=12)
        finally:
            life.close()
        least.extend([] if least else recalls)
        assert all(now >= before for now, before in zip(recalls, least, strict=True)), f"recall {recalls}, not {least}"
        return [*(segment.strategy for segment in report.segments), *map(str, life.owner.refused_caches)]

    contents = contents_of(folder)
    return Specimen(folder.name, folder, examine, contents, [*contents, "segments", "wal"], contents_of(other))


def _fill(folder: Path, of: Collection, sizes: list[int], name: Callable[[int], Any]) -> Rows:
    """Write the rows, and stop in order; what there is then."""
    generator = np.random.default_rng(7)
    life = Life(of, folder)

    def insert(first: int, last: int) -> None:
        payloads = [{"n": n, "t": f"text {n % 3}", "tags": ["even"] if n % 2 == 0 else []} for n in range(first, last)]
        vectors = generator.normal(size=(last - first, _DIM)).astype(np.float32)
        life.insert([name(n) for n in range(first, last)], vectors, payloads)

    first = 0
    for size in sizes:
        insert(first, first + size)
        life.delete([name(first + 1)])
        life.seal()
        first += size
    insert(100, 140)
    life.encode()
    CodesCheckpoint(life.owner).write()
    life.delete([name(0)])
    insert(140, 142)
    assert life.states() == [*["sealed"] * len(sizes), "growing"]
    note_end(life.owner)
    life.close()
    return dict(life.rows)


def _read_all(life: Life, rows: Rows) -> list[float]:
    """Recall of each search. Raises AssertionError for a wrong answer."""
    del life.readers[1:]
    view = life.readers[0].view()
    life.rows = dict(rows)
    life.check()
    recalls: list[float] = []
    for where in (None, *_FILTERS):
        life.check_search(_QUERIES, 10, where, exact=True)
        recalls += [float(np.mean(life.check_search(_QUERIES, 10, where, exact=False, ef=ef))) for ef in (None, 12)]
        if where is not None:
            predicate = where.predicate(life.collection)
            right = [row_id for row_id, (_, payload) in life.rows.items() if where.holds(row_id, payload)]
            assert view.row_ids(view.scan(len(right) + 1, 0, predicate)) == right
            assert view.count(predicate) == len(right)
    return recalls


def _data(folder: Path) -> Specimen:
    """Two collections, and one that was dropped while its folder was still there."""
    with reddb.connect(f"file:{folder}") as db:
        fields = "n INT NOT NULL DEFAULT 7, at TIMESTAMP"
        db.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM 2 METRIC l2 FIELDS ({fields}, *)")
        db.execute("CREATE INDEX ON docs (n)")
        db.execute("CREATE COLLECTION notes KIND vector DIM 2 METRIC cosine WITH (ef = 100, durability = flush)")
        db.execute("CREATE COLLECTION gone KIND vector DIM 2")
        days = [{"n": n, "at": datetime(2024, 5, 1 + n, tzinfo=UTC)} for n in range(9)]
        db.insert("docs", range(9), np.arange(18.0).reshape(9, 2), days)
        db.insert("notes", ["a", "b", 3], [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        for name in ("docs", "notes"):
            db.execute(f"ALTER COLLECTION {name} SEAL")
        db.insert("docs", [20], [[1.0, 2.0]])
        db.execute("CREATE ALIAS papers FOR docs")
    with closing(Catalog(folder / "catalog.sqlite")) as catalog:
        catalog.drop(3)
    right: list[list[Any]] = []

    def examine() -> list[str]:
        with reddb.connect(f"file:{folder}") as db:
            answers = [list(db.execute(question)) for question in _QUESTIONS]
        right.extend([] if right else answers)
        for question, answer, wanted in zip(_QUESTIONS, answers, right, strict=True):
            assert answer == wanted, f"{question}: {sorted(set(answer) ^ set(wanted), key=str)}"
        return []

    damaged = ["VERSION", "LOCK", "catalog.sqlite", "collections", "collections/1", "collections/1/0"]
    return Specimen("data", folder, examine, contents_of(folder), damaged, {})


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
