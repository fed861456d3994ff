"""Sealed segments with an inverted file, from the statement that asks for it to a damaged file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb import limits
from reddb.client.demo import sample
from reddb.disk import OsDisk
from reddb.partition import search
from reddb.partition.calibration import RECALLS
from reddb.partition.settled import SETTLED_INDEX, Lists, open_index
from reddb.storage.sealed import segment_folder
from reddb.types import Kind, SearchOptions
from tests.engine.lives import Life, Where
from tests.engine.partitions import Opened, collection, numbers_of
from tests.oracle import nearest, recall

SAMPLE = sample.load()
ROWS = len(SAMPLE.vectors)
QUERIES = np.concatenate([np.stack([vector for _, vector in SAMPLE.queries]), SAMPLE.vectors[::250]])
K = 10


def right_rows(metric: str, rows: np.ndarray, k: int = K) -> list[np.ndarray]:
    """The nearest among `rows` of the sample, as their numbers in it."""
    return [rows[found] for found in nearest(metric, SAMPLE.vectors[rows], QUERIES, k)[0]]


def sealed(folder: Path, kind: Kind = Kind.TURBO, metric: str = "cosine", **settings: str | int) -> Opened:
    opened = Opened(collection(dim=384, metric=metric, kind=kind, index="ivf", **settings), folder / "partition")
    opened.insert(np.arange(ROWS), SAMPLE.vectors)
    opened.seal()
    return opened


def segment_of(opened: Opened) -> Lists:
    (segment,) = opened.reader.view().segments
    assert isinstance(segment.index, Lists)
    return segment.index


@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
def test_a_database_searches_lists_until_it_is_opened_again_and_after(tmp_path, kind):
    everything = np.arange(ROWS)
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute(f"CREATE COLLECTION docs KIND {kind} DIM 384 WITH (index = ivf, seal_rows = 1024)")
        for first in range(0, ROWS, 1000):
            rows = everything[first : first + 1000]
            db.insert("docs", rows, SAMPLE.vectors[rows], [{"n": int(n) % 4} for n in rows])
        db.execute("ALTER COLLECTION docs SEAL")
        db.execute("ALTER COLLECTION docs COMPACT")
        live = everything[everything % 3 > 0]
        assert_found(db, everything)
        db.delete("docs", everything[everything % 3 == 0])
        assert_found(db, live)
    with reddb.connect(f"file:{tmp_path}") as db:
        assert_found(db, live)
        for index in ("hnsw", "flat"):
            db.execute(f"ALTER COLLECTION docs SET (index = {index})")
            db.execute("ALTER COLLECTION docs REBUILD")
            assert not list(tmp_path.rglob("*.ivf"))


def assert_found(db: reddb.Client, live: np.ndarray) -> None:
    result = db.execute("SHOW SEGMENTS FOR docs")
    (shown,) = [dict(zip(result.columns, row, strict=True)) for row in result]
    assert (shown["state"], shown["index"]) == ("sealed", "ivf turbo2")
    assert shown["bytes_memory"] > 96 * ROWS
    where, rows = [None, "n = 1"], [live, live[live % 4 == 1]]
    for predicate, matching in zip(where, rows, strict=True):
        found = [np.array(hits.ids) for hits in db.search("docs", QUERIES, k=K, where=predicate)]
        assert recall(found, right_rows("cosine", matching)) >= 0.97
        assert all(np.isin(ids, matching).all() for ids in found)


@pytest.mark.parametrize("kind", [Kind.VECTOR, Kind.TURBO])
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip", "pearson"])
def test_every_metric_reaches_the_recall_asked_for(tmp_path, kind, metric):
    opened = sealed(tmp_path, kind, metric)
    described = segment_of(opened).description
    like = described.calibration.like
    assert [pair[0] for pair in like.candidates] == [pair[0] for pair in like.probes] == list(RECALLS)
    right = right_rows(metric, np.arange(ROWS))
    for asked in (None, 0.9, 0.99, 0.999):
        options = SearchOptions(K, recall=asked)
        assert recall(numbers_of(opened.reader.search(QUERIES, options)), right) >= (asked or 0.99) - 0.02
    opened.close()


def test_what_is_asked_for_decides_how_many_lists_are_scanned(tmp_path):
    opened = sealed(tmp_path)
    probes = segment_of(opened).description.calibration.like.probes
    file = segment_of(opened).file

    def done(**options: float) -> search.SegmentReport:
        report = search.SearchReport()
        opened.reader.search(QUERIES[:1], SearchOptions(**{"k": K, **options}), None, report)
        (segment,) = report.segments
        return segment

    assert done().strategy == f"ivf x {dict(probes)[0.99]}"
    assert done(ef=123).candidates == 123
    # A recall below the default's finds no less than the default.
    scanned = [f"ivf x {max(dict(probes)[max(recall, 0.99)], 8)}" for recall, _ in probes]
    assert [done(recall=recall).strategy for recall, _ in probes] == scanned
    assert done(exact=True).strategy == done(recall=1.0).strategy == "exact"
    assert int(done(k=1000, ef=1000).strategy.split()[-1]) >= 2 * 1000 * file.count // ROWS
    opened.close()


def test_rows_of_a_filter_are_found_wherever_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "SCANNED_ROWS", 50)
    life = Life(collection(dim=384, metric="cosine", index="ivf"), tmp_path / "partition")
    # Those with a small rank lie next to the first query, or far from it.
    near = np.argsort(nearest("cosine", SAMPLE.vectors, QUERIES[:1], ROWS)[0][0])
    payloads = [{"near": int(rank), "far": ROWS - 1 - int(rank)} for rank in near]
    life.insert(np.arange(ROWS), SAMPLE.vectors, payloads)
    life.seal()
    for where in ("near", "far"):
        for matches in (2500, 500, 150, 60, 5):
            predicate = Where(f"{where} < {matches}", lambda _, payload: payload[where] < matches)  # noqa: B023
            assert np.mean(life.check_search(QUERIES, K, predicate, exact=False)) >= 0.95
    life.close()


def test_a_query_without_direction_gets_its_rows(tmp_path):
    opened = sealed(tmp_path)
    (found,) = opened.reader.search(np.zeros((1, 384), np.float32), SearchOptions(K))
    assert found.distances.tolist() == [1.0] * K
    opened.close()


@pytest.mark.parametrize("vectors", [np.ones((3000, 8)), np.zeros((3000, 8)), np.eye(3000, 8)])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rows_that_no_code_tells_apart(tmp_path, vectors, metric):
    opened = Opened(collection(dim=8, metric=metric, index="ivf"), tmp_path / "partition")
    opened.insert(np.arange(3000), vectors.astype(np.float32))
    opened.seal()
    (found,) = opened.reader.search(vectors[:1].astype(np.float32), SearchOptions(K))
    _, (right,) = nearest(metric, vectors, vectors[:1], K)
    assert found.distances == pytest.approx(right, abs=1e-6)
    opened.close()


def test_a_metric_that_no_index_knows_is_scanned(tmp_path):
    opened = Opened(collection(dim=8, metric="manhattan", kind=Kind.VECTOR, index="ivf"), tmp_path / "partition")
    opened.insert(np.arange(3000), np.random.default_rng(1).normal(size=(3000, 8)).astype(np.float32))
    opened.seal()
    assert [segment.index.description.kind for segment in opened.reader.view().segments] == ["exact"]
    opened.close()


@pytest.mark.parametrize("at", [100, 40_000, -100, -1])
def test_a_damaged_file_is_refused(tmp_path, at):
    opened = sealed(tmp_path)
    of, folder = opened.collection, segment_folder(opened.folder, 1)
    opened.close()
    path = folder / f"lists.{SETTLED_INDEX}.ivf"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(reddb.RedDBError) as caught:
        open_index(OsDisk(), folder, of, 0, 1, ROWS, SETTLED_INDEX, verify=True)
    assert caught.value.name == "CORRUPT_DATA"
    assert path.name in caught.value.message
