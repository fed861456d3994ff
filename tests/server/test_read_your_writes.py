"""What one connection was told is stored, every connection sees, whichever cores serve the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import product

import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import Peer, Server, client_on

PAIRS = 300


@pytest.fixture
def both(server: Server) -> Iterator[list[reddb.Client]]:
    """A client on each core."""
    with ExitStack() as stack:
        yield [stack.enter_context(client_on(server, core)) for core in range(server.cores)]


@pytest.fixture
def collections(both: list[reddb.Client], name: str) -> Iterator[list[str]]:
    """Two collections whose ids follow one another, so each core owns one."""
    names = [f"{name}a", f"{name}b"]
    for each in names:
        both[0].execute(f"CREATE COLLECTION {each} KIND vector.turbo DIM 2 METRIC l2")
    yield names
    for each in names:
        both[0].execute(f"DROP COLLECTION {each}")


def test_connections_are_spread_over_the_cores(new_server: NewServer) -> None:
    server = new_server(cores=3).start()
    with ExitStack() as stack:
        peers = [stack.enter_context(closing(Peer(server.port))) for _ in range(9)]
        assert Counter(peer.greet() for peer in peers) == {0: 3, 1: 3, 2: 3}
    server.stop()


def test_every_write_is_seen_by_the_other_core_at_once(both: list[reddb.Client], collections: list[str]) -> None:
    stale = []
    for number in range(PAIRS):
        # All combinations of the writer's core and the owner's core take turns.
        writer, collection = both[number % 2], collections[number // 2 % 2]
        reader = both[1 - number % 2]
        place = [float(number), 1.0]

        assert writer.insert(collection, [number], [place], [{"v": 1}]) == 1
        seen = reader.search(collection, place, k=1)
        row = reader.get(collection, number)[0]
        stale += [("insert", number)] * (seen.ids != [number] or row is None or row.payload != {"v": 1})

        assert writer.upsert(collection, [number], [[float(number), 2.0]], [{"v": 2}]) == 1
        ((row_id, version, distance),) = reader.execute(
            f"SELECT id, v, distance FROM {collection} ORDER BY vector <-> $1 LIMIT 1", [[float(number), 2.0]]
        )
        stale += [("upsert", number)] * ((row_id, version, distance) != (number, 2, 0.0))

        assert writer.delete(collection, [number]) == 1
        left = reader.execute(f"SELECT count(*) FROM {collection}")[0][0]
        near = reader.search(collection, place, k=1)
        stale += [("delete", number)] * (left != 0 or len(near) != 0 or reader.get(collection, number) != [None])
    assert stale == []


def test_a_batch_is_seen_whole(both: list[reddb.Client], collections: list[str]) -> None:
    for number, (writer, reader) in enumerate(product(both, both)):
        for collection in collections:
            ids = [f"{number}-{row}" for row in range(1000)]
            writer.insert(collection, ids, [[float(number), float(row)] for row in range(1000)])
            assert reader.execute(f"SELECT count(*) FROM {collection}")[0] == (1000 * (number + 1),)
            assert len(reader.get(collection, ids)) == 1000
            assert None not in reader.get(collection, ids)


def test_a_created_collection_is_there_on_every_core(both: list[reddb.Client], name: str) -> None:
    for number in range(16):
        maker, other = both[number % 2], both[1 - number % 2]
        collection = f"{name}_{number}"
        maker.execute(f"CREATE COLLECTION {collection} KIND vector.turbo DIM 2")
        assert other.execute(f"SELECT count(*) FROM {collection}")[0] == (0,)
        assert other.insert(collection, [1], [[1, 1]]) == 1
        assert maker.search(collection, [1, 1], k=1).ids == [1]
        with pytest.raises(reddb.RedDBError, match="COLLECTION_EXISTS"):
            other.execute(f"CREATE COLLECTION {collection} KIND vector.turbo DIM 2")
        maker.execute(f"DROP COLLECTION {collection}")
        for client in both:
            with pytest.raises(reddb.RedDBError, match="UNKNOWN_COLLECTION"):
                client.insert(collection, [2], [[1, 1]])
            assert collection not in [row[0] for row in client.execute("SHOW COLLECTIONS")]
        other.execute(f"CREATE COLLECTION {collection} KIND vector.turbo DIM 3 METRIC l2")
        assert dict(maker.execute(f"SHOW COLLECTION {collection}"))["dim"] == 3
        assert maker.get(collection, 1) == [None], "a new collection of an old name is empty"
        maker.execute(f"DROP COLLECTION {collection}")
