"""Threads, tasks and forks hammer one client: each asks for what it alone knows, and every answer must be its own.

The oracle of a worker is a dict of its own rows: nobody else writes them, so whatever else goes on, a read gives just
what its own writes, commits and rollbacks have left.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import reddb
from tests.client.conftest import AwaitedClient
from tests.server.harness import Server

ROWS = 1000  # ids of a worker
STEPS = 25
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


class Deliberate(Exception):
    """Ends a transaction."""


class Worker:
    """One user of a client that others use, too; its numbers tell its rows and values from all others'."""

    def __init__(self, db: Any, number: int) -> None:
        self._db = db
        self._random = Random(number)
        self._first = number * ROWS
        self._rows: dict[int, int] = {}

    def run(self) -> None:
        """Raises at the first answer that is another's."""
        for _ in range(STEPS):
            self._random.choice([self._write, self._transact, self._search, self._get, self._count])()
        self._get()

    def _write(self) -> None:
        rows = self._new_rows()
        assert self._upsert(self._db, rows) == len(rows)
        self._rows |= rows

    def _transact(self) -> None:
        rows = self._new_rows()
        gone = self._random.choice(list(self._rows or {self._first: 0}))
        is_kept = self._random.random() < 0.5
        try:
            with self._db.transaction() as tx:
                tx.execute("DELETE FROM hammer WHERE id = $1", [gone])
                self._upsert(tx, rows)
                self._get()  # by the shared client, as if nothing had begun
                if not is_kept:
                    raise Deliberate
        except Deliberate:
            return
        self._rows.pop(gone, None)
        self._rows |= rows

    def _search(self) -> None:
        if self._rows:
            wanted = self._random.choice(list(self._rows))
            (hit,) = self._db.search("hammer", [wanted, 0], k=1, where="n = :n", params={"n": self._rows[wanted]})
            assert (hit.id, hit.payload) == (wanted, {"n": self._rows[wanted]})

    def _get(self) -> None:
        ids = [self._first + place for place in range(12)]
        assert [row and row.payload["n"] for row in self._db.get("hammer", ids)] == [self._rows.get(i) for i in ids]

    def _count(self) -> None:
        own = "id >= $1 AND id < $2"
        ((count,),) = self._db.execute(f"SELECT count(*) FROM hammer WHERE {own}", [self._first, self._first + ROWS])
        assert count == len(self._rows)

    def _new_rows(self) -> dict[int, int]:
        ids = self._random.sample(range(self._first, self._first + 12), self._random.randint(1, 3))
        return {row_id: self._random.randrange(10**6) for row_id in ids}

    def _upsert(self, db: Any, rows: dict[int, int]) -> int:
        return int(db.upsert("hammer", list(rows), [[i, 0] for i in rows], [{"n": n} for n in rows.values()]))


def in_threads(workers: list[Worker]) -> list[str]:
    """What went wrong in any of them."""
    told: list[str] = []

    def run(worker: Worker) -> None:
        try:
            worker.run()
        except BaseException:
            told.append(traceback.format_exc())

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def forked(work: Callable[[], list[str]]) -> int:
    """The id of a process that does this, and ends with 0 if nothing went wrong."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            told = work()
            os.write(2, "\n".join(told).encode())
            code = bool(told)
        finally:
            os._exit(code)
    return pid


def create(db: Any) -> None:
    db.execute("CREATE COLLECTION hammer KIND vector DIM 2 METRIC l2 FIELDS (n INT)")


@pytest.fixture
def hammered(server: Server) -> Any:
    """A shared client with an empty collection."""
    with reddb.connect(server.url) as db:
        create(db)
        yield db
        db.execute("DROP COLLECTION hammer")


def test_threads_and_forks_of_one_client(hammered: reddb.Client) -> None:
    hammered.ping()  # it has a connection, which the children inherit
    busy = threading.Thread(target=lambda: told.extend(in_threads([Worker(hammered, n) for n in range(4)])))
    told: list[str] = []
    busy.start()
    pids = [
        forked(lambda first=first: in_threads([Worker(hammered, first + n) for n in range(3)])) for first in (10, 20)
    ]
    busy.join()
    assert told == []
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]


def test_threads_of_one_embedded_database(tmp_path: Path) -> None:
    with reddb.connect(f"file:{tmp_path}") as db:
        create(db)
        workers = [Worker(db, n) for n in range(6)]
        assert in_threads(workers) == []


class Waiting(AwaitedClient):
    """For a worker in a thread: each call runs as a task of one loop, beside those of all other workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Any) -> None:
        self._runner: Any = self
        self._loop = loop
        self._client = client
        self._ends_runner = False

    def run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(60)

    def _with(self, client: Any) -> Waiting:
        return Waiting(self._loop, client)


def test_tasks_and_loops_of_one_asynchronous_client(hammered: reddb.Client, server: Server) -> None:
    """Two loops in threads, four workers in each: their requests are pipelined on the connection of their loop."""
    db = reddb.aio.connect(server.url)

    async def work(first: int) -> list[str]:
        loop = asyncio.get_running_loop()
        workers = [Worker(Waiting(loop, db), first + n) for n in range(4)]
        return await asyncio.to_thread(in_threads, workers)

    told: list[list[str]] = []
    threads = [threading.Thread(target=lambda first=first: told.append(asyncio.run(work(first)))) for first in (30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [[], []]
