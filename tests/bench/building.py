"""How long a builder takes for 100,000 x 384 against faiss alone, and what searches on the other core feel of it.

The time is from ALTER COLLECTION … SEAL until every segment has its graph: writing and checking files, building,
measuring and publishing. faiss builds graphs of the same sizes with the same settings and one thread, as the builder.
"""

from __future__ import annotations

import threading
import time

import numpy as np

import reddb
from reddb.index.hnsw import Codes, build
from reddb.settings import resolve
from tests.bench.common import Server, datasets, insert_all, server, wait_coded
from tests.server.harness import Peer

_ROWS = 100_000
_SMALL_ROWS = 20_000
_IDLE_SEARCHES = 3_000


def run() -> None:
    """Print the ratio of the times, and of the 99th percentiles."""
    data = datasets()[0]
    base = data.base[:_ROWS]
    with server(cores=2) as running, reddb.connect(running.url, timeout_s=900) as database:
        # Collection 1 belongs to core 1, collection 2 to core 0.
        database.execute(f"CREATE COLLECTION large KIND vector DIM {base.shape[1]} WITH (seal_idle_s = 0)")
        database.execute(f"CREATE COLLECTION small KIND vector.turbo DIM {base.shape[1]} WITH (seal_idle_s = 0)")
        insert_all(database, "small", base[:_SMALL_ROWS])
        wait_coded(database, "small")
        other = _client_on(running, 0)
        idle_ms = _latencies(other, data.queries, lambda: False)
        insert_all(database, "large", base)
        began = time.monotonic()
        done = threading.Event()
        sealing = threading.Thread(target=_settle, args=(database, done))
        sealing.start()
        busy_ms = _latencies(other, data.queries, done.is_set)
        sealing.join()
        took_s = time.monotonic() - began
        sizes = [row[4] for row in database.execute("SHOW SEGMENTS FOR large")]
        other.close()
    faiss_s = _faiss_seconds(base, sizes)
    idle, busy = (float(np.percentile(values, 99)) for values in (idle_ms, busy_ms))
    print(
        f"building {took_s / faiss_s:.2f} x faiss alone, p99 of searches meanwhile {busy / idle:.2f} x idle  "
        f"{len(base):,} x {base.shape[1]} in segments of {sizes}: {took_s:.1f} s against {faiss_s:.1f} s; "
        f"p99 {busy:.2f} ms against {idle:.2f} ms on the core that does not own the rows, {len(busy_ms):,} searches"
    )


def _settle(database: reddb.Client, done: threading.Event) -> None:
    database.execute("ALTER COLLECTION large SEAL")
    while any(row[2] != "sealed" for row in database.execute("SHOW SEGMENTS FOR large")):
        time.sleep(0.05)
    done.set()


def _latencies(database: reddb.Client, queries: np.ndarray, is_done: object) -> list[float]:
    """Milliseconds of each of many searches, one after the other."""
    found: list[float] = []
    assert callable(is_done)
    while len(found) < _IDLE_SEARCHES or not (is_done() or is_done.__name__ == "<lambda>"):
        began = time.perf_counter()
        database.search("small", queries[len(found) % len(queries)], k=10)
        found.append(1000 * (time.perf_counter() - began))
    return found


def _client_on(running: Server, core: int) -> reddb.Client:
    """A client whose connection core `core` serves: the supervisor evens them out, so soon there is one."""
    rejected: list[Peer] = []
    while True:
        peer = Peer(int(running.url.rpartition(":")[2]))
        if peer.greet() == core:
            return reddb.Client(peer, None)
        rejected.append(peer)  # closed, it would be the next one's place


def _faiss_seconds(base: np.ndarray, sizes: list[int]) -> float:
    settings = resolve({}, base.shape[1])
    began = time.monotonic()
    first = 0
    for size in sizes:
        build(
            base[first : first + size],
            by_l2=False,
            codes=Codes.SQ8,
            m=int(settings["m"]),
            m0=int(settings["m0"]),
            ef_construction=int(settings["ef_construction"]),
            threads=1,
        )
        first += size
    return time.monotonic() - began
