"""What a call is refused with, on all three faces: the argument is named, what was given, and what would be right."""

from __future__ import annotations

from typing import Any

import pytest

import reddb

NOT_ALONE = {
    "n = 1;": '";"',
    "n = 1; DROP COLLECTION c": '";"',
    "n = 1)": '")"',
    "n = 1) OR (n = 2": '")"',
    "n = 1 LIMIT 5": "LIMIT",
    "n = 1 ORDER BY n": "ORDER",
    "n = 1 GROUP BY n": "GROUP",
    "n = 1 RETURNING *": "RETURNING",
    "n = 1 WITH (exact = true)": "WITH",
    "n = 1, n = 2": '","',
    "n = 1 AS m": "AS",
    "n = 1 n = 2": "n",
    "WHERE n = 1": "WHERE",
    "SELECT 1": "SELECT",
}
EMPTY = ["", " ", "\n\t", "-- nothing", "/* nothing */", " -- a\n /* b */ "]


def refused_where(db: Any, name: str, where: str) -> list[reddb.RedDBError]:
    """What a search and a delete say."""
    caught = []
    for call in (lambda: db.search(name, [1, 2], where=where), lambda: db.delete(name, where=where)):
        with pytest.raises(reddb.RedDBError) as error:
            call()
        caught.append(error.value)
    return caught


@pytest.mark.parametrize(("where", "found"), NOT_ALONE.items(), ids=NOT_ALONE)
def test_a_condition_stands_alone(db: Any, name: str, where: str, found: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    db.insert(name, [1], [[1, 2]], [{"n": 1}])
    for error in refused_where(db, name, where):
        assert error.name == "SYNTAX"
        assert error.message.endswith(f", found {found}")
        assert error.detail["excerpt"].splitlines()[0] == where, "the place is one of the condition"
        if where != "n = 1 n = 2":
            assert error.detail["hint"].startswith("a condition stands alone here")
    assert db.get(name, 1)[0].payload == {"n": 1}


@pytest.mark.parametrize("where", EMPTY)
def test_an_empty_condition(db: Any, name: str, where: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    for error in refused_where(db, name, where):
        assert (error.name, error.message) == ("SYNTAX", "the condition is empty")


@pytest.mark.parametrize("where", ["n = 1 -- one", "/* one */ n = 1", "(n = 1)", "n = 1\n"])
def test_comments_and_blanks_around_a_condition(db: Any, name: str, where: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    db.insert(name, [1, 2], [[1, 2], [1, 2]], [{"n": 1}, {"n": 2}])
    assert db.search(name, [1, 2], where=where).ids == [1]
    assert db.delete(name, where=where) == 1
