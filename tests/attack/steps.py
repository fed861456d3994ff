"""The costliest requests within the limits, one by one, against a server of one core: how long nobody else had a turn.

    python -m tests.attack.steps [NAME …]      prints a table; the cases whose names contain one of the words

A second connection sends one ping after the other. `longest` is the most time that passed between a ping and its
answer, `cpu` the most processor time that the core spent meanwhile, which other processes of the machine do not add to.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgpack
import numpy as np

import reddb
from reddb import limits
from reddb.rows import PayloadColumn, RowBatch
from reddb.wire.connection import encode
from reddb.wire.frames import encode_frame
from reddb.wire.messages import Failure, Get, Message, Ping, Query, Search, Upsert
from tests.server.harness import Peer, Server

AIM_MS = 20
ROWS, DIM = 60_000, 32
WIDE_ROWS = 64
ANSWER_S = 60.0

_random = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """One request: a message, or the bytes of a frame."""

    name: str
    request: Callable[[], Message | bytes]


def select(text: str, *parameters: Any) -> Callable[[], Message]:
    return lambda: Query(text, list(parameters))


def search(queries: int, k: int, *, payloads: bool = False, ef: int | None = None, where: str | None = None) -> Search:
    vectors = _random.standard_normal((queries, DIM)).astype(np.float32).tobytes()
    return Search("many", DIM, vectors, k, ef, False, payloads, False, where, [], None, False)


def ids_batch(count: int) -> bytes:
    return b"".join(RowBatch(np.arange(count), np.empty((count, 0), np.float32)).encode())


def wide_upsert() -> Upsert:
    """As many rows as a batch has, of as many keys as fit a frame."""
    rows, keys = limits.BATCH_ROWS_MAX, 100
    payload = msgpack.packb({f"key_{number:03}": number for number in range(keys)})
    column = PayloadColumn(np.full(rows, len(payload), np.uint32), memoryview(payload * rows))
    ids = np.arange(rows) + 10_000_000
    return Upsert("sink", b"".join(RowBatch(ids, np.zeros((rows, 2), np.float32) + 1, column).encode()))


PATTERNS = " OR ".join(f"title ILIKE '%{number}_x%y{number}%'" for number in range(250))
CONCAT = ", ".join(["body"] * 300)

CASES = [
    Case("SHOW SETTINGS LIKE, 15 pairs", select("SHOW SETTINGS LIKE '" + "%_" * 15 + "ü'")),
    Case("250 ORed ILIKE", select(f"SELECT count(*) FROM many WHERE {PATTERNS}")),
    Case("LIKE, long texts", select("SELECT count(*) FROM wide WHERE body LIKE $1", "%a" + "_" * 250 + "c%")),
    Case("search, 250 ORed ILIKE", lambda: search(1, 10, where=PATTERNS)),
    Case("IN, 8 million numbers", select("SELECT id FROM many WHERE n IN $1", list(range(8_000_000)))),
    Case(
        "IN, as many as may be", select("SELECT count(*) FROM many WHERE n IN $1", list(range(limits.LIST_ITEMS_MAX)))
    ),
    Case("16 million unused values", lambda: encode_frame(3, 1, msgpack.packb(["SHOW COLLECTIONS", [1] * 16_000_000]))),
    Case("values, as many as may be", select("SELECT $1", [1] * (limits.PARAMETER_ITEMS_MAX - 8))),
    Case("Get, 25 million ids", lambda: Get("many", ids_batch(25_000_000), True)),
    Case("Get, a full batch of ids", lambda: Get("many", ids_batch(limits.BATCH_ROWS_MAX), True)),
    Case("search, 1,000 × k 10,000", lambda: search(1_000, 10_000, payloads=True)),
    Case("search, 100 × k 10,000", lambda: search(100, 10_000, payloads=True)),
    Case("search, 1,000 × k 10", lambda: search(1_000, 10)),
    Case("search, ef 100,000", lambda: search(32, 100, ef=limits.EF_MAX)),
    Case("upsert, a full batch × 100 keys", wide_upsert),
    Case(
        "search after it, filtered",
        lambda: Search(
            "sink", 2, np.ones(2, np.float32).tobytes(), 10, None, False, False, False, "key_007 = 7", [], None, False
        ),
    ),
    Case("length(concat(…))", select(f"SELECT length(concat({CONCAT})) FROM wide")),
    Case("concat of long texts", select("SELECT concat(body, body, body) FROM wide")),
    Case("ORDER BY concat", select("SELECT id FROM wide ORDER BY concat(body, body) LIMIT 10")),
    Case("SELECT *, 10,000 rows", select("SELECT * FROM many LIMIT 10000")),
    Case("SELECT * of long texts", select("SELECT * FROM wide")),
    Case(
        "ORDER BY 100 keys",
        select("SELECT id FROM many ORDER BY " + ", ".join(f"n + {i}" for i in range(100)) + " LIMIT 9000"),
    ),
    Case(
        "GROUP BY, 60,000 groups",
        select("SELECT title, count(*), min(n) FROM many GROUP BY title ORDER BY title LIMIT 10"),
    ),
    Case("100 aggregates", select("SELECT " + ", ".join(f"max(n + {i})" for i in range(100)) + " FROM many")),
    Case("greatest of 500", select("SELECT max(greatest(" + ", ".join(["n", "m"] * 250) + ")) FROM many")),
    Case("CAST of every row", select("SELECT count(*) FROM many WHERE CAST(CAST(n AS TEXT) AS INT) > 5")),
    Case("1,000 additions", select("SELECT " + " + ".join(["1"] * 500))),
    Case(
        "VALUES, as many as may be",
        select("INSERT INTO sink (id, vector) VALUES " + ", ".join(f"({i}, [1, 2])" for i in range(2_000))),
    ),
    Case("UPDATE of every row", select("UPDATE many SET n = n + 1")),
    Case("UPDATE by a predicate", select("UPDATE many SET m = 1 WHERE title ILIKE '%1%2%'")),
    Case("DELETE of every row", select("DELETE FROM sink WHERE vector <-> [1, 1] < 5")),
    Case("TRUNCATE", select("TRUNCATE sink")),
]


class Pinger:
    """Pings on a connection of its own until it is told to stop; the longest of them."""

    def __init__(self, port: int, core: int) -> None:
        self.longest_s = self.cpu_s = 0.0
        self._peer = Peer(port, ANSWER_S)
        self._peer.greet()
        self._core = Path(f"/proc/{core}/task/{core}/schedstat")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ping)

    def __enter__(self) -> Pinger:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._peer.close()

    def _cpu_s(self) -> float:
        return int(self._core.read_text().split()[0]) / 1e9

    def _ping(self) -> None:
        while not self._over.is_set():
            began, cpu = time.perf_counter(), self._cpu_s()
            self._peer.request(Ping())
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            self.cpu_s = max(self.cpu_s, self._cpu_s() - cpu)


@dataclass(frozen=True)
class Measured:
    """What came of a case."""

    name: str
    outcome: str
    took_s: float
    longest_s: float
    cpu_s: float

    def __str__(self) -> str:
        times = f"{1e3 * self.took_s:>9,.0f} {1e3 * self.longest_s:>9,.1f} {1e3 * self.cpu_s:>9,.1f}"
        return f"{self.name:<34} {times}  {self.outcome}"


HEADER = f"{'request':<34} {'took ms':>9} {'longest':>9} {'cpu':>9}  outcome"


def measure(server: Server, case: Case) -> Measured:
    """Send the request and ping beside it."""
    request = case.request()
    sent = request if isinstance(request, bytes) else encode(request, 1)
    peer = Peer(server.port, ANSWER_S)
    peer.greet()
    with Pinger(server.port, server.core_pids()[0]) as pinger:
        began = time.perf_counter()
        peer.socket.sendall(sent)
        outcome, event = "connection closed", None
        try:
            while (event := peer.next()) is not None and event.more:
                pass
        except TimeoutError:
            outcome = f"no answer within {ANSWER_S:g} s"
        took = time.perf_counter() - began
    peer.close()
    outcome = outcome if event is None else type(event.message).__name__
    if event is not None and isinstance(event.message, Failure):
        outcome = event.message.name
    return Measured(case.name, outcome, took, pinger.longest_s, pinger.cpu_s)


@contextmanager
def filled_server() -> Iterator[Server]:
    """One core with a collection of many rows, one of wide rows, and one to write to."""
    with tempfile.TemporaryDirectory(prefix="reddb-steps-") as folder:
        server = Server(Path(folder) / "data", Path(folder), cores=1)
        try:
            server.start("--hung-after-s", "120")
            with reddb.connect(server.url, timeout_s=600) as db:
                _fill(db)
            yield server
        finally:
            server.close()


def _fill(db: reddb.Client) -> None:
    db.execute(f"CREATE COLLECTION many KIND vector.turbo DIM {DIM} METRIC l2")
    vectors = _random.standard_normal((ROWS, DIM)).astype(np.float32)
    db.insert("many", range(ROWS), vectors, [{"n": i, "m": -i, "title": f"a title {i}"} for i in range(ROWS)])
    db.execute("ALTER COLLECTION many SEAL")
    db.execute("CREATE COLLECTION wide KIND vector DIM 2 METRIC l2")
    bodies = ["".join(_random.choice(["a", "b"], 60_000)) for _ in range(WIDE_ROWS)]
    db.insert("wide", range(WIDE_ROWS), np.ones((WIDE_ROWS, 2), np.float32), [{"body": body} for body in bodies])
    db.execute("CREATE COLLECTION sink KIND vector DIM 2 METRIC l2")


def main(words: list[str]) -> int:
    """Print the table; 1 if anything went beyond the aim in processor time."""
    click.echo(HEADER)
    is_over = False
    with filled_server() as server:
        for case in CASES:
            if not words or any(word.lower() in case.name.lower() for word in words):
                measured = measure(server, case)
                is_over |= measured.cpu_s > AIM_MS / 1e3
                click.echo(measured)
    return int(is_over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
