"""What every face of the database says beside an answer, and of ids of a type that no row has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reddb

VECTORS = np.array([[1, 0], [0, 1]], np.float32)
ROWS = [{"title": "red", "hits": 1, "j": {"k": 3}}, {"title": "blue", "hits": 2, "gone": None}]


def fill(db: Any, name: str, ids: list[Any] | None = None, partitions: int = 1) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 WITH (partitions = {partitions})")
    db.insert(name, ids or [1, 2], VECTORS, ROWS)


# --- names that no row has ---------------------------------------------------------------------------------

UNKNOWN = [
    "SELECT hist FROM {0}",
    "SELECT id FROM {0} WHERE hist = 1",
    "SELECT id FROM {0} ORDER BY hist",
    "SELECT hist, count(*) FROM {0} GROUP BY hist",
    "SELECT max(hist) FROM {0} HAVING max(hist) > 1",
    "SELECT id FROM {0} ORDER BY vector <-> [1, 0], hist LIMIT 2",
    "SELECT {0}.hist FROM {0}",
    "VECTOR SEARCH {0} SIMILAR TO [1, 0] WHERE hist = 1",
    "VECTOR SEARCH {0} SIMILAR TO [1, 0] GROUP BY hist",
    "EXPLAIN SELECT hist FROM {0}",
    "CREATE INDEX ON {0} (hist)",
    "DELETE FROM {0} WHERE hist = 1",
    "UPDATE {0} SET hits = hist WHERE id = 1",
    "DELETE FROM {0} WHERE id = 1 RETURNING hist",
    "INSERT INTO {0} (id, vector) VALUES (1, [1, 0]) ON CONFLICT DO UPDATE SET title = excluded.hist",
    "UPDATE {0} SET hist = 1 WHERE id = 1",
]


@pytest.mark.parametrize("statement", UNKNOWN)
def test_a_name_that_no_row_has_is_told(db: Any, name: str, statement: str) -> None:
    fill(db, name, partitions=2)
    assert db.execute(statement.format(name)).notices == [f"no row of {name} has hist; did you mean hits?"]
    assert db.execute(f"SELECT title, hits, j.k FROM {name} WHERE JEDE IS NULL OR title = 'x'").notices == [
        f"no row of {name} has jede"
    ]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_what_rows_have_is_no_matter_of_case_or_depth(db: Any, name: str, is_sealed: bool) -> None:
    fill(db, name)
    if is_sealed:
        db.execute(f"ALTER COLLECTION {name} SEAL")
    assert db.execute(f"SELECT TITLE, j.K, expires_at, id, vector FROM {name}").notices == []
    found = db.execute(f'SELECT j.kk, gone FROM {name} WHERE title = "red"')
    assert found.notices == [
        f"no row of {name} has j.kk; did you mean j.k?",
        f"no row of {name} has gone",
        f"no row of {name} has red; double quotes are for names; a text stands in single quotes",
    ]
    assert db.execute(f"UPSERT INTO {name} (id, vector, late) VALUES (3, [1, 1], 5) RETURNING late").notices == []
    assert db.execute(f"SELECT late FROM {name}").notices == []
    db.execute(f"DELETE FROM {name} WHERE id = 3")
    assert db.execute(f"SELECT late FROM {name}").notices == []  # a row had it


def test_parts_of_a_field_that_no_row_has(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 FIELDS (j JSON)")
    db.insert(name, [1], [[1, 0]], [{"j": {"k": {"Deep": 1}}}])
    assert db.execute(f"SELECT j, j.k, J.K.deep FROM {name}").notices == []
    assert db.execute(f"SELECT j.k.depe FROM {name}").notices == [
        f"no row of {name} has j.k.depe; did you mean j.k.deep?"
    ]


def test_an_alias_of_a_collection_qualifies(db: Any, name: str) -> None:
    fill(db, name)
    db.execute(f"CREATE ALIAS {name}_too FOR {name}")
    assert db.search(f"{name}_too", [1, 0], where=f"{name}_too.hits = 2").ids == [2]
    assert list(db.execute(f"SELECT {name}_too.hits FROM {name}_too WHERE {name}_too.id = 2")) == [(2,)]
    db.execute(f"DROP ALIAS {name}_too")


def test_notices_of_a_search(db: Any, name: str) -> None:
    fill(db, name)
    hits = db.search(name, [1, 0], where="hist = 1")
    assert (len(hits), hits.notices) == (0, [f"no row of {name} has hist; did you mean hits?"])
    assert hits[:1].notices == hits.notices
    assert db.search(name, [1, 0], where="hits = 1").notices == []
    assert db.search(name, [1, 0]).notices == []


def test_a_prepared_statement_has_its_notices(db: Any, name: str) -> None:
    fill(db, name)
    statement = db.prepare(f"SELECT hist FROM {name} WHERE id = $1")
    assert statement.execute([1]).notices == [f"no row of {name} has hist; did you mean hits?"]


def test_an_empty_collection_has_none(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    assert db.execute(f"CREATE INDEX ON {name} (hits)").notices == []
    assert db.execute(f"SELECT hits FROM {name} WHERE id = 'x'").notices == []
    assert db.get(name, [1, "x"]) == [None, None]
    assert db.delete(name, [1, "x"]) == 0


# --- ids of the other type ---------------------------------------------------------------------------------

BY_ID: list[Callable[[Any, str, Any], Any]] = [
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE id = $1", [row_id]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE id <> $1", [row_id]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE id > $1", [row_id]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE id BETWEEN $1 AND $1", [row_id]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE id IN ($1)", [[row_id]]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE id IN $1 OR title = 'x'", [[row_id]]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE (id, title) > ($1, 'x')", [row_id]),
    lambda db, name, row_id: db.execute(f"SELECT id FROM {name} WHERE NOT id = $1 ORDER BY id", [row_id]),
    lambda db, name, row_id: db.execute(f"UPDATE {name} SET hits = 5 WHERE id = $1", [row_id]),
    lambda db, name, row_id: db.execute(f"DELETE FROM {name} WHERE id = $1", [row_id]),
    lambda db, name, row_id: db.execute(f"DELETE FROM {name} WHERE id IN ($1)", [row_id]),
    lambda db, name, row_id: db.search(name, [1, 0], where="id = $1", params=[row_id]),
    lambda db, name, row_id: db.get(name, row_id),
    lambda db, name, row_id: db.get(name, [row_id]),
    lambda db, name, row_id: db.delete(name, [row_id]),
    lambda db, name, row_id: db.delete(name, where="id = $1", params=[row_id]),
]


@pytest.mark.parametrize("ask", BY_ID)
@pytest.mark.parametrize(("ids", "other", "is_sealed"), [([1, 2], "1", False), (["a", "b"], 1, True)])
def test_ids_of_the_other_type_are_an_error(
    db: Any, name: str, ask: Any, ids: list[Any], other: Any, is_sealed: bool
) -> None:
    fill(db, name, ids)
    if is_sealed:
        db.execute(f"ALTER COLLECTION {name} SEAL")
    with pytest.raises(reddb.RedDBError, match=f"every id of {name} is ") as caught:
        ask(db, name, other)
    assert caught.value.name == "INVALID_VALUE"
    ask(db, name, ids[0])
    db.upsert(name, [other], [[1, 1]])  # a collection may have ids of both types, and then each may be named
    ask(db, name, other)
    assert db.get(name, ["none", 77]) == [None, None]


def test_a_pattern_for_ids_that_are_all_numbers_is_an_error(db: Any, name: str) -> None:
    fill(db, name, [1, 2])
    for statement in ("SELECT id FROM {} WHERE id LIKE '1%'", "DELETE FROM {} WHERE id LIKE '1'"):
        with pytest.raises(reddb.RedDBError, match=f"every id of {name} is an integer") as caught:
            db.execute(statement.format(name))
        assert caught.value.name == "INVALID_VALUE"
    db.upsert(name, ["1x"], [[1, 1]])
    assert list(db.execute(f"SELECT id FROM {name} WHERE id LIKE '1%'")) == [("1x",)]


# --- definitions -------------------------------------------------------------------------------------------


def test_a_collection_that_is_there_and_another_is_told(db: Any, name: str) -> None:
    create = "CREATE COLLECTION IF NOT EXISTS {} KIND vector{} DIM {} METRIC {} FIELDS (n INT{})"
    assert db.execute(create.format(name, "", 2, "l2", "")).notices == []
    assert db.execute(create.format(name, "", 2, "l2", "")).notices == []
    assert db.execute(create.format(name, ".turbo", 3, "cosine", ", *")).notices == [
        f"{name} exists already, with KIND vector, not vector.turbo, DIM 2, not 3, METRIC l2, not cosine"
    ]
    assert db.execute(create.format(name, "", 2, "l2", ", t TEXT")).notices == [
        f"{name} exists already, with other FIELDS"
    ]


def test_a_field_that_stored_rows_cannot_lack_needs_a_default(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 FIELDS (n INT, *)")
    assert db.execute(f"ALTER COLLECTION {name} ADD FIELD a INT NOT NULL").notices == [], "there are no rows"
    db.insert(name, [1, 2], VECTORS, [{"n": 1, "a": 1, "some": 1}, {"n": 2, "a": 2}])
    with pytest.raises(reddb.RedDBError, match="has rows, and none has a b") as raised:
        db.execute(f"ALTER COLLECTION {name} ADD FIELD b INT NOT NULL")
    assert (raised.value.name, raised.value.detail["hint"]) == (
        "INVALID_VALUE",
        "give the field a DEFAULT, or add it without NOT NULL",
    )
    assert db.execute(f"ALTER COLLECTION {name} ADD FIELD c INT NOT NULL DEFAULT 7").notices == []
    assert db.execute(f"ALTER COLLECTION {name} ADD FIELD some INT NOT NULL").notices == [
        f"a row of {name} that has no some can be changed only together with it"
    ]
    assert db.execute(f"UPDATE {name} SET n = 3 WHERE id = 1").affected == 1
    assert db.execute(f"UPDATE {name} SET n = 3, some = 4 WHERE id = 2").affected == 1
