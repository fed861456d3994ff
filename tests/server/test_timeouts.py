"""When the time for a call is over: what is said, what becomes of the request, and that the connection goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import reddb
from tests.client.conftest import AwaitedClient
from tests.server.harness import Server, wait_for
from tests.server.long_queries import DIM, SOON_S, fill, queries

_RUNNING = "SELECT count(*) FROM red.queries WHERE statement LIKE '%slow%' AND statement NOT LIKE '%queries%'"

Connect = Callable[[str], Any]
FACES: dict[str, Connect] = {"sync": reddb.connect, "async": AwaitedClient}


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[str]:
    """A collection that takes long to search."""
    with reddb.connect(server.url) as db:
        fill(db, "slow")
        yield "slow"
        db.execute("DROP COLLECTION slow")


@pytest.fixture(params=FACES.values(), ids=FACES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return request.param


@contextmanager
def halted(server: Server) -> Iterator[None]:
    """Within this no core does anything."""
    pids = list(server.core_pids().values())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def timed_out(call: Callable[[], Any]) -> reddb.RedDBError:
    began = time.monotonic()
    with pytest.raises(reddb.RedDBError) as caught:
        call()
    assert caught.value.name == "TIMEOUT", caught.value
    assert time.monotonic() - began < SOON_S
    return caught.value


def test_what_only_reads_is_stopped(server: Server, connect: Connect, crowded: str) -> None:
    client, other = connect(server.url), reddb.connect(server.url)
    db = client.session()
    db.execute("SET application_name = 'slow'")
    texts = [
        lambda: db.search(crowded, queries(), exact=True, timeout_s=0.2),
        lambda: db.prepare(f"SELECT id FROM {crowded} ORDER BY vector <+> $1, id LIMIT 5000").execute(
            [queries()[0]], timeout_s=0.01
        ),
    ]
    for call in texts:
        error = timed_out(call)
        assert error.retryable
        assert "the server was told to stop the request" in error.message
        wait_for(lambda: list(other.execute(_RUNNING)) == [(0,)], "the query to be stopped", SOON_S)
        assert db.execute("SHOW application_name")[0][1] == "slow", "the session goes on"
        assert len(db.search(crowded, queries()[0])) == 10, "and takes no late answer for another"
    other.close()
    db.close()
    client.close()


def test_a_change_is_not_stopped_and_not_retryable(new_server: Callable[..., Server], connect: Connect) -> None:
    server = new_server(cores=1).start()
    db = connect(server.url)
    db.execute("CREATE COLLECTION c KIND vector DIM 2")
    update = db.prepare("UPDATE c SET n = n + 1 WHERE id = 1")
    db.insert("c", [1], [[1, 2]], [{"n": 0}])
    with halted(server):
        for change in (
            lambda: db.insert("c", [2], [[1, 2]], timeout_s=0.1),
            lambda: db.execute("UPDATE c SET n = n + 1 WHERE id = 1", timeout_s=0.1),
            lambda: update.execute(timeout_s=0.1),
            lambda: db.execute("ALTER COLLECTION c SEAL", timeout_s=0.1),
        ):
            error = timed_out(change)
            assert not error.retryable
            assert error.detail["outcome"] == "unknown"
            assert "may be done by now, or will be yet" in error.message
    wait_for(lambda: [row.payload for row in db.get("c", [1, 2]) if row] == [{"n": 2}, {}], "the changes")
    assert list(db.execute("SELECT n FROM c WHERE id = 1")) == [(2,)]
    db.close()


def test_no_limit_outlasts_that_of_the_client(new_server: Callable[..., Server], connect: Connect) -> None:
    server = new_server(cores=1).start()
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION c KIND vector DIM 2")
    patient = reddb.connect(server.url, timeout_s=0.2) if connect is reddb.connect else AwaitedClient(server.url, 0.2)
    with halted(server):
        assert timed_out(lambda: patient.ping()).retryable
        (core,) = server.core_pids().values()
        asyncio.run(_continue_soon(core, lambda: patient.ping(timeout_s=None)))
    patient.close()


async def _continue_soon(core: int, call: Callable[[], Any]) -> None:
    waiting = asyncio.to_thread(call)
    task = asyncio.create_task(waiting)
    done, _ = await asyncio.wait([task], timeout=1)
    assert not done, "it waits longer than the client's time"
    os.kill(core, signal.SIGCONT)
    await task


def test_an_embedded_database_stops_what_only_reads(tmp_path: Path) -> None:
    with reddb.connect(f"file:{tmp_path / 'data'}", timeout_s=0.05) as db:
        fill(db, "slow")  # a change takes the time that it needs
        error = timed_out(lambda: db.search("slow", queries(), exact=True))
        assert error.retryable
        assert "the query was stopped" in error.message
        assert timed_out(lambda: db.search("slow", queries(), exact=True, timeout_s=0.1)).retryable
        assert len(db.search("slow", queries()[0], timeout_s=None)) == 10
        assert db.execute("SELECT count(*) FROM slow", timeout_s=30)[0][0] > DIM
