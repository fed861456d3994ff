"""What every face of the database promises, told in statements: same words, same answers on all three."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reddb
from reddb.client.demo.sample import Sample

DIM = 4
ROWS = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0]], np.float32)


def create(db: Any, name: str, rest: str = "") -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} {rest}")


def fill(db: Any, name: str, rest: str = "") -> None:
    """Ids 1 to 4 for ROWS; the first two have a payload."""
    create(db, name, rest)
    db.insert(name, [1, 2, 3, 4], ROWS, [{"title": "one", "year": 2001}, {"title": "two"}, None, {}])


def refusal(db: Any, statement: str, params: Any = ()) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        db.execute(statement, params)
    return caught.value


def properties(db: Any, name: str) -> dict[str, Any]:
    result = db.execute(f"SHOW COLLECTION {name}")
    assert result.columns == ["property", "value"]
    return dict(result)


# --- collections ------------------------------------------------------------------------------------------


def test_create_with_defaults(db: Any, name: str) -> None:
    result = db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 384")
    assert (result.affected, list(result)) == (None, [])
    shown = properties(db, name)
    assert {key: shown[key] for key in ("name", "kind", "dim", "metric", "rows", "bits", "oversample")} == {
        "name": name,
        "kind": "vector.turbo",
        "dim": 384,
        "metric": "cosine",
        "rows": 0,
        "bits": 2,
        "oversample": 6,
    }


def test_create_with_settings(db: Any, name: str) -> None:
    create(db, name, "METRIC l2 WITH (bits = 2, oversample = 7)")
    shown = properties(db, name)
    assert (shown["metric"], shown["bits"], shown["oversample"]) == ("l2", 2, 7)


@pytest.mark.parametrize("metric", ["l2", "euclidean", "ip", "dot", "inner_product", "cosine"])
def test_metrics_and_their_other_names(db: Any, name: str, metric: str) -> None:
    create(db, name, f"METRIC {metric}")
    known = {"euclidean": "l2", "dot": "ip", "inner_product": "ip"}
    assert properties(db, name)["metric"] == known.get(metric, metric)


def test_create_twice(db: Any, name: str) -> None:
    fill(db, name)
    error = refusal(db, f"CREATE COLLECTION {name} KIND vector.turbo DIM 8")
    assert (error.name, error.retryable) == ("COLLECTION_EXISTS", False)
    db.execute(f"CREATE COLLECTION IF NOT EXISTS {name} KIND vector.turbo DIM 8")
    assert properties(db, name)["dim"] == DIM
    assert properties(db, name)["rows"] == 4


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ("KIND vector.turbo DIM 0", "INVALID_VALUE"),
        ("KIND vector.turbo DIM 8193", "LIMIT_EXCEEDED"),
        ("KIND vector.slow DIM 4", "INVALID_VALUE"),
        ("KIND vector.turbo DIM 4 METRIC manhattan", "NOT_SUPPORTED"),
        ("KIND vector DIM 4 METRIC minkowski", "INVALID_VALUE"),
        ("KIND vector.turbo DIM 4 WITH (bits = 3)", "INVALID_SETTING"),
        ("KIND vector.turbo DIM 4 WITH (speed = 11)", "INVALID_SETTING"),
        ("KIND vector.turbo", "SYNTAX"),
    ],
)
def test_a_refused_create_creates_nothing(db: Any, name: str, rest: str, error: str) -> None:
    assert refusal(db, f"CREATE COLLECTION {name} {rest}").name == error
    assert refusal(db, f"SHOW COLLECTION {name}").name == "UNKNOWN_COLLECTION"


def test_show_collections(db: Any, name: str) -> None:
    fill(db, f"{name}b")
    create(db, f"{name}a", "METRIC ip")
    result = db.execute("SHOW COLLECTIONS")
    assert result.columns == ["name", "kind", "dim", "metric", "rows"]
    assert [row for row in result if row[0].startswith(name)] == [
        (f"{name}a", "vector.turbo", DIM, "ip", 0),
        (f"{name}b", "vector.turbo", DIM, "cosine", 4),
    ]


def test_drop(db: Any, name: str) -> None:
    fill(db, name)
    db.execute(f"DROP COLLECTION {name}")
    assert refusal(db, f"SELECT count(*) FROM {name}").name == "UNKNOWN_COLLECTION"
    assert refusal(db, f"DROP COLLECTION {name}").name == "UNKNOWN_COLLECTION"
    assert db.execute(f"DROP COLLECTION IF EXISTS {name}").affected is None
    create(db, name)
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(0,)]


def test_quoted_names(db: Any, name: str) -> None:
    create(db, f'"{name} A"')
    assert db.insert(f"{name} A", [7], ROWS[:1]) == 1
    assert list(db.execute(f'SELECT id FROM "{name} A" LIMIT 5')) == [(7,)]
    assert db.delete(f"{name} A", where="id = $1", params=[7]) == 1


# --- reading ----------------------------------------------------------------------------------------------


def test_select_nearest(db: Any, name: str) -> None:
    fill(db, name)
    result = db.execute(
        f"SELECT id, distance, title, year FROM {name} ORDER BY vector <=> $1 LIMIT 3", [[2.0, 0.0, 0.0, 0.0]]
    )
    assert result.columns == ["id", "distance", "title", "year"]
    assert [row[0] for row in result] == [1, 2, 3]
    assert [row[1] for row in result] == pytest.approx([0.0, 0.2, 1.0], abs=1e-7)
    assert [row[2:] for row in result] == [("one", 2001), ("two", None), (None, None)]


def test_parameter_styles(db: Any, name: str) -> None:
    fill(db, name)
    query = ROWS[1]
    texts: list[tuple[str, Any]] = [
        ("$1 LIMIT $2", [query, 2]),
        ("? LIMIT ?", [query.tolist(), 2]),
        (":q LIMIT :k", {"q": query.astype(np.float64), "k": 2}),
        ("[0.8, 0.6, 0, 0] LIMIT 2", ()),
    ]
    for text, params in texts:
        result = db.execute(f"SELECT id FROM {name} ORDER BY vector <=> {text}", params)
        assert list(result) == [(2,), (1,)], text


def test_offset_and_options(db: Any, name: str) -> None:
    fill(db, name)
    statement = f"SELECT id AS n FROM {name} ORDER BY vector <=> $1 LIMIT 2 OFFSET 1 WITH (ef = 64, exact = true)"
    result = db.execute(statement, [ROWS[0]])
    assert (result.columns, list(result)) == (["n"], [(2,), (3,)])
    assert len(db.execute(f"SELECT id FROM {name} ORDER BY vector <=> $1 LIMIT 0", [ROWS[0]])) == 0


@pytest.mark.parametrize(("metric", "operator"), [("l2", "<->"), ("cosine", "<=>"), ("ip", "<#>")])
def test_each_metric_has_its_operator(db: Any, name: str, metric: str, operator: str) -> None:
    fill(db, name, f"METRIC {metric}")
    result = db.execute(f"SELECT id, distance FROM {name} ORDER BY vector {operator} $1 LIMIT 4", [ROWS[1]])
    wide, query = ROWS.astype(np.float64), ROWS[1].astype(np.float64)
    products = wide @ query
    expected = {
        "l2": np.linalg.norm(wide - query, axis=1),
        "cosine": 1 - products / np.linalg.norm(wide, axis=1) / np.linalg.norm(query),
        "ip": -products,
    }[metric]
    order = np.lexsort((np.arange(4), expected))
    assert [row[0] for row in result] == (order + 1).tolist()
    assert [row[1] for row in result] == pytest.approx(expected[order].tolist(), abs=1e-12)


def test_select_by_id(db: Any, name: str) -> None:
    fill(db, name)
    result = db.execute(f"SELECT * FROM {name} WHERE id = $1", [2])
    assert result.columns == ["id", "vector", "title"]
    ((row_id, vector, title),) = result
    assert (row_id, title) == (2, "two")
    assert vector.dtype == np.float32
    assert np.array_equal(vector, ROWS[1])
    assert len(db.execute(f"SELECT * FROM {name} WHERE id = 9")) == 0
    assert list(db.execute(f"SELECT id FROM {name} WHERE id IN (4, 9, 2, 4)")) == [(4,), (2,)]
    assert list(db.execute(f"SELECT id FROM {name} WHERE id IN ($1) LIMIT 1 OFFSET 1", [[3, 1]])) == [(1,)]


def test_count(db: Any, name: str) -> None:
    fill(db, name)
    result = db.execute(f"SELECT count(*) FROM {name}")
    assert (result.columns, list(result)) == (["count"], [(4,)])
    assert list(db.execute(f"SELECT count(*) AS n FROM {name} WHERE id IN (1, 2, 77)")) == [(2,)]


def test_vector_search(db: Any, name: str) -> None:
    fill(db, name)
    result = db.execute(f"VECTOR SEARCH {name} SIMILAR TO $1 LIMIT 2", [ROWS[0]])
    assert result.columns == ["id", "distance"]
    assert [row[0] for row in result] == [1, 2]
    result = db.execute(f"VECTOR SEARCH {name} SIMILAR TO $1 K = 2 INCLUDE METADATA INCLUDE VECTORS", [ROWS[0]])
    assert result.columns == ["id", "distance", "vector", "title", "year"]
    assert np.array_equal(result[1][2], ROWS[1])
    assert result[0][3:] == ("one", 2001)
    result = db.execute(f"SEARCH SIMILAR [0, 1, 0, 0] COLLECTION {name} LIMIT 1")
    assert result[0][0] == 3


def test_similar_to_a_stored_row(db: Any, name: str) -> None:
    fill(db, name)
    assert [row[0] for row in db.execute(f"VECTOR SEARCH {name} SIMILAR TO ID 3 LIMIT 2")] == [3, 2]
    error = refusal(db, f"VECTOR SEARCH {name} SIMILAR TO ID 99")
    assert error.name == "INVALID_ID"
    assert "99" in error.message


def test_scan_gives_all_rows_or_a_page(db: Any, name: str) -> None:
    fill(db, name)
    assert list(db.execute(f"SELECT id FROM {name}")) == [(1,), (2,), (3,), (4,)]
    assert list(db.execute(f"SELECT id FROM {name} LIMIT 2 OFFSET 1")) == [(2,), (3,)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {0}",
    ],
)
def test_what_is_not_built_is_refused(db: Any, name: str, statement: str) -> None:
    fill(db, name)
    error = refusal(db, statement.format(name))
    assert error.name == "NOT_SUPPORTED"
    assert (error.detail["line"], "column" in error.detail) == (1, True)
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(4,)]


@pytest.mark.parametrize(
    ("statement", "params", "error"),
    [
        ("SELEC id FROM {0}", [], "SYNTAX"),
        ("SELECT id FROM nowhere LIMIT 1", [], "UNKNOWN_COLLECTION"),
        ("SELECT id FROM {0} WHERE id = $1", [], "INVALID_PARAMETER"),
        ("SELECT id FROM {0} WHERE id = 1", [5], "INVALID_PARAMETER"),
        ("SELECT id FROM {0} WHERE id = $1", [True], "INVALID_ID"),
        ("SELECT id FROM {0} ORDER BY vector <=> $1", [[1.0, 2.0]], "INVALID_DIMENSION"),
        ("SELECT id FROM {0} ORDER BY vector <=> $1", [[1.0, float("nan"), 0.0, 0.0]], "INVALID_VECTOR"),
        ("SELECT id FROM {0} ORDER BY vector <=> $1", ["abc"], "INVALID_VALUE"),
        ("SELECT id FROM {0} ORDER BY vector <=> $1 LIMIT 10001", [[1.0, 0.0, 0.0, 0.0]], "LIMIT_EXCEEDED"),
        ("SELECT distance FROM {0} LIMIT 1", [], "UNKNOWN_COLUMN"),
    ],
)
def test_wrong_statements(db: Any, name: str, statement: str, params: list[Any], error: str) -> None:
    fill(db, name)
    assert refusal(db, statement.format(name), params).name == error
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(4,)]


def test_large_result_in_parts(db: Any, name: str, sample: Sample) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 384")
    assert db.insert(name, sample.ids, sample.vectors, sample.payloads) == 5000
    result = db.execute(f"SELECT id, text, section FROM {name} LIMIT 5000")
    assert [row[0] for row in result] == sample.ids.tolist()
    assert [{"text": row[1], "section": row[2]} for row in result] == sample.payloads
    result = db.execute(f"SELECT id FROM {name} ORDER BY vector <=> $1 LIMIT 5000", [sample.queries[0][1]])
    assert sorted(row[0] for row in result) == sorted(sample.ids.tolist())
