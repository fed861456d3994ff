"""What every face promises of a collection in several partitions: the same as of one, whole batches included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reddb
from tests.oracle import nearest

DIM, PARTITIONS = 4, 3
IDS: list[Any] = [*range(-50, 450), *(f"row-{n}" for n in range(100))]


def vectors_of(ids: list[Any], shift: float = 0.0) -> np.ndarray:
    """Rows that tell their ids, no two alike."""
    rows = np.random.default_rng(5).normal(size=(len(ids), DIM)).astype(np.float32)
    rows[:, 0] += shift
    return rows


@pytest.fixture
def filled(db: Any, name: str) -> tuple[Any, str]:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2 WITH (partitions = {PARTITIONS})")
    payloads = [{"n": position} for position in range(len(IDS))]
    assert db.insert(name, IDS, vectors_of(IDS), payloads) == len(IDS)
    return db, name


def everything(db: Any, name: str) -> dict[Any, Any]:
    return dict(tuple(row) for row in db.execute(f"SELECT id, n FROM {name} LIMIT 10000"))


def rows_by_partition(db: Any, name: str) -> dict[int, int]:
    table = db.execute(f"SHOW SEGMENTS FOR {name}")
    place = {column: number for number, column in enumerate(table.columns)}
    found: dict[int, int] = {}
    for row in table:
        found[row[place["partition"]]] = found.get(row[place["partition"]], 0) + row[place["live"]]
    return found


def test_rows_are_spread_and_found(filled: tuple[Any, str]) -> None:
    db, name = filled
    assert everything(db, name) == {row_id: position for position, row_id in enumerate(IDS)}
    by_partition = rows_by_partition(db, name)
    assert sorted(by_partition) == [0, 1, 2]
    assert sum(by_partition.values()) == len(IDS)
    assert min(by_partition.values()) > len(IDS) / PARTITIONS / 2
    assert [row.payload for row in db.get(name, [449, "row-7", -50])] == [{"n": 499}, {"n": 507}, {"n": 0}]


def test_a_search_sees_all_partitions(filled: tuple[Any, str]) -> None:
    db, name = filled
    base, queries = vectors_of(IDS), vectors_of([1, 2, 3], 0.3)
    right, distances = nearest("l2", base, queries, 10)
    for hits, places, expected in zip(db.search(name, queries, k=10, exact=True), right, distances, strict=True):
        assert hits.ids == [IDS[place] for place in places]
        assert hits.distances.tolist() == pytest.approx(list(expected), abs=1e-6)
    (filtered,) = db.search(name, queries[:1], k=600, where="n < 7")
    assert sorted(hit.payload["n"] for hit in filtered) == list(range(7))


def test_what_one_partition_refuses_no_partition_stores(filled: tuple[Any, str]) -> None:
    db, name = filled
    fresh = [f"new-{n}" for n in range(40)]
    batch = [*fresh[:30], "row-7", *fresh[30:]]
    with pytest.raises(reddb.RedDBError, match=r"DUPLICATE_ID.*row 30: id 'row-7' exists already") as caught:
        db.insert(name, batch, vectors_of(batch))
    assert caught.value.detail["row"] == 30
    wrong = vectors_of(fresh)
    wrong[17, 2] = np.nan
    with pytest.raises(reddb.RedDBError, match="row 17: coordinate 2"):
        db.insert(name, fresh, wrong)
    with pytest.raises(reddb.RedDBError, match="row 40: id 'new-3' stands in row 3 too"):
        db.insert(name, [*fresh, "new-3"], vectors_of([*fresh, "new-3"]))
    assert set(everything(db, name)) == set(IDS)
    assert db.insert(name, fresh, vectors_of(fresh)) == len(fresh)  # nothing is held any more


def test_upserts_deletes_and_changes_by_predicate(filled: tuple[Any, str]) -> None:
    db, name = filled
    model: dict[Any, Any] = {row_id: position for position, row_id in enumerate(IDS)}
    assert db.upsert(name, IDS[:90], vectors_of(IDS[:90]), [{"n": -1}] * 90) == 90
    model.update(dict.fromkeys(IDS[:90], -1))
    assert db.delete(name, [*IDS[100:160], "none", 10**9]) == 60
    assert db.execute(f"UPDATE {name} SET n = 1000 WHERE n BETWEEN 400 AND 449").affected == 50
    assert db.execute(f"DELETE FROM {name} WHERE n = -1").affected == 90
    model = {row_id: 1000 if 400 <= n <= 449 else n for row_id, n in model.items()}
    model = {row_id: n for row_id, n in model.items() if n != -1 and row_id not in IDS[100:160]}
    assert everything(db, name) == model
    assert db.execute(f"SELECT count(*) FROM {name} WHERE n = 1000")[0][0] == 50
    assert db.delete(name, []) == 0


def test_segments_are_settled_in_every_partition(filled: tuple[Any, str]) -> None:
    db, name = filled
    for work in ("SEAL", "COMPACT", "REBUILD WITH (index = hnsw)"):
        db.execute(f"ALTER COLLECTION {name} {work}")
    table = db.execute(f"SHOW SEGMENTS FOR {name}")
    assert [(row[0], row[2], row[3]) for row in table] == [(n, "sealed", "hnsw sq8") for n in range(PARTITIONS)]
    assert everything(db, name) == {row_id: position for position, row_id in enumerate(IDS)}
    steps = [line for (line,) in db.execute(f"EXPLAIN VECTOR SEARCH {name} SIMILAR TO [1, 2, 3, 4] LIMIT 3")]
    for number in range(PARTITIONS):
        assert sum(f"Segment {number}.1: sealed" in step for step in steps) == 1


def test_the_number_of_partitions_is_fixed(filled: tuple[Any, str]) -> None:
    db, name = filled
    with pytest.raises(reddb.RedDBError, match="partitions is fixed when a collection is created"):
        db.execute(f"ALTER COLLECTION {name} SET (partitions = 2)")
    with pytest.raises(reddb.RedDBError, match="partitions must be an integer from 1 to 64"):
        db.execute(f"CREATE COLLECTION {name}x KIND vector DIM 2 WITH (partitions = 65)")
    db.execute(f"DROP COLLECTION {name}")
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    assert everything(db, name) == {}
