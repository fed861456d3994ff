"""Exact is exact: the order of the float64 distance, ties by id, for every metric, state, filter and number of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import reddb
from reddb.client.demo import sample
from tests.recall.sets import SETS, Rows, made, queries_for
from tests.recall.truth import METRICS, rounding, true_distances

DIM, ROWS = 24, 500
OPERATORS = {"l2": "<->", "cosine": "<=>", "ip": "<#>", "manhattan": "<+>"}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[reddb.Client]:
    with reddb.connect(f"file:{tmp_path_factory.mktemp('exact')}") as client:
        yield client


def filled(db: Any, metric: str, rows: Rows, kind: str = "vector", ids: Any = None) -> None:
    """The collection c, with nothing but these rows, whose number is also in the field n."""
    db.execute("DROP COLLECTION IF EXISTS c")
    db.execute(f"CREATE COLLECTION c KIND {kind} DIM {rows.shape[1]} METRIC {metric} FIELDS (n INT)")
    numbers = range(len(rows))
    db.insert("c", numbers if ids is None else ids, rows, [{"n": number} for number in numbers])


def assert_in_order(ids: list[Any], distances: Any) -> None:
    keys = list(zip(np.asarray(distances).tolist(), ids, strict=True))
    assert keys == sorted(keys)
    assert len(set(ids)) == len(ids)


def assert_exact(db: Any, metric: str, rows: Rows, query: Rows, live: Any, order: Any, **words: Any) -> None:
    """A search for all rows that live has them in order, at their distances; one for fewer is its beginning.

    `order` has the number of the row with each id.
    """
    everything = db.search("c", query, k=len(rows), exact=True, **words)
    numbers = order[everything.ids]
    assert sorted(numbers.tolist()) == np.flatnonzero(live).tolist()
    assert_in_order(everything.ids, everything.distances)
    true, error = true_distances(metric, rows, query), rounding(metric, rows, query)
    assert (np.abs(everything.distances - true[numbers]) <= error[numbers]).all()
    for k in (1, 3, 10, 60):
        assert db.search("c", query, k=k, exact=True, **words).ids == everything.ids[:k]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", SETS)
def test_an_exact_search_has_the_order_of_the_distances(db, name, metric):
    rows = made(name, ROWS, DIM)
    ids = np.random.default_rng(2).permutation(ROWS)  # ties come by id, not as they were inserted
    order = np.argsort(ids)
    filled(db, metric, rows, "vector", ids)
    queries = np.stack([of[0] for of in queries_for(rows, 3).values()])
    half = np.arange(ROWS) % 2 == 0
    db.execute("CREATE INDEX ON c (n)")
    for _ in ("growing", "sealed"):
        for query in queries:
            assert_exact(db, metric, rows, query, np.ones(ROWS, np.bool_), order)
        assert_exact(db, metric, rows, queries[0], half, order, where="n % 2 = 0")
        db.execute("ALTER COLLECTION c SEAL")
    db.delete("c", ids[100:140])
    db.upsert("c", ids[200:300], rows[200:300])
    live = (np.arange(ROWS) < 100) | (np.arange(ROWS) >= 140)
    assert_exact(db, metric, rows, queries[1], live, order)


# --- directions that float32 cannot tell apart -------------------------------------------------------------

FAN = np.stack([np.ones(100), np.arange(100) * 1e-5], 1).astype(np.float32)


@pytest.fixture(params=["vector growing", "vector sealed", "vector.turbo growing", "vector.turbo sealed"])
def fan(request, db):
    kind, state = request.param.split()
    filled(db, "cosine", FAN, kind)
    if state == "sealed":
        db.execute("ALTER COLLECTION c SEAL")
    return db


@pytest.mark.parametrize("words", [{"exact": True}, {}], ids=str)
def test_near_directions_come_in_order(fan, words):
    (hit,) = fan.search("c", FAN[50], k=1, **words)
    assert (hit.id, hit.distance) == (50, 0.0)
    five = fan.search("c", FAN[50], k=5, **words).ids
    assert five[0] == 50
    assert sorted(five) == [48, 49, 50, 51, 52]
    assert fan.search("c", FAN[50], k=3, **words).ids == five[:3]


@pytest.mark.parametrize("end", ["", "WITH (exact = true)"])
def test_a_threshold_with_a_limit_finds_rows_that_match(fan, end):
    rows = list(fan.execute(f"VECTOR SEARCH c SIMILAR TO $1 THRESHOLD 1e-9 LIMIT 3 {end}", [FAN[50]]))
    assert len(rows) == 3
    near = np.flatnonzero(true_distances("cosine", FAN, FAN[50]) <= 1e-9)
    assert len(near) == 9
    assert {row[0] for row in rows} <= set(near.tolist())
    assert len(fan.execute("VECTOR SEARCH c SIMILAR TO $1 THRESHOLD 1e-9", [FAN[50]])) == 9


@pytest.mark.parametrize("end", ["", "WITH (exact = true)"])
def test_pages_of_near_directions_show_each_row_once(fan, end):
    text = f"SELECT id FROM c ORDER BY vector <=> $1 LIMIT 5 OFFSET $2 {end}"
    seen = [row[0] for offset in range(0, 100, 5) for row in fan.execute(text, [FAN[50], offset])]
    assert sorted(seen) == list(range(100))
    ordered = f"ORDER BY vector <=> $1, id LIMIT 5 {end}"
    page = list(fan.execute(f"SELECT id, distance FROM c {ordered}", [FAN[50]]))
    keyset: list[tuple[Any, ...]] = []
    while page:
        keyset += page
        last_id, last = page[-1]
        after = f"SELECT id, distance FROM c WHERE (distance, id) > ($2, $3) {ordered.removesuffix(end)}"
        page = list(fan.execute(after, [FAN[50], last, last_id]))
    assert sorted(row[0] for row in keyset) == list(range(100))
    assert keyset == sorted(keyset, key=lambda row: (row[1], row[0]))


def told_recall(db: Any, text: str, query: Rows) -> float:
    """What EXPLAIN says that the search found of the exact answer."""
    ((plan,),) = db.execute(f"EXPLAIN (ANALYZE, RECALL, FORMAT json) {text}", [query])
    (recall,) = [node for node in json.loads(plan)["plans"] if node["node"] == "Recall"]
    return float(recall["measured"]["recall"])


@pytest.mark.parametrize("end", ["", "WITH (exact = true)"])
@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_the_recall_of_near_directions_is_told_and_true(fan, k, end):
    text = f"SELECT id FROM c ORDER BY vector <=> $1 LIMIT {k} {end}"
    found = {row[0] for row in fan.execute(text, [FAN[50]])}
    right = set(range(50 - k // 2, 51 + k // 2))
    assert told_recall(fan, text, FAN[50]) == len(found & right) / k == 1.0


def test_the_recall_of_a_graph_that_finds_little_is_told(db):
    rows = made("near copies", 4_500, 32)
    filled(db, "l2", rows)
    db.execute("ALTER COLLECTION c SEAL")
    db.execute("ALTER COLLECTION c REBUILD WITH (index = hnsw)")
    text = "SELECT id FROM c ORDER BY vector <-> $1 LIMIT 10 WITH (ef = 10)"
    told = []
    for query in rows[:400:20] + np.float32(0.01):
        found = [row[0] for row in db.execute(text, [query])]
        true = true_distances("l2", rows, query)
        told.append(told_recall(db, text, query))
        assert told[-1] == np.count_nonzero(true[found] <= np.sort(true)[9]) / 10
    assert min(told) < 1.0, "nothing was left to tell"


@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
@pytest.mark.parametrize("words", [{"exact": True}, {}], ids=str)
def test_large_products_come_in_order(db, kind, words):
    rows = np.stack([np.full(1000, 1e4), np.arange(1000) * 1e-3], 1).astype(np.float32)
    filled(db, "ip", rows, kind)
    for _ in ("growing", "sealed"):
        assert db.search("c", [1e4, 1], k=3, **words).ids == [999, 998, 997]
        db.execute("ALTER COLLECTION c SEAL")


def assert_finds(db: Any, metric: str, rows: Rows, query: Rows, k: int, **words: Any) -> None:
    """The k rows found are as near as the k nearest, but for what float64 cannot tell."""
    ids = db.search("c", query, k=k, **words).ids
    true, error = true_distances(metric, rows, query), rounding(metric, rows, query)
    kth = np.argsort(true, kind="stable")[k - 1]
    assert len(set(ids)) == k
    assert (true[ids] <= true[kth] + error[ids] + error[kth]).all()


@pytest.mark.parametrize("words", [{"exact": True}, {}], ids=str)
@pytest.mark.parametrize("noise", [1e-7, 1e-5, 1e-3, 3e-3])
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip", "pearson"])
@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
def test_near_copies_of_an_embedding_are_told_apart(db, kind, metric, noise, words):
    rng = np.random.default_rng(0)
    texts = sample.load().vectors
    copies = texts[7] * (1 + noise * rng.standard_normal((200, 384)))
    rows = np.concatenate([texts[:1000], copies]).astype(np.float32)
    filled(db, metric, rows, kind)
    for _ in ("growing", "sealed"):
        for query in (rows[7], rows[1100]):
            assert_finds(db, metric, rows, query, 10, **words)
        db.execute("ALTER COLLECTION c SEAL")


@pytest.mark.parametrize("words", [{"exact": True}, {}], ids=str)
@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip", "pearson"])
def test_rows_far_from_the_origin_are_told_apart(db, metric, kind, words):
    rng = np.random.default_rng(0)
    surface = rng.standard_normal((800, 3))
    earth = 6.4e6 * surface / np.linalg.norm(surface, axis=1, keepdims=True)
    shifted = 1e6 + rng.standard_normal((800, 16))
    for wide in (earth, shifted):
        rows = wide.astype(np.float32)
        filled(db, metric, rows, kind)
        for _ in ("growing", "sealed"):
            for number in (3, 400):
                assert_finds(db, metric, rows, rows[number], 5, **words)
            db.execute("ALTER COLLECTION c SEAL")


@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "pearson"])
@pytest.mark.parametrize("exact", [True, False])
def test_rows_beside_a_huge_coordinate_find_themselves(db, metric, kind, exact):
    rows = made("huge coordinate", 400, 301)
    filled(db, metric, rows, kind)
    for _ in ("growing", "sealed"):
        found = db.search("c", rows, k=1, exact=exact)
        assert [hits.ids for hits in found] == [[number] for number in range(400)]
        assert [hits.distances.tolist() for hits in found] == [[0.0]] * 400
        db.execute("ALTER COLLECTION c SEAL")


# --- the ends of the ranges --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "l2", "pearson", "manhattan", "chebyshev", "hamming"])
@pytest.mark.parametrize("dim", [2, 3, 7, 8, 33, 384, 1536])
@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
def test_a_row_is_at_0_from_itself(db, metric, dim, kind):
    if kind == "vector.turbo" and metric in ("manhattan", "chebyshev", "hamming"):
        with pytest.raises(reddb.RedDBError, match="cannot estimate"):
            filled(db, metric, np.ones((1, dim), np.float32), kind)
        return
    rows = np.random.default_rng(dim).standard_normal((300, dim)).astype(np.float32)
    filled(db, metric, rows, kind)
    for _ in ("growing", "sealed"):
        found = db.search("c", rows, k=1)
        assert [hits.distances.tolist() for hits in found] == [[0.0]] * 300
        for number in range(0, 300, 30):
            at = {row[0] for row in db.execute("VECTOR SEARCH c SIMILAR TO $1 THRESHOLD 0", [rows[number]])}
            assert number in at
            at = {row[0] for row in db.execute("VECTOR SEARCH c SIMILAR TO $1 THRESHOLD 0 LIMIT 300", [rows[number]])}
            assert number in at
        db.execute("ALTER COLLECTION c SEAL")


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e13])
@pytest.mark.parametrize("metric", ["cosine", "pearson"])
@pytest.mark.parametrize("dim", [2, 3, 8, 384, 1536])
def test_an_opposite_is_at_2_and_the_same_direction_at_0(db, metric, dim, scale):
    rows = (scale * np.random.default_rng(dim).standard_normal((300, dim))).astype(np.float32)
    filled(db, metric, rows)
    for _ in ("growing", "sealed"):
        for number in range(0, 300, 30):
            farthest = db.search("c", -rows[number], k=300)
            assert farthest.distances[-1] == 2.0
            if dim > 2:  # of pairs pearson knows two directions only
                assert farthest.ids[-1] == number
            assert db.search("c", 4 * rows[number], k=1).distances.tolist() == [0.0]
        db.execute("ALTER COLLECTION c SEAL")


@pytest.mark.parametrize(
    ("text", "distance"),
    [
        ("cosine_distance([1, 1], [1, 1])", 0.0),
        ("cosine_distance([1, 1], [-1, -1])", 2.0),
        ("cosine_distance([1, 2], [2, 4])", 0.0),
        ("[0.1, 0.7] <=> [0.1, 0.7]", 0.0),
        ("[0.1, 0.7] <=> [-0.1, -0.7]", 2.0),
        ("[1, 0] <=> [0, 1]", 1.0),
        ("[3, 4] <-> [0, 0]", 5.0),
        ("[1, 2] <#> [3, 4]", -11.0),
    ],
)
def test_distances_that_are_written_out(db, text, distance):
    filled(db, "l2", np.zeros((1, 2), np.float32))
    assert list(db.execute(f"SELECT {text} AS far FROM c")) == [(distance,)]
