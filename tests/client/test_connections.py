"""Connections of both clients: wrong addresses, silent servers, lost connections."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import reddb
from reddb.accountant import Pool, PoolKind
from reddb.client.calls import may_repeat
from reddb.query.write_plans import TransactionCommand, TransactionPlan
from reddb.transactions import Transaction, Transactions
from reddb.wire.connection import encode
from reddb.wire.messages import Failure, Get, Query
from tests.engine.partitions import collection
from tests.server.harness import Server, wait_for


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may halt, with one collection `c` of ten rows."""
    server = Server(tmp_path / "data", tmp_path, cores=1).start()
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION c KIND vector.turbo DIM 1 METRIC l2")
        db.insert("c", list(range(10)), [[n] for n in range(10)])
    yield server
    server.close()


@pytest.mark.parametrize(
    "url",
    ["", "red:", "red://", "http://127.0.0.1:5050", "red://h:99999", "red://h:x", "red://u@h", "red://h/db", "file:"],
)
def test_wrong_urls(url: str) -> None:
    for connect in (reddb.connect, reddb.aio.connect):
        with pytest.raises(reddb.RedDBError) as caught:
            connect(url)
        assert caught.value.name == "INVALID_URL"


def test_the_async_client_opens_no_folder(tmp_path: Path) -> None:
    with pytest.raises(reddb.RedDBError, match="INVALID_URL"):
        reddb.aio.connect(f"file:{tmp_path}")


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(reddb.RedDBError) as caught:
        reddb.connect(f"red://127.0.0.1:{port}")
    assert (caught.value.name, caught.value.retryable) == ("UNAVAILABLE", True)
    assert f"127.0.0.1:{port}" in caught.value.message
    with pytest.raises(reddb.RedDBError, match="UNAVAILABLE"):
        await reddb.aio.connect(f"red://127.0.0.1:{port}")


async def test_a_peer_that_is_no_reddb() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def answer_like_http() -> None:
            for _ in range(2):
                client, _ = listener.accept()
                with client:
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                    client.recv(4096)

        answering = pool.submit(answer_like_http)
        url = "red://{}:{}".format(*listener.getsockname())
        with pytest.raises(reddb.RedDBError) as caught:
            reddb.connect(url, timeout_s=5)
        assert caught.value.name == "PROTOCOL"
        with pytest.raises(reddb.RedDBError) as caught:
            await reddb.aio.connect(url, timeout_s=5)
        assert caught.value.name == "PROTOCOL"
        answering.result(timeout=5)


@pytest.mark.parametrize("correlation", [0, 1], ids=["said of the connection", "said of Hello"])
async def test_a_refused_greeting_leaves_no_open_connection(correlation: int) -> None:
    refusal = Failure.from_error(reddb.errors.TOO_MANY_CONNECTIONS.error("enough"))
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def refuse() -> bool:
            client, _ = listener.accept()
            with client:
                client.settimeout(3)
                client.recv(4096)
                client.sendall(encode(refusal, correlation))
                return client.recv(4096) == b""  # the client has closed its end

        url = "red://{}:{}".format(*listener.getsockname())
        refusing = pool.submit(refuse)
        with pytest.raises(reddb.RedDBError, match="TOO_MANY_CONNECTIONS"):
            await asyncio.to_thread(reddb.connect, url, 5)
        assert await asyncio.wrap_future(refusing)
        refusing = pool.submit(refuse)
        with pytest.raises(reddb.RedDBError, match="TOO_MANY_CONNECTIONS"):
            await reddb.aio.connect(url, 5)
        assert await asyncio.wrap_future(refusing)


