"""The short form of `make hostile`: sets and queries that indexes find hard, in the ways that find them hardest."""

from __future__ import annotations

import numpy as np
import pytest

import reddb
from tests.oracle import distances
from tests.recall.matrix import METRICS, WANTED, cells
from tests.recall.sets import SETS

# At full size, where a collection gets its graph by default.
GRAPHS = [
    ("many lengths", "l2"),
    ("clusters", "l2"),
    ("mostly equal", "cosine"),
    ("positive lengths", "ip"),
    ("few dimensions", "pearson"),
]
# Small ones with an index of each sort: every set once, every sort with every metric.
SORTS = ("hnsw", "turbo hnsw", "flat", "ivf")
SMALL = [
    (name, SORTS[number % len(SORTS)], METRICS[number // len(SORTS) % len(METRICS)]) for number, name in enumerate(SETS)
]


@pytest.mark.parametrize(("name", "way", "metric"), [*((name, "graph", metric) for name, metric in GRAPHS), *SMALL])
def test_every_state_finds_what_is_near_every_query(name, way, metric):
    found = list(cells(name, way, metric, count=8))
    assert len(found) == 5
    assert not [str(cell) for cell in found if cell.failures]


# What no sample of trials had met: a crowd behind the candidates, rows too long for their codes, near lists that were
# not scanned, lists that float32 could not tell apart, rows that the codes of a graph blur.
RARE = [
    ("mostly equal", "turbo", "l2", "directions"),
    ("lognormal", "turbo", "ip", "positive"),
    ("many lengths", "flat", "ip", "moved"),
    ("few dimensions", "ivf", "l2", "negative"),
    ("huge coordinate", "ivf", "l2", "stored"),
    ("near copies", "hnsw", "l2", "noisy"),
]


@pytest.mark.parametrize(("name", "way", "metric", "of"), RARE)
def test_rare_queries_find_what_is_near(name, way, metric, of):
    found = list(cells(name, way, metric, (of,)))
    assert not [str(cell) for cell in found if cell.failures]


@pytest.mark.parametrize("dim", [384, 1536])
@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
def test_products_of_rows_that_point_away_are_found(tmp_path, kind, dim):
    """Every product is negative: the nearest are the shortest, and rows tell nothing of where queries lie."""
    rng = np.random.default_rng(0)
    rows = -np.abs(rng.standard_normal((4_200_000 // dim, dim))).astype(np.float32)
    queries = np.abs(rng.standard_normal((20, dim))).astype(np.float32)
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute(f"CREATE COLLECTION c KIND {kind} DIM {dim} METRIC ip")
        db.insert("c", np.arange(len(rows)), rows)
        db.execute("ALTER COLLECTION c SEAL")
        hits = 0
        for query, found in zip(queries, db.search("c", queries, k=10, with_payloads=False), strict=True):
            far = distances("ip", rows, query)
            hits += np.count_nonzero(far[found.ids] <= np.partition(far, 9)[9] * (1 + 1e-12))
        assert hits >= WANTED * 10 * len(queries)
