"""SELECTs over rows that an index finds: recall where it is used, exactness where the answer must be complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import reddb
from reddb.client.demo.sample import load
from tests.oracle import distances

GROUPS = 40
K = 10


class Indexed:
    """Sealed rows in a graph or in codes, growing ones beside them, and some that were deleted."""

    def __init__(self, db: Any, kind: str) -> None:
        sample = load()
        self.db = db
        self.vectors = sample.vectors[:4500]
        self.queries = self.vectors[7:4500:300] + 0.01
        self.live = np.arange(4500)[np.arange(4500) % 11 != 3]
        # Groups of very different sizes: the first has a third of the rows, the last a handful.
        self.group = (GROUPS * np.random.default_rng(1).random(4500) ** 3).astype(int)
        db.execute(
            f"CREATE COLLECTION {kind} KIND {kind} DIM {self.vectors.shape[1]} METRIC cosine FIELDS (g INT, *)".replace(
                f"COLLECTION {kind}", f"COLLECTION {self.name(kind)}"
            )
        )
        self.collection = self.name(kind)
        payloads = [{"g": int(group)} for group in self.group]
        db.insert(self.collection, range(4000), self.vectors[:4000], payloads[:4000])
        db.execute(f"ALTER COLLECTION {self.collection} SEAL")
        db.insert(self.collection, range(4000, 4500), self.vectors[4000:], payloads[4000:])
        db.delete(self.collection, [row for row in range(4500) if row % 11 == 3])

    @staticmethod
    def name(kind: str) -> str:
        return kind.replace(".", "_")

    def nearest(self, query: Any) -> list[tuple[int, float]]:
        """All live rows, nearest first."""
        far = distances("cosine", self.vectors[self.live], query)
        order = np.lexsort((self.live, far))
        return [(int(self.live[at]), float(far[at])) for at in order]


@pytest.fixture(scope="module", params=["vector", "vector.turbo"])
def indexed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexed]:
    db = reddb.connect(f"file:{tmp_path_factory.mktemp('indexed')}")
    yield Indexed(db, request.param)
    db.close()


@pytest.mark.parametrize(("groups", "per_group"), [(5, 3), (1, 20), (20, 2), (40, 30)])
def test_the_nearest_groups_by_index(indexed, groups, per_group):
    found = wanted = 0
    text = (
        f"SELECT id, g FROM {indexed.collection} GROUP BY g ORDER BY vector <=> $1 LIMIT {groups} PER GROUP {per_group}"
    )
    for query in indexed.queries:
        by_group: dict[int, list[int]] = {}
        for row, _ in indexed.nearest(query):
            by_group.setdefault(int(indexed.group[row]), []).append(row)
        right = [row for rows in list(by_group.values())[:groups] for row in rows[:per_group]]
        for options in ("", " WITH (exact = true)"):
            mine = [row[0] for row in indexed.db.execute(text + options, [query])]
            assert options == "" or mine == right
        found += len(set(mine) & set(right))
        wanted += len(right)
    assert found >= 0.99 * wanted


@pytest.mark.parametrize("where", ["", " AND g < 3"])
def test_a_range_without_a_limit_is_complete(indexed, where):
    text = f"SELECT id, distance FROM {indexed.collection} WHERE vector <=> $1 <= $2{where} ORDER BY distance, id"
    for query in indexed.queries:
        rows = [row for row in indexed.nearest(query) if not where or indexed.group[row[0]] < 3]
        right = rows[:200]
        reach = (rows[199][1] + rows[200][1]) / 2
        found = list(indexed.db.execute(text, [query, reach]))
        assert [row[0] for row in found] == [row for row, _ in right]
        assert [row[1] for row in found] == pytest.approx([far for _, far in right], abs=1e-12)


def test_a_range_with_a_limit_by_index(indexed):
    text = f"SELECT id FROM {indexed.collection} WHERE vector <=> $1 < $2 ORDER BY vector <=> $1 LIMIT {K}"
    found = wanted = 0
    for query in indexed.queries:
        rows = indexed.nearest(query)
        for reach, count in ((rows[4][1] + 1e-9, 5), (rows[50][1], K)):
            mine = [row[0] for row in indexed.db.execute(text, [query, reach])]
            found += len(set(mine) & {row for row, _ in rows[:count]})
            wanted += count
    assert found >= 0.99 * wanted


def test_the_farthest_rows_are_exact(indexed):
    text = f"SELECT id FROM {indexed.collection} ORDER BY vector <=> $1 DESC LIMIT {K}"
    for query in indexed.queries:
        assert [row[0] for row in indexed.db.execute(text, [query])] == [
            row for row, _ in indexed.nearest(query)[::-1][:K]
        ]


def test_a_further_key_orders_equal_rows_across_the_cut(indexed):
    """As many rows are equally far as do not fit the page: which of them come is for the second key to say."""
    db, name = indexed.db, indexed.name("ties") + indexed.collection
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 2 METRIC l2")
    db.insert(name, range(6000), np.repeat(np.arange(3, dtype=np.float32), 2000)[:, None] * [1, 0])
    for order, right in (("id DESC", range(1999, 1989, -1)), ("id", range(10))):
        found = db.execute(f"SELECT id FROM {name} ORDER BY vector <-> [0, 0], {order} LIMIT {K}")
        assert [row[0] for row in found] == list(right)
    db.execute(f"DROP COLLECTION {name}")
