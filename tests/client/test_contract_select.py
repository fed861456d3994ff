"""What every face of the database promises about SELECT: columns, order, pages, groups, distances, examples, views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reddb
from reddb import limits

FIELDS = "FIELDS (year INT, title TEXT, price FLOAT, *)"
ROWS: list[tuple[int | str, list[float], dict[str, Any]]] = [
    (1, [1, 0], {"year": 2000, "title": "a", "price": 0.5, "free": 1}),
    (2, [2, 0], {"year": 2000, "title": "b", "free": "x"}),
    (3, [3, 0], {"year": 2001, "title": "c", "price": 1.5}),
    (4, [4, 0], {"title": "d", "free": 2.5, "deep": {"x": 7}}),
    ("five", [5, 0], {"year": 2002, "title": "a", "free": True}),
    (6, [0, 6], {"year": 2001, "price": -1.0}),
]


def fill(db: Any, name: str, metric: str = "l2") -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 2 METRIC {metric} {FIELDS}")
    ids, vectors, payloads = zip(*ROWS, strict=True)
    db.insert(name, list(ids), np.array(vectors, np.float32), list(payloads))


def refusal(ask: Callable[[], Any]) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        ask()
    return caught.value


NEAR = "vector <-> [0, 0]"

ANSWERS: list[tuple[str, list[str], list[tuple[Any, ...]]]] = [
    # items
    ("SELECT 1 AS one, 'x', NULL AS n", ["one", "'x'", "n"], [(1, "x", None)]),
    ("SELECT 1 AS one WHERE FALSE", ["one"], []),
    ("SELECT year + 1 AS next, upper(title) FROM {0} WHERE id = 1", ["next", "upper"], [(2001, "A")]),
    ("SELECT deep.x, deep FROM {0} WHERE id = 4", ["deep.x", "deep"], [(7, {"x": 7})]),
    ("SELECT id, price * 2 FROM {0} WHERE id = 3", ["id", "price * 2"], [(3, 3.0)]),
    # order and pages
    ("SELECT id FROM {0} ORDER BY title DESC, id LIMIT 3", ["id"], [(6,), (4,), (3,)]),
    ("SELECT id FROM {0} ORDER BY title DESC NULLS LAST, id LIMIT 2", ["id"], [(4,), (3,)]),
    (
        "SELECT id, free FROM {0} ORDER BY free LIMIT 5",
        ["id", "free"],
        [(1, 1), (4, 2.5), (2, "x"), ("five", True), (3, None)],
    ),
    ("SELECT id AS x, year FROM {0} ORDER BY 2, x LIMIT 2 OFFSET 1", ["x", "year"], [(2, 2000), (3, 2001)]),
    ("SELECT id FROM {0} ORDER BY -year, id LIMIT 2", ["id"], [("five",), (3,)]),
    ("SELECT id FROM {0} WHERE (year, id) > (2000, 1) ORDER BY year, id LIMIT 2", ["id"], [(2,), (3,)]),
    ("SELECT id FROM {0} WHERE id > 2 ORDER BY id LIMIT 2", ["id"], [(3,), (4,)]),
    ("SELECT id FROM {0} WHERE id IN ('five', 2, 99) AND title < 'b'", ["id"], [("five",)]),
    ("SELECT id FROM {0} WHERE id IN ('five', 2, 1) ORDER BY title, id DESC", ["id"], [("five",), (1,), (2,)]),
    ("SELECT DISTINCT title FROM {0} ORDER BY title LIMIT 2", ["title"], [("a",), ("b",)]),
    ("SELECT DISTINCT year > 2000 AS late FROM {0} ORDER BY late", ["late"], [(False,), (True,), (None,)]),
    # distances
    (
        f"SELECT id, distance, score FROM {{0}} ORDER BY {NEAR} LIMIT 2",
        ["id", "distance", "score"],
        [(1, 1, 0.5), (2, 2, 1 / 3)],
    ),
    (f"SELECT id, 10 - distance AS d FROM {{0}} ORDER BY {NEAR} LIMIT 1", ["id", "d"], [(1, 9)]),
    (f"SELECT id, {NEAR} AS d FROM {{0}} ORDER BY d DESC, id DESC LIMIT 2", ["id", "d"], [(6, 6), ("five", 5)]),
    (f"SELECT id FROM {{0}} ORDER BY year DESC, {NEAR} DESC LIMIT 3", ["id"], [(4,), ("five",), (6,)]),
    ("SELECT id FROM {0} ORDER BY vector <=> [0, 1], id LIMIT 2", ["id"], [(6,), (1,)]),
    ("SELECT id, distance FROM {0} WHERE vector NEAR [0, 0] AND year = 2001", ["id", "distance"], [(3, 3), (6, 6)]),
    ("SELECT id FROM {0} WHERE vector NEAR [0, 0] ORDER BY score DESC LIMIT 1", ["id"], [(1,)]),
    (f"SELECT id, distance FROM {{0}} WHERE {NEAR} < 3", ["id", "distance"], [(1, 1), (2, 2)]),
    (f"SELECT id FROM {{0}} WHERE {NEAR} BETWEEN 0 AND 3 ORDER BY id DESC", ["id"], [(3,), (2,), (1,)]),
    (f"SELECT id FROM {{0}} WHERE {NEAR} <= 5 ORDER BY distance LIMIT 3 OFFSET 1", ["id"], [(2,), (3,), (4,)]),
    (f"SELECT id FROM {{0}} WHERE (distance, id) > (2.0, 2) ORDER BY {NEAR}, id LIMIT 2", ["id"], [(3,), (4,)]),
    (f"SELECT id FROM {{0}} WHERE distance > 4 OR year = 2000 ORDER BY {NEAR}", ["id"], [(1,), (2,), ("five",), (6,)]),
    ("VECTOR SEARCH {0} SIMILAR TO [0, 0] THRESHOLD 3", ["id", "distance"], [(1, 1), (2, 2), (3, 3)]),
    ("VECTOR SEARCH {0} SIMILAR TO [0, 0] MIN_SCORE 0.25", ["id", "distance"], [(1, 1), (2, 2), (3, 3)]),
    ("VECTOR SEARCH {0} SIMILAR TO [0, 0] THRESHOLD 3 LIMIT 1 OFFSET 1", ["id", "distance"], [(2, 2)]),
    ("VECTOR SEARCH {0} SIMILAR TO [0, 1] METRIC chebyshev LIMIT 2", ["id", "distance"], [(1, 1), (2, 2)]),
    # examples
    ("VECTOR SEARCH {0} SIMILAR TO ID (1, 3) LIMIT 2", ["id", "distance"], [(2, 0), (4, 2)]),
    ("VECTOR SEARCH {0} SIMILAR TO ID (3) NOT LIKE ID (1, 1) LIMIT 2", ["id", "distance"], [("five", 0), (4, 1)]),
    ("VECTOR SEARCH {0} SIMILAR TO ID (1, 2) THRESHOLD 2.5", ["id", "distance"], [(3, 1.5), (4, 2.5)]),
    # groups
    (
        "SELECT count(*), sum(year), avg(price), min(title), max(free) FROM {0}",
        ["count", "sum", "avg", "min", "max"],
        [(6, 10004, 1 / 3, "a", True)],
    ),
    ("SELECT count(*) AS n, sum(price) FROM {0} WHERE FALSE", ["n", "sum"], [(0, None)]),
    ("SELECT year, count(*) FROM {0} WHERE FALSE GROUP BY year", ["year", "count"], []),
    (
        "SELECT year, count(*) AS n FROM {0} GROUP BY year ORDER BY n DESC, year LIMIT 3",
        ["year", "n"],
        [(2000, 2), (2001, 2), (2002, 1)],
    ),
    (
        "SELECT year, count(*) FROM {0} GROUP BY 1 ORDER BY year DESC",
        ["year", "count"],
        [(None, 1), (2002, 1), (2001, 2), (2000, 2)],
    ),
    (
        "SELECT title IS NULL AS none, count(DISTINCT title) FROM {0} GROUP BY none ORDER BY 2",
        ["none", "count"],
        [(True, 0), (False, 4)],
    ),
    ("SELECT year FROM {0} GROUP BY year HAVING count(price) > 1", ["year"], [(2001,)]),
    ("SELECT year + count(*) AS s FROM {0} WHERE year = 2000 GROUP BY year", ["s"], [(2002,)]),
    ("SELECT DISTINCT count(*) AS n FROM {0} GROUP BY year ORDER BY n", ["n"], [(1,), (2,)]),
    (
        f"SELECT year, min({NEAR}) AS d FROM {{0}} GROUP BY year ORDER BY d LIMIT 2",
        ["year", "d"],
        [(2000, 1), (2001, 3)],
    ),
    (
        f"SELECT year, id, distance FROM {{0}} GROUP BY year ORDER BY {NEAR} LIMIT 2 PER GROUP 2",
        ["year", "id", "distance"],
        [(2000, 1, 1), (2000, 2, 2), (2001, 3, 3), (2001, 6, 6)],
    ),
    (f"SELECT id FROM {{0}} GROUP BY year ORDER BY {NEAR} LIMIT 2 PER GROUP 1 OFFSET 2", ["id"], [(4,), ("five",)]),
    ("SELECT id FROM {0} GROUP BY year ORDER BY title DESC NULLS LAST LIMIT 2 PER GROUP 1", ["id"], [(4,), (3,)]),
    ("VECTOR SEARCH {0} SIMILAR TO [0, 0] GROUP BY year LIMIT 3", ["id", "distance"], [(1, 1), (3, 3), (4, 4)]),
    # views
    (
        "SELECT DISTINCT * FROM red.collections WHERE name = '{0}' ORDER BY 1",
        ["name", "kind", "dim", "metric", "rows"],
        [("{0}", "vector.turbo", 2, "l2", 6)],
    ),
    ("SELECT name, dim FROM red.collections WHERE name = '{0}' AND rows > 5", ["name", "dim"], [("{0}", 2)]),
    ("SELECT metric, max(dim) FROM red.collections WHERE name = '{0}' GROUP BY metric", ["metric", "max"], [("l2", 2)]),
]


def test_answers_are_these_in_every_state(db: Any, name: str) -> None:
    fill(db, name)
    for state in ("growing", "sealed"):
        for text, columns, rows in ANSWERS:
            result = db.execute(text.format(name))
            expected = [tuple(name if value == "{0}" else value for value in row) for row in rows]
            assert result.columns == columns, (state, text)
            assert list(result) == [pytest.approx(row) if _has_float(row) else row for row in expected], (state, text)
        db.execute(f"ALTER COLLECTION {name} SEAL")


def _has_float(row: tuple[Any, ...]) -> bool:
    return any(type(value) is float for value in row) and all(type(value) in (int, float) for value in row)


def test_a_star_has_its_keys_where_it_stands(db: Any, name: str) -> None:
    fill(db, name)
    result = db.execute(f"SELECT *, year - 2000 AS age, distance FROM {name} WHERE id < 3 ORDER BY {NEAR}")
    assert result.columns == ["id", "vector", "year", "title", "price", "free", "age", "distance"]
    assert [row[0] for row in result] == [1, 2]


def test_all_rows_or_an_error_that_says_how_to_page(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 1 METRIC l2")
    count = limits.SCAN_ROWS_MAX
    db.insert(name, range(count), np.arange(count, dtype=np.float32)[:, None])
    for text in (
        "SELECT id FROM {0}",
        "SELECT id FROM {0} ORDER BY id DESC",
        "SELECT id FROM {0} WHERE vector <-> [0] < 1e9",
    ):
        assert len(db.execute(text.format(name))) == count
    db.insert(name, [count], [[0.0]])
    for text in (
        "SELECT id FROM {0}",
        "SELECT id FROM {0} ORDER BY id",
        "SELECT id FROM {0} WHERE vector <-> [0] < 1e9",
        "SELECT id, count(*) FROM {0} GROUP BY id",
        "VECTOR SEARCH {0} SIMILAR TO [0] THRESHOLD 1e9",
    ):
        error = refusal(lambda text=text: db.execute(text.format(name)))
        assert error.name == "LIMIT_EXCEEDED"
        assert f"{count} rows" in error.message
        assert "LIMIT" in error.detail["hint"]
        assert "ORDER BY id" in error.detail["hint"]
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(count + 1,)]
    assert len(db.execute(f"SELECT id FROM {name} WHERE id >= 5000")) == count - 4999


def test_pages_of_a_search_by_the_distance_that_was_told(db: Any, name: str) -> None:
    """With ties, and with distances whose last bits matter."""
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 33 METRIC cosine")
    chosen = np.random.default_rng(3)
    vectors = chosen.standard_normal((300, 33)).astype(np.float32)
    vectors[100:200] = vectors[:100]
    db.insert(name, range(300), vectors)
    query, seen, last = vectors[7] + 1, [], (-1.0, -1)
    text = f"SELECT id, distance FROM {name} WHERE (distance, id) > ($2, $3) ORDER BY vector <=> $1, id LIMIT 17"
    while page := list(db.execute(text, [query, *last])):
        seen += page
        last = (page[-1][1], page[-1][0])
    whole = list(db.execute(f"SELECT id, distance FROM {name} ORDER BY vector <=> $1, id LIMIT 300", [query]))
    assert seen == whole
    assert sorted(row[0] for row in seen) == list(range(300))


def test_examples_of_a_direction(db: Any, name: str) -> None:
    fill(db, name, "cosine")
    found = list(db.execute(f"VECTOR SEARCH {name} SIMILAR TO ID (1, 6) LIMIT 1"))
    assert found[0][0] in (2, 3, 4, "five")
    assert found[0][1] == pytest.approx(1 - np.sqrt(0.5))
    error = refusal(lambda: db.execute(f"VECTOR SEARCH {name} SIMILAR TO ID (1, 77, 'x')"))
    assert error.name == "INVALID_ID"
    assert "77, 'x'" in error.message
    db.insert(name, [8], [[-3, 0]])
    error = refusal(lambda: db.execute(f"VECTOR SEARCH {name} SIMILAR TO ID (1, 8)"))
    assert error.name == "INVALID_VECTOR"
    assert "cancel out" in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT sum(free) FROM {0}", "sum adds numbers, and the rows have a TEXT"),
        (
            "SELECT max(deep) FROM {0}",
            "max compares values, and the rows have maps and mixed lists, which have no order",
        ),
        ("SELECT count(DISTINCT deep) FROM {0}", "count tells values apart, and the rows have maps and mixed lists"),
        ("SELECT deep, count(*) FROM {0} GROUP BY deep", "a map or a mixed list is no key of a group"),
        ("SELECT DISTINCT deep FROM {0}", "a map or a mixed list is no key of a group"),
    ],
)
def test_what_rows_hold_cannot_be_aggregated(db: Any, name: str, text: str, message: str) -> None:
    fill(db, name)
    error = refusal(lambda: db.execute(text.format(name)))
    assert (error.name, error.message) == ("INVALID_VALUE", message)
    assert list(db.execute(f"SELECT count(deep), count(*) FROM {name} WHERE id = 4")) == [(1, 1)]


def test_a_sum_that_does_not_fit_is_an_error(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 1 METRIC l2 FIELDS (n INT, *)")
    db.insert(name, [1, 2, 3], [[1], [2], [3]], [{"n": 2**63 - 1}, {"n": 1}, {"n": -(2**63)}])
    assert list(db.execute(f"SELECT sum(n) FROM {name}")) == [(0,)]
    error = refusal(lambda: db.execute(f"SELECT sum(n) FROM {name} WHERE id < 3"))
    assert (error.name, error.detail["column"]) == ("INVALID_VALUE", 8)
