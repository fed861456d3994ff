"""Filtered searches of many clustered rows: how many of the right ones come, wherever the matching rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from reddb.types import Kind
from tests.engine.lives import Life, Where
from tests.engine.partitions import collection
from tests.oracle import distances

ROWS, DIM, K = 60_000, 32, 10
# 4 % are the fewest rows that a graph or codes are asked for here; fewer are scanned.
SHARES = [0.5, 0.1, 0.04, 0.01, 0.001, 0.0001]
QUERIES_PER_CLUSTER, ASKED_CLUSTERS, CLUSTERS = 4, 4, 60


@dataclass(frozen=True)
class Sample:
    """Clustered rows, queries near some of the clusters, and for each row its distance to each query."""

    rows: np.ndarray
    queries: np.ndarray
    distances: np.ndarray
    payloads: list[dict[str, int]]


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Each row has a rank in [0, ROWS) for each way the matching rows may lie: the first so many of them match."""
    generator = np.random.default_rng(11)
    centres = generator.normal(size=(CLUSTERS, DIM))
    spread = 0.45 * generator.normal(size=(ROWS, DIM))
    rows = (centres[generator.integers(0, CLUSTERS, ROWS)] + spread).astype(np.float32)
    asked = np.repeat(np.arange(ASKED_CLUSTERS), QUERIES_PER_CLUSTER)
    queries = (centres[asked] + 0.45 * generator.normal(size=(len(asked), DIM))).astype(np.float32)
    far = np.stack([distances("l2", rows, query) for query in queries])
    # The distance to the nearest asked cluster; a little noise, so that the border of a filter is no sphere.
    apart = np.min([distances("l2", rows, centre) for centre in centres[:ASKED_CLUSTERS]], axis=0)
    apart += 0.2 * generator.normal(size=ROWS)
    near = np.argsort(np.argsort(apart))
    ranks = {"anywhere": generator.permutation(ROWS), "near": near, "far": ROWS - 1 - near}
    columns = {name: rank.tolist() for name, rank in ranks.items()}
    payloads = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Sample(rows, queries, far, payloads)


KINDS: dict[str, dict[str, Any]] = {
    "sealed, codes": {"kind": Kind.TURBO, "index": "flat"},
    "sealed, graph": {"kind": Kind.VECTOR, "index": "hnsw"},
    "sealed, lists": {"kind": Kind.VECTOR, "index": "ivf"},
    "growing, codes": {"kind": Kind.TURBO},
}


@pytest.fixture(scope="module", params=KINDS)
def filled(request, sample, tmp_path_factory):
    life = Life(collection(dim=DIM, **KINDS[request.param]), tmp_path_factory.mktemp("filled") / "partition")
    life.insert(np.arange(ROWS), sample.rows, sample.payloads)
    life.encode()
    if request.param.startswith("sealed"):
        life.seal()
    yield life
    life.close()


def recall_among(life: Life, sample: Sample, where: str, matches: int, live: np.ndarray) -> float:
    """Search with all queries; check what must hold for each row that comes; give the recall."""
    matching = live & [payload[where] < matches for payload in sample.payloads]
    predicate = Where(f"{where} < {matches}", lambda _, payload: payload[where] < matches)
    found, _ = life.search(life.readers[0], sample.queries, K, predicate)
    wanted, hits = min(K, np.count_nonzero(matching)), 0
    for item, far in zip(found, sample.distances, strict=True):
        rows = np.array(item.view.row_ids(item.addresses))
        assert len(set(rows.tolist())) == len(rows) == wanted
        assert matching[rows].all()
        assert item.distances == pytest.approx(far[rows], rel=1e-9)
        assert item.distances.tolist() == sorted(item.distances.tolist())
        hits += np.count_nonzero(item.distances <= np.sort(far[matching])[wanted - 1] + 1e-9)
    return hits / (wanted * len(found))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("where", ["anywhere", "near", "far"])
def test_the_nearest_matching_rows_are_found(filled, sample, where, share):
    assert recall_among(filled, sample, where, round(share * ROWS), np.ones(ROWS, np.bool_)) >= 0.95


@pytest.mark.parametrize("where", ["anywhere", "near", "far"])
def test_the_nearest_live_matching_rows_are_found_where_most_around_are_dead(filled, sample, where, tmp_path):
    life = filled.twin(tmp_path / "partition")
    dead = np.array([payload["near"] < 6000 and payload["anywhere"] % 4 > 0 for payload in sample.payloads])
    life.delete(np.flatnonzero(dead))
    life.encode()
    for share in SHARES:
        assert recall_among(life, sample, where, round(share * ROWS), ~dead) >= 0.95
    life.close()


def test_it_is_the_index_that_is_asked(filled, sample):
    """Else the test above would compare an exact scan with an exact scan."""
    half = Where(f"anywhere < {ROWS // 2}", lambda _, payload: payload["anywhere"] < ROWS // 2)
    for where in (None, half):
        _, report = filled.search(filled.readers[0], sample.queries, K, where)
        way = {"hnsw": "graph", "ivf": "ivf"}.get(filled.collection.settings["index"], "codes")
        assert [segment.strategy.split()[0] for segment in report.segments] == [way]
