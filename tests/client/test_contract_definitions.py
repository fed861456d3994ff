"""Aliases, TRUNCATE, and fields that come and go, on all faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reddb


def fill(db: Any, name: str, rows: int = 3, **settings: Any) -> None:
    given = ", ".join(f"{key} = {value}" for key, value in settings.items())
    db.execute(
        f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 FIELDS (n INT, *) {f'WITH ({given})' if given else ''}"
    )
    db.insert(name, range(rows), [[row, 0] for row in range(rows)], [{"n": row} for row in range(rows)])


def refusal(work: Any) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        work()
    return caught.value


# --- aliases ----------------------------------------------------------------------------------------------


def test_an_alias_is_read_and_written_like_its_collection(db: Any, name: str) -> None:
    fill(db, name)
    alias = f"{name}_a"
    db.execute(f"CREATE ALIAS {alias} FOR {name}")
    db.insert(alias, [7], [[7, 0]], [{"n": 7}])
    db.execute(f"INSERT INTO {alias} (id, vector, n) VALUES (8, [8, 0], 8)")
    db.execute(f"UPDATE {alias} SET n = n + 10 WHERE id = 8")
    db.delete(alias, [0])
    assert db.delete(alias, where="n = 1") == 1
    expected = [(2, 2), (7, 7), (8, 18)]
    assert list(db.execute(f"SELECT id, n FROM {alias} ORDER BY id")) == expected
    assert list(db.execute(f"SELECT id, n FROM {name} ORDER BY id")) == expected
    assert db.search(alias, [8, 0], k=1).ids == [8]
    assert [row and row.payload for row in db.get(alias, [7])] == [{"n": 7}]
    assert (alias, name) in list(db.execute("SHOW ALIASES"))
    assert db.execute(f"SELECT collection FROM red.aliases WHERE name = '{alias}'")[0] == (name,)
    db.execute(f"DROP ALIAS {alias}")
    assert refusal(lambda: db.execute(f"SELECT id FROM {alias}")).name == "UNKNOWN_COLLECTION"
    db.execute(f"DROP ALIAS IF EXISTS {alias}")
    assert refusal(lambda: db.execute(f"DROP ALIAS {alias}")).name == "UNKNOWN_COLLECTION"


def test_an_alias_is_pointed_elsewhere(db: Any, name: str) -> None:
    fill(db, name, 1)
    fill(db, f"{name}b", 2)
    alias = f"{name}_a"
    assert refusal(lambda: db.execute(f"ALTER ALIAS {alias} FOR {name}")).name == "UNKNOWN_COLLECTION"
    db.execute(f"CREATE ALIAS {alias} FOR {name}")
    assert db.execute(f"SELECT count(*) FROM {alias}")[0] == (1,)
    assert refusal(lambda: db.execute(f"CREATE ALIAS {alias} FOR {name}b")).name == "COLLECTION_EXISTS"
    db.execute(f"CREATE OR REPLACE ALIAS {alias} FOR {name}b")
    assert db.execute(f"SELECT count(*) FROM {alias}")[0] == (2,)
    db.execute(f"ALTER ALIAS {alias} FOR {name}")
    assert db.execute(f"SELECT count(*) FROM {alias}")[0] == (1,)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP COLLECTION {0}_a",
        "TRUNCATE COLLECTION {0}_a",
        "ALTER COLLECTION {0}_a SEAL",
        "CREATE INDEX ON {0}_a (n)",
        "CREATE ALIAS {0}_b FOR {0}_a",
    ],
)
def test_what_changes_a_collection_takes_its_own_name(db: Any, name: str, statement: str) -> None:
    fill(db, name)
    db.execute(f"CREATE ALIAS {name}_a FOR {name}")
    error = refusal(lambda: db.execute(statement.format(name)))
    assert (error.name, error.message) == ("INVALID_NAME", f"{name}_a is an alias of {name}")


def test_names_are_not_given_twice(db: Any, name: str) -> None:
    fill(db, name)
    fill(db, f"{name}b")
    db.execute(f"CREATE ALIAS {name}_a FOR {name}")
    assert refusal(lambda: db.execute(f"CREATE COLLECTION {name}_a KIND vector DIM 2")).name == "COLLECTION_EXISTS"
    assert refusal(lambda: db.execute(f"CREATE ALIAS {name}b FOR {name}")).name == "COLLECTION_EXISTS"
    assert refusal(lambda: db.execute(f'CREATE ALIAS "red.x" FOR {name}')).name == "INVALID_NAME"
    error = refusal(lambda: db.execute(f"DROP COLLECTION {name}"))
    assert (error.name, error.message) == ("COLLECTION_IN_USE", f"'{name}' has the alias {name}_a")
    assert error.detail["hint"] == f"DROP ALIAS {name}_a, or point it elsewhere, first"
    assert db.execute(f"SELECT count(*) FROM {name}")[0] == (3,)


# --- TRUNCATE ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 3])
def test_truncate_empties_and_keeps_all_else(db: Any, name: str, partitions: int) -> None:
    fill(db, name, 50, partitions=partitions, ef=77)
    db.execute(f"CREATE INDEX ON {name} (n)")
    db.execute(f"CREATE ALIAS {name}_a FOR {name}")
    db.execute(f"ALTER COLLECTION {name} SEAL")
    db.execute(f"TRUNCATE COLLECTION {name}")
    assert db.execute(f"SELECT count(*) FROM {name}")[0] == (0,)
    assert db.search(f"{name}_a", [0, 0], k=3).ids == []
    shown = dict(db.execute(f"SHOW COLLECTION {name}"))
    assert (shown["ef"], shown["field n"], shown["partitions"]) == (77, "INT", partitions)
    assert [row[0] for row in db.execute(f"SHOW INDEXES FOR {name}")] == ["n"]
    db.insert(f"{name}_a", [1], [[1, 1]])
    assert db.execute(f"SELECT id FROM {name}")[0] == (1,)
    db.execute(f"TRUNCATE COLLECTION IF EXISTS {name}x")
    assert refusal(lambda: db.execute(f"TRUNCATE COLLECTION {name}x")).name == "UNKNOWN_COLLECTION"


# --- fields -----------------------------------------------------------------------------------------------


def test_a_field_is_added_and_dropped(db: Any, name: str) -> None:
    fill(db, name)
    db.execute(f"ALTER COLLECTION {name} ADD FIELD price FLOAT NOT NULL DEFAULT 1.5")
    db.execute(f"INSERT INTO {name} (id, vector) VALUES (9, [9, 0])")
    assert list(db.execute(f"SELECT id, price FROM {name} ORDER BY id")) == [(0, None), (1, None), (2, None), (9, 1.5)]
    wrong = refusal(lambda: db.execute(f"INSERT INTO {name} (id, vector, price) VALUES (10, [1, 1], 'x')"))
    assert (wrong.name, wrong.detail["field"]) == ("INVALID_PAYLOAD", "price")
    assert refusal(lambda: db.execute(f"SELECT id FROM {name} WHERE price = 'x'")).name == "INVALID_VALUE"
    assert refusal(lambda: db.execute(f"ALTER COLLECTION {name} ADD FIELD price INT")).name == "INVALID_VALUE"
    db.execute(f"ALTER COLLECTION {name} DROP FIELD price")
    assert list(db.execute(f"SELECT id FROM {name} WHERE price = 'x'")) == []
    db.execute(f"UPDATE {name} SET price = 'x' WHERE id = 9")
    assert db.execute(f"SELECT id FROM {name} WHERE price = 'x'")[0] == (9,)
    assert refusal(lambda: db.execute(f"ALTER COLLECTION {name} DROP FIELD price")).name == "UNKNOWN_COLUMN"


def test_an_indexed_key_cannot_become_an_array(db: Any, name: str) -> None:
    fill(db, name)
    db.execute(f"CREATE INDEX ON {name} (tags)")
    error = refusal(lambda: db.execute(f"ALTER COLLECTION {name} ADD FIELD tags TEXT[]"))
    assert error.name == "NOT_SUPPORTED"


def test_definitions_are_there_after_a_restart(tmp_path: Any) -> None:
    url = f"file:{tmp_path}"
    with reddb.connect(url) as db:
        fill(db, "c")
        db.execute("CREATE ALIAS a FOR c")
        db.execute("ALTER COLLECTION c ADD FIELD x TEXT")
        db.execute("TRUNCATE COLLECTION c")
        db.insert("a", [5], np.ones((1, 2)), [{"x": "y"}])
    with reddb.connect(url) as db:
        assert list(db.execute("SELECT id, x FROM a")) == [(5, "y")]
        assert dict(db.execute("SHOW COLLECTION c"))["field x"] == "TEXT"
        assert list(db.execute("SHOW ALIASES")) == [("a", "c")]
