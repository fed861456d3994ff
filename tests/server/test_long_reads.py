"""A SELECT that looks at many rows goes on in slices: others are answered meanwhile, and it can be stopped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import reddb
from reddb.wire.connection import encode
from reddb.wire.messages import Cancel, Failure, Ping, Pong, Query, Result
from tests.server.harness import Peer, Server

ROWS, DIM = 60_000, 64
DISTANCES = ", ".join(f"max(vector <-> ${number})" for number in range(1, 41))


@pytest.fixture(scope="module")
def long_read(server: Server) -> Iterator[Query]:
    """A read of half a second or so."""
    random = np.random.default_rng(7)
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION many KIND vector DIM {DIM} METRIC l2 WITH (seal_idle_s = 0)")
        db.insert("many", range(ROWS), random.random((ROWS, DIM), np.float32))
        yield Query(f"SELECT {DISTANCES} FROM many", random.random((40, DIM)).tolist())
        db.execute("DROP COLLECTION many")


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    peer = Peer(server.port)
    peer.greet()
    yield peer
    peer.close()


def test_others_are_answered_while_it_goes_on(peer: Peer, long_read: Query) -> None:
    peer.socket.sendall(encode(long_read, 50))
    for number in range(60, 65):
        peer.socket.sendall(encode(Ping(), number))
        event = peer.next()
        assert event is not None
        assert (event.correlation, event.message) == (number, Pong())
    event = peer.next()
    assert event is not None
    assert event.correlation == 50
    assert isinstance(event.message, Result)
    assert len(event.message.rows[0]) == 40


def test_it_can_be_stopped(peer: Peer, long_read: Query) -> None:
    peer.socket.sendall(encode(long_read, 70))
    assert peer.request(Ping()) == [Pong()], "it goes on"
    peer.socket.sendall(encode(Cancel(70), 0))
    event = peer.next()
    assert event is not None
    assert event.correlation == 70
    assert isinstance(event.message, Failure)
    assert event.message.name == "QUERY_CANCELLED"
