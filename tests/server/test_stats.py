"""SHOW STATS, and what is said of a partition that is still being recovered."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reddb
from reddb import errors
from reddb.accountant import Accountant
from reddb.disk import OsDisk
from reddb.metrics import Metrics
from reddb.partition.filters import FilterCache
from reddb.server.partitions import PartitionKey, Partitions
from reddb.server.workshop import BuilderLink
from reddb.storage.folder import partition_folder
from reddb.storage.manifest import begin_partition
from tests.engine.partitions import Opened, collection
from tests.server.conftest import NewServer

EMPTY_LOG_BYTES = 40  # the header of the newest file, which stays
DIM = 8
VECTORS = np.random.default_rng(2).normal(size=(2000, DIM)).astype(np.float32)


def stats(db: reddb.Client, name: str) -> list[dict[str, Any]]:
    table = db.execute(f"SHOW STATS FOR {name}")
    return [dict(zip(table.columns, row, strict=True)) for row in table]


@pytest.mark.parametrize("face", ["server", "embedded"])
def test_every_partition_has_a_row(new_server: NewServer, tmp_path, face):
    server = new_server(cores=2).start() if face == "server" else None
    with reddb.connect(server.url if server else f"file:{tmp_path / 'data'}") as db:
        db.execute(f"CREATE COLLECTION c KIND vector DIM {DIM} WITH (partitions = 3)")
        for first in range(0, 2000, 500):
            db.insert("c", np.arange(first, first + 500), VECTORS[first : first + 500])
        before = stats(db, "c")
        assert [row["partition"] for row in before] == [0, 1, 2]
        assert [row["core"] for row in before] == ([1, 0, 1] if server else [None] * 3)  # the first collection is 1
        assert {row["state"] for row in before} == {"ready"}
        assert sum(row["rows"] for row in before) == sum(row["growing_rows"] for row in before) == 2000
        for row in before:
            assert (row["lsn"], row["sealed_lsn"], row["checkpoint_lsn"], row["caches_refused"]) == (4, 0, 0, 0)
            assert row["log_bytes"] > row["rows"] * DIM * 4
        db.execute("ALTER COLLECTION c SEAL")
        db.delete("c", np.arange(100))
        db.execute("ALTER COLLECTION c CHECKPOINT")
        for row in stats(db, "c"):
            assert (row["lsn"], row["sealed_lsn"]) == (5, 5)
            assert (row["growing_rows"], row["segments"], row["log_bytes"]) == (0, 1, EMPTY_LOG_BYTES)
            assert row["checkpoint_lsn"] == 5
    if server:
        server.stop()


class SlowDisk(OsDisk):
    """Reads a log only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = threading.Event()

    def map_file(self, path: Path) -> memoryview:
        if path.suffix == ".wal":
            self.may_read.wait(30)
        return super().map_file(path)


async def test_what_becomes_writable_while_all_is_closed_is_closed_too(tmp_path):
    """The supervisor's word may come at any moment of a stop."""
    disk, told = OsDisk(), []
    lock = disk.lock(tmp_path, "me")

    async def ask(question: dict[str, Any]) -> None:
        """Nobody needs to be asked."""

    builder = BuilderLink(0, lock, 0, lambda: ask({}), lambda: None)
    filters = FilterCache(Accountant()["filters"])

    def send(message: dict[str, Any], descriptor: int | None) -> None:
        told.append(message["type"])

    owner = Partitions(0, 1, tmp_path, disk, lambda: 7, builder, send, ask, None, Metrics(), filters)
    keys = [PartitionKey(number, 0) for number in (1, 2, 3)]
    for key in keys:
        of = replace(collection(dim=DIM), id=key.collection, name=f"c{key.collection}")
        begin_partition(disk, partition_folder(tmp_path, of.id, 0), of, 0, 7)
        owner.add(of)
    async with asyncio.timeout(10):
        while told.count("opened") < len(keys):  # noqa: ASYNC110 - what is sent goes to nobody here
            await asyncio.sleep(0.01)
    owner.set_writable(keys[0])
    closing = asyncio.create_task(owner.close())
    await asyncio.sleep(0)
    for key in keys[1:]:
        owner.set_writable(key)
    await closing
    assert list(owner.owned_readers()) == []


async def test_a_recovering_partition_says_how_far_it_is(tmp_path):
    """Asked of its owner, and of another core that was told by it."""
    of = collection(dim=DIM)
    opened = Opened(of, partition_folder(tmp_path, of.id, 0))
    opened.insert(np.arange(2000), VECTORS)
    opened.close()
    disk, told = SlowDisk(), []
    lock = disk.lock(tmp_path, "me")

    async def ask(question: dict[str, Any]) -> None:
        """Nobody needs to be asked."""

    def partitions(core: int, send: Any) -> Partitions:
        builder = BuilderLink(core, lock, 0, lambda: ask({}), lambda: None)
        filters = FilterCache(Accountant()["filters"])
        return Partitions(core, 2, tmp_path, disk, lambda: 7, builder, send, ask, None, Metrics(), filters)

    other = partitions(0, lambda message, descriptor: None)
    owner = partitions(1, lambda message, descriptor: told.append(message))
    other.add(of)
    with pytest.raises(errors.RedDBError, match="partition 0 is waiting for its core"):
        await other.reader(of)
    owner.add(of)
    other.set_progress(PartitionKey(1, 0), 0)  # as the supervisor passes it on
    for each in (owner, other):
        with pytest.raises(errors.RedDBError, match=r"partition 0 is recovering, \d+ % of its log read") as caught:
            await each.reader(of)
        assert caught.value.code is errors.NOT_READY
        assert each.states(of) == [(1, "recovering, 0 % of its log read", None)]
    assert {"type": "recovering", "partition": [1, 0], "percent": 0} in told
    disk.may_read.set()
    async with asyncio.timeout(10):
        while told[-1]["type"] != "opened":  # noqa: ASYNC110 - what is sent goes to nobody here
            await asyncio.sleep(0.01)
    assert (await owner.reader(of)).count() == 2000
    assert [(core, state) for core, state, _ in owner.states(of)] == [(1, "ready")]
    await owner.close()
    await other.close()
