"""What was acknowledged is there after any end of the server, and one process at a time holds the data folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb.client.demo.sample import load
from tests.server.conftest import NewServer
from tests.server.harness import client_on, is_alive, until_done, wait_for

SAMPLE = load()
QUERIES = [vector for _, vector in SAMPLE.queries]


def fill(db: reddb.Client) -> None:
    """Two collections with every kind of write behind them, and one that is gone."""
    db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384 WITH (oversample = 12)")
    db.execute("CREATE COLLECTION gone KIND vector.turbo DIM 2")
    db.execute("CREATE COLLECTION few KIND vector.turbo DIM 2 METRIC l2 WITH (bits = 2)")
    for start in range(0, 1000, 100):
        part = slice(start, start + 100)
        db.insert("docs", SAMPLE.ids[part], SAMPLE.vectors[part], SAMPLE.payloads[part])
    db.delete("docs", SAMPLE.ids[500:600])
    db.upsert("docs", SAMPLE.ids[:10], SAMPLE.vectors[1000:1010], [{"text": "new"}] * 10)
    db.insert("few", [1, "two"], [[1, 0], [2, 0]], [None, {"a": [1, None]}])
    db.insert("gone", [1], [[1, 1]])
    db.execute("DROP COLLECTION gone")


def contents(db: reddb.Client) -> dict[str, object]:
    """All that a client can see, as one comparable value."""
    seen: dict[str, object] = {"collections": list(db.execute("SHOW COLLECTIONS"))}
    for name in ("docs", "few"):
        seen[f"{name} properties"] = list(db.execute(f"SHOW COLLECTION {name}"))
        rows = db.execute(f"SELECT * FROM {name} LIMIT 10000")
        seen[f"{name} rows"] = [(row[0], row[1].tobytes(), *row[2:]) for row in rows]
    for number, query in enumerate(QUERIES):
        hits = db.search("docs", query, k=10, exact=True)
        seen[f"query {number}"] = (hits.ids, hits.distances.tolist(), hits.payloads)
    return seen


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL"])
def test_everything_is_there_again(new_server: NewServer, ending: str) -> None:
    server = new_server(cores=2).start()
    with reddb.connect(server.url) as db:
        fill(db)
        before = contents(db)
    assert [(row[0], row[4]) for row in before["collections"]] == [("docs", 900), ("few", 2)]
    for cores in (3, 1):
        server.stop() if ending == "SIGTERM" else server.kill()
        server.cores = cores
        server.start()
        assert len(server.core_pids()) == cores
        with reddb.connect(server.url) as db:
            # Rows may still be on their way into memory, which a client waits for by itself, and SHOW does not.
            db.ping()
            assert db.search("docs", SAMPLE.vectors[0], k=1).ids
            assert db.search("few", [1, 0], k=1).ids == [1]
            assert contents(db) == before
    with reddb.connect(server.url) as db:
        assert db.insert("docs", SAMPLE.ids[500:600], SAMPLE.vectors[500:600]) == 100
        db.execute("CREATE COLLECTION gone KIND vector.turbo DIM 3")
        assert db.execute("SELECT count(*) FROM gone")[0] == (0,)
    server.stop()


def test_server_and_embedded_open_what_the_other_wrote(new_server: NewServer) -> None:
    server = new_server().start()
    with reddb.connect(server.url) as db:
        fill(db)
        before = contents(db)
        with pytest.raises(reddb.RedDBError) as caught:
            reddb.connect(f"file:{server.data}")
        assert caught.value.name == "DATA_IN_USE"
        assert f"pid {server.pid}" in caught.value.message
    server.stop()
    with reddb.connect(f"file:{server.data}") as db:
        assert contents(db) == before
        db.execute("CREATE COLLECTION embedded KIND vector.turbo DIM 2")
        db.insert("embedded", ["a"], [[3, 4]], [{"from": "embedded"}])
        db.delete("docs", SAMPLE.ids[:5])
        other = new_server()
        assert other.spawn().wait(15) == 1
        assert f"pid {os.getpid()}" in other.stderr()
    server.start()
    with reddb.connect(server.url) as db:
        assert db.get("embedded", "a")[0].payload == {"from": "embedded"}
        assert db.execute("SELECT count(*) FROM docs")[0] == (895,)
    server.stop()


def test_a_second_server_is_refused_and_disturbs_nothing(new_server: NewServer) -> None:
    first = new_server().start()
    with reddb.connect(first.url) as db:
        fill(db)
        before = contents(db)
        second = new_server(cores=1)
        assert second.spawn().wait(15) == 1
        assert "DATA_IN_USE" in second.stderr()
        assert f"pid {first.pid}" in second.stderr()
        assert "Traceback" not in second.stderr()
        assert contents(db) == before
    first.stop()


def test_cores_end_with_their_supervisor(new_server: NewServer) -> None:
    server = new_server().start()
    with reddb.connect(server.url) as db:
        fill(db)
        before = contents(db)
    cores = server.core_pids().values()
    assert len(cores) == 2
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait_exit() == -signal.SIGKILL
    wait_for(lambda: not any(map(is_alive, cores)), "the end of the cores", 5)
    # The lock goes with the last of them, so at once a new server may start.
    server.start()
    with reddb.connect(server.url) as db:
        until_done(lambda: db.search("docs", QUERIES[0], k=1))
        until_done(lambda: db.search("few", [1, 0], k=1))
        assert contents(db) == before
    server.stop()


def test_an_orphaned_core_keeps_the_folder_locked(new_server: NewServer) -> None:
    """A halted core cannot be told that its supervisor died, only killed; until then nobody else may write."""
    server = new_server().start()
    cores = server.core_pids()
    os.kill(cores[1], signal.SIGSTOP)
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait_exit() == -signal.SIGKILL
    wait_for(lambda: not any(map(is_alive, cores.values())), "the end of the cores, the halted one too", 5)
    with reddb.connect(f"file:{server.data}") as db:
        assert list(db.execute("SHOW COLLECTIONS")) == []


def test_a_damaged_collection_is_refused_by_name(new_server: NewServer) -> None:
    server = new_server().start()
    with reddb.connect(server.url) as db:
        fill(db)
    server.stop()
    (log,) = sorted(Path(server.data / "collections" / "1" / "0" / "wal").iterdir())
    content = bytearray(log.read_bytes())
    content[len(content) // 8] ^= 0x10
    log.write_bytes(content)
    server.start()
    with reddb.connect(server.url) as one, reddb.connect(server.url) as other:
        for db in (one, other):
            with pytest.raises(reddb.RedDBError) as caught:
                db.search("docs", QUERIES[0])
            assert (caught.value.name, caught.value.retryable) == ("CORRUPT_DATA", False)
            assert log.name in caught.value.message
            with pytest.raises(reddb.RedDBError, match="CORRUPT_DATA"):
                db.insert("docs", [1], np.zeros((1, 384)))
            assert db.search("few", [1, 0], k=1).ids == [1]
        assert log.read_bytes() == content, "nothing touches a damaged file"
    # A core that starts later learns of it, too: the owner by trying, the other because it is told.
    for core in (1, 0):
        server.wait_core_restarted(core, server.kill_core(core))
        with client_on(server, core) as db, pytest.raises(reddb.RedDBError, match="CORRUPT_DATA"):
            until_done(lambda db=db: db.search("docs", QUERIES[0]), seconds=5)
    with client_on(server, 0) as one, client_on(server, 1) as other:
        one.execute("DROP COLLECTION docs")
        assert [row[0] for row in other.execute("SHOW COLLECTIONS")] == ["few"]
    server.stop()
