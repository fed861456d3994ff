"""Queries are seen, stopped and timed out on whichever core they run, and the connection goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reddb
from reddb.query.views import VIEWS
from tests.server.conftest import NewServer
from tests.server.harness import Server, client_on, until_done, wait_for
from tests.server.long_queries import SOON_S, fill, queries


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[str]:
    """A collection that takes long to search."""
    with reddb.connect(server.url) as db:
        fill(db, "crowded_too")
        yield "crowded_too"
        db.execute("DROP COLLECTION crowded_too")


def running(db: reddb.Client, text: str) -> list[dict[str, Any]]:
    """The queries under way whose statement begins so."""
    result = db.execute("SHOW QUERIES")
    rows = [dict(zip(result.columns, row, strict=True)) for row in result]
    return [row for row in rows if str(row["statement"]).startswith(text)]


def failure(future: Future[Any]) -> str:
    error = future.exception(SOON_S)
    assert isinstance(error, reddb.RedDBError), error
    return error.name


def is_asleep(pid: int) -> bool:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "S"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("killer", [0, 1])
def test_kill_from_the_same_core_and_from_another(server: Server, crowded: str, killer: int) -> None:
    with client_on(server, 0) as asking, client_on(server, killer) as killing, ThreadPoolExecutor(1) as pool:
        search = pool.submit(asking.search, crowded, queries(), exact=True)
        (query,) = wait_for(lambda: running(killing, f"search {crowded}"), "the search")
        assert (query["core"], query["state"]) == (0, "running")
        assert query["elapsed_ms"] > 0
        assert killing.execute("KILL QUERY $1", [query["id"]]).affected is None
        assert failure(search) == "QUERY_CANCELLED"
        assert running(killing, f"search {crowded}") == []
        with pytest.raises(reddb.RedDBError, match="no query"):
            killing.execute(f"KILL {query['id']}")
        asking.ping()


def test_statement_timeout_stops_a_query_and_the_connection_goes_on(server: Server, crowded: str) -> None:
    with reddb.connect(server.url) as client, client.session() as db:
        db.execute("SET statement_timeout = '200ms'")
        began = time.monotonic()
        with pytest.raises(reddb.RedDBError) as caught:
            db.search(crowded, queries(), exact=True)
        assert 0.2 <= time.monotonic() - began < SOON_S
        assert (caught.value.name, caught.value.retryable) == ("STATEMENT_TIMEOUT", False)
        assert "200 ms" in caught.value.message
        assert len(db.search(crowded, queries()[0])) == 10
        db.execute("RESET statement_timeout")
        assert len(db.search(crowded, queries()[:20], exact=True)) == 20


def test_a_read_without_a_vector_is_stopped_too(server: Server, crowded: str) -> None:
    statement = f"SELECT id % 1000 AS rest, count(*), max(id) FROM {crowded} GROUP BY id % 1000 ORDER BY rest LIMIT 1"
    with reddb.connect(server.url) as client, client.session() as db:
        whole = list(db.execute(statement))
        assert whole == [(0, 60, 59_000)]
        db.execute("SET statement_timeout = 1")
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute(statement)
        assert caught.value.name == "STATEMENT_TIMEOUT"
        db.execute("RESET ALL")
        assert list(db.execute(statement)) == whole


def test_a_timeout_is_its_sessions_own(server: Server, crowded: str) -> None:
    with reddb.connect(server.url) as patient, patient.session() as hurried:
        hurried.execute("SET statement_timeout = 1")
        assert len(patient.search(crowded, queries()[:20], exact=True)) == 20


def test_ctrl_c_stops_the_search_of_a_real_process(server: Server, crowded: str) -> None:
    words = [sys.executable, "-m", "tests.server.interrupted_client", server.url, crowded]
    with reddb.connect(server.url) as db, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        # A process that sleeps once its search runs waits for the answer; before that it may still be sending.
        wait_for(
            lambda: running(db, f"search {crowded}") and is_asleep(process.pid), "the search of the other process", 30
        )
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert told == f"interrupted, then client {process.pid}\n", "the same connection goes on"
        assert time.monotonic() - began < SOON_S
        assert running(db, f"search {crowded}") == []


async def test_a_cancelled_task_leaves_nothing_running(server: Server, crowded: str) -> None:
    async with reddb.aio.connect(server.url) as db:
        search = asyncio.create_task(db.search(crowded, queries(), exact=True))
        await db.ping()  # answered while the search goes on
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        statements = [row[6] for row in await db.execute("SHOW QUERIES")]
        assert [text for text in statements if text.startswith("search")] == []


def test_a_connection_that_ends_takes_its_queries_along(server: Server, crowded: str) -> None:
    async def begin_and_leave() -> None:
        async with reddb.aio.connect(server.url) as leaving:
            search = asyncio.create_task(leaving.search(crowded, queries(), exact=True))
            await leaving.ping()
        with pytest.raises(reddb.RedDBError):
            await search

    with reddb.connect(server.url) as db:
        asyncio.run(begin_and_leave())
        wait_for(lambda: not running(db, f"search {crowded}"), "the end of the search")


def test_show_sessions_counts_the_connections_of_both_cores(server: Server) -> None:
    names = {0: "first", 1: "second"}
    with ExitStack() as stack:
        clients = {core: stack.enter_context(client_on(server, core)) for core in names}
        for core, client in clients.items():
            client.execute("SET application_name = $1", [names[core]])
        for client in clients.values():
            told = {row[3]: (row[1], row[5]) for row in client.execute("SHOW SESSIONS") if row[3] in names.values()}
            assert {name: core for name, (core, _) in told.items()} == {"first": 0, "second": 1}
            assert sorted(state for _, state in told.values()) == ["active", "idle"]
        ids = [row[0] for row in clients[0].execute("SHOW SESSIONS")]
        assert len(set(ids)) == len(ids)
    with reddb.connect(server.url) as db:
        wait_for(lambda: not {row[3] for row in db.execute("SHOW SESSIONS")} & set(names.values()), "their ends")


def test_metrics_come_from_every_core(server: Server, name: str) -> None:
    with client_on(server, 0) as db:
        db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 WITH (partitions = 2)")
        before = {(row[0], row[1]): row[4] for row in db.execute("SHOW METRICS") if not row[2]}
        db.insert(name, range(100), np.ones((100, 2)))
        after = {(row[0], row[1]): row[4] for row in db.execute("SHOW METRICS") if not row[2]}
        grew = {key: after[key] - before[key] for key in after}
        assert [after[core, "reddb_core_up"] for core in (0, 1)] == [1, 1]
        assert grew[0, "reddb_rows_written_total"] + grew[1, "reddb_rows_written_total"] == 100
        assert min(grew[core, "reddb_rows_written_total"] for core in (0, 1)) > 0, "each owns a partition"
        assert [grew[core, "reddb_commits_total"] for core in (0, 1)] == [1, 1]
        assert min(grew[core, "reddb_commit_seconds_total"] for core in (0, 1)) > 0
        assert grew[0, "reddb_bytes_received_total"] > 100 * 2 * 4
        assert grew[1, "reddb_bytes_received_total"] == 0


def test_a_core_that_does_not_answer_is_named(new_server: NewServer) -> None:
    server = new_server().start()
    with client_on(server, 0) as db, stopped(server.core_pids()[1]):
        for view in ("sessions", "queries"):
            state = VIEWS[view].column_names.index("state")
            core = VIEWS[view].column_names.index("core")
            began = time.monotonic()
            rows = [row for row in db.execute(f"SHOW {view}") if row[core] == 1]
            assert time.monotonic() - began < SOON_S
            assert [row[state] for row in rows] == ["no answer"]
        up = [(row[0], row[4]) for row in db.execute("SHOW METRICS") if row[1] == "reddb_core_up"]
        assert up == [(0, 1.0), (1, 0.0)]
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute("KILL 65")
        assert caught.value.name == "UNAVAILABLE"
    server.stop()


def test_a_killed_core_is_named_until_it_is_back(new_server: NewServer) -> None:
    server = new_server().start()
    with client_on(server, 0) as db:
        old = server.core_pids()[1]
        with stopped(server.pid):  # the supervisor does not start it anew meanwhile
            server.kill_core(1)
            wait_for(lambda: [row[5] for row in db.execute("SHOW SESSIONS") if row[1] == 1] == ["no answer"], "its end")
        server.wait_core_restarted(1, old)
        wait_for(lambda: "no answer" not in {row[5] for row in db.execute("SHOW SESSIONS")}, "the new process")
    server.stop()


def test_a_lost_session_stays_lost_and_a_shared_client_goes_on(new_server: NewServer) -> None:
    """The supervisor evens out connections: of two sessions each core has one."""
    server = new_server().start()
    with reddb.connect(server.url) as db, db.session() as first, db.session() as second:
        db.execute("CREATE COLLECTION c KIND vector DIM 2")
        db.insert("c", [1], [[1, 2]])
        find = db.prepare("SELECT id FROM c WHERE id = $1")
        for session in (first, second):
            session.execute("SET exact = true")
        old = server.kill_core(1)
        server.wait_core_restarted(1, old)
        told = []
        for session in (first, second):
            for _ in range(3):
                try:
                    assert session.search("c", [1, 2]).ids == [1]
                    assert session.execute("SHOW exact")[0][1] == "true", "never without what it had set"
                except reddb.RedDBError as error:
                    told.append(error.name)
        assert told == ["CONNECTION_LOST"] * 3
        assert until_done(lambda: db.search("c", [1, 2])).ids == [1]
        assert list(find.execute([1])) == [(1,)]
    server.stop()


async def test_a_lost_session_is_told_to_the_asynchronous_client(new_server: NewServer) -> None:
    server = new_server(cores=1).start()
    async with reddb.aio.connect(server.url) as db, db.session() as session:
        await session.execute("SET application_name = 'x'")
        old = server.kill_core(0)
        server.wait_core_restarted(0, old)
        for _ in range(2):
            with pytest.raises(reddb.RedDBError) as caught:
                await session.ping()
            assert caught.value.name == "CONNECTION_LOST"
        ((value,),) = [row[1:2] for row in await db.execute("SHOW application_name")]
        assert value == "", "nothing had been sent, so the shared client says nothing"
    server.stop()


def test_a_write_is_not_stopped_half_way(new_server: NewServer) -> None:
    """It waits for its owner, which does nothing for a while, and is stored in the end."""
    server = new_server().start()
    with client_on(server, 0) as writing, client_on(server, 0) as killing, ThreadPoolExecutor(1) as pool:
        # Collections take turns between the owners: of two that follow each other one is core 1's.
        for number in range(2):
            writing.execute(f"CREATE COLLECTION c{number} KIND vector DIM 2")
        owners = {row[0]: row[2] for row in writing.execute("SHOW STATS")}
        (name,) = [name for name, core in owners.items() if core == 1]
        writing.execute("SET statement_timeout = 100")
        with stopped(server.core_pids()[1]):
            insert = pool.submit(writing.insert, name, [1], [[1, 2]])
            (query,) = wait_for(lambda: running(killing, f"insert {name}"), "the insert")
            assert query["state"] == "writing"
            with pytest.raises(reddb.RedDBError) as caught:
                killing.execute(f"KILL {query['id']}")
            assert caught.value.name == "CANNOT_CANCEL"
        assert insert.result(SOON_S) == 1
        assert list(killing.execute(f"SELECT count(*) FROM {name}")) == [(1,)]
    server.stop()


def test_settings_of_the_server(new_server: NewServer) -> None:
    server = new_server().start("--hung-after-s", "17")
    with reddb.connect(server.url) as db:
        told = {row[0]: (row[1], row[3]) for row in db.execute("SHOW SETTINGS")}
    assert told["cores"] == ("2", "server")
    assert told["port"] == (str(server.port), "server")
    assert told["host"] == ("127.0.0.1", "default")
    assert told["hung_after_s"] == ("17", "server")
    assert told["data"] == (str(server.data.resolve()), "server")
    assert told["archive_dir"] == (None, "default")
    server.stop()
