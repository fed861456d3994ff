"""What an acknowledged write survives, by `durability`; and checkpoints of a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest

import reddb
from reddb.metrics import Metrics
from reddb.partition.operations import Operation
from reddb.rows import make_batch
from reddb.server.committer import Committer
from tests.engine.partitions import Opened, collection
from tests.server.conftest import NewServer
from tests.server.harness import Server, wait_for
from tests.storage.disks import MemoryDisk

DIM = 8
HEADER = 40  # bytes of a file of the log without a record
VECTORS = np.random.default_rng(1).normal(size=(3000, DIM)).astype(np.float32)


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    server = new_server(cores=2).start()
    yield server
    server.stop()


def rows_after_power_losses(opened: Opened, disk: MemoryDisk) -> set[int]:
    """How many rows a restart finds, whatever of the unsynced the disk keeps."""
    found = set()
    for seed in range(20):
        again = Opened(opened.collection, disk=disk.power_loss(Random(seed)))
        found.add(again.reader.count())
        again.close()
    return found


@pytest.mark.parametrize(
    ("durability", "at_once", "later"), [("fsync", {50}, {50}), ("flush", {0}, {50}), ("none", {0}, {0})]
)
async def test_what_a_power_cut_takes(durability, at_once, later):
    disk = MemoryDisk()
    opened = Opened(collection(dim=DIM, durability=durability, flush_interval_ms=50), disk=disk)
    with ThreadPoolExecutor(1) as pool:
        committer = Committer(opened.partition, pool, Metrics(), lambda: None)
        assert await committer.submit(Operation.INSERT, make_batch(np.arange(50), VECTORS[:50])) == 50
        assert rows_after_power_losses(opened, disk) == at_once
        async with asyncio.timeout(10):
            while rows_after_power_losses(opened, disk) != later:  # noqa: ASYNC110 - a disk tells nobody of a sync
                await asyncio.sleep(0.01)
        await committer.close()


async def test_closing_syncs_what_waits_for_its_time():
    disk = MemoryDisk()
    opened = Opened(collection(dim=DIM, durability="flush", flush_interval_ms=60_000), disk=disk)
    with ThreadPoolExecutor(1) as pool:
        committer = Committer(opened.partition, pool, Metrics(), lambda: None)
        await committer.submit(Operation.INSERT, make_batch(np.arange(50), VECTORS[:50]))
        await committer.close()
    assert rows_after_power_losses(opened, disk) == {50}


def test_durability_changes_between_fsync_and_flush(server: Server) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector DIM {DIM}")
        for row, durability in enumerate(("flush", "fsync", "flush")):
            db.execute(f"ALTER COLLECTION c SET (durability = {durability})")
            assert dict(tuple(item) for item in db.execute("SHOW COLLECTION c"))["durability"] == durability
            db.insert("c", [row], VECTORS[row : row + 1])
        with pytest.raises(reddb.RedDBError, match="not from flush to none"):
            db.execute("ALTER COLLECTION c SET (durability = none)")
    server.kill()
    server.start()
    with reddb.connect(server.url) as db:
        assert len([row for row in db.get("c", [0, 1, 2]) if row]) == 3  # a killed process loses nothing of it


@pytest.mark.parametrize("durability", ["fsync", "flush", "none"])
def test_a_checkpoint_on_demand(server: Server, durability: str) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} WITH (durability = {durability}, partitions = 2)")
        db.insert("c", np.arange(3000), VECTORS)
        wait_for(
            lambda: dict(tuple(item) for item in db.execute("SHOW COLLECTION c"))["coded rows"] > 2900, "the codes"
        )
        db.execute("ALTER COLLECTION c CHECKPOINT")
        snapshots = list(server.data.rglob("growing.tv"))
        assert len(snapshots) == (0 if durability == "none" else 2)
        db.delete("c", np.arange(10))
        db.execute("ALTER COLLECTION c SEAL")
        db.delete("c", np.arange(10, 20))
        db.execute("ALTER COLLECTION c CHECKPOINT")
        assert log_sizes(server) == [] if durability == "none" else [HEADER] * 2
    server.kill()
    server.start()
    with reddb.connect(server.url) as db:
        assert db.execute("SELECT count(*) FROM c")[0][0] == 2980


def log_sizes(server: Server) -> list[int]:
    return [path.stat().st_size for path in server.data.rglob("*.wal")]


def test_checkpoints_are_written_by_themselves(server: Server) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} WITH (checkpoint_s = 1)")
        db.insert("c", np.arange(3000), VECTORS)
        wait_for(lambda: list(server.data.rglob("growing.tv")), "a snapshot of the codes")
        db.execute("ALTER COLLECTION c SEAL")
        db.delete("c", [1])
        wait_for(lambda: log_sizes(server) == [HEADER], "the end of the log")
