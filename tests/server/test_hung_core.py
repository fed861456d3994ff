"""A core that hangs is killed and starts anew; one that is merely busy, or whose supervisor was away, is not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import Server, client_on, until_done

DIM = 8
VECTORS = np.random.default_rng(4).normal(size=(200, DIM)).astype(np.float32)


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    """Two cores; core 1 owns the collection `c`."""
    server = new_server(cores=2).start("--hung-after-s", "3")
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2")
        db.insert("c", np.arange(100), VECTORS[:100])
    yield server
    server.stop()


def test_a_hung_owner_is_replaced_while_others_read(server: Server) -> None:
    with client_on(server, 0) as db:
        hung = server.core_pids()[1]
        os.kill(hung, signal.SIGSTOP)
        searches = 0
        while server.core_pids().get(1, hung) == hung:
            assert len(db.search("c", VECTORS[0], k=5)) == 5
            searches += 1
        assert searches > 100
        assert until_done(lambda: db.upsert("c", np.arange(100, 200), VECTORS[100:])) == 100
        assert db.execute("SELECT count(*) FROM c")[0][0] == 200
    assert "a core hangs and is killed" in server.stderr()


def test_nobody_is_killed_because_the_supervisor_was_away(server: Server) -> None:
    before = server.core_pids()
    os.kill(server.pid, signal.SIGSTOP)
    threading.Event().wait(6)  # twice what a core may be silent: the supervisor looks at a clock that has jumped
    os.kill(server.pid, signal.SIGCONT)
    with reddb.connect(server.url) as again:
        assert again.execute("SELECT count(*) FROM c")[0][0] == 100
        threading.Event().wait(4)
        assert server.core_pids() == before
        assert again.execute("SELECT count(*) FROM c")[0][0] == 100
    assert "hangs" not in server.stderr()
