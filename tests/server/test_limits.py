"""As many connections as the server, or the machine, gives; and one more."""

from __future__ import annotations

import resource
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import reddb
from reddb.limits import CONNECTIONS_MAX
from tests.server.conftest import NewServer
from tests.server.harness import REDDB, Peer, Server, until_done


@pytest.fixture
def many_files() -> None:
    """Let this process, and the servers it starts, hold all connections at once."""
    needed = 2 * CONNECTIONS_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this machine allows {hard} files, the test needs {needed}")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@pytest.mark.usefixtures("many_files")
def test_one_connection_too_many(new_server: NewServer) -> None:
    server = new_server().start()
    with ExitStack() as stack:
        peers = [stack.enter_context(closing(Peer(server.port))) for _ in range(CONNECTIONS_MAX)]
        with pytest.raises(reddb.RedDBError) as caught:
            reddb.connect(server.url)
        assert (caught.value.name, caught.value.retryable) == ("TOO_MANY_CONNECTIONS", True)
        assert str(CONNECTIONS_MAX) in caught.value.message
        assert {peer.greet() for peer in (peers[0], peers[-1])} <= {0, 1}
        peers[1].close()
        with until_done(lambda: reddb.connect(server.url)) as db:
            db.ping()
    server.stop()


def greeting(peer: Peer) -> str:
    """Whether the peer is served, or the name of the error that it is told."""
    try:
        peer.greet()
    except reddb.RedDBError as error:
        return error.name
    return "served"


def test_a_machine_that_gives_few_files(tmp_path: Path) -> None:
    """Beyond its limit of open files a connection ends; those there are go on, and later ones are served again."""
    few = ["sh", "-c", 'ulimit -n 100 && exec "$@"', "sh", REDDB]
    server = Server(tmp_path / "data", tmp_path, cores=1, command=few).start()
    try:
        with reddb.connect(server.url) as db, ExitStack() as stack:
            db.execute("CREATE COLLECTION c KIND vector.turbo DIM 1 METRIC l2")
            db.insert("c", [1], [[1]])
            peers = [stack.enter_context(closing(Peer(server.port, timeout_s=3))) for _ in range(150)]
            told = Counter(greeting(peer) for peer in peers)
            assert told.keys() <= {"served", "CONNECTION_LOST", "TOO_MANY_CONNECTIONS"}
            assert 50 < told["served"] < 100
            assert db.search("c", [1], k=1).ids == [1]
        for _ in range(20):
            with until_done(lambda: reddb.connect(server.url, timeout_s=3)) as db:
                assert db.search("c", [1], k=1).ids == [1]
        server.stop()
    finally:
        server.close()
