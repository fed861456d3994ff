"""Pages are pages of one order, whatever the index.

A smaller LIMIT is the beginning of a larger one, and pages by OFFSET or by key show each row once and lose none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, product, takewhile
from typing import Any

import numpy as np
import pytest

import reddb
from tests.recall.sets import made

DIM, ROWS, LAST = 48, 6_000, 200
QUERIES = 4
OPERATORS = {"l2": "<->", "cosine": "<=>", "ip": "<#>"}
WAYS = {
    "scan": "KIND vector WITH (index = flat)",
    "codes": "KIND vector.turbo WITH (index = flat)",
    "graph": "KIND vector WITH (index = hnsw)",
    "turbo graph": "KIND vector.turbo WITH (index = hnsw, codes = turbo4)",
    "ivf": "KIND vector.turbo WITH (index = ivf)",
}
FILTERS = {"all": "TRUE", "half": "n % 2 = 0", "tenth": "n % 10 = 3"}


@dataclass(frozen=True)
class World:
    """A filled collection and how it is asked."""

    db: reddb.Client
    metric: str
    queries: np.ndarray

    def near(self, query: np.ndarray, limit: int, offset: int = 0, where: str = "TRUE") -> list[tuple[Any, float]]:
        order = f"ORDER BY vector {OPERATORS[self.metric]} $1"
        text = f"SELECT id, distance FROM c WHERE {where} {order} LIMIT $2 OFFSET $3"
        return [(row[0], row[1]) for row in self.db.execute(text, [query, limit, offset])]

    def by_key(self, query: np.ndarray, limit: int, where: str = "TRUE") -> Iterator[tuple[Any, float]]:
        """All rows, page after page, each beginning behind the last row of the one before."""
        order = f"ORDER BY vector {OPERATORS[self.metric]} $1, id LIMIT {limit}"
        page = list(self.db.execute(f"SELECT id, distance FROM c WHERE {where} {order}", [query]))
        after = f"SELECT id, distance FROM c WHERE {where} AND (distance, id) > ($2, $3) {order}"
        while page:
            yield from page
            page = list(self.db.execute(after, [query, page[-1][1], page[-1][0]]))


def grow(db: reddb.Client, rows: np.ndarray, first: int, last: int) -> None:
    numbers = range(first, last)
    db.insert("c", numbers, rows[first:last], [{"n": number} for number in numbers])


def sealed(db: reddb.Client, rows: np.ndarray) -> None:
    grow(db, rows, 0, ROWS)
    db.execute("ALTER COLLECTION c SEAL")


def mixed(db: reddb.Client, rows: np.ndarray) -> None:
    """Two sealed segments, growing rows, and rows that were replaced."""
    for first, last in ((0, 3_000), (3_000, 5_500)):
        grow(db, rows, first, last)
        db.execute("ALTER COLLECTION c SEAL")
    grow(db, rows, 5_500, ROWS)
    replaced = range(300)
    db.upsert("c", replaced, rows[2_000:2_300], [{"n": number} for number in replaced])


def with_deletes(db: reddb.Client, rows: np.ndarray) -> None:
    sealed(db, rows)
    db.delete("c", list(range(0, ROWS, 7)))


STATES = {
    "growing": partial(grow, first=0, last=ROWS),
    "sealed": sealed,
    "mixed": mixed,
    "with deletes": with_deletes,
}
SETS = ["normal", "mostly equal", "binary"]
# Each way in each state, with one set after the other: neither has as many as there are sets.
CASES = [(way, state, SETS[number % len(SETS)]) for number, (way, state) in enumerate(product(WAYS, STATES))]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def world(request, tmp_path_factory):
    way, state, name = request.param
    metric = list(OPERATORS)[CASES.index(request.param) % len(OPERATORS)]
    kind, _, settings = WAYS[way].partition(" WITH ")
    rows = made(name, ROWS, DIM)
    other = np.random.default_rng(3).standard_normal((QUERIES // 2, DIM)).astype(np.float32)
    with reddb.connect(f"file:{tmp_path_factory.mktemp('pages')}") as db:
        db.execute(f"CREATE COLLECTION c {kind} DIM {DIM} METRIC {metric} FIELDS (n INT) WITH {settings}")
        STATES[state](db, rows)
        yield World(db, metric, np.concatenate([rows[[1, 2_500]], other]))


@pytest.mark.parametrize("where", FILTERS.values(), ids=FILTERS)
def test_a_smaller_limit_is_the_beginning_of_a_larger_one(world, where):
    for query in world.queries:
        longest = world.near(query, LAST, where=where)
        assert len({row_id for row_id, _ in longest}) == len(longest) == LAST
        assert [row[1] for row in longest] == sorted(row[1] for row in longest)
        for limit in (1, 2, 10, 37, 100):
            assert world.near(query, limit, where=where) == longest[:limit], limit


@pytest.mark.parametrize("where", FILTERS.values(), ids=FILTERS)
def test_pages_by_offset_are_one_list(world, where):
    for query in world.queries:
        paged = [row for offset in range(0, LAST, 25) for row in world.near(query, 25, offset, where)]
        assert paged == world.near(query, LAST, where=where)


@pytest.mark.parametrize("where", FILTERS.values(), ids=FILTERS)
def test_pages_by_key_lose_nothing_that_one_list_has(world, where):
    for query in world.queries[::2]:
        longest = world.near(query, LAST, where=where)
        paged: list[tuple[Any, float]] = []
        for row in world.by_key(query, 25, where):
            paged.append(row)
            if row[1] > longest[-1][1]:
                break
        assert [(far, row_id) for row_id, far in paged] == sorted({(far, row_id) for row_id, far in paged})
        assert set(longest) <= set(paged)


def test_a_batch_of_queries_is_paged_as_each_alone(world):
    few, many = (world.db.search("c", world.queries, k=k, with_payloads=False) for k in (10, LAST))
    for query, short, long in zip(world.queries, few, many, strict=True):
        assert short.ids == long.ids[:10] == [row_id for row_id, _ in world.near(query, 10)]


# --- at full size ------------------------------------------------------------------------------------------


def test_pages_of_equal_rows_among_others_show_all_of_them(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3_200, 384)).astype(np.float32)
    rows[1_000:1_201] = rows[1_000]
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute("CREATE COLLECTION c KIND vector.turbo DIM 384 METRIC l2 FIELDS (n INT)")
        grow(db, rows, 0, 3_200)
        world = World(db, "l2", rows[1_000:1_001])
        for _ in ("growing", "sealed"):
            paged = [row_id for offset in range(0, 200, 10) for row_id, _ in world.near(rows[1_000], 10, offset)]
            assert paged == list(range(1_000, 1_200))
            by_key = takewhile(lambda row: row[1] == 0, world.by_key(rows[1_000], 10))
            assert [row_id for row_id, _ in by_key] == list(range(1_000, 1_201))
            db.execute("ALTER COLLECTION c SEAL")


def test_pages_by_key_behind_a_page_of_the_default_graph_lose_nothing(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((11_000, 384)).astype(np.float32)
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute("CREATE COLLECTION c KIND vector DIM 384 METRIC l2 FIELDS (n INT)")
        grow(db, rows, 0, 11_000)
        db.execute("ALTER COLLECTION c SEAL")
        queries = rng.standard_normal((15, 384)).astype(np.float32)
        world = World(db, "l2", queries)
        for query in queries:
            longest = world.near(query, 100)
            paged = list(islice(world.by_key(query, 10), 130))
            assert len(set(paged)) == 130
            assert set(longest) <= set(paged)
