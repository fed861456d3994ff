"""What every face promises about BEGIN, COMMIT and ROLLBACK: all of it or nothing, in order, over the newest rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

import reddb
from tests.client.test_contract_writing import create, each_number_of_partitions, refused, rows_of
from tests.client.write_oracle import Duplicate, Table, any_statement

IDS = [1, 2, 3, 4, 5, "six", "seven"]


@pytest.fixture
def db(db: Any) -> Iterator[Any]:
    """Here each database is one session."""
    with db.session() as session:
        yield session


def insert(name: str, *ids: int) -> str:
    return f"INSERT INTO {name} (id, vector, n) VALUES " + ", ".join(f"({n}, [{n}, 0], {n})" for n in ids)


def test_nothing_is_stored_before_commit(db: Any, name: str) -> None:
    create(db, name)
    db.execute(insert(name, 1))
    assert db.execute("BEGIN").affected is None
    assert db.execute(insert(name, 2, 3)).affected == 2
    assert db.execute(f"UPDATE {name} SET n = n + 10 WHERE id IN (1, 2)").affected is None
    assert db.execute(f"DELETE FROM {name} WHERE id = 3").affected is None
    assert db.insert(name, [5], [[5, 0]], [{"n": 5}]) == 1
    assert list(rows_of(db, name)) == [1]
    assert db.execute("COMMIT").affected == 6
    assert rows_of(db, name) == {1: ([1, 0], {"n": 11}), 2: ([2, 0], {"n": 12}), 5: ([5, 0], {"n": 5})}
    assert sorted(db.search(name, [2, 0], k=9).ids) == [1, 2, 5]


def test_rollback_forgets(db: Any, name: str) -> None:
    create(db, name)
    db.execute("BEGIN")
    db.execute(insert(name, 1))
    assert db.execute("ROLLBACK").affected is None
    db.execute("BEGIN")
    assert db.execute("COMMIT").affected == 0
    assert rows_of(db, name) == {}
    refused(db, "COMMIT", "TRANSACTION_STATE", "in none")
    refused(db, "ROLLBACK", "TRANSACTION_STATE", "in none")


def test_rows_that_come_and_go_within_it(db: Any, name: str) -> None:
    create(db, name)
    db.execute(insert(name, 1))
    db.execute("BEGIN")
    for statement in (insert(name, 2), f"DELETE FROM {name} WHERE id IN (1, 2)", insert(name, 1)):
        db.execute(statement)
    assert db.execute("COMMIT").affected == 4
    assert list(rows_of(db, name)) == [1]
    db.execute("BEGIN")
    db.execute(insert(name, 7))
    db.execute(f"DELETE FROM {name} WHERE id = 7")
    assert db.execute("COMMIT").affected == 2
    assert list(rows_of(db, name)) == [1]


def test_a_statement_that_fails_at_commit_refuses_all(db: Any, name: str) -> None:
    create(db, name, fields="FIELDS (n INT)")
    db.execute(insert(name, 1))
    before = rows_of(db, name)
    db.execute("BEGIN")
    db.execute(f"DELETE FROM {name} WHERE id = 1")
    db.execute(insert(name, 2))
    db.execute(insert(name, 3, 2))
    error = refused(db, "COMMIT", "DUPLICATE_ID", "statement 3 of the transaction: row 1: id 2 exists already")
    assert (error.detail["statement"], error.detail["row"]) == (3, 1)
    assert rows_of(db, name) == before
    db.execute("BEGIN")
    db.execute(f"UPDATE {name} SET n = 'x' WHERE id = 1")
    refused(db, "COMMIT", "INVALID_PAYLOAD", "statement 1")
    assert rows_of(db, name) == before


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("INSERT INTO {} (id, vector) VALUES (1, [1])", "INVALID_DIMENSION", "dimensions"),
        ("UPDATE {} SET n = 1 WHERE n = 2", "NOT_SUPPORTED", "by id"),
        ("DELETE FROM {} WHERE TRUE", "NOT_SUPPORTED", "by id"),
        ("DELETE FROM {} WHERE id = 1 RETURNING id", "NOT_SUPPORTED", "RETURNING"),
        ("INSERT INTO other (id, vector) VALUES (1, [1, 1])", "", "other"),
        ("CREATE INDEX ON {} (n)", "NOT_SUPPORTED", "define"),
        ("ALTER COLLECTION {} SEAL", "NOT_SUPPORTED", "define"),
        ("DROP COLLECTION {}", "NOT_SUPPORTED", "define"),
        ("SELEKT", "SYNTAX", ""),
        ("SELECT nothing FROM nowhere", "UNKNOWN_COLLECTION", "nowhere"),
        ("BEGIN", "TRANSACTION_STATE", "already"),
    ],
)
def test_a_mistake_aborts_it(db: Any, name: str, statement: str, code: str, said: str) -> None:
    create(db, name)
    for ending in ("COMMIT", "ROLLBACK"):
        db.execute("BEGIN")
        db.execute(insert(name, 1))
        with pytest.raises(reddb.RedDBError, match=code or None) as caught:
            db.execute(statement.format(name))
        assert said in str(caught.value)
        for more in (insert(name, 2), f"SELECT count(*) FROM {name}"):
            refused(db, more, "TRANSACTION_ABORTED", caught.value.message)
        with pytest.raises(reddb.RedDBError, match="TRANSACTION_ABORTED"):
            db.insert(name, [9], [[9, 9]])
        if ending == "COMMIT":
            refused(db, ending, "TRANSACTION_ABORTED", "was rolled back")
        else:
            db.execute(ending)
        assert rows_of(db, name) == {}
    db.execute("BEGIN")


def test_a_second_collection_is_refused(db: Any, name: str) -> None:
    create(db, name)
    create(db, f"{name}b")
    db.execute("BEGIN")
    db.execute(insert(name, 1))
    refused(db, insert(f"{name}b", 1), "NOT_SUPPORTED", "one collection")
    db.execute("ROLLBACK")


def test_rows_of_several_partitions_are_refused(db: Any, name: str) -> None:
    create(db, name, partitions=3)
    db.execute("BEGIN")
    db.execute(insert(name, 1))
    error = refused(db, insert(name, *range(2, 20)), "NOT_SUPPORTED", "rows of one partition")
    assert "has 3" in error.message
    refused(db, "COMMIT", "TRANSACTION_ABORTED", "one partition")
    for number in range(20):  # whichever partition it is
        db.execute("BEGIN")
        db.execute(insert(name, number))
        db.execute(f"UPDATE {name} SET n = n + 100 WHERE id = {number}")
        assert db.execute("COMMIT").affected == 2
    assert {row[1]["n"] for row in rows_of(db, name).values()} == set(range(100, 120))


def test_a_transaction_has_bounds(db: Any, name: str) -> None:
    create(db, name)
    db.execute("BEGIN")
    db.insert(name, range(65_536), [[0, 0]] * 65_536)
    refused(db, insert(name, 70_000), "LIMIT_EXCEEDED", "at most 65536 rows")
    refused(db, "COMMIT", "TRANSACTION_ABORTED", "65536")
    assert db.execute(f"SELECT count(*) FROM {name}")[0][0] == 0


def test_every_kind_of_statement_in_any_order(db: Any, name: str) -> None:
    create(db, name)
    table: Table = {}
    random = Random(7)
    outcomes = set()
    for _ in range(60):
        statements = [any_statement(random, name, IDS) for _ in range(random.randint(1, 6))]
        after, total, wrong = copy.deepcopy(table), 0, None
        for number, statement in enumerate(statements, 1):
            try:
                total += statement.apply(after)
            except Duplicate:
                wrong = number
                break
        db.execute("BEGIN")
        for statement in statements:
            db.execute(statement.text)
        if wrong is not None:
            assert refused(db, "COMMIT", "DUPLICATE_ID", "transaction").detail["statement"] == wrong
        else:
            assert db.execute("COMMIT").affected == total, [statement.text for statement in statements]
            table = after
        outcomes.add(wrong is None)
        assert rows_of(db, name) == table, [statement.text for statement in statements]
    assert outcomes == {True, False}


@each_number_of_partitions
def test_every_kind_of_statement_alone(db: Any, name: str, partitions: int) -> None:
    create(db, name, partitions)
    db.insert(name, [0, "zero"], [[0, 0], [0, 0]])  # so that ids of both types may be named
    db.delete(name, [0, "zero"])
    table: Table = {}
    random = Random(partitions)
    for _ in range(80):
        statement = any_statement(random, name, IDS)
        try:
            count = statement.apply(table)
        except Duplicate:
            refused(db, statement.text, "DUPLICATE_ID", "exists already")
        else:
            assert db.execute(statement.text).affected == count, statement.text
        assert rows_of(db, name) == table, statement.text


@pytest.mark.parametrize(
    ("ids", "vectors", "code"),
    [
        ([1], [[1, 2, 3]], "INVALID_DIMENSION"),
        ([1, 1], [[1, 2], [3, 4]], "DUPLICATE_ID"),
        ([""], [[1, 2]], "INVALID_ID"),
        ([1], [[float("nan"), 2]], "INVALID_VECTOR"),
    ],
)
def test_rows_are_refused_where_they_are_given(
    db: Any, name: str, ids: list[Any], vectors: list[Any], code: str
) -> None:
    create(db, name)
    for give in (db.insert, db.upsert):
        db.execute("BEGIN")
        with pytest.raises(reddb.RedDBError, match=code):
            give(name, ids, vectors)
        db.execute("ROLLBACK")
