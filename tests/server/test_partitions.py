"""Partitions on several cores: writers that cross each other, and a core that dies while it is held."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

import reddb
from reddb.partition.placement import partition_of
from tests.server.conftest import NewServer
from tests.server.harness import Server, client_on, until_done, wait_for

CORES, PARTITIONS, DIM, BATCH = 2, 4, 8, 40


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    """Two cores, and the collection `c` in four partitions: two on each core."""
    server = new_server(cores=CORES).start()
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2 WITH (partitions = {PARTITIONS})")
    yield server
    server.stop()


def batch(number: int, value: int) -> tuple[list[int], np.ndarray, list[dict[str, int]]]:
    """Rows in every partition, all with this value."""
    ids = list(range(number * BATCH, (number + 1) * BATCH))
    return ids, np.full((BATCH, DIM), value, np.float32), [{"value": value}] * BATCH


def values(db: reddb.Client, number: int) -> set[int | None]:
    rows = db.get("c", batch(number, 0)[0])
    return {None if row is None else row.payload["value"] for row in rows}


def test_each_batch_of_these_tests_has_rows_in_every_partition():
    for number in range(10):
        assert set(partition_of(np.array(batch(number, 0)[0]), PARTITIONS).tolist()) == set(range(PARTITIONS))


def test_writers_of_the_same_rows_neither_block_nor_mix(server: Server) -> None:
    """Upserts of whole batches from both cores: the last one wins with all of its rows, or none."""
    errors: list[BaseException] = []

    def write(core: int, first: int) -> None:
        try:
            with client_on(server, core) as db:
                for value in range(first, first + 60):
                    assert db.upsert("c", *batch(value % 3, value)) == BATCH
                    if value % 10 == 0:
                        db.execute("UPDATE c SET seen = TRUE WHERE value >= 0")
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(n % CORES, 1000 * n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    with reddb.connect(server.url) as db:
        last = {writer * 1000 + value for writer in range(4) for value in range(57, 60)}
        for number in range(3):
            found = values(db, number)
            assert len(found) == 1, f"batch {number} is a mixture of {found}"
            assert found < last
        assert db.execute("SELECT count(*) FROM c")[0][0] == 3 * BATCH


class Writer(threading.Thread):
    """Upserts one batch after another over connections to one core, and notes what was acknowledged and what failed."""

    def __init__(self, server: Server, core: int, first: int) -> None:
        super().__init__()
        self.acknowledged: list[int] = []
        self.failures: list[reddb.RedDBError] = []
        self.stop = threading.Event()
        self._server, self._core, self._number = server, core, first

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with client_on(self._server, self._core) as db:
                    self._write(db)
            except reddb.RedDBError as error:
                self.failures.append(error)

    def _write(self, db: reddb.Client) -> None:
        while not self.stop.is_set():
            self._number += 1
            db.upsert("c", *batch(self._number, self._number))
            self.acknowledged.append(self._number)


def test_a_dead_core_holds_nobody(server: Server) -> None:
    """Kill each core in turn under writers on both: all writes go on when it is back, and nothing is missing."""
    writers = [Writer(server, n % CORES, 10_000 * n) for n in range(4)]
    for writer in writers:
        writer.start()
    for core in (1, 0, 1):
        server.wait_core_restarted(core, server.kill_core(core))
        goals = [len(writer.acknowledged) + 5 for writer in writers]
        wait_for(
            lambda goals=goals: all(len(w.acknowledged) >= goal for w, goal in zip(writers, goals, strict=True)),
            f"every writer, after core {core} died",
        )
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join()
    with reddb.connect(server.url) as db:
        for writer in writers:
            assert all(error.retryable for error in writer.failures), writer.failures
            for first in range(0, len(writer.acknowledged), 100):
                numbers = writer.acknowledged[first : first + 100]
                rows = db.get("c", [row_id for number in numbers for row_id in batch(number, 0)[0]])
                assert [row and row.payload["value"] for row in rows] == [n for n in numbers for _ in range(BATCH)]


def test_partitions_go_to_their_new_owners_when_the_cores_change(server: Server) -> None:
    with reddb.connect(server.url) as db:
        for number in range(5):
            db.insert("c", *batch(number, number))
    for cores in (1, 3, 2):
        server.stop()
        server.cores = cores
        server.start()
        with reddb.connect(server.url) as db:
            assert [until_done(lambda number=number: values(db, number)) for number in range(5)] == [
                {number} for number in range(5)
            ]
            until_done(lambda cores=cores, db=db: db.upsert("c", *batch(4 + cores, 4 + cores)))
