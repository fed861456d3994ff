"""What every face promises about statements that write: expressions, ON CONFLICT, RETURNING, expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import reddb

each_number_of_partitions = pytest.mark.parametrize("partitions", [1, 3])


def create(db: Any, name: str, partitions: int = 1, fields: str = "") -> None:
    shape = f"KIND vector DIM 2 METRIC l2 {fields}"
    db.execute(f"CREATE COLLECTION {name} {shape} WITH (partitions = {partitions})")


def rows_of(db: Any, name: str) -> dict[Any, tuple[list[float], dict[str, Any]]]:
    """Every row: its vector and its payload."""
    ids = [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 10000")]
    return {row.id: (row.vector.tolist(), row.payload) for row in db.get(name, ids, with_vectors=True)}


def refused(db: Any, statement: str, code: str, said: str, params: Any = ()) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError, match=code) as caught:
        db.execute(statement, params)
    assert said in str(caught.value)
    return caught.value


# --- values ------------------------------------------------------------------------------------------------


def test_values_may_be_computed(db: Any, name: str) -> None:
    create(db, name)
    before = datetime.now(UTC)
    insert = "VALUES (1 + 2, [1, 0], lower('ABC'), 7 / 2, now()), ('x', [0, 1], NULL, $1 * 2, NULL)"
    assert db.execute(f"INSERT INTO {name} (id, vector, a, b, at) {insert}", [4]).affected == 2
    first, second = db.get(name, [3, "x"])
    assert (first.payload["a"], first.payload["b"]) == ("abc", 3)
    assert before <= first.payload["at"] <= datetime.now(UTC)
    assert second.payload == {"b": 8}
    refused(db, f"INSERT INTO {name} (id, vector, a) VALUES (9, [1, 1], b + 1)", "UNKNOWN_COLUMN", "b")


@pytest.mark.parametrize(
    ("clause", "params", "seconds"),
    [
        ("WITH TTL 1 h", [], 3600),
        ("WITH TTL 90", [], 90),
        ("WITH TTL '90 min'", [], 5400),
        ("WITH TTL '1 day 2 hours'", [], 93600),
        ("WITH TTL $1", [1.5], 1.5),
        ("WITH TTL $1", ["2 w"], 1209600),
        ("WITH EXPIRES AT now() + INTERVAL '2 h'", [], 7200),
    ],
)
def test_rows_with_an_end(db: Any, name: str, clause: str, params: list[Any], seconds: float) -> None:
    create(db, name)
    before = datetime.now(UTC)
    for statement in ("INSERT", "UPSERT"):
        text = f"{statement} INTO {name} (id, vector) VALUES ('{statement}', [1, 1]) {clause}"
        db.execute(text, params)
        (row,) = db.execute(f"SELECT expires_at FROM {name} WHERE id = '{statement}'")
        length = timedelta(seconds=seconds)
        assert before + length <= row[0] <= datetime.now(UTC) + length


def test_an_end_that_is_none_is_refused(db: Any, name: str) -> None:
    create(db, name)
    insert = f"INSERT INTO {name} (id, vector) VALUES (1, [1, 1])"
    for clause, said in [
        ("WITH TTL 1 fortnight", "fortnight"),
        ("WITH TTL 0", "longer"),
        ("WITH TTL 100000 w", "36525 days"),
        ("WITH TTL 'soon'", "soon"),
        ("WITH EXPIRES AT 'soon'", "timestamp"),
    ]:
        refused(db, f"{insert} {clause}", "INVALID_VALUE", said)
    text = f"INSERT INTO {name} (id, vector, expires_at) VALUES (1, [1, 1], now()) WITH TTL 1 h"
    refused(db, text, "INVALID_VALUE", "twice")
    assert rows_of(db, name) == {}


# --- conflicts ---------------------------------------------------------------------------------------------


@each_number_of_partitions
def test_on_conflict(db: Any, name: str, partitions: int) -> None:
    create(db, name, partitions)
    db.insert(name, range(6), [[n, 0] for n in range(6)], [{"n": n, "kept": True} for n in range(6)])
    insert = f"INSERT INTO {name} (id, vector, n) VALUES (4, [9, 9], 40), (7, [7, 7], 70), (5, [8, 8], 50)"
    assert db.execute(f"{insert} ON CONFLICT DO NOTHING").affected == 1
    assert rows_of(db, name) == {
        **{n: ([n, 0], {"n": n, "kept": True}) for n in range(6)},
        7: ([7, 7], {"n": 70}),
    }
    assert db.execute(f"{insert} ON CONFLICT (id) DO UPDATE SET n = n + excluded.n, old = n").affected == 3
    found = rows_of(db, name)
    assert found[4] == ([4, 0], {"n": 44, "kept": True, "old": 4})
    assert found[5] == ([5, 0], {"n": 55, "kept": True, "old": 5})
    assert found[7] == ([7, 7], {"n": 140, "old": 70})
    assert db.execute(f"{insert} ON CONFLICT DO UPDATE").affected == 3
    assert rows_of(db, name)[4] == ([9, 9], {"n": 40})
    text = f"{insert} ON CONFLICT DO UPDATE SET vector = excluded.vector, n = 1, was = excluded.id, none = NULL"
    assert db.execute(text).affected == 3
    assert rows_of(db, name)[5] == ([8, 8], {"n": 1, "was": 5})


@each_number_of_partitions
def test_ids_twice_in_one_statement(db: Any, name: str, partitions: int) -> None:
    create(db, name, partitions)
    insert = f"INSERT INTO {name} (id, vector, n) VALUES (1, [1, 1], 1), (2, [2, 2], 2), (1, [3, 3], 3)"
    refused(db, f"{insert} ON CONFLICT DO UPDATE SET n = 0", "DUPLICATE_ID", "second time")
    assert rows_of(db, name) == {}
    assert db.execute(f"{insert} ON CONFLICT DO NOTHING").affected == 2
    assert rows_of(db, name) == {1: ([1, 1], {"n": 1}), 2: ([2, 2], {"n": 2})}


@each_number_of_partitions
def test_what_a_conflict_refuses_changes_nothing(db: Any, name: str, partitions: int) -> None:
    create(db, name, partitions, "FIELDS (n INT NOT NULL, *)")
    db.insert(name, range(9), [[0, 0]] * 9, [{"n": n} for n in range(9)])
    before = rows_of(db, name)
    values = ", ".join(f"({n}, [1, 1], {n})" for n in range(20))
    insert = f"INSERT INTO {name} (id, vector, n) VALUES {values}"
    refused(db, f"{insert} ON CONFLICT DO UPDATE SET n = NULL", "INVALID_PAYLOAD", "'n'")
    error = refused(
        db, insert.replace("15)", "NULL)") + " ON CONFLICT DO UPDATE SET n = 5", "INVALID_PAYLOAD", "row 15"
    )
    assert error.detail["row"] == 15
    assert rows_of(db, name) == before


# --- UPDATE ------------------------------------------------------------------------------------------------


@each_number_of_partitions
def test_update_computes_from_the_row(db: Any, name: str, partitions: int) -> None:
    create(db, name, partitions, "FIELDS (title TEXT, n INT, *)")
    db.insert(
        name, range(9), [[n, 0] for n in range(9)], [{"title": f"t{n}", "n": n, "deep": {"x": n}} for n in range(9)]
    )
    text = f"UPDATE {name} SET n = n * 10 + 1, title = concat(upper(title), '!'), old = n, copy = deep WHERE n >= 3"
    assert db.execute(text).affected == 6
    found = rows_of(db, name)
    assert found[2] == ([2, 0], {"title": "t2", "n": 2, "deep": {"x": 2}})
    assert found[5] == ([5, 0], {"title": "T5!", "n": 51, "deep": {"x": 5}, "old": 5, "copy": {"x": 5}})
    assert db.execute(f"UPDATE {name} SET n = n + $1, vector = $2 WHERE id IN (1, 99, 4)", [0, [7, 7]]).affected == 2
    assert rows_of(db, name)[1] == ([7, 7], {"title": "t1", "n": 1, "deep": {"x": 1}})
    assert db.execute(f"UPDATE {name} SET n = deep.x WHERE TRUE").affected == 9
    assert {row[1]["n"] for row in rows_of(db, name).values()} == set(range(9))
    refused(db, f"UPDATE {name} SET n = vector WHERE TRUE", "INVALID_VALUE", "vector")
    refused(db, f"UPDATE {name} SET n = title WHERE TRUE", "INVALID_PAYLOAD", "INT")


# --- RETURNING ---------------------------------------------------------------------------------------------


@each_number_of_partitions
def test_returning(db: Any, name: str, partitions: int) -> None:
    create(db, name, partitions, "FIELDS (n INT DEFAULT 5, *)")
    insert = f"INSERT INTO {name} (id, vector, a) VALUES ('z', [1, 2], 1), (3, [3, 4], 2), (1, [5, 6], 3)"
    result = db.execute(f"{insert} RETURNING id, n + a AS sum, a, vector")
    assert result.columns == ["id", "sum", "a", "vector"]
    assert result.affected == 3
    assert [(*row[:3], row[3].tolist()) for row in result] == [
        ("z", 6, 1, [1, 2]),
        (3, 7, 2, [3, 4]),
        (1, 8, 3, [5, 6]),
    ]
    upsert = f"UPSERT INTO {name} (id, vector, n) VALUES (1, [0, 0], 1), (2, [0, 0], 2) RETURNING *"
    result = db.execute(upsert)
    assert (result.columns, result.affected) == (["id", "vector", "n"], 2)
    assert [(row[0], row[2]) for row in result] == [(1, 1), (2, 2)]
    conflict = f"INSERT INTO {name} (id, vector, n) VALUES (9, [1, 1], 9), (1, [1, 1], 8), (8, [1, 1], 7)"
    assert list(db.execute(f"{conflict} ON CONFLICT DO NOTHING RETURNING id, n")) == [(9, 9), (8, 7)]
    result = db.execute(f"{conflict} ON CONFLICT DO UPDATE SET n = n + excluded.n RETURNING id, n")
    assert list(result) == [(9, 18), (1, 9), (8, 14)]
    result = db.execute(f"UPDATE {name} SET n = n + 1 WHERE id IN (2, 77, 1, 'z') RETURNING id, n")
    assert (list(result), result.affected) == ([(2, 3), (1, 10), ("z", 6)], 3)
    result = db.execute(f"DELETE FROM {name} WHERE n >= 10 RETURNING id, n * 2 AS twice")
    assert (sorted(result), result.affected) == ([(1, 20), (8, 28), (9, 36)], 3)
    result = db.execute(f"DELETE FROM {name} WHERE id IN (3, 4, 'z') RETURNING id, a")
    assert (list(result), result.affected) == ([(3, 2), ("z", 1)], 2)
    result = db.execute(f"DELETE FROM {name} WHERE id = 4 RETURNING *")
    assert (list(result), result.affected) == ([], 0)
    assert list(rows_of(db, name)) == [2]


def test_returning_many_rows(db: Any, name: str) -> None:
    create(db, name, 2)
    db.insert(name, range(5000), [[n, 0] for n in range(5000)], [{"n": n} for n in range(5000)])
    result = db.execute(f"UPDATE {name} SET n = n + 1 WHERE n < 4000 RETURNING id, n")
    assert result.affected == 4000
    assert sorted(result) == [(n, n + 1) for n in range(4000)]


def test_returning_what_there_is_not(db: Any, name: str) -> None:
    create(db, name)
    insert = f"INSERT INTO {name} (id, vector) VALUES (1, [1, 2])"
    refused(db, f"{insert} RETURNING distance", "UNKNOWN_COLUMN", "distance")
    refused(db, f"{insert} RETURNING count(*)", "INVALID_VALUE", "count")
    assert rows_of(db, name) == {}
