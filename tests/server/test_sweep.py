"""Rows that have expired are deleted beside everything else, and stay gone through kills."""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import reddb
from reddb.metrics import Metrics
from reddb.partition.operations import Operation
from reddb.partition.sweep import SWEEP_ROWS_MAX
from reddb.rows import make_batch
from reddb.server import sweeper
from reddb.server.committer import Committer
from reddb.server.sweeper import Sweeper
from tests.engine.lives import EPOCH, START_US
from tests.engine.partitions import Opened, collection
from tests.server.conftest import NewServer
from tests.server.harness import wait_for
from tests.storage.disks import MemoryDisk

DIM = 4
ROWS = 2 * SWEEP_ROWS_MAX + 500
VECTORS = np.random.default_rng(1).normal(size=(ROWS, DIM)).astype(np.float32)
PAST = datetime(2001, 1, 1, tzinfo=UTC)


def test_expired_rows_are_swept_and_stay_gone(new_server: NewServer) -> None:
    server = new_server(cores=2).start()
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} WITH (partitions = 2)")
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        db.insert("c", range(ROWS), VECTORS, [{"expires_at": PAST if n % 2 else soon} for n in range(ROWS)])
        db.insert("c", [-1], VECTORS[:1])

        def is_swept() -> bool:
            shown = list(db.execute("SHOW SEGMENTS FOR c"))
            return sum(row[5] for row in shown) == 1 and not any(row[-1] for row in shown)

        wait_for(is_swept, "the sweep", 20)
        assert db.execute("SELECT count(*) FROM c")[0][0] == 1
    server.kill()
    server.start()
    with reddb.connect(server.url) as db:
        assert db.execute("SELECT count(*) FROM c")[0][0] == 1
        assert [row[0] for row in db.execute("SELECT id FROM c LIMIT 9")] == [-1]
        db.execute("ALTER COLLECTION c COMPACT")
        assert sum(row[4] for row in db.execute("SHOW SEGMENTS FOR c")) == 1
    server.stop()


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_PAUSE_S", 0.01)


async def test_a_sweep_that_fails_is_made_again() -> None:
    disk = MemoryDisk()
    now_us = START_US
    opened = Opened(collection(dim=DIM), disk=disk, now_us=lambda: now_us)
    with ThreadPoolExecutor(1) as pool:
        committer = Committer(opened.partition, pool, Metrics(), lambda: sweeping.wake())
        sweeping = Sweeper(committer)
        instant = EPOCH + timedelta(microseconds=START_US + 1000)
        batch = make_batch(np.arange(100), VECTORS[:100], [{"expires_at": instant}] * 100)
        await committer.submit(Operation.INSERT, batch)
        await committer.submit(Operation.INSERT, make_batch([1000], VECTORS[:1]))
        (segment,) = opened.partition.segments
        assert not segment.tombstones.count
        disk.fail_next("write", errno.ENOSPC)
        now_us += 1000
        sweeping.wake()
        async with asyncio.timeout(10):
            while segment.tombstones.count < 100:  # noqa: ASYNC110 - nobody is told of a sweep
                await asyncio.sleep(0.01)
        assert segment.tombstones.count == 100
        assert opened.reader.count() == 1
        await sweeping.close()
        await committer.close()
