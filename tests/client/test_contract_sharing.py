"""A shared client has no state: sessions and transactions are their users' own, in the same words on every face."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import reddb
from reddb.client.sessions import SESSION_WORDS, TRANSACTION_WORDS
from reddb.grammar import ast, parse
from reddb.grammar.language import keywords

STATEMENTS = {
    "BEGIN": "BEGIN TRANSACTION",
    "COMMIT": "commit",
    "ROLLBACK": "-- a comment\nROLLBACK;",
    "SET": "/* a */ /* b */ set ef = 3",
    "RESET": "\n\tRESET ALL",
    "PREPARE": "PREPARE p AS SELECT 1",
    "EXECUTE": "EXECUTE p",
    "DEALLOCATE": "DEALLOCATE ALL",
}


@pytest.fixture
def rows(db: Any, name: str) -> str:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 1 METRIC l2")
    db.insert(name, [1, 2, 3], [[1], [2], [3]], [{"n": 0}] * 3)
    return name


def count(db: Any, name: str) -> int:
    return db.execute(f"SELECT count(*) FROM {name}")[0][0]


def error_of(call: Any) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        call()
    return caught.value


def fail_after(db: Any, name: str, row_id: int) -> None:
    """A transaction whose block ends by an exception."""
    with db.transaction() as tx:
        tx.insert(name, [row_id], [[row_id]])
        raise ZeroDivisionError


def test_every_word_that_begins_a_statement_of_a_session_is_known() -> None:
    assert STATEMENTS.keys() == SESSION_WORDS | TRANSACTION_WORDS <= keywords()
    for word, statement in STATEMENTS.items():
        tree = parse(statement)
        assert isinstance(tree, ast.SessionCommand | ast.Transaction), word
    kinds = {type(parse(statement)) for statement in STATEMENTS.values()}
    every = {*ast.SessionCommand.__args__, *ast.Transaction.__args__}
    assert every - kinds == {ast.Kill}, "of a query anywhere, so that it leaves nothing behind"


@pytest.mark.parametrize("word", STATEMENTS)
def test_statements_of_a_session_are_refused_with_the_way_out(db: Any, word: str) -> None:
    error = error_of(lambda: db.execute(STATEMENTS[word]))
    assert error.name == "SESSION_NEEDED"
    assert error.message.startswith(f"{word} is for a session")
    assert ("db.transaction()" if word in TRANSACTION_WORDS else "db.session()") in error.detail["hint"]


def test_a_session_is_its_own(db: Any, rows: str) -> None:
    with db.session() as one, db.session() as other:
        one.execute("SET ef = 77")
        one.execute(f"PREPARE p AS SELECT count(*) FROM {rows}")
        assert [asking.execute("SHOW ef")[0][1] for asking in (one, other, db)] == ["77", None, None]
        assert list(one.execute("EXECUTE p")) == [(3,)]
        assert error_of(lambda: other.execute("EXECUTE p")).name == "UNKNOWN_STATEMENT"
        one.execute("BEGIN")
        one.execute(f"DELETE FROM {rows} WHERE id = 1")
        other.upsert(rows, [4], [[4]])
        assert count(db, rows) == 4
        one.execute("ROLLBACK")
        assert count(db, rows) == 4
    for closed in (one, other):
        assert error_of(closed.ping).name == "CONNECTION_LOST"
    assert count(db, rows) == 4


def test_a_session_that_ends_rolls_back(db: Any, rows: str) -> None:
    with db.session() as session:
        session.execute("BEGIN")
        session.insert(rows, [9], [[9]])
    assert count(db, rows) == 3


def test_a_transaction_is_stored_at_the_end_of_its_block(db: Any, rows: str) -> None:
    with db.transaction() as tx:
        assert tx.insert(rows, [4, 5], [[4], [5]]) == 2
        tx.execute(f"DELETE FROM {rows} WHERE id = $1", [1])
        statement = tx.prepare(f"UPDATE {rows} SET n = n + $1 WHERE id = 2")
        statement.execute([5])
        assert count(db, rows) == count(tx, rows) == 3, "reads see what is committed"
        db.upsert(rows, [6], [[6]])  # of somebody else meanwhile
    assert count(db, rows) == 5
    assert [row and row.id for row in db.get(rows, [1, 2, 4, 6])] == [None, 2, 4, 6]
    assert db.get(rows, 2)[0].payload == {"n": 5}


def test_an_exception_rolls_back_and_goes_on(db: Any, rows: str) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_after(db, rows, 4)
    assert count(db, rows) == 3
    db.insert(rows, [4], [[4]])
    assert count(db, rows) == 4


def test_a_commit_that_is_refused_says_so_and_stores_nothing(db: Any, rows: str) -> None:
    def insert_twice() -> None:
        with db.transaction() as tx:
            tx.insert(rows, [4], [[4]])
            tx.insert(rows, [1], [[1]])

    error = error_of(insert_twice)
    assert (error.name, error.detail["statement"]) == ("DUPLICATE_ID", 2)
    assert count(db, rows) == 3

    def go_on_after_a_mistake() -> None:
        with db.transaction() as tx:
            tx.insert(rows, [4], [[4]])
            assert error_of(lambda: tx.execute("SELEKT")).name == "SYNTAX"

    assert error_of(go_on_after_a_mistake).name == "TRANSACTION_ABORTED"
    assert count(db, rows) == 3


def test_a_transaction_is_used_in_its_block_alone(db: Any, rows: str) -> None:
    tx = db.transaction()
    assert "has not begun" in error_of(tx.ping).message
    with tx:
        for word in TRANSACTION_WORDS:
            assert error_of(lambda word=word: tx.execute(word)).name == "TRANSACTION_STATE"
        assert error_of(tx.transaction).name == error_of(tx.session).name == "TRANSACTION_STATE"
        assert error_of(tx.__enter__).name == "TRANSACTION_STATE"
        tx.insert(rows, [4], [[4]])
    for call in (lambda: tx.insert(rows, [5], [[5]]), tx.ping, tx.__enter__):
        error = error_of(call)
        assert (error.name, "has ended" in error.message) == ("TRANSACTION_STATE", True)
    assert count(db, rows) == 4


def test_a_transaction_closed_within_its_block_is_not_committed_in_silence(db: Any, rows: str) -> None:
    def close_within() -> None:
        with db.transaction() as tx:
            tx.insert(rows, [4], [[4]])
            tx.close()

    assert error_of(close_within).name == "TRANSACTION_STATE"
    assert count(db, rows) == 3


def test_a_transaction_of_a_session_has_what_it_set(db: Any, rows: str) -> None:
    with db.session() as session:
        session.execute("SET ef = 7")
        with session.transaction() as tx:
            tx.insert(rows, [4], [[4]])
            assert tx.execute("SHOW ef")[0][1] == "7"
        with pytest.raises(ZeroDivisionError):
            fail_after(session, rows, 5)
        session.insert(rows, [6], [[6]])
        assert session.execute("SHOW ef")[0][1] == "7"
    assert [row and row.id for row in db.get(rows, [4, 5, 6])] == [4, None, 6]


def test_two_transactions_beside_each_other(db: Any, rows: str) -> None:
    with db.transaction() as one:
        one.insert(rows, [4], [[4]])
        with pytest.raises(ZeroDivisionError):
            fail_after(db, rows, 5)
        one.insert(rows, [6], [[6]])
    assert [row and row.id for row in db.get(rows, [4, 5, 6])] == [4, None, 6]


def test_what_holds_a_connection_is_not_copied(db: Any) -> None:
    client = getattr(db, "_client", db)
    for call in (lambda: copy.copy(client), lambda: copy.deepcopy(client)):
        error = error_of(call)
        assert error.name == "OTHER_PROCESS"
        assert "connect in each process" in error.detail["hint"]
