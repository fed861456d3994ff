"""A core is killed while clients are at work: the others go on, it comes back, nothing acknowledged is lost.

The first collection has the id 1; with two cores, core 1 owns it and core 0 reads its rows from shared memory.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import numpy as np
import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import Peer, Server, client_on, is_alive, until_done, wait_for

OWNER, OTHER = 1, 0
BATCH = 50
DIM = 16


def rows(batch: int) -> tuple[list[int], np.ndarray]:
    """Batch n has the ids 50n to 50n + 49, and vectors that tell their ids."""
    ids = list(range(batch * BATCH, (batch + 1) * BATCH))
    vectors = np.zeros((BATCH, DIM), np.float32)
    vectors[:, 0] = ids
    return ids, vectors


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    """Two cores and the collection `c`, which core 1 owns."""
    server = new_server(cores=2).start()
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2")
    yield server
    server.stop()


class Stream:
    """Inserts batch after batch through one core, repeats nothing, and notes what became of each."""

    def __init__(self, db: reddb.Client) -> None:
        self.acknowledged: list[int] = []
        self.errors: list[reddb.RedDBError] = []
        self.times: list[float] = []
        self.pauses: list[float] = []
        self._db = db
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        batch = 0
        while not self._stop.is_set():
            try:
                assert self._db.insert("c", *rows(batch)) == BATCH
            except reddb.RedDBError as error:
                self.errors.append(error)
                self._stop.wait(0.01)
            else:
                self.acknowledged.append(batch)
                self.times.append(time.monotonic())
            batch += 1


def ids_stored(db: reddb.Client, batches: int) -> Counter[int]:
    """How often each id is found by a search and by a scan, halved."""
    scanned = [row[0] for row in db.execute(f"SELECT id FROM c LIMIT {min(10_000, batches * BATCH)}")]
    found = db.search("c", [0.0] * DIM, k=min(10_000, batches * BATCH), exact=True, with_payloads=False).ids
    assert sorted(scanned) == sorted(found)
    return Counter(scanned)


def test_the_owner_is_killed_during_a_stream_of_inserts(server: Server) -> None:
    with client_on(server, OTHER) as writer, client_on(server, OTHER) as reader:
        stream = Stream(writer)
        wait_for(lambda: len(stream.acknowledged) >= 10, "ten batches")
        killed_at = time.monotonic()
        old = server.kill_core(OWNER)
        # Without its owner the collection is read as before, the rows that were just inserted too.
        while is_alive(old) or server.core_pids().get(OWNER) is None:
            known = len(stream.acknowledged)
            newest = stream.acknowledged[known - 1]
            hits = reader.search("c", rows(newest)[1][7], k=1)
            assert hits.ids == [newest * BATCH + 7]
            assert reader.execute("SELECT count(*) FROM c")[0][0] >= known * BATCH
        acknowledged_before = len(stream.acknowledged)
        wait_for(lambda: len(stream.acknowledged) >= acknowledged_before + 10, "inserts after the restart")
        stream.end()
        assert all(error.retryable for error in stream.errors), {error.name for error in stream.errors}
        resumed = next(at for at in stream.times if at > killed_at + 0.05)
        assert resumed - killed_at < 3
        batches = max(stream.acknowledged) + 1
        stored = ids_stored(reader, batches + 10)
        assert max(stored.values()) == 1, "a row is there twice"
        whole = {batch for batch in range(batches + 10) if stored[batch * BATCH]}
        assert set(stored) == {row_id for batch in whole for row_id in rows(batch)[0]}, "a part of a batch"
        assert whole >= set(stream.acknowledged), "an acknowledged batch is missing"
        with client_on(server, OWNER) as there:
            assert ids_stored(there, batches + 10) == stored


def test_rows_are_never_older_than_their_acknowledgement(server: Server) -> None:
    """The owner dies again and again; whoever reads after an acknowledgement sees that write."""
    with client_on(server, OTHER) as writer, client_on(server, OTHER) as reader:
        written = 0
        for _ in range(3):
            old = server.kill_core(OWNER)
            for number in range(20):
                batch = written
                written += 1

                def insert(batch: int = batch) -> None:
                    # After an unknown outcome the same ids may be there already, so upsert.
                    writer.upsert("c", *rows(batch))

                until_done(insert)
                assert reader.search("c", rows(batch)[1][0], k=1).ids == [batch * BATCH], number
                assert reader.execute("SELECT count(*) FROM c")[0][0] == written * BATCH
            server.wait_core_restarted(OWNER, old)
    assert server.stderr().count('"adopted": true') == 3, "each went on in the memory of the one before"


def test_an_owner_whose_new_memory_nobody_knows_yet_acknowledges_nothing(server: Server) -> None:
    """The supervisor is halted between the start of the new owner and the spreading of its memory."""
    with (
        client_on(server, OTHER) as writer,
        client_on(server, OTHER) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.insert("c", *rows(0))
        server.wait_core_restarted(OWNER, server.kill_core(OWNER))
        os.kill(server.pid, signal.SIGSTOP)
        try:
            writing = pool.submit(lambda: until_done(lambda: writer.upsert("c", *rows(1))))
            watched_until = time.monotonic() + 1.5
            while time.monotonic() < watched_until:
                if writing.done():
                    assert reader.search("c", rows(1)[1][0], k=1).ids == [BATCH], "acknowledged, but not visible"
                assert reader.search("c", rows(0)[1][0], k=1).ids == [0]
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert writing.result(timeout=15) == BATCH
        assert reader.search("c", rows(1)[1][0], k=1).ids == [BATCH]


def test_clients_of_a_killed_core_connect_again(server: Server) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(reddb.connect(server.url, timeout_s=10)) for _ in range(4)]  # two on each core
        kill_each_core(server, clients)


def kill_each_core(server: Server, clients: list[reddb.Client]) -> None:
    clients[0].insert("c", *rows(0))
    for core in (OTHER, OWNER):
        old = server.kill_core(core)
        wait_for(lambda old=old: not is_alive(old), "its end")
        for client in clients:
            # Reads are asked again without a word, on the core that is left.
            assert client.search("c", rows(0)[1][3], k=1).ids == [3]
            assert client.get("c", 7)[0].id == 7
        server.wait_core_restarted(core, old)
        for number, client in enumerate(clients):
            batch = 1 + 4 * core + number
            assert until_done(lambda client=client, batch=batch: client.upsert("c", *rows(batch))) == BATCH
    assert clients[0].execute("SELECT count(*) FROM c")[0] == (9 * BATCH,)


def test_collections_can_be_made_and_dropped_while_their_owner_is_away(server: Server) -> None:
    with client_on(server, OTHER) as db:
        for number in range(2):  # one of the two is owned by the killed core
            old = server.kill_core(OWNER)
            db.execute(f"CREATE COLLECTION d{number} KIND vector.turbo DIM {DIM}")
            assert until_done(lambda number=number: db.upsert(f"d{number}", *rows(number))) == BATCH
            server.wait_core_restarted(OWNER, old)
            db.execute(f"DROP COLLECTION d{number}")
        assert [row[0] for row in db.execute("SHOW COLLECTIONS")] == ["c"]
        with client_on(server, OWNER) as there:
            assert [row[0] for row in there.execute("SHOW COLLECTIONS")] == ["c"]


def test_a_collection_dropped_while_it_recovers_stays_dropped(server: Server) -> None:
    with client_on(server, OTHER) as db:
        for name in ("d2", "d3"):  # the second is the owner's
            db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM}")
            db.insert(name, *rows(0))
        # The new process is told of the collections and of their end before it has come to open them.
        server.wait_core_restarted(OWNER, server.kill_core(OWNER))
        for name in ("d3", "d2"):
            db.execute(f"DROP COLLECTION {name}")
        assert until_done(lambda: db.upsert("c", *rows(0))) == BATCH
        assert [row[0] for row in db.execute("SHOW COLLECTIONS")] == ["c"]
        assert [entry.name for entry in (server.data / "collections").iterdir()] == ["1"]


def test_a_core_dies_while_it_waits_for_a_change(server: Server) -> None:
    with client_on(server, OTHER) as db, ThreadPoolExecutor(1) as pool:
        owner = server.core_pids()[OWNER]
        os.kill(owner, signal.SIGSTOP)
        try:
            asking = pool.submit(db.execute, f"CREATE COLLECTION d KIND vector.turbo DIM {DIM}")
            wait_for(lambda: "2" in catalog_ids(server), "the change")
            server.wait_core_restarted(OTHER, server.kill_core(OTHER))
        finally:
            os.kill(owner, signal.SIGCONT)
        with pytest.raises(reddb.RedDBError) as caught:
            asking.result(timeout=10)
        assert caught.value.retryable
    for core in (OTHER, OWNER):
        with client_on(server, core) as db:
            assert until_done(lambda db=db: db.upsert("d", *rows(0))) == BATCH
            assert [row[0] for row in db.execute("SHOW COLLECTIONS")] == ["c", "d"]


def catalog_ids(server: Server) -> list[str]:
    with closing(sqlite3.connect(f"file:{server.data / 'catalog.sqlite'}?mode=ro", uri=True)) as database:
        return [str(row[0]) for row in database.execute("SELECT id FROM collections")]


def test_all_cores_die_and_a_client_that_hangs_up_meanwhile_stops_nobody(server: Server) -> None:
    with reddb.connect(server.url) as db:
        db.insert("c", *rows(0))
    # Halted, the supervisor finds the deaths and the callers at once when it goes on.
    os.kill(server.pid, signal.SIGSTOP)
    olds = [server.kill_core(core) for core in (0, 1)]
    for _ in range(3):
        caller = socket.create_connection(("127.0.0.1", server.port))
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()  # with a reset: whoever writes to it gets an error
    os.kill(server.pid, signal.SIGCONT)
    for core, old in enumerate(olds):
        server.wait_core_restarted(core, old)

    def ask() -> list[int | str]:
        with reddb.connect(server.url, timeout_s=5) as db:
            return db.search("c", rows(0)[1][5], k=1).ids

    assert until_done(ask) == [5]


def test_a_client_that_comes_while_no_core_lives_waits(server: Server) -> None:
    for core in (0, 1):
        server.kill_core(core)
    wait_for(lambda: server.stderr().count("a core died") == 2, "both deaths to be noticed")
    with ExitStack() as stack:
        peers = [stack.enter_context(closing(Peer(server.port))) for _ in range(4)]
        assert {peer.greet() for peer in peers} <= {0, 1}


def test_a_core_killed_right_before_the_stop(new_server: NewServer) -> None:
    server = new_server(cores=2).start()
    began = time.monotonic()
    server.kill_core(0)
    server.stop()
    assert time.monotonic() - began < 5, "nobody waits for a core that is not there"


def test_a_core_starts_while_a_collection_is_emptied(new_server: NewServer) -> None:
    """It is never told of the collection whose place is taken; that one must go all the same."""
    server = new_server(cores=3).start()
    asking, dying, slow = 0, 1, 2
    with client_on(server, asking) as db, ThreadPoolExecutor(1) as pool:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2")
        db.insert("c", *rows(0))
        known = set((server.data / "collections").iterdir())
        stopped = server.core_pids()[slow]
        os.kill(stopped, signal.SIGSTOP)
        emptied = pool.submit(db.execute, "TRUNCATE COLLECTION c")
        wait_for(lambda: set((server.data / "collections").iterdir()) - known, "the new collection")
        again = server.wait_core_restarted(dying, server.kill_core(dying))
        wait_for(lambda: len(os.sched_getaffinity(again)) == 1, "a core that has begun to start, and is told what is")
        os.kill(stopped, signal.SIGCONT)
        emptied.result(20)
        assert db.execute("SELECT count(*) FROM c")[0][0] == 0
        assert until_done(lambda: db.insert("c", *rows(1))) == BATCH
        with client_on(server, dying) as there:
            assert there.execute("SELECT count(*) FROM c")[0][0] == BATCH
    server.stop()


def test_a_core_starts_while_the_owner_has_yet_to_say_what_there_is(server: Server) -> None:
    """What the dead owner had published last may name files that its successor has removed: that is no damage."""
    with client_on(server, OTHER) as db:
        db.insert("c", *rows(0))
        db.execute("ALTER COLLECTION c SEAL")
    (segments,) = server.data.glob("collections/*/0/segments")
    owner = server.wait_core_restarted(OWNER, server.kill_core(OWNER))
    os.kill(owner, signal.SIGSTOP)  # before it has opened anything: it is still being imported
    removed = segments.rename(segments.with_name("removed"))
    server.wait_core_restarted(OTHER, server.kill_core(OTHER))
    with client_on(server, OTHER) as db:
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute("SELECT count(*) FROM c")
        assert (caught.value.name, caught.value.retryable) == ("NOT_READY", True)
        removed.rename(segments)
        os.kill(owner, signal.SIGCONT)
        assert until_done(lambda: db.execute("SELECT count(*) FROM c"))[0][0] == BATCH
        assert len(db.search("c", rows(0)[1][0], k=BATCH)) == BATCH
