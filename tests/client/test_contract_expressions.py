"""Expressions in a WHERE, on all faces, over fresh and sealed rows: arithmetic, functions, casts and distances."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import reddb

ROWS = 200
DIM = 8
VECTORS = np.random.default_rng(5).standard_normal((ROWS, DIM), dtype=np.float32)
TITLES = ("Red", "green", "BLUE")


def payload(row: int) -> dict[str, Any]:
    kept: dict[str, Any] = {"title": TITLES[row % 3], "year": 2000 + row % 20, "price": row / 4, "row": str(row)}
    if row % 5:
        kept |= {"n": row % 7, "tags": ["x"] * (row % 4), "at": datetime(2024, 1, 1 + row % 28, tzinfo=UTC)}
    return kept


PAYLOADS = [payload(row) for row in range(ROWS)]


@pytest.fixture(params=["fresh", "sealed"])
def filled(request: pytest.FixtureRequest, db: Any, name: str) -> tuple[Any, str]:
    fields = "title TEXT, year INT, price FLOAT, at TIMESTAMP, tags TEXT[]"
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM {DIM} METRIC l2 FIELDS ({fields}, *)")
    db.insert(name, ids=range(ROWS), vectors=VECTORS, payloads=PAYLOADS)
    if request.param == "sealed":
        db.execute(f"ALTER COLLECTION {name} SEAL")
    return db, name


def chosen(filled: tuple[Any, str], where: str, parameters: Any = ()) -> set[int]:
    db, name = filled
    rows = {row_id for (row_id,) in db.execute(f"SELECT id FROM {name} WHERE {where} LIMIT {ROWS}", parameters)}
    ((count,),) = db.execute(f"SELECT count(*) FROM {name} WHERE {where}", parameters)
    assert count == len(rows)
    return rows


def rows_where(test: Any) -> set[int]:
    """The ids of the rows whose payload passes a test; a missing key passes none."""
    found = set()
    for row, kept in enumerate(PAYLOADS):
        try:
            if test(row, **kept):
                found.add(row)
        except TypeError:
            continue
    return found


def test_conditions_compute(filled: tuple[Any, str]) -> None:
    def n_of(test: Any) -> set[int]:
        return {row for row, kept in enumerate(PAYLOADS) if "n" in kept and test(kept["n"], kept)}

    for where, expected in [
        ("lower(title) = 'red'", {row for row in range(ROWS) if row % 3 == 0}),
        ("length(title) + n > 8", n_of(lambda n, kept: len(kept["title"]) + n > 8)),
        ("price * 2 - id / 2 < 1", {row for row in range(ROWS) if row / 2 - row // 2 < 1}),
        ("year % 2 = 0 AND n * n = 4", n_of(lambda n, kept: kept["year"] % 2 == 0 and n == 2)),
        ("n <> 0 AND 10 / n >= 5", n_of(lambda n, kept: n and 10 // n >= 5)),
        ("coalesce(n, 3) = 3", {row for row in range(ROWS) if PAYLOADS[row].get("n", 3) == 3}),
        ("cardinality(tags) = 2", n_of(lambda n, kept: len(kept["tags"]) == 2)),
        ("row::int >= 190", set(range(190, ROWS))),
        (
            "(year, title) > (2018, 'Red')",
            {r for r, p in enumerate(PAYLOADS) if (p["year"], p["title"]) > (2018, "Red")},
        ),
        ("n IN (year - 2000, 1)", n_of(lambda n, kept: n in (kept["year"] - 2000, 1))),
        ("at - INTERVAL '1 day' >= '2024-01-27T00:00:00Z'", n_of(lambda n, kept: kept["at"].day >= 28)),
        ("at < now()", n_of(lambda n, kept: True)),
        ("greatest(n, 6, NULL) = 6", set(range(ROWS))),
    ]:
        assert chosen(filled, where) == expected, where


def test_conditions_ask_for_distances(filled: tuple[Any, str]) -> None:
    query = VECTORS[17].astype(np.float64)
    rows = VECTORS.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    far = np.linalg.norm(rows - query, axis=1)
    for where, expected in [
        ("vector <-> $1 < 3", far < 3),
        ("vector <=> $1 < 0.6", 1 - rows @ query / lengths < 0.6),
        ("vector <#> $1 < -2", -(rows @ query) < -2),
        ("l1_distance(vector, $1) <= 7.5", np.abs(rows - query).sum(axis=1) <= 7.5),
        ("similarity(vector, $1) > 0.25", 1 / (1 + far) > 0.25),
        ("vector_norm(vector) > vector_distance(vector, $1)", np.linalg.norm(rows, axis=1) > far),
    ]:
        assert 0 < expected.sum() < ROWS
        assert chosen(filled, where, [VECTORS[17]]) == set(np.flatnonzero(expected).tolist()), where
    assert chosen(filled, "vector <-> $1 < 3", [str(VECTORS[17].tolist())]) == set(np.flatnonzero(far < 3).tolist())


def test_a_search_filters_by_an_expression(filled: tuple[Any, str]) -> None:
    db, name = filled
    where = "upper(title) = :title AND vector <=> :other < 1"
    rows, other = VECTORS.astype(np.float64), VECTORS[3].astype(np.float64)
    allowed = (rows @ other > 0) & (np.arange(ROWS) % 3 == 1)
    order = [row for row in np.argsort(np.linalg.norm(rows - rows[40], axis=1)).tolist() if allowed[row]]
    found = db.search(name, VECTORS[40], k=5, where=where, params={"title": "GREEN", "other": VECTORS[3]})
    assert found.ids == order[:5]


def test_what_has_no_value_is_refused_on_the_way_and_nothing_breaks(filled: tuple[Any, str]) -> None:
    db, name = filled
    for where in ("10 / n > 1", "title::int = 1"):
        with pytest.raises(reddb.RedDBError, match=r"division by zero in 10 / n|does not become INT") as caught:
            db.execute(f"SELECT id FROM {name} WHERE {where} LIMIT 3")
        assert caught.value.name == "INVALID_VALUE"
        with pytest.raises(reddb.RedDBError, match="INVALID_VALUE"):
            db.search(name, VECTORS[0], k=3, where=where)
        with pytest.raises(reddb.RedDBError, match="INVALID_VALUE"):
            db.execute(f"DELETE FROM {name} WHERE {where}")
    assert db.execute(f"SELECT count(*) FROM {name}")[0][0] == ROWS


def test_a_dead_row_raises_no_error(filled: tuple[Any, str]) -> None:
    db, name = filled
    db.execute(f"DELETE FROM {name} WHERE n = 0")
    expected = {row for row, kept in enumerate(PAYLOADS) if kept.get("n") and 10 // kept["n"] > 4}
    assert chosen(filled, "10 / n > 4") == expected
    assert set(db.search(name, VECTORS[0], k=ROWS, where="10 / n > 4").ids) == expected


def test_a_change_by_an_expression(filled: tuple[Any, str]) -> None:
    db, name = filled
    db.execute(f"UPDATE {name} SET title = 'seen' WHERE year - 2000 = 3 AND lower(title) = 'blue'")
    expected = {row for row in range(ROWS) if row % 20 == 3 and row % 3 == 2}
    assert expected
    assert chosen(filled, "title = concat('se', 'en')") == expected
