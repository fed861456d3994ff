"""Cancel stops a request on its own connection, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest

import reddb
from reddb.wire.connection import encode
from reddb.wire.messages import Cancel, Failure, Hits, Insert, Ping, Pong, Search, Written
from tests.server.harness import Peer, Server, close_all
from tests.server.long_queries import DIM, SOON_S, fill, long_search, queries


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[str]:
    """A collection that takes long to search."""
    with reddb.connect(server.url) as db:
        fill(db, "crowded")
        yield "crowded"
        db.execute("DROP COLLECTION crowded")


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    peer = Peer(server.port)
    peer.greet()
    yield peer
    peer.close()


def test_cancel_stops_a_search_that_goes_on(peer: Peer, crowded: str) -> None:
    peer.socket.sendall(encode(long_search(crowded), 50) + encode(Ping(), 51))
    pong = peer.next()
    assert pong is not None and (pong.correlation, type(pong.message)) == (51, Pong), "the search goes on"
    began = time.monotonic()
    peer.socket.sendall(encode(Cancel(50), 52))
    stopped = peer.next()
    assert time.monotonic() - began < SOON_S
    assert stopped is not None and stopped.correlation == 50
    assert isinstance(stopped.message, Failure)
    assert (stopped.message.name, stopped.message.retryable) == ("QUERY_CANCELLED", False)
    assert peer.request(Ping()) == [Pong()], "and the connection goes on"


def test_cancel_that_came_in_the_same_bytes(peer: Peer, crowded: str) -> None:
    peer.socket.sendall(encode(long_search(crowded), 60) + encode(Cancel(60), 0))
    stopped = peer.next()
    assert stopped is not None and isinstance(stopped.message, Failure)
    assert stopped.message.name == "QUERY_CANCELLED"


def test_one_of_two_that_share_their_work(peer: Peer, crowded: str) -> None:
    """Two alike searches of one turn are one call; the other still gets its own answer."""
    few = queries()[:40]
    searches = [
        Search(crowded, DIM, part.tobytes(), 3, None, True, False, False, None, [], None, False)
        for part in (few[:30], few[30:])
    ]
    (alone,) = peer.request(searches[1])
    peer.socket.sendall(encode(searches[0], 70) + encode(searches[1], 71) + encode(Cancel(70), 0))
    first, second = peer.next(), peer.next()
    assert first is not None and isinstance(first.message, Failure)
    assert (first.correlation, first.message.name) == (70, "QUERY_CANCELLED")
    assert second is not None and second.correlation == 71
    assert isinstance(alone, Hits)
    assert second.message == alone


def test_a_write_is_not_stopped(peer: Peer, server: Server, name: str) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION {name} KIND vector DIM 4")
        batch = b"".join(reddb.rows.make_batch([1, 2], np.eye(2, 4), None).encode())
        peer.socket.sendall(encode(Insert(name, batch), 80) + encode(Cancel(80), 0))
        answer = peer.next()
        assert answer is not None and answer.message == Written(2)
        assert len(db.execute(f"SELECT id FROM {name} LIMIT 10")) == 2


def test_unknown_numbers_are_ignored(peer: Peer) -> None:
    peer.socket.sendall(encode(Cancel(4711), 0) + encode(Ping(), 90))
    pong = peer.next()
    assert pong is not None and (pong.correlation, pong.message) == (90, Pong())


async def test_a_cancelled_task_stops_its_search(server: Server, crowded: str) -> None:
    async with reddb.aio.connect(server.url) as db:
        search = asyncio.create_task(db.search(crowded, queries(), exact=True))
        await db.ping()  # answered while the search goes on
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        assert len(await db.search(crowded, queries()[0])) == 10, "the connection goes on"


def test_many_ends_of_connections_stop_their_searches(server: Server, crowded: str) -> None:
    peers = [Peer(server.port) for _ in range(4)]
    for peer in peers:
        peer.greet()
        peer.socket.sendall(encode(long_search(crowded), 50))
        assert peer.request(Ping()) == [Pong()]
    close_all(peers)
    with reddb.connect(server.url) as db:
        db.execute(f"SELECT count(*) FROM {crowded}")
