"""Transactions on a real server: sessions beside each other, connections that end, and a machine that stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

import reddb
from tests.client.conftest import AwaitedClient
from tests.server.conftest import NewServer
from tests.server.harness import Server, client_on, until_done

ROWS = range(5)


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    """Two cores; `c` is owned by the second, so that transactions of the first travel."""
    server = new_server(cores=2).start()
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION c KIND vector DIM 2 METRIC l2")
        db.insert("c", ROWS, [[n, 0] for n in ROWS], [{"n": 0}] * len(ROWS))
    yield server
    server.stop()


def counts(db: reddb.Client) -> list[int]:
    return [row.payload["n"] for row in db.get("c", list(ROWS))]


def test_sessions_beside_each_other_lose_nothing_and_show_no_half(server: Server) -> None:
    """Each transaction adds 1 to all rows, in two statements; whoever reads sees all rows alike."""
    errors: list[BaseException] = []
    rounds, done = 40, threading.Event()

    def work(core: int) -> None:
        try:
            with client_on(server, core) as db:
                for _ in range(rounds):
                    db.execute("BEGIN")
                    db.execute("UPDATE c SET n = n + 1 WHERE id IN (0, 1, 2)")
                    db.execute("UPDATE c SET n = n + 1 WHERE id IN (3, 4)")
                    assert db.execute("COMMIT").affected == len(ROWS)
        except BaseException as error:
            errors.append(error)

    def read(core: int) -> None:
        try:
            with client_on(server, core) as db:
                while not done.is_set():
                    assert len(set(counts(db))) == 1
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=work, args=(core,)) for core in (0, 1, 0, 1)]
    readers = [threading.Thread(target=read, args=(core,)) for core in (0, 1)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not errors
    with reddb.connect(server.url) as db:
        assert counts(db) == [rounds * len(writers)] * len(ROWS)


@pytest.mark.parametrize("core", [0, 1])
def test_a_connection_that_ends_rolls_back(server: Server, core: int) -> None:
    with client_on(server, core) as db:
        db.execute("BEGIN")
        db.execute("DELETE FROM c WHERE id = 1")
    with client_on(server, core) as db:
        assert counts(db) == [0] * len(ROWS)
        with pytest.raises(reddb.RedDBError, match="TRANSACTION_STATE"):
            db.execute("COMMIT")


@pytest.mark.parametrize("core", [0, 1])
def test_what_the_owner_refuses_names_the_statement_on_every_core(server: Server, core: int) -> None:
    with client_on(server, core) as db:
        db.execute("BEGIN")
        db.execute("UPDATE c SET n = 7 WHERE id = 1")
        db.execute("INSERT INTO c (id, vector) VALUES (9, [1, 1]), (1, [1, 1])")
        with pytest.raises(reddb.RedDBError, match="DUPLICATE_ID") as caught:
            db.execute("COMMIT")
        assert (caught.value.detail["statement"], caught.value.detail["row"]) == (2, 1)
        assert counts(db) == [0] * len(ROWS)


def test_a_dropped_collection_refuses_the_commit(server: Server) -> None:
    with client_on(server, 0) as db, client_on(server, 1) as other:
        db.execute("BEGIN")
        db.execute("UPDATE c SET n = 7 WHERE id = 1")
        other.execute("DROP COLLECTION c")
        other.execute("CREATE COLLECTION c KIND vector DIM 2 METRIC l2")
        with pytest.raises(reddb.RedDBError, match="UNKNOWN_COLLECTION"):
            db.execute("COMMIT")
        assert other.execute("SELECT count(*) FROM c")[0][0] == 0


def test_kills_between_and_after_commits_show_all_or_nothing(server: Server) -> None:
    """The k-th transaction sets n to k, moves row 100 + k - 1 to 100 + k, and is there whole or not at all."""
    random = Random(3)
    stored = 0
    for _ in range(3):
        killer = threading.Timer(random.uniform(0.05, 0.3), server.kill)
        acknowledged = stored
        with reddb.connect(server.url) as client, client.session() as db:
            killer.start()
            try:
                while True:
                    number = acknowledged + 1
                    db.execute("BEGIN")
                    db.execute(f"UPDATE c SET n = {number} WHERE id IN (0, 1, 2, 3, 4)")
                    db.execute(f"DELETE FROM c WHERE id = {100 + acknowledged}")
                    db.execute(f"INSERT INTO c (id, vector, n) VALUES ({100 + number}, [1, 1], {number})")
                    db.execute("COMMIT")
                    acknowledged = number
            except reddb.RedDBError as error:
                if not error.retryable:
                    raise
            killer.join()
        server.start()
        with reddb.connect(server.url) as db:
            (found,) = set(until_done(lambda: counts(db)))
            assert found in (acknowledged, acknowledged + 1)
            others = [row[0] for row in db.execute("SELECT id FROM c WHERE id >= 100 LIMIT 10")]
            assert others == ([100 + found] if found else [])
        stored = found
    assert stored > 3


@pytest.mark.parametrize("connect", [reddb.connect, AwaitedClient], ids=["sync", "async"])
@pytest.mark.parametrize("goes_on", [False, True], ids=["at its end", "within"])
def test_a_transaction_whose_connection_is_lost_is_not_taken_up_by_another(
    new_server: NewServer, connect: Callable[[str], Any], goes_on: bool
) -> None:
    server = new_server(cores=1).start()
    db = connect(server.url)
    db.execute("CREATE COLLECTION c KIND vector DIM 1 METRIC l2")

    def lose_it() -> None:
        with db.transaction() as tx:
            tx.insert("c", [1], [[1]])
            old = server.kill_core(0)
            server.wait_core_restarted(0, old)
            if goes_on:
                tx.insert("c", [2], [[2]])

    with pytest.raises(reddb.RedDBError) as caught:
        lose_it()
    assert caught.value.name == "CONNECTION_LOST"
    assert list(until_done(lambda: db.execute("SELECT count(*) FROM c"))) == [(0,)]
    db.close()
    server.stop()
