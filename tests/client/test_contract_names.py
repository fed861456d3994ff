"""What every face of the database promises about names: a name means one thing, or is an error or a notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reddb

FIELDS = "FIELDS (title TEXT, n INT DEFAULT 7, hits INT, userId INT, j JSON)"
VECTORS = np.array([[1, 0], [0, 1]], np.float32)
ROWS = [{"title": "red", "hits": 1, "userId": 5, "j": {"k": 3, "Big": 4}}, {"title": "blue", "hits": 2, "n": 8}]


def fill(db: Any, name: str, rest: str = FIELDS) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 {rest}")
    db.insert(name, [1, 2], VECTORS, ROWS)


def refusal(db: Any, statement: str, params: Any = ()) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        db.execute(statement, params)
    return caught.value


# --- qualifiers --------------------------------------------------------------------------------------------

# What a statement gives for a collection {0}, qualified by {1}, which {0} is called in FROM by {2}.
QUALIFIED: list[tuple[str, list[Any]]] = [
    ("SELECT {1}.id, {1}.j.k FROM {2} WHERE {1}.id = 1", [(1, 3)]),
    ("SELECT {1}.* FROM {2} WHERE {1}.hits = 2", [(2, "blue", 2, 8)]),
    ("SELECT {1}.title, count(*) FROM {2} GROUP BY {1}.title ORDER BY {1}.title DESC", [("red", 1), ("blue", 1)]),
    ("SELECT max({1}.n) FROM {2} HAVING max({1}.n) > 7", [(8,)]),
    ("SELECT {1}.title FROM {2} GROUP BY {1}.title HAVING {1}.title < 'c'", [("blue",)]),
    ("SELECT id FROM {2} ORDER BY {1}.n DESC, {1}.id", [(2,), (1,)]),
    ("SELECT id FROM {2} ORDER BY {1}.vector <-> [0, 1] LIMIT 1", [(2,)]),
    ("SELECT id FROM {2} WHERE {1}.vector <-> [0, 1] < 0.5", [(2,)]),
    ("SELECT DISTINCT {1}.title FROM {2} WHERE {1}.id IN (1)", [("red",)]),
    ("SELECT id FROM {2} GROUP BY {1}.title ORDER BY vector <-> [1, 0] LIMIT 2 PER GROUP 1", [(1,), (2,)]),
    ("UPDATE {2} SET hits = {1}.hits + 1 WHERE {1}.id = 1 RETURNING {1}.hits, id", [(2, 1)]),
    ("DELETE FROM {2} WHERE {1}.id = 1 RETURNING {1}.id", [(1,)]),
    (
        "INSERT INTO {2} (id, vector, hits) VALUES (1, [1, 0], 10) "
        "ON CONFLICT (id) DO UPDATE SET hits = {1}.hits + EXCLUDED.hits, title = excluded.title "
        "RETURNING {1}.hits, title",
        [(11, None)],
    ),
]


@pytest.mark.parametrize(("statement", "expected"), QUALIFIED, ids=lambda value: str(value)[:50])
def test_a_qualifier_stands_in_every_clause(db: Any, name: str, statement: str, expected: list[Any]) -> None:
    for qualifier, called in ((name, name), ("x", f"{name} AS x"), (name.upper(), name)):
        fill(db, name)
        rows = [
            tuple(value for value in row if not isinstance(value, np.ndarray))
            for row in db.execute(statement.format(name, qualifier, called))
        ]
        assert rows == expected
        db.execute(f"DROP COLLECTION {name}")


def test_a_qualifier_of_a_search(db: Any, name: str) -> None:
    fill(db, name)
    assert db.execute(f"VECTOR SEARCH {name} SIMILAR TO [1, 0] WHERE {name}.hits = 2")[0][0] == 2
    assert db.search(name, [1, 0], where=f"{name}.hits = 2").ids == [2]
    assert db.delete(name, where=f"{name}.hits = 2") == 1
    assert list(db.execute("SELECT s.name FROM red.errors AS s WHERE s.name = 'SYNTAX'")) == [("SYNTAX",)]
    assert list(db.execute("SELECT errors.name FROM red.errors WHERE errors.name = 'SYNTAX'")) == [("SYNTAX",)]


def test_a_wrong_qualifier_is_an_error(db: Any, name: str) -> None:
    fill(db, name)
    error = refusal(db, f"SELECT {name}.id FROM {name} AS x")
    assert (error.name, error.detail["hint"]) == ("UNKNOWN_COLUMN", "x.id")
    error = refusal(db, f"SELECT id FROM {name} WHERE {name}x.id = 1")
    assert (error.name, error.detail["hint"]) == ("UNKNOWN_COLUMN", f"did you mean {name}?")
    assert refusal(db, f"SELECT y.* FROM {name}").message == "this statement reads nothing that is called y"
    assert refusal(db, f"SELECT title.x FROM {name}").message.endswith("title is TEXT, which has no parts")


def test_a_collection_wins_over_a_key_of_its_name(db: Any, name: str) -> None:
    fill(db, name, "")
    db.insert(name, [3], [[1, 1]], [{name: {"title": "inner"}, "title": "outer"}])
    found = db.execute(f"SELECT {name}.title, {name}.{name}.title FROM {name} WHERE id = 3")
    assert list(found) == [("outer", "inner")]


# --- names that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("SELECT id FROM {0} ORDER BY nosuch", None),
        ("CREATE INDEX ON {0} (usreid)", "did you mean userId?"),
        ("UPDATE {0} SET titel = 'x' WHERE id = 1", "did you mean title?"),
        ('SELECT id FROM {0} WHERE title = "red"', "double quotes are for names; a text stands in single quotes"),
        ('UPDATE {0} SET title = "two" WHERE id = 1', "double quotes are for names; a text stands in single quotes"),
        ("UPDATE {0} SET title = two WHERE id = 1", None),
        ("SELECT id, vector <-> [1, 0] AS d FROM {0} WHERE d < 3", None),
        ("SELECT count(*) AS c FROM {0} HAVING c > 1", None),
    ],
)
def test_an_unknown_name_is_an_error(db: Any, name: str, statement: str, hint: str | None) -> None:
    fill(db, name)
    error = refusal(db, statement.format(name))
    assert error.name == "UNKNOWN_COLUMN"
    assert error.detail["excerpt"]
    assert error.detail["hint"]
    if hint is not None:
        assert error.detail["hint"] == hint
    assert list(db.execute(f"SELECT title, hits FROM {name} ORDER BY id")) == [("red", 1), ("blue", 2)]


def test_an_unknown_key_is_an_error(db: Any, name: str) -> None:
    fill(db, name)
    for write in (db.insert, db.upsert):
        with pytest.raises(reddb.RedDBError) as caught:
            write(name, [8, 9], VECTORS, [{"title": "x"}, {"titel": "x"}])
        assert (caught.value.name, caught.value.detail["row"]) == ("INVALID_PAYLOAD", 1)
        assert caught.value.detail["hint"] == "did you mean title?"
    with pytest.raises(reddb.RedDBError, match="there is no column titel here"):
        db.search(name, [1, 0], where="titel = 'x'")
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(2,)]


def test_free_keys_on_request(db: Any, name: str) -> None:
    settings = {"": False, ", *": True}
    for place, (star, is_free) in enumerate(settings.items()):
        db.execute(f"CREATE COLLECTION {name}{place} KIND vector DIM 2 FIELDS (n INT{star})")
        assert dict(db.execute(f"SHOW COLLECTION {name}{place}"))["free_keys"] is is_free
    assert refusal(db, f"CREATE COLLECTION {name} KIND vector DIM 2 FIELDS (n INT, *) WITH (free_keys = false)")
    db.insert(f"{name}1", [1], [[1, 0]], [{"other": 5}])
    assert db.search(f"{name}1", [1, 0], where="other = 5").ids == [1]
    db.execute(f"ALTER COLLECTION {name}1 SET (free_keys = false)")
    assert refusal(db, f"SELECT other FROM {name}1").name == "UNKNOWN_COLUMN"
    db.execute(f"UPDATE {name}1 SET n = 3 WHERE id = 1")  # what is stored stays
    assert db.get(f"{name}1", [1])[0].payload == {"other": 5, "n": 3}
    db.execute(f"ALTER COLLECTION {name}0 SET (free_keys = true)")
    assert db.insert(f"{name}0", [1], [[1, 0]], [{"other": 5}]) == 1


# --- names in any case -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [FIELDS, ""])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_names_meet_whatever_their_case(db: Any, name: str, rest: str, is_sealed: bool) -> None:
    fill(db, name, rest)
    db.execute(f"CREATE INDEX ON {name} (USERID)")
    if is_sealed:
        db.execute(f"ALTER COLLECTION {name} SEAL")
    for written in ("userId", "USERID", '"userid"', '"userId"', f"{name}.userid"):
        assert db.search(name, [1, 0], where=f"{written} = 5").ids == [1], written
        assert list(db.execute(f"SELECT {written} FROM {name} WHERE id = 1")) == [(5,)], written
        assert list(db.execute(f"SELECT id FROM {name} ORDER BY {written} NULLS LAST")) == [(1,), (2,)], written
    assert list(db.execute(f"SELECT j.BIG FROM {name} WHERE j.big = 4")) == [(4,)]
    assert db.get(name, [1])[0].payload["userId"] == 5
    db.execute(f"UPDATE {name} SET UserId = userid + 1 WHERE id = 1")
    assert db.get(name, [1])[0].payload["userId"] == 6
    db.upsert(name, [1], [[1, 0]], [{"USERID": 7}])
    assert list(db.execute(f"SELECT id FROM {name} WHERE userId = 7")) == [(1,)]
    if rest:
        assert "userId" in db.get(name, [1])[0].payload


def test_rows_may_spell_a_free_key_in_several_ways(db: Any, name: str) -> None:
    fill(db, name, "")
    db.insert(name, [3, 4], VECTORS, [{"USERID": 6}, {"userid": "x"}])
    for _ in range(2):
        assert list(db.execute(f"SELECT id FROM {name} WHERE userId >= 5 ORDER BY userid")) == [(1,), (3,)]
        assert list(db.execute(f"SELECT userId FROM {name} ORDER BY id")) == [(5,), (None,), (6,), ("x",)]
        db.execute(f"ALTER COLLECTION {name} SEAL")
    with pytest.raises(reddb.RedDBError, match="differ in case only"):
        db.insert(name, [9], [[1, 1]], [{"a": 1, "A": 2}])


def test_fields_that_differ_in_case_only_are_refused(db: Any, name: str) -> None:
    assert refusal(db, f"CREATE COLLECTION {name} KIND vector DIM 2 FIELDS (userId INT, userid TEXT)").name == "SYNTAX"
    fill(db, name)
    assert refusal(db, f"ALTER COLLECTION {name} ADD FIELD USERID INT").message.endswith("has the field userId already")


# --- values that are words ---------------------------------------------------------------------------------


def test_default(db: Any, name: str) -> None:
    fill(db, name)
    db.execute(f"UPDATE {name} SET n = DEFAULT, title = DEFAULT WHERE id = 2")
    assert list(db.execute(f"SELECT n, title FROM {name} WHERE id = 2")) == [(7, None)]
    rows = db.execute(f"INSERT INTO {name} (id, vector, n) VALUES (3, [1, 1], DEFAULT), (4, [1, 1], 1) RETURNING n")
    assert list(rows) == [(7,), (1,)]
    conflict = "ON CONFLICT DO UPDATE SET n = DEFAULT RETURNING n"
    assert list(db.execute(f"INSERT INTO {name} (id, vector) VALUES (4, [1, 1]) {conflict}")) == [(7,)]
    assert refusal(db, f"INSERT INTO {name} (id, vector) VALUES (DEFAULT, [1, 1])").message == "id has no default"
    assert refusal(db, f"SELECT id FROM {name} WHERE n = DEFAULT").name == "SYNTAX"


def test_json_texts(db: Any, name: str) -> None:
    fill(db, name)
    text = """'{"k": [1, {"a": null}], "t": "x"}'"""
    value = {"k": [1, {"a": None}], "t": "x"}
    for written in (text, f"CAST({text} AS JSON)", f"{text}::json"):
        db.execute(f"UPDATE {name} SET j = {written} WHERE id = 1")
        assert list(db.execute(f"SELECT j, j.t FROM {name} WHERE id = 1")) == [(value, "x")]
        db.execute(f"UPSERT INTO {name} (id, vector, j) VALUES (3, [1, 1], {written})")
        assert db.get(name, [3])[0].payload["j"] == value
    assert list(db.execute(f"SELECT {text}::json AS j")) == [(value,)]
    db.execute(f"UPSERT INTO {name} (id, vector, j) VALUES (3, [1, 1], $1)", ["[1, 2]"])
    assert db.get(name, [3])[0].payload["j"] == [1, 2]
    db.upsert(name, [3], [[1, 1]], [{"j": "[1, 2]"}])  # a payload can hold the list itself
    assert db.get(name, [3])[0].payload["j"] == "[1, 2]"
    error = refusal(db, f"UPDATE {name} SET j = '{{bad' WHERE id = 1")
    assert error.name == "INVALID_VALUE"
    assert "at character 2" in error.message
    assert error.detail["excerpt"].endswith("^" * 6)
    for bad in ("NaN", "[" * 100_000, "[1e999]", "[1]]"):
        assert refusal(db, f"UPDATE {name} SET j = $1 WHERE id = 1", [bad]).name == "INVALID_VALUE"


def test_words_that_are_instants(db: Any, name: str) -> None:
    fill(db, name, "")
    assert list(db.execute(f"SELECT count(*) FROM {name} WHERE current_timestamp = now()")) == [(2,)]
    for word in ("current_date", "CURRENT_TIME", "localtimestamp", "localtime"):
        error = refusal(db, f"SELECT id FROM {name} WHERE at < {word}")
        assert "now()" in error.detail["hint"]
