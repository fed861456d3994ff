"""What reaches an owner while it starts again: writes are told to wait, and changes are in force there too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.conftest import NewServer
from tests.server.harness import Server, client_on, until_done


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    server = new_server(cores=2).start()
    yield server
    server.stop()


def test_a_write_that_comes_first_is_told_to_wait(server: Server) -> None:
    """It arrived before the new process knew its collections, and was told that there is none."""
    with client_on(server, 0) as db:
        for number in range(31):
            db.execute(f"CREATE COLLECTION c{number} KIND vector DIM 2")
        for _ in range(3):
            old = server.kill_core(1)
            until_done(lambda: db.upsert("c30", [1], [[1, 2]]))  # its id is 31: core 1 owns it
            server.wait_core_restarted(1, old)


def test_a_change_that_comes_meanwhile_is_in_force(server: Server) -> None:
    """The owner went on with the definition that it had begun to open the partition with."""
    with client_on(server, 0) as db:
        db.execute("CREATE COLLECTION c KIND vector DIM 2 FIELDS (n INT, *)")  # the first one: core 1 owns it
        rows = list(range(2000))
        db.insert("c", rows, [[1, n] for n in rows], [{"n": n} for n in rows])
        for path in ("n", "m"):
            server.wait_core_restarted(1, server.kill_core(1))
            until_done(lambda path=path: db.execute(f"CREATE INDEX ON c ({path})"))
        until_done(lambda: db.execute("ALTER COLLECTION c SEAL"))
        assert sorted(db.execute("SHOW INDEXES FOR c")) == [("m", 2000, 2000), ("n", 2000, 2000)]
