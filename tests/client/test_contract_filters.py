"""What every face of the database promises about conditions, typed fields and changes by condition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import reddb

FIELDS = "FIELDS (title TEXT, year INT, price FLOAT, sold BOOL, at TIMESTAMP, tags TEXT[], nums INT[], extra JSON, *)"
NEW_YEAR = [datetime(year, 1, 1, tzinfo=UTC) for year in (1990, 2000, 2010)]
IDS = [1, 2, 3, 4, "five"]
KEYS = ("title", "year", "price", "sold", "at", "tags", "nums", "extra", "free")
ROWS: list[dict[str, Any]] = [
    dict(zip(KEYS, ("Red", 1990, 1.5, True, NEW_YEAR[0], ["a", "b"], [1, 2], {"a": {"b": 1}}, "x"), strict=True)),
    dict(zip(KEYS, ("red wine", 2000, 2.0, False, NEW_YEAR[1], ["b"], [2, 3], {"a": {"b": 2}}, 7), strict=True)),
    dict(zip(KEYS, ("100% ü", 2010, -1.0, True, NEW_YEAR[2], [], [], {"a": 7}, 7.5), strict=True)),
    {},
    {"title": "a_b", "year": 2**62 + 1, "tags": ["c", "d"], "nums": [-9], "extra": [1], "sold": None},
]
VECTORS = np.array([[1, 0], [2, 0], [3, 0], [4, 0], [5, 0]], np.float32)


def fill(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 2 METRIC l2 {FIELDS}")
    db.insert(name, IDS, VECTORS, ROWS)


def refusal(ask: Callable[[], Any]) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        ask()
    return caught.value


def contents(db: Any, name: str) -> list[Any]:
    """All rows as comparable values."""
    rows = db.get(name, [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 100")], with_vectors=True)
    return [(row.id, row.payload, row.vector.tolist()) for row in rows]


# --- every form of a condition ----------------------------------------------------------------------------

CONDITIONS: list[tuple[str, list[Any]]] = [
    ("title = 'Red'", [1]),
    ("'Red' <> title", [2, 3, "five"]),
    ("title < 'a'", [1, 3]),
    ("title >= 'a_b'", [2, "five"]),
    ("year > 1990 AND year <= 2010", [2, 3]),
    ("2000 >= year", [1, 2]),
    (f"year = {2**62 + 1}", ["five"]),
    (f"year = {2**62}", []),
    ("price = 2", [2]),
    ("price < 1.75", [1, 3]),
    ("price < year", [1, 2, 3]),
    ("sold", [1, 3]),
    ("NOT sold", [2]),
    ("sold = FALSE OR price < 0", [2, 3]),
    ("at = '1990-01-01T00:00:00Z'", [1]),
    ("at > '2000-01-01T00:30:00+01:00'", [2, 3]),
    ("at BETWEEN '1999-12-31T23:59:59.999999Z' AND '2000-01-01T00:00:00Z'", [2]),
    ("year BETWEEN 1990 AND 2000", [1, 2]),
    ("year NOT BETWEEN 1990 AND 2000", [3, "five"]),
    ("year IN (1990, 2010, 7)", [1, 3]),
    ("year NOT IN (1990, 2010)", [2, "five"]),
    ("title IN ('Red', 'a_b')", [1, "five"]),
    ("title LIKE 'Re_'", [1]),
    ("title LIKE '%e%'", [1, 2]),
    ("title ILIKE 'RED%'", [1, 2]),
    (r"title LIKE '%\%%'", [3]),
    (r"title LIKE 'a\_b'", ["five"]),
    ("title NOT LIKE '%ü'", [1, 2, "five"]),
    ("'b' IN tags", [1, 2]),
    ("'b' NOT IN tags", [3, "five"]),
    ("2 IN nums", [1, 2]),
    ("tags && ['a', 'c']", [1, "five"]),
    ("nums && [1, 3, 77]", [1, 2]),
    ("NOT (nums && [1])", [2, 3, "five"]),
    ("extra.a.b >= 2", [2]),
    ("extra.a = 7", [3]),
    ("extra.a.b IS NULL", [3, 4, "five"]),
    ("free = 'x'", [1]),
    ("free >= 7", [2, 3]),
    ("id > 1", [2, 3, 4]),
    ("id <> 2", [1, 3, 4, "five"]),
    ("id = 'five' OR id = 1", [1, "five"]),
    ("NOT (id IN (1, 2))", [3, 4, "five"]),
    ("TRUE", [1, 2, 3, 4, "five"]),
    ("FALSE", []),
    ("(title = 'Red' OR year = 2000) AND NOT (price < 1.75)", [2]),
    ("nowhere = 1", []),
    # What is not known is not chosen, and its opposite is not known either.
    ("year = NULL", []),
    ("NOT (year = NULL)", []),
    ("year <> 1990", [2, 3, "five"]),
    ("NOT (year = 1990)", [2, 3, "five"]),
    ("year IS NULL", [4]),
    ("title IS NOT NULL AND sold IS NULL", ["five"]),
    ("year IN (1990, NULL)", [1]),
    ("year NOT IN (1990, NULL)", []),
    ("sold OR year IS NULL", [1, 3, 4]),
    ("sold AND year = NULL OR id = 2", [2]),
    ("year = 1990 OR TRUE", [1, 2, 3, 4, "five"]),
    ("free < 7", []),
    ("free <> 'x' OR free = 7", [2]),
]


def test_a_condition_means_the_same_everywhere(db: Any, name: str) -> None:
    fill(db, name)
    for state in ("growing", "sealed"):
        for condition, ids in CONDITIONS:
            assert answers(db, name, condition) == [ids] * 6, (state, condition)
        db.execute(f"ALTER COLLECTION {name} SEAL")


def answers(db: Any, name: str, condition: str) -> list[list[Any]]:
    """The ids that match, from every way to ask for them; a count stands for the first so many."""
    where = f"{name} WHERE {condition}"
    scanned = [row[0] for row in db.execute(f"SELECT id FROM {where} LIMIT 9")]
    ((count,),) = db.execute(f"SELECT count(*) FROM {where}")
    return [
        scanned,
        scanned[:count] if count <= len(scanned) else [count],
        [row[0] for row in db.execute(f"SELECT id FROM {where} ORDER BY vector <-> [0, 0]")],
        [row[0] for row in db.execute(f"VECTOR SEARCH {name} SIMILAR TO [0, 0] WHERE {condition} LIMIT 9")],
        db.search(name, [0, 0], where=condition).ids,
        db.search(name, [0, 0], where=condition, exact=True).ids,
    ]


@pytest.mark.parametrize(("condition", "ids"), CONDITIONS[::6], ids=[item[0] for item in CONDITIONS[::6]])
def test_what_a_condition_finds_is_what_it_deletes(db: Any, name: str, condition: str, ids: list[Any]) -> None:
    fill(db, name)
    assert db.delete(name, where=condition) == len(ids)
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 9")] == [i for i in IDS if i not in ids]


PARAMETERS: list[tuple[str, Any, list[Any]]] = [
    ("title = {}", "Red", [1]),
    ("year >= {}", np.int64(2010).item(), [3, "five"]),
    ("price = {}", 2, [2]),
    ("sold = {}", True, [1, 3]),
    ("year = {}", None, []),
    ("at <= {}", datetime(2000, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), [1, 2]),
    ("at = {}", "1990-01-01T00:00:00Z", [1]),
    ("title LIKE {}", "%e%", [1, 2]),
    ("year IN ({})", [1990, 2010], [1, 3]),
    ("year IN {}", [1990, 2010], [1, 3]),
    ("year IN {}", [], []),
    ("tags && {}", ["a", "d"], [1, "five"]),
    ("{} IN nums", 2, [1, 2]),
    ("id IN {}", ["five", 3], [3, "five"]),
    ("extra.a.b = {}", 1, [1]),
]


def test_parameters_of_a_condition(db: Any, name: str) -> None:
    fill(db, name)
    for condition, value, ids in PARAMETERS:
        forms: list[tuple[str, Any]] = [("$1", [value]), ("?", [value]), (":value", {"value": value})]
        for form, params in forms:
            where = condition.format(form)
            assert db.search(name, [0, 0], where=where, params=params, exact=True).ids == ids, where
            assert list(db.execute(f"SELECT count(*) FROM {name} WHERE {where}", params)) == [(len(ids),)], where
        many = db.search(name, VECTORS[:2], k=5, where=condition.format("$1"), params=[value])
        assert [sorted(hits.ids, key=str) for hits in many] == [sorted(ids, key=str)] * 2, condition
    assert db.delete(name, where="id IN $1 OR year = $2", params=[[2, 4], 2010]) == 3
    assert db.execute(f"DELETE FROM {name} WHERE title = :t", {"t": "a_b"}).affected == 1
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 9")] == [1]


def test_threshold_with_a_condition(db: Any, name: str) -> None:
    fill(db, name)
    search = f"VECTOR SEARCH {name} SIMILAR TO [0, 0] THRESHOLD"
    assert [row[0] for row in db.execute(f"{search} 3")] == [1, 2, 3]
    assert [row[0] for row in db.execute(f"{search} 2.999 WHERE sold IS NOT NULL")] == [1, 2]
    assert [row[0] for row in db.execute(f"{search} $1 WHERE year > $2", [4, 1990])] == [2, 3]
    assert list(db.execute(f"{search} 0.5")) == []
    assert [row[0] for row in db.execute(f"{search} :far WHERE TRUE LIMIT 2", {"far": 100.0})] == [1, 2]


def test_paths_in_a_select(db: Any, name: str) -> None:
    fill(db, name)
    result = db.execute(f"SELECT id, extra.a.b, extra.a AS a, free FROM {name} WHERE extra IS NOT NULL LIMIT 9")
    assert result.columns == ["id", "extra.a.b", "a", "free"]
    assert list(result) == [(1, 1, {"b": 1}, "x"), (2, 2, {"b": 2}, 7), (3, None, 7, 7.5), ("five", None, None, None)]


# --- typed fields -----------------------------------------------------------------------------------------


def test_defaults_and_not_null(db: Any, name: str) -> None:
    db.execute(
        f"CREATE COLLECTION {name} KIND vector DIM 1 METRIC l2 FIELDS (title TEXT NOT NULL, year INT DEFAULT 2000, "
        "at TIMESTAMP DEFAULT '2024-05-01T14:00:00+02:00', tags TEXT[] DEFAULT ['new'], "
        "open BOOL NOT NULL DEFAULT TRUE)"
    )
    at = datetime(2024, 5, 1, 12, tzinfo=UTC)
    rest = {"year": 2000, "at": at, "tags": ["new"], "open": True}
    db.insert(name, [1, 2], [[1], [2]], [{"title": "a"}, {"title": "b", "year": None, "tags": []}])
    db.execute(f"INSERT INTO {name} (id, vector, title, at) VALUES (3, [3], 'c', NULL)")
    assert [row.payload.get("year") for row in db.get(name, [1, 2, 3])] == [2000, None, 2000]
    assert db.get(name, 1)[0].payload == {"title": "a", **rest}
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} WHERE year IS NULL LIMIT 9")] == [2]
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} WHERE at = $1 LIMIT 9", [at])] == [1, 2]
    shown = dict(db.execute(f"SHOW COLLECTION {name}"))
    assert shown["field title"] == "TEXT NOT NULL"
    assert shown["field year"] == "INT DEFAULT 2000"
    before = contents(db, name)
    for payload in ({"title": None}, {}, {"year": 1}, {"title": "d", "open": None}):
        error = refusal(lambda payload=payload: db.upsert(name, [9, 1], [[9], [1]], [{"title": "ok"}, payload]))
        assert (error.name, error.detail["row"]) == ("INVALID_PAYLOAD", 1)
        assert error.detail["field"] == ("open" if "open" in payload else "title")
    assert contents(db, name) == before


WRONG_VALUES: list[tuple[str, Any]] = [
    ("title", 5),
    ("year", "1990"),
    ("year", 1.0),
    ("year", True),
    ("year", 2**63),
    ("price", "1"),
    ("price", True),
    ("price", float("nan")),
    ("sold", 1),
    ("at", "2024-01-01"),
    ("at", "soon"),
    ("at", 1_700_000_000),
    ("tags", "a"),
    ("tags", ["a", 1]),
    ("nums", [1, "a"]),
    ("nums", [1.5]),
]


def test_a_value_of_a_wrong_type_is_refused_with_its_row(db: Any, name: str) -> None:
    fill(db, name)
    before = contents(db, name)
    for field, value in WRONG_VALUES:
        for write in (db.insert, db.upsert):
            error = refusal(lambda write=write, new={field: value}: write(name, [7, 8, 1], VECTORS[:3], [{}, new, {}]))
            assert (error.name, error.detail["row"]) == ("INVALID_PAYLOAD", 1), (field, value)
            assert "row 1" in error.message
            assert field in error.message
        statement = f"UPDATE {name} SET {field} = $1 WHERE TRUE"
        error = refusal(lambda statement=statement, value=value: db.execute(statement, [value]))
        assert error.name == ("INVALID_VALUE" if value == 2**63 else "INVALID_PAYLOAD"), "no parameter has 65 bits"
    assert contents(db, name) == before


def test_timestamps_come_back_as_instants_in_utc(db: Any, name: str) -> None:
    fill(db, name)
    given = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone(timedelta(hours=-5)))
    wanted = given.astimezone(UTC)
    db.upsert(name, [1, 2], VECTORS[:2], [{"at": given, "free": given}, {"at": "0001-01-01T00:00:00Z"}])
    db.execute(f"UPSERT INTO {name} (id, vector, at) VALUES (3, [3, 0], $1)", [given.isoformat()])
    first, second, third = db.get(name, [1, 2, 3])
    for value in (first.payload["at"], first.payload["free"], third.payload["at"]):
        assert (value, value.utcoffset()) == (wanted, timedelta(0))
    assert second.payload["at"] == datetime(1, 1, 1, tzinfo=UTC)
    ((shown,),) = db.execute(f"SELECT at FROM {name} WHERE at = $1 AND free = $1 LIMIT 9", [given])
    assert (shown, shown.utcoffset()) == (wanted, timedelta(0))
    error = refusal(lambda: db.execute(f"SELECT id FROM {name} WHERE at = $1 LIMIT 9", [given.replace(tzinfo=None)]))
    assert not error.retryable


# --- changes by condition ---------------------------------------------------------------------------------


def test_update_by_id_and_by_condition(db: Any, name: str) -> None:
    fill(db, name)
    for state in ("growing", "sealed"):
        assert db.execute(f"UPDATE {name} SET year = 1 WHERE id = 99").affected == 0
        assert db.execute(f"UPDATE {name} SET year = 1 WHERE id IN (1, 99, $1)", ["five"]).affected == 2
        assert [row[0] for row in db.execute(f"SELECT id FROM {name} WHERE year = 1 LIMIT 9")] == [1, "five"], state
        assert db.execute(f"UPDATE {name} SET year = $1, free = NULL WHERE year = 1", [1990]).affected == 2
        assert db.get(name, 1)[0].payload == {key: value for key, value in ROWS[0].items() if key != "free"}
        assert db.execute(f"UPDATE {name} SET vector = $1, title = 'moved' WHERE sold", [[0, 9]]).affected == 2
        assert [row.vector.tolist() for row in db.get(name, [1, 2, 3], with_vectors=True)] == [[0, 9], [2, 0], [0, 9]]
        found = db.execute(f"SELECT id, distance FROM {name} WHERE title = 'moved' ORDER BY vector <-> [0, 9]")
        assert sorted(found) == [(1, 0.0), (3, 0.0)]
        assert db.execute(f"UPDATE {name} SET title = 'x' WHERE FALSE").affected == 0
        assert db.execute(f"SELECT count(*) FROM {name}")[0] == (5,)
        db.upsert(name, IDS, VECTORS, ROWS)
        db.execute(f"ALTER COLLECTION {name} SEAL")


def test_delete_by_condition(db: Any, name: str) -> None:
    fill(db, name)
    assert db.execute(f"DELETE FROM {name} WHERE year > $1", [2005]).affected == 2
    assert db.execute(f"DELETE FROM {name} WHERE year > $1", [2005]).affected == 0
    assert db.delete(name, where="title = :title", params={"title": "Red"}) == 1
    assert [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 9")] == [2, 4]
    assert db.insert(name, [1], VECTORS[:1], [{"year": 2006}]) == 1, "a deleted id is free again"
    assert db.delete(name, where="TRUE") == 3
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(0,)]


WRONG: list[tuple[str, Any, str, tuple[int, int]]] = [
    ("SELECT id\nFROM {0}\nWHERE title = 5 LIMIT 1", [], "INVALID_VALUE", (3, 15)),
    ("SELECT id FROM {0}\nWHERE vector = 1 LIMIT 1", [], "INVALID_VALUE", (2, 7)),
    ("SELECT count(*) FROM {0}\nWHERE year", [], "INVALID_VALUE", (2, 7)),
    ("SELECT count(*) FROM {0}\nWHERE at > '2024'", [], "INVALID_VALUE", (2, 12)),
    ("SELECT count(*) FROM {0}\nWHERE 5 IN tags", [], "INVALID_VALUE", (2, 7)),
    ("SELECT count(*) FROM {0}\nWHERE title = year", [], "INVALID_VALUE", (2, 15)),
    ("SELECT count(*) FROM {0}\nWHERE year = $1", [], "INVALID_PARAMETER", (2, 14)),
    ("SELECT count(*) FROM {0}\nWHERE year = $1", [[1]], "INVALID_VALUE", (2, 14)),
    ("SELECT count(*) FROM {0}\nWHERE year LIKE 'a'", [], "INVALID_VALUE", (2, 7)),
    ("DELETE FROM {0}\nWHERE title > 5", [], "INVALID_VALUE", (2, 15)),
    ("DELETE FROM {0}\nWHERE", [], "SYNTAX", (2, 6)),
    ("UPDATE {0} SET year = 1\nWHERE sold = 'x'", [], "INVALID_VALUE", (2, 14)),
    ("UPDATE {0} SET\nid = 1 WHERE TRUE", [], "UNKNOWN_COLUMN", (2, 1)),
    ("UPDATE {0} SET year = 1,\nvector = [1] WHERE TRUE", [], "INVALID_DIMENSION", (2, 10)),
    ("VECTOR SEARCH {0} SIMILAR TO [0, 0]\nTHRESHOLD $1", ["x"], "INVALID_VALUE", (2, 11)),
]


def test_an_error_shows_its_place_and_changes_nothing(db: Any, name: str) -> None:
    fill(db, name)
    before = contents(db, name)
    for text, params, error, place in WRONG:
        statement = text.format(name)
        caught = refusal(lambda statement=statement, params=params: db.execute(statement, params))
        assert (caught.name, caught.retryable) == (error, False), statement
        assert (caught.detail["line"], caught.detail["column"]) == place, statement
    assert contents(db, name) == before


def test_errors_of_a_condition_given_to_a_method(db: Any, name: str) -> None:
    fill(db, name)
    before = contents(db, name)
    for where, params, error, column in (
        ("title = 1", [], "INVALID_VALUE", 9),
        ("year =", [], "SYNTAX", 7),
        ("year = $2", [1], "INVALID_PARAMETER", None),
        ("vector = 1", [], "INVALID_VALUE", 1),
    ):
        caught = refusal(lambda where=where, params=params: db.search(name, [0, 0], where=where, params=params))
        assert caught.name == error
        if column is not None:
            assert (caught.detail["line"], caught.detail["column"]) == (1, column)
        caught = refusal(lambda where=where, params=params: db.delete(name, where=where, params=params))
        assert caught.name == error
    assert refusal(lambda: db.search(name, [0, 0], params=[1])).name == "INVALID_PARAMETER"
    assert refusal(lambda: db.delete(name, ids=[1], where="TRUE")).name == "INVALID_PARAMETER"
    assert contents(db, name) == before
