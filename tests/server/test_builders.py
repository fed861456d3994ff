"""Rows are sealed and merged by builder processes: whatever dies or fails meanwhile, nothing acknowledged is lost.

The first collection has the id 1; with two cores, core 1 owns it and its builder is a child of core 1.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import Server, children, client_on, is_alive, until_done, wait_for

OWNER, OTHER = 1, 0
EMPTY_LOG_BYTES = 40  # the header of the newest file, which stays
DIM = 16
BATCH = 500
# Half a minute of work for a builder, and half a second.
SLOW = "index = 'hnsw', m = 128, ef_construction = 2048"
FAST = "m = 16, m0 = 32, ef_construction = 64"


def rows(batch: int, dim: int = DIM) -> tuple[list[int], np.ndarray]:
    """Batch n has the ids 500n to 500n + 499, and vectors that tell their ids."""
    vectors = np.random.default_rng(batch).normal(size=(BATCH, dim)).astype(np.float32)
    ids = list(range(batch * BATCH, (batch + 1) * BATCH))
    vectors[:, 0] = ids
    return ids, vectors


def builder_of(server: Server, core: int) -> int:
    """The builder of a core, 0 where none runs."""
    pids = [pid for pid, words in children(server.core_pids()[core]).items() if "reddb.server.builder" in words]
    assert len(pids) <= 1
    return pids[0] if pids else 0


def states(db: reddb.Client, name: str = "c") -> list[str]:
    return [row[2] for row in db.execute(f"SHOW SEGMENTS FOR {name}")]


def folder(server: Server, collection: int = 1) -> Path:
    return server.data / "collections" / str(collection) / "0"


def wal_bytes(server: Server) -> int:
    return sum(path.stat().st_size for path in (folder(server) / "wal").iterdir())


def assert_only_what_is_shown(server: Server, db: reddb.Client) -> None:
    """The folder of segments holds the sealed ones, with one index each, and nothing else."""

    def shown() -> list[str]:
        return sorted(str(row[1]) for row in db.execute("SHOW SEGMENTS FOR c") if row[2] == "sealed")

    def stored() -> list[str]:
        return sorted(path.name for path in (folder(server) / "segments").iterdir())

    wait_for(lambda: stored() == shown(), "the removal of what was replaced")
    for segment in (folder(server) / "segments").iterdir():
        indexes = [path.name for path in segment.iterdir() if path.name.startswith("index.")]
        assert len(indexes) == 1, indexes
        assert not list(segment.glob("*.tmp"))


def stored_ids(db: reddb.Client) -> list[int]:
    return sorted(row[0] for row in db.execute("SELECT id FROM c LIMIT 10000"))


def check_rows(db: reddb.Client, batches: int) -> None:
    """Every row of the batches is there once, by a scan, by its vector and by its id."""
    assert stored_ids(db) == list(range(batches * BATCH))
    for batch in range(batches):
        ids, vectors = rows(batch)
        assert db.search("c", vectors[7], k=1, exact=True).ids == [ids[7]]
        assert db.search("c", vectors[8], k=1).ids == [ids[8]]
        assert np.array_equal(db.get("c", ids[9], with_vectors=True)[0].vector, vectors[9])


@pytest.fixture
def server(new_server: NewServer) -> Server:
    return new_server(cores=2).start()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def ask(server: Server, statement: str) -> Callable[[], Any]:
    def work() -> Any:
        with reddb.connect(server.url, timeout_s=60) as db:
            return db.execute(statement).affected

    return work


def halted_at_work(server: Server, db: reddb.Client, pool: ThreadPoolExecutor) -> tuple[int, Future[Any]]:
    """A builder, halted while it builds a graph over the first six batches, and who waits for the end of that."""
    db.execute(f"CREATE COLLECTION c KIND vector DIM {DIM} METRIC l2 WITH ({SLOW})")
    for batch in range(6):
        db.insert("c", *rows(batch))
    asking = pool.submit(ask(server, "ALTER COLLECTION c SEAL"))
    wait_for(lambda: states(db) == ["building"], "a graph under way")
    builder = wait_for(lambda: builder_of(server, OWNER), "the builder")
    os.kill(builder, signal.SIGSTOP)
    assert states(db) == ["building"]
    return builder, asking


def test_one_builder_at_a_time_where_that_was_asked_for(new_server: NewServer, pool: ThreadPoolExecutor) -> None:
    server = new_server(cores=2).start("--builders", "1")
    with client_on(server, OTHER) as db:
        builder, asking = halted_at_work(server, db, pool)
        db.execute(f"CREATE COLLECTION d KIND vector.turbo DIM {DIM}")  # of the other core
        db.insert("d", *rows(0))
        waiting = pool.submit(ask(server, "ALTER COLLECTION d SEAL"))
        check_rows(db, 6)
        assert states(db, "d") == ["growing"]
        assert not builder_of(server, OTHER)
        db.execute(f"ALTER COLLECTION c SET ({FAST})")
        os.kill(builder, signal.SIGKILL)  # its turn is over, and the other's comes
        assert waiting.result(60) is None
        assert asking.result(60) is None
        assert states(db, "d") == states(db) == ["sealed"]
        check_rows(db, 6)
    server.stop()


def test_a_killed_builder_does_its_job_again(server: Server, pool: ThreadPoolExecutor) -> None:
    with client_on(server, OTHER) as db, client_on(server, OWNER) as there:
        builder, asking = halted_at_work(server, db, pool)
        for client in (db, there):
            check_rows(client, 6)
        db.insert("c", *rows(6))
        check_rows(there, 7)
        db.execute(f"ALTER COLLECTION c SET ({FAST})")
        os.kill(builder, signal.SIGKILL)
        while not asking.done():
            assert there.search("c", rows(3)[1][2], k=1).ids == [3 * BATCH + 2]
        assert asking.result() == 0 or asking.result() is None
        successor = wait_for(lambda: builder_of(server, OWNER), "another builder")
        assert successor != builder
        assert next(iter(db.execute("SHOW SEGMENTS FOR c")))[3].startswith("hnsw")
        check_rows(db, 7)
        db.execute("ALTER COLLECTION c COMPACT")
        assert states(there) == ["sealed"]
        check_rows(there, 7)
        assert_only_what_is_shown(server, db)
    assert "the builder died" in server.stderr()
    server.stop()


def test_a_builder_dies_with_its_core(server: Server, pool: ThreadPoolExecutor) -> None:
    with client_on(server, OTHER) as db:
        builder, asking = halted_at_work(server, db, pool)
        db.execute(f"ALTER COLLECTION c SET ({FAST})")
        db.insert("c", *rows(6))
        old = server.kill_core(OWNER)
        wait_for(lambda: not is_alive(builder), "the end of the builder")
        error = asking.exception(timeout=20)
        assert isinstance(error, reddb.RedDBError)
        assert error.retryable
        check_rows(db, 7)  # from what the dead core left in memory
        server.wait_core_restarted(OWNER, old)
        until_done(lambda: db.upsert("c", *rows(7)))
        check_rows(db, 8)
        until_done(lambda: db.execute("ALTER COLLECTION c SEAL"))
        assert set(states(db)) == {"sealed"}
        check_rows(db, 8)
        with client_on(server, OWNER) as there:
            check_rows(there, 8)
        assert_only_what_is_shown(server, db)
    server.stop()


class Writer:
    """Writes batches of 100 through one client until that fails; knows what was acknowledged and what is in doubt."""

    def __init__(self, db: reddb.Client, known: dict[int, int]) -> None:
        self.known = known  # version by id, 0 for deleted
        self.doubt: dict[int, int] = {}
        self.error: reddb.RedDBError | None = None
        self._db = db
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.error is not None
        assert self.error.retryable, self.error

    def _run(self) -> None:
        rng = np.random.default_rng(len(self.known))
        version = max(self.known.values(), default=0)
        while self.error is None:
            version += 1
            ids = rng.choice(6000, 100, replace=False).tolist()
            deletes = version % 5 == 0
            self.doubt = dict.fromkeys(ids, 0 if deletes else version)
            try:
                if deletes:
                    self._db.delete("c", ids)
                else:
                    self._db.upsert("c", ids, rng.normal(size=(100, DIM)), [{"version": version}] * 100)
            except reddb.RedDBError as error:
                self.error = error
            else:
                self.known |= self.doubt
                self.doubt = {}


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL"])
def test_a_restart_amid_sealing_and_merging(server: Server, ending: str) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2 WITH (seal_rows = 1024)")
    known: dict[int, int] = {}
    for _ in range(2):
        with client_on(server, OTHER) as db:
            writer = Writer(db, known)
            jobs = wait_for(lambda: server.stderr().count("segment settled"), "the first sealed segment", 20)
            wait_for(lambda jobs=jobs: server.stderr().count("segment settled") >= jobs + 2, "some more", 20)
            server.stop() if ending == "SIGTERM" else server.kill()
            writer.end()
        server.start()
        with reddb.connect(server.url) as db:
            ids = list(range(6000))
            found = until_done(lambda db=db, ids=ids: db.get("c", ids))
            stored = {row.id: row.payload["version"] for row in found if row is not None}
            for row_id in ids:
                allowed = {known.get(row_id, 0), writer.doubt.get(row_id, known.get(row_id, 0))}
                assert stored.get(row_id, 0) in allowed, row_id
            assert stored_ids(db) == sorted(stored)
            assert db.execute("SELECT count(*) FROM c")[0] == (len(stored),)
            known = {row_id: stored.get(row_id, 0) for row_id in known.keys() | writer.doubt.keys()}
    with reddb.connect(server.url) as db:
        until_done(lambda: db.execute("ALTER COLLECTION c COMPACT"))
        assert states(db) == ["sealed"]
        assert stored_ids(db) == sorted(row_id for row_id, version in known.items() if version)
        assert_only_what_is_shown(server, db)
    server.stop()


def test_sealing_makes_the_log_short_and_leaves_nothing_over(server: Server) -> None:
    with client_on(server, OTHER) as db:
        db.execute("CREATE COLLECTION c KIND vector.turbo DIM 256 METRIC l2 WITH (seal_rows = 1024, seal_idle_s = 0)")
        for batch in range(5):
            db.upsert("c", *rows(batch, 256))
        db.delete("c", list(range(100)))
        db.upsert("c", *rows(5, 256))
        db.execute("ALTER COLLECTION c SEAL")
        assert set(states(db)) == {"sealed"}
        assert len(states(db)) == 2
        wait_for(lambda: wal_bytes(server) == EMPTY_LOG_BYTES, "the removal of the log")
        assert_only_what_is_shown(server, db)
        db.upsert("c", *rows(3, 256))
        grown = wal_bytes(server)
        assert grown >= BATCH * 256 * 4
        db.execute("ALTER COLLECTION c COMPACT")
        wait_for(lambda: wal_bytes(server) < grown, "a shorter log")
        ((_, _, state, _, stored, live, *_),) = db.execute("SHOW SEGMENTS FOR c")
        assert (state, stored, live) == ("sealed", 2900, 2900)
        assert_only_what_is_shown(server, db)
    server.kill()
    server.start()
    with reddb.connect(server.url) as db:
        assert until_done(lambda: db.search("c", rows(3, 256)[1][5], k=1).ids) == [3 * BATCH + 5]
        assert stored_ids(db) == list(range(100, 3000))
    server.stop()


def test_rows_are_sealed_when_nobody_writes(server: Server) -> None:
    with client_on(server, OTHER) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2 WITH (seal_idle_s = 0)")
        db.insert("c", *rows(0))
        assert states(db) == ["growing"]
        db.execute("ALTER COLLECTION c SET (seal_idle_s = 1)")
        wait_for(lambda: states(db) == ["sealed"], "the sealing of idle rows")
        db.insert("c", *rows(1))
        assert states(db) == ["sealed", "growing"]
        wait_for(lambda: states(db) == ["sealed", "sealed"], "the sealing of the rows after those")
        check_rows(db, 2)
        wait_for(lambda: wal_bytes(server) == EMPTY_LOG_BYTES, "the removal of the log")
    server.stop()


def test_a_collection_dropped_while_it_is_built_leaves_no_folder(server: Server, pool: ThreadPoolExecutor) -> None:
    with client_on(server, OTHER) as db:
        builder, asking = halted_at_work(server, db, pool)
        db.execute("DROP COLLECTION c")
        assert isinstance(asking.exception(timeout=10), reddb.RedDBError)
        assert list((server.data / "collections").iterdir()) == []
        if is_alive(builder):
            os.kill(builder, signal.SIGCONT)
        # The same core goes on with its other collections.
        for name in ("d", "e"):
            db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2")
            db.insert(name, *rows(0))
            db.execute(f"ALTER COLLECTION {name} SEAL")
            assert states(db, name) == ["sealed"]
            assert db.search(name, rows(0)[1][3], k=1).ids == [3]
        assert sorted(path.name for path in (server.data / "collections").iterdir()) == ["2", "3"]
    server.stop()


def test_a_full_disk_stops_merging_and_nothing_else(server: Server) -> None:
    """No file may grow beyond 6 MiB: four segments of 2 MiB cannot become one until that changes."""
    dim = 512
    with client_on(server, OTHER) as db:
        db.execute(f"CREATE COLLECTION c KIND vector DIM {dim} METRIC l2 WITH (seal_rows = 1024, seal_idle_s = 0)")
        owner = server.core_pids()[OWNER]
        unlimited = resource.prlimit(owner, resource.RLIMIT_FSIZE)
        resource.prlimit(owner, resource.RLIMIT_FSIZE, (6 * 2**20, unlimited[1]))  # its builder inherits that
        for segment in range(4):
            for batch in range(3 * segment, 3 * segment + 3):
                db.insert("c", *rows(batch, dim))
            wait_for(lambda segment=segment: states(db).count("sealed") == segment + 1, "a sealed segment")
        wait_for(lambda: server.stderr().count("a segment was not settled") >= 2, "failed merges")
        assert "DISK_FULL" in server.stderr()
        with pytest.raises(reddb.RedDBError, match="DISK_FULL"):
            db.execute("ALTER COLLECTION c COMPACT")
        assert db.insert("c", *rows(12, dim)) == BATCH
        for batch in (0, 5, 12):
            ids, vectors = rows(batch, dim)
            assert db.search("c", vectors[2], k=1).ids == [ids[2]]
        for pid in (owner, builder_of(server, OWNER)):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        until_done(lambda: db.execute("ALTER COLLECTION c COMPACT"))
        assert states(db) == ["sealed"]
        assert stored_ids(db) == list(range(13 * BATCH))
        assert_only_what_is_shown(server, db)
    server.stop()


def test_a_folder_that_cannot_be_written_fails_loudly(server: Server) -> None:
    with client_on(server, OTHER) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2")
        in_the_way = folder(server) / "segments"
        in_the_way.write_text("no folder")
        db.insert("c", *rows(0))
        for _ in range(2):
            with pytest.raises(reddb.RedDBError, match=r"CORRUPT_DATA: .*is a file, where a folder belongs"):
                db.execute("ALTER COLLECTION c SEAL")
        assert str(in_the_way) in server.stderr()
        db.insert("c", *rows(1))
        check_rows(db, 2)
    server.stop()
    in_the_way.unlink()
    server.start()
    with reddb.connect(server.url) as db:
        until_done(lambda: db.execute("ALTER COLLECTION c SEAL"))
        assert set(states(db)) == {"sealed"}
        check_rows(db, 2)
    server.stop()
