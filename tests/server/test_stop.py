"""The server stops in order: it answers what it has received, exits with 0, and loses nothing it acknowledged."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing, suppress

import numpy as np
import pytest

import reddb
from reddb.client import calls
from reddb.client.demo.sample import load
from reddb.wire.connection import encode
from reddb.wire.messages import Failure, Insert, Query, Written
from tests.server.conftest import NewServer
from tests.server.harness import Peer, Server, client_on, wait_for

SAMPLE = load()
BATCHES, BATCH = 40, 500


def insert(batch: int) -> Insert:
    """Batch n has the ids 500n to 500n + 499."""
    ids = np.arange(batch * BATCH, (batch + 1) * BATCH)
    return Insert("docs", calls.rows_bytes(ids, SAMPLE.vectors[ids % 5000], None))


def answers(peer: Peer) -> dict[int, object]:
    """What the server says until it closes, by correlation."""
    found: dict[int, object] = {}
    while (event := peer.next()) is not None:
        assert event.correlation not in found
        found[event.correlation] = event.message
    return found


@pytest.mark.parametrize(
    ("number", "whom", "core"),
    [
        pytest.param(signal.SIGTERM, "supervisor", 0, id="SIGTERM, passed on to the owner"),
        pytest.param(signal.SIGTERM, "group", 1, id="SIGTERM to the group, sent to the owner"),
        pytest.param(signal.SIGINT, "supervisor", 1, id="SIGINT, sent to the owner"),
        pytest.param(signal.SIGINT, "group", 0, id="Ctrl-C, passed on to the owner"),
    ],
)
def test_batches_under_way(new_server: NewServer, whom: str, number: signal.Signals, core: int) -> None:
    server = new_server().start(start_new_session=True)
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384")  # id 1, so core 1 owns it
    with ExitStack() as stack:
        served = None
        while served != core:
            peer = stack.enter_context(closing(Peer(server.port)))
            served = peer.greet()
        content = [encode(insert(batch), batch + 100) for batch in range(BATCHES)]
        peer.send(b"".join(content[:4]))
        first = peer.next()
        assert first is not None
        assert isinstance(first.message, Written)
        peer.send(content[4])
        os.killpg(server.pid, number) if whom == "group" else os.kill(server.pid, number)
        with suppress(ConnectionError):  # it takes nothing more
            peer.send(b"".join(content[5:]))
        told = {first.correlation: first.message, **answers(peer)}
    server.wait_stopped()
    acknowledged = {at - 100 for at, message in told.items() if isinstance(message, Written)}
    for message in told.values():
        assert isinstance(message, Written) or (isinstance(message, Failure) and message.retryable), message
    assert acknowledged, "the first answer came before the signal"
    with reddb.connect(f"file:{server.data}") as db:
        stored = [row is not None for row in db.get("docs", np.arange(BATCHES * BATCH))]
    whole = np.array(stored).reshape(BATCHES, BATCH)
    assert (whole.all(axis=1) == whole.any(axis=1)).all(), "a part of a batch"
    assert set(np.flatnonzero(whole.all(axis=1)).tolist()) >= acknowledged, "an acknowledged batch is missing"


def test_signals_to_the_cores_are_left_to_the_supervisor(new_server: NewServer) -> None:
    """SIGTERM to every process, as service managers send it: the cores leave the order to the supervisor."""
    server = new_server().start(start_new_session=True)
    with client_on(server, 0) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384")
        cores = server.core_pids()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for pid in cores.values():
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
            assert db.insert("docs", SAMPLE.ids, SAMPLE.vectors) == 5000
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert server.core_pids() == cores
    server.stop()


def test_clients_that_do_nothing_do_not_delay_the_stop(new_server: NewServer) -> None:
    server = new_server().start()
    with ExitStack() as stack:
        db = stack.enter_context(reddb.connect(server.url))
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384")
        db.insert("docs", SAMPLE.ids, SAMPLE.vectors)
        idle = [stack.enter_context(closing(Peer(server.port))) for _ in range(20)]
        for peer in idle[:15]:
            peer.greet()  # five stay silent
        request = Query("SELECT * FROM docs LIMIT 5000", [])
        idle[0].send(b"".join(encode(request, number) for number in range(20)))  # and one never reads its answers
        db.ping()
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 5
        for peer in idle[1:]:
            assert peer.next() is None
        with pytest.raises(reddb.RedDBError) as caught:
            db.insert("docs", [1], SAMPLE.vectors[:1])
        assert caught.value.retryable


def test_a_second_signal_changes_nothing(new_server: NewServer) -> None:
    server = new_server().start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(server.pid, number)
    server.wait_stopped()


def test_a_stop_before_the_start_is_done(new_server: NewServer) -> None:
    server = new_server(cores=2)
    process = server.spawn()
    server.pid = process.pid
    wait_for(server.core_pids, "the first core")
    process.send_signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    server.assert_no_traceback()


def test_the_log_of_a_start_and_a_stop(new_server: NewServer) -> None:
    server: Server = new_server().start()
    server.stop()
    assert '"event": "stopping"' in server.stderr()
    assert server.stderr().count("\n") == 2, "nothing to report but the stop"


def test_a_stop_while_partitions_open(new_server: NewServer) -> None:
    server = new_server(cores=1).start()
    with reddb.connect(server.url) as db:
        for name in ("one", "two"):
            db.execute(f"CREATE COLLECTION {name} KIND vector DIM 384 METRIC l2 WITH (durability = flush)")
            for batch in range(10):
                db.insert(name, range(batch * 2000, batch * 2000 + 2000), np.resize(SAMPLE.vectors, (2000, 384)))
    server.kill()
    for _ in range(2):
        server.start()
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 8
        assert "did not stop in time" not in server.stderr()
    server.start()
    with reddb.connect(server.url) as db:
        for name in ("one", "two"):
            assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(20_000,)]
    server.stop()
