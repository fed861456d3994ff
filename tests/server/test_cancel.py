"""Cancel stops a request on its own connection, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb.disk import OsDisk
from reddb.server.service import Service
from reddb.server.session import Session
from reddb.wire.connection import Event, Received, WireConnection, encode
from reddb.wire.messages import (
    MAGIC,
    VERSION,
    Cancel,
    Failure,
    Hello,
    Hits,
    Insert,
    Message,
    Ping,
    Pong,
    Query,
    Result,
    Search,
    Welcome,
    Written,
)
from tests.engine.partitions import collection
from tests.server.harness import Peer, Server
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


def answer_to(peer: Peer, correlation: int) -> Message:
    """The next message, which must be the answer to this request."""
    event = peer.next()
    assert event is not None, "the connection ended"
    assert event.correlation == correlation
    return event.message


def assert_cancelled(answer: Message) -> None:
    assert isinstance(answer, Failure)
    assert (answer.name, answer.retryable) == ("QUERY_CANCELLED", False)


def test_cancel_stops_a_search_that_goes_on(peer: Peer, crowded: str) -> None:
    peer.socket.sendall(encode(long_search(crowded), 50) + encode(Ping(), 51))
    assert answer_to(peer, 51) == Pong(), "the search goes on"
    began = time.monotonic()
    peer.socket.sendall(encode(Cancel(50), 52))
    assert_cancelled(answer_to(peer, 50))
    assert time.monotonic() - began < SOON_S
    assert peer.request(Ping()) == [Pong()], "and the connection goes on"


def test_cancel_that_came_in_the_same_bytes(peer: Peer, crowded: str) -> None:
    peer.socket.sendall(encode(long_search(crowded), 60) + encode(Cancel(60), 0))
    assert_cancelled(answer_to(peer, 60))


def test_one_of_two_that_share_their_work(peer: Peer, crowded: str) -> None:
    """Two alike searches of one turn are one call; the other still gets its own answer."""
    few = queries()[:40]
    searches = [
        Search(crowded, DIM, part.tobytes(), 3, None, True, False, False, None, [], None, False)
        for part in (few[:30], few[30:])
    ]
    (alone,) = peer.request(searches[1])
    peer.socket.sendall(encode(searches[0], 70) + encode(searches[1], 71) + encode(Cancel(70), 0))
    assert_cancelled(answer_to(peer, 70))
    assert isinstance(alone, Hits)
    assert answer_to(peer, 71) == alone


def test_a_write_is_not_stopped(peer: Peer, server: Server, name: str) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION {name} KIND vector DIM 4")
        batch = b"".join(reddb.rows.make_batch([1, 2], np.eye(2, 4), None).encode())
        peer.socket.sendall(encode(Insert(name, batch), 80) + encode(Cancel(80), 0))
        assert answer_to(peer, 80) == Written(2)
        assert len(db.execute(f"SELECT id FROM {name} LIMIT 10")) == 2


def test_unknown_numbers_are_ignored(peer: Peer) -> None:
    peer.socket.sendall(encode(Cancel(4711), 0) + encode(Ping(), 90))
    assert answer_to(peer, 90) == Pong()


async def test_a_cancelled_task_stops_its_search(server: Server, crowded: str) -> None:
    async with reddb.aio.connect(server.url) as db:
        search = asyncio.create_task(db.search(crowded, queries(), exact=True))
        await db.ping()  # answered while the search goes on
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        assert len(await db.search(crowded, queries()[0])) == 10, "the connection goes on"


@pytest.mark.parametrize(
    "request_",
    [
        Search("docs", 4, np.zeros(4, np.float32).tobytes(), 1, None, False, False, False, None, [], None, False),
        Query("SELECT id FROM docs ORDER BY vector <-> $1 LIMIT 1", [np.zeros(4, np.float32)]),
        Query("SELECT id FROM docs LIMIT 1", []),
    ],
    ids=["search", "statement", "scan"],
)
@pytest.mark.parametrize("stop", ["cancel", "timeout"])
async def test_a_request_that_waits_for_a_recovering_partition(tmp_path: Path, request_: Message, stop: str) -> None:
    """A real session on a core that waits for the rows of another one, which never come."""
    disk = OsDisk()
    lock = disk.lock(tmp_path, "me")
    service = Service(0, 2, lock, disk, lambda: 7, lambda message, descriptor: None, 0, 2**30, None, {})
    service.add_collection(collection(dim=4), {}, ())  # its owner is core 1
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    closed = loop.create_future()
    session = Session(service, lambda _: closed.set_result(None))
    await loop.connect_accepted_socket(lambda: session, theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    wire = WireConnection(expects_hello=False)

    async def ask(*messages: tuple[Message, int]) -> Message:
        """Send them; the next answer."""
        writer.write(b"".join(encode(message, number) for message, number in messages))
        events: list[Event] = []
        while not events:
            events = wire.receive_data(await reader.read(1 << 16))
        (event,) = events
        assert isinstance(event, Received)
        return event.message

    assert isinstance(await ask((Hello(MAGIC, [VERSION], "test"), 1)), Welcome)
    if stop == "timeout":
        assert isinstance(await ask((Query("SET statement_timeout = 10", []), 2)), Result)
        answer = await ask((request_, 3))
        assert isinstance(answer, Failure)
        assert answer.name == "STATEMENT_TIMEOUT"
    else:
        assert await ask((request_, 3), (Ping(), 4)) == Pong(), "it waits"
        assert_cancelled(await ask((Cancel(3), 5)))
    assert service.registry.queries == 0
    writer.close()
    await closed
    await service.close()
