"""What every face of the database promises about writes and about reads by method; a batch is all or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reddb

DIM = 3
NAN, INF = float("nan"), float("inf")


def create(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2")


def vectors(*firsts: float) -> np.ndarray:
    """Rows that differ in their first coordinate."""
    rows = np.zeros((len(firsts), DIM), np.float32)
    rows[:, 0] = firsts
    return rows


def count(db: Any, name: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {name}")[0][0])


# --- by statement -----------------------------------------------------------------------------------------


def test_insert_by_statement(db: Any, name: str) -> None:
    create(db, name)
    statement = (
        f"INSERT INTO {name} (id, vector, title, tags) VALUES (1, [1, 0, 0], 'it''s', ['a', 'b']), ($1, $2, $3, NULL)"
    )
    assert db.execute(statement, ["two", [2.0, 0.0, 0.0], "x"]).affected == 2
    result = db.execute(f"SELECT id, title, tags FROM {name} LIMIT 10")
    assert list(result) == [(1, "it's", ["a", "b"]), ("two", "x", None)]
    assert result.affected is None


def test_upsert_by_statement_replaces_vector_and_payload(db: Any, name: str) -> None:
    create(db, name)
    db.execute(f"INSERT INTO {name} (id, vector, a) VALUES (1, [1, 0, 0], 'old')")
    assert (
        db.execute(f"UPSERT INTO {name} (id, vector, b) VALUES (1, [5, 0, 0], 'new'), (2, [6, 0, 0], 'x')").affected
        == 2
    )
    first, second = db.get(name, [1, 2], with_vectors=True)
    assert (first.payload, first.vector.tolist()) == ({"b": "new"}, [5, 0, 0])
    assert second.payload == {"b": "x"}
    assert count(db, name) == 2


def test_delete_by_statement(db: Any, name: str) -> None:
    create(db, name)
    db.insert(name, [1, 2, 3, 4], vectors(1, 2, 3, 4))
    assert db.execute(f"DELETE FROM {name} WHERE id = 1").affected == 1
    assert db.execute(f"DELETE FROM {name} WHERE id IN (1, 2, $1, 99)", [3]).affected == 2
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 9")] == [4]


# --- by method --------------------------------------------------------------------------------------------


def test_insert_search_get(db: Any, name: str) -> None:
    create(db, name)
    payloads = [{"n": 1, "deep": {"list": [1, None, True, 1.5]}}, None, {}]
    assert db.insert(name, ids=[10, "ten", -1], vectors=vectors(1, 2, 9), payloads=payloads) == 3
    hits = db.search(name, [1.9, 0, 0], k=2)
    assert (hits.ids, len(hits)) == (["ten", 10], 2)
    assert hits.distances.tolist() == pytest.approx([0.1, 0.9], abs=1e-6)
    assert [hit.payload for hit in hits] == [{}, payloads[0]]
    assert hits[0].vector is None
    rows = db.get(name, [10, "none", "ten"])
    assert [row and (row.id, row.payload, row.vector) for row in rows] == [
        (10, payloads[0], None),
        None,
        ("ten", {}, None),
    ]
    assert db.get(name, -1, with_vectors=True)[0].vector.tolist() == [9, 0, 0]


def test_search_options(db: Any, name: str) -> None:
    create(db, name)
    db.insert(name, np.arange(100), vectors(*range(100)), [{"n": n} for n in range(100)])
    queries = vectors(0.1, 50.2, 98.9)
    for options in ({}, {"exact": True}, {"ef": 50}):
        found = db.search(name, queries, k=3, **options)
        assert [hits.ids for hits in found] == [[0, 1, 2], [50, 51, 49], [99, 98, 97]]
    with_vectors = db.search(name, queries[1], k=2, with_vectors=True, with_payloads=False)
    assert with_vectors.vectors.tolist() == [[50, 0, 0], [51, 0, 0]]
    assert with_vectors.payloads == [{}, {}]
    assert len(db.search(name, queries[0], k=1000)) == 100
    assert len(db.search(name, queries[0], k=0)) == 0
    assert db.search(name, np.empty((0, DIM), np.float32)) == []


def test_upsert_and_delete(db: Any, name: str) -> None:
    create(db, name)
    db.insert(name, [1, 2, 3], vectors(1, 2, 3), [{"v": "old"}] * 3)
    assert db.upsert(name, [3, 4], vectors(30, 40), [{"v": "new"}, None]) == 2
    assert [row.payload for row in db.get(name, [3, 4])] == [{"v": "new"}, {}]
    assert db.search(name, [3, 0, 0], k=9).ids == [2, 1, 3, 4]
    assert db.delete(name, [3, 3, 99]) == 1
    assert db.delete(name, ids=4) == 1
    assert db.delete(name, where="id IN ($1)", params=[[1, 77]]) == 1
    assert db.search(name, [3, 0, 0], k=9).ids == [2]
    assert db.insert(name, [3], vectors(33)) == 1, "a deleted id is free again"
    with pytest.raises(reddb.RedDBError, match="INVALID_PARAMETER"):
        db.delete(name)


def test_writes_of_nothing(db: Any, name: str) -> None:
    create(db, name)
    assert db.insert(name, [], np.empty((0, DIM), np.float32)) == 0
    assert db.upsert(name, [], np.empty((0, DIM), np.float32)) == 0
    assert db.delete(name, []) == 0
    assert db.get(name, []) == []
    assert count(db, name) == 0


def test_ids_of_each_kind(db: Any, name: str) -> None:
    create(db, name)
    ids = [0, -(2**63), 2**63 - 1, "0", "ü☃", "x" * 255]
    db.insert(name, ids, vectors(*range(6)))
    assert [row.id for row in db.get(name, ids)] == ids
    assert db.search(name, [0, 0, 0], k=6).ids == ids
    assert db.delete(name, ids[:5]) == 5
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 9")] == [ids[5]]


# --- all or nothing ---------------------------------------------------------------------------------------

GOOD = [100, 101, 102, 103]
WRONG: list[tuple[str, dict[str, Any], str, int | None]] = [
    ("dimension", {"vectors": np.zeros((4, DIM + 1), np.float32)}, "INVALID_DIMENSION", None),
    ("NaN", {"vectors": vectors(1, 2, NAN, 4)}, "INVALID_VECTOR", 2),
    ("infinity", {"vectors": vectors(1, -INF, 3, 4)}, "INVALID_VECTOR", 1),
    ("beyond float32", {"vectors": np.array([[0, 0, 0]] * 3 + [[0, 1e39, 0]])}, "INVALID_VECTOR", 3),
    ("an id twice", {"ids": [100, 101, 102, 101]}, "DUPLICATE_ID", 3),
    ("a text id twice", {"ids": ["a", "b", "c", "a"]}, "DUPLICATE_ID", 3),
    ("an id that exists", {"ids": [100, 101, 7, 103]}, "DUPLICATE_ID", 2),
    ("a float id", {"ids": [100, 1.5, 102, 103]}, "INVALID_ID", 1),
    ("a bool id", {"ids": [100, 101, 102, True]}, "INVALID_ID", 3),
    ("no id", {"ids": [None, 101, 102, 103]}, "INVALID_ID", 0),
    ("an id of 65 bits", {"ids": [100, 101, 2**63, 103]}, "INVALID_ID", 2),
    ("an empty id", {"ids": ["a", "", "c", "d"]}, "INVALID_ID", 1),
    ("a long id", {"ids": ["a", "b", "c" * 256, "d"]}, "INVALID_ID", 2),
    ("half a surrogate pair", {"ids": ["a", "b", "\ud800", "d"]}, "INVALID_ID", 2),
    ("a payload that is no map", {"payloads": [{}, {}, [1], {}]}, "INVALID_PAYLOAD", 2),
    ("a payload of bytes", {"payloads": [{}, {"a": b"x"}, {}, {}]}, "INVALID_PAYLOAD", 1),
    ("a payload with a reserved key", {"payloads": [{}, {}, {}, {"distance": 1}]}, "INVALID_PAYLOAD", 3),
    ("a payload that is too large", {"payloads": [{"a": "x" * 70_000}, {}, {}, {}]}, "LIMIT_EXCEEDED", 0),
    ("fewer ids than vectors", {"ids": [100, 101, 102]}, "INVALID_VECTOR", None),
    ("vectors of two lengths", {"vectors": [[1, 2, 3], [1, 2], [1, 2, 3], [1, 2, 3]]}, "INVALID_VECTOR", None),
    ("text for a vector", {"vectors": [["a", "b", "c"]] * 4}, "INVALID_VECTOR", None),
]


@pytest.mark.parametrize(("change", "error", "row"), [item[1:] for item in WRONG], ids=[item[0] for item in WRONG])
def test_a_wrong_row_refuses_the_whole_batch(
    db: Any, name: str, change: dict[str, Any], error: str, row: int | None
) -> None:
    create(db, name)
    db.insert(name, [7], vectors(7))
    batch = {"ids": GOOD, "vectors": vectors(1, 2, 3, 4), "payloads": None, **change}
    with pytest.raises(reddb.RedDBError) as caught:
        db.insert(name, **batch)
    assert (caught.value.name, caught.value.retryable) == (error, False)
    if row is not None:
        assert caught.value.detail["row"] == row
        assert f"row {row}" in caught.value.message
    assert count(db, name) == 1
    assert db.get(name, [100, 101]) == [None, None]
    assert db.insert(name, GOOD, vectors(1, 2, 3, 4)) == 4, "the collection takes rows as before"


def test_an_upsert_with_a_wrong_row_replaces_nothing(db: Any, name: str) -> None:
    create(db, name)
    db.insert(name, [1, 2], vectors(1, 2), [{"v": "old"}] * 2)
    for ids, rows in (([1, 2, 1], vectors(8, 9, 10)), ([1, 2, 3], vectors(8, 9, NAN))):
        with pytest.raises(reddb.RedDBError):
            db.upsert(name, ids, rows)
    assert [(row.payload, row.vector[0]) for row in db.get(name, [1, 2], with_vectors=True)] == [
        ({"v": "old"}, 1),
        ({"v": "old"}, 2),
    ]


def test_a_statement_with_a_wrong_row_stores_nothing(db: Any, name: str) -> None:
    create(db, name)
    db.insert(name, [7], vectors(7))
    for values, error in (
        ("(1, [1, 2, 3]), (2, [1, 2])", "INVALID_DIMENSION"),
        ("(1, [1, 2, 3]), (1, [1, 2, 3])", "DUPLICATE_ID"),
        ("(1, [1, 2, 3]), (7, [1, 2, 3])", "DUPLICATE_ID"),
        ("(1, [1, 2, 3]), (1.5, [1, 2, 3])", "INVALID_ID"),
    ):
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute(f"INSERT INTO {name} (id, vector) VALUES {values}")
        assert caught.value.name == error
        assert count(db, name) == 1


def test_every_method_names_an_unknown_collection(db: Any) -> None:
    calls = [
        lambda: db.insert("nowhere", [1], vectors(1)),
        lambda: db.upsert("nowhere", [1], vectors(1)),
        lambda: db.delete("nowhere", [1]),
        lambda: db.get("nowhere", [1]),
        lambda: db.search("nowhere", [1, 2, 3]),
    ]
    for call in calls:
        with pytest.raises(reddb.RedDBError, match=r"UNKNOWN_COLLECTION.*nowhere"):
            call()


def test_wrong_searches(db: Any, name: str) -> None:
    create(db, name)
    db.insert(name, [1], vectors(1))
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ([1, 2], {}, "INVALID_DIMENSION"),
        ([1, NAN, 3], {}, "INVALID_VECTOR"),
        ([[1, 2, 3], [1, INF, 3]], {}, "INVALID_VECTOR"),
        ("text", {}, "INVALID_VECTOR"),
        ([[[1, 2, 3]]], {}, "INVALID_VECTOR"),
        ([1, 2, 3], {"k": -1}, "LIMIT_EXCEEDED"),
        ([1, 2, 3], {"k": 10_001}, "LIMIT_EXCEEDED"),
        ([1, 2, 3], {"ef": 0}, "LIMIT_EXCEEDED"),
        (np.zeros((1001, DIM)), {}, "LIMIT_EXCEEDED"),
        ([1, 2, 3], {"params": [1]}, "INVALID_PARAMETER"),
        ([[1, 2, 3], [1, 2]], {}, "INVALID_VECTOR"),
    ]
    for query, options, error in wrong:
        with pytest.raises(reddb.RedDBError) as caught:
            db.search(name, query, **options)
        assert caught.value.name == error, (query, options)
    assert db.search(name, [1, 2, 3], k=1).ids == [1]


def test_an_id_that_cannot_be_written_is_refused_everywhere(db: Any, name: str) -> None:
    create(db, name)
    for call in (
        lambda: db.get(name, ["\ud800"]),
        lambda: db.delete(name, ["\ud800"]),
        lambda: db.execute(f"SELECT id FROM {name} WHERE id = $1", ["\ud800"]),
    ):
        with pytest.raises(reddb.RedDBError) as caught:
            call()
        assert caught.value.name in ("INVALID_ID", "INVALID_VALUE")
    db.ping()