def test_a_late_answer_is_not_taken_for_the_next(own_server: Server) -> None:
    with reddb.connect(own_server.url, timeout_s=0.3) as db:
        (core,) = own_server.core_pids().values()
        os.kill(core, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(reddb.RedDBError) as caught:
                db.search("c", [3], k=1)
            assert (caught.value.name, caught.value.retryable) == ("TIMEOUT", True)
            assert time.monotonic() - began < 3
        finally:
            os.kill(core, signal.SIGCONT)
        assert db.search("c", [7], k=1).ids == [7]


async def test_a_late_answer_to_the_async_client(own_server: Server) -> None:
    async with reddb.aio.connect(own_server.url, timeout_s=0.3) as db:
        (core,) = own_server.core_pids().values()
        os.kill(core, signal.SIGSTOP)
        try:
            with pytest.raises(reddb.RedDBError, match="TIMEOUT"):
                await db.search("c", [3], k=1)
        finally:
            os.kill(core, signal.SIGCONT)
        assert (await db.search("c", [7], k=1)).ids == [7]


async def test_clients_find_a_restarted_server(own_server: Server) -> None:
    async with reddb.aio.connect(own_server.url) as awaited:
        with reddb.connect(own_server.url) as db:
            assert db.search("c", [2], k=1).ids == (await awaited.search("c", [2], k=1)).ids == [2]
            own_server.stop()
            with pytest.raises(reddb.RedDBError) as caught:
                db.search("c", [2], k=1)
            assert caught.value.retryable
            with pytest.raises(reddb.RedDBError) as caught:
                await awaited.search("c", [2], k=1)
            assert caught.value.retryable
            own_server.start()
            assert db.insert("c", [20], [[20]]) == 1
            assert (await awaited.search("c", [20], k=1)).ids == [20]


def test_a_read_is_asked_again_when_its_connection_was_lost(own_server: Server) -> None:
    with reddb.connect(own_server.url) as db:
        db.ping()
        old = own_server.kill_core(0)
        own_server.wait_core_restarted(0, old)
        assert db.search("c", [4], k=1).ids == [4]
        assert db.get("c", 5)[0].id == 5


async def test_the_restart_of_an_idle_server_is_nobodys_error(own_server: Server) -> None:
    """Nothing had been sent: the first statement after it is sent over a new connection, once."""
    with reddb.connect(own_server.url) as db:
        async with reddb.aio.connect(own_server.url) as awaited:
            await awaited.ping()
            for number in (30, 32):
                own_server.stop()
                own_server.start()
                assert db.execute(f"INSERT INTO c (id, vector) VALUES ({number}, [1])").affected == 1
                insert = f"INSERT INTO c (id, vector) VALUES ({number + 1}, [1])"
                assert (await awaited.execute(insert)).affected == 1, "its loop has had no turn to notice"


@pytest.mark.parametrize("is_done", [False, True], ids=["before it was done", "after it was done"])
async def test_a_write_that_was_sent_is_never_repeated_by_itself(own_server: Server, is_done: bool) -> None:
    """A proxy ends the connection once it has the write, having passed it on or not."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as pool:

        def serve_one() -> int:
            """Pass on the greeting, then one request, and no answer. Returns how many requests came."""
            ours, _ = listener.accept()
            with ours, socket.create_connection(("127.0.0.1", own_server.port)) as theirs:
                theirs.sendall(ours.recv(4096))
                ours.sendall(theirs.recv(4096))
                request = ours.recv(1 << 16)
                if is_done:
                    theirs.sendall(request)
                    assert theirs.recv(1 << 16)
            return len(request)

        url = "red://{}:{}".format(*listener.getsockname())
        serving = pool.submit(serve_one)
        db = reddb.connect(url)
        with pytest.raises(reddb.RedDBError, match="the outcome is unknown") as caught:
            db.insert("c", [40], [[40]])
        assert caught.value.name == "CONNECTION_LOST"
        assert serving.result(5)
        db.close()
        serving = pool.submit(serve_one)
        awaited = await reddb.aio.connect(url)
        with pytest.raises(reddb.RedDBError, match="the outcome is unknown"):
            await awaited.insert("c", [41], [[41]])
        assert serving.result(5)
        await awaited.close()
    with reddb.connect(own_server.url) as db:
        assert [row is not None for row in db.get("c", [40, 41])] == [is_done, is_done]


POOL = Pool(PoolKind("transactions", 0, ""), 1_000)


def test_what_is_sent_again_after_which_failure() -> None:
    """A COMMIT is its caller's to repeat: the transaction of an older server has ended with it."""
    insert, commit, read = Query("INSERT …", []), Query("/* x */ commit", []), Get("c", b"", False)
    not_ready, lost = reddb.errors.NOT_READY.error("wait"), reddb.errors.CONNECTION_LOST.error("lost")
    assert [may_repeat(message, not_ready, 0) for message in (insert, commit, read)] == [True, False, True]
    assert [may_repeat(message, lost, 1) for message in (insert, commit, read)] == [False, False, True]
    assert not may_repeat(read, lost, 3), "what loses its connection each time may be what kills the core"
    transaction = Transaction(POOL)
    transaction.fail(not_ready)
    transaction.check()
    transaction.fail(lost)
    with pytest.raises(reddb.RedDBError, match="TRANSACTION_ABORTED"):
        transaction.check()


def test_a_commit_that_did_nothing_leaves_the_transaction_open() -> None:
    not_ready, other = reddb.errors.NOT_READY.error("wait"), reddb.errors.DISK_FULL.error("full")
    transactions = Transactions(POOL)
    transactions.step(TransactionCommand.BEGIN)
    begun = transactions.current
    commit = TransactionPlan(collection(dim=2), 0, ())
    transactions.current = None  # as COMMIT leaves it
    transactions.failed(begun, commit, not_ready)
    assert transactions.current is begun
    begun.check()
    transactions.current = None
    transactions.failed(begun, commit, other)
    assert transactions.current is None
    transactions.step(TransactionCommand.BEGIN)
    with pytest.raises(reddb.RedDBError, match="for another has begun"):
        transactions.failed(begun, commit, not_ready)


def test_a_closed_client_says_so(own_server: Server) -> None:
    db = reddb.connect(own_server.url)
    db.close()
    db.close()
    with pytest.raises(reddb.RedDBError, match="closed"):
        db.ping()


def test_threads_share_a_client(own_server: Server) -> None:
    failures: list[str] = []

    def ask(number: int, db: reddb.Client) -> None:
        for _ in range(50):
            found = db.search("c", [number], k=1).ids
            if found != [number]:
                failures.append(f"{number}: {found}")

    with reddb.connect(own_server.url) as db:
        threads = [threading.Thread(target=ask, args=(number, db)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        wait_for(lambda: not any(thread.is_alive() for thread in threads), "the threads")
    assert failures == []


@pytest.mark.parametrize(
    "lines", ["import reddb.aio; reddb.aio.connect", "from reddb.aio import connect", "import reddb; reddb.aio.connect"]
)
def test_the_asynchronous_client_is_a_module(lines: str) -> None:
    subprocess.run([sys.executable, "-c", lines], check=True)
