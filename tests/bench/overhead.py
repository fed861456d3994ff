"""Processor time of one search through the server against the same faiss call and re-rank in a process of its own.

One connection, one search at a time, 20,000 x 384. In-process the two follow each other for query after query, as in
the server: alone in a loop the faiss call would have the cache to itself; and the rows lie in shared memory, as in
the server: its small pages cost the re-rank address look-ups that private memory does not. The second ratio compares
with the same calls made as a server makes them, each after a short sleep: a processor that slept has lost part of its
caches. The split shows where the server's time goes: wire and rotation are timed in this process, the rest (event
loop, system calls, bookkeeping) is what is left.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable

import faiss
import numpy as np

import reddb
from reddb.index.metrics import Distances, inverse_norms
from reddb.index.turbo import TurboCodec, TurboIndex
from reddb.requests import search_of
from reddb.rows import make_batch
from reddb.settings import resolve
from reddb.types import Collection, Kind, Metric
from reddb.wire.connection import WireConnection, encode
from reddb.wire.messages import Hits, Search
from tests.bench.common import datasets, processor_seconds, server, wait_coded

_ROWS = 20_000
_SEARCHES = 3_000
_ROUNDS = 3
_K = 10
_PAUSE_S = 0.0002  # about what a client needs between two searches


def run() -> None:
    """Print the ratio and the split, in microseconds of processor time per search."""
    data = datasets()[0]
    base, queries = np.resize(data.base, (_ROWS, data.base.shape[1])), data.queries
    faiss.omp_set_num_threads(1)  # as in a core
    codec = TurboCodec(base.shape[1], bits=2)
    in_process = _in_process(codec, base, queries)
    rounds = [(*in_process(0.0), sum(in_process(_PAUSE_S)), _through_server(base, queries)) for _ in range(_ROUNDS)]
    faiss_us, rerank_us, woken_us, server_us = (float(np.median(column)) for column in zip(*rounds, strict=True))
    wire_us = _time(_wire(queries))
    rotation_us = _time(lambda number: codec.rotation.apply(queries[number % len(queries)][None]))
    rest_us = server_us - faiss_us - rerank_us - wire_us - rotation_us
    print(
        f"overhead {server_us / (faiss_us + rerank_us):.2f} ({server_us / woken_us:.2f} of woken calls)  "
        f"server {server_us:.0f} us a search against "
        f"{faiss_us + rerank_us:.0f} us in-process: faiss {faiss_us:.0f}, re-rank {rerank_us:.0f}; in the server also "
        f"rotation {rotation_us:.0f}, wire {wire_us:.0f}, loop and bookkeeping {rest_us:.0f}; "
        f"{_ROWS:,} x {base.shape[1]}, k = {_K}"
    )


def _time(call: Callable[[int], object]) -> float:
    for number in range(200):
        call(number)
    began = time.process_time()
    for number in range(_SEARCHES):
        call(number)
    return (time.process_time() - began) / _SEARCHES * 1e6


def _in_process(codec: TurboCodec, base: np.ndarray, queries: np.ndarray) -> Callable[[float], tuple[float, float]]:
    """A function that searches many times, with pauses, and gives the microseconds of faiss and of the re-rank."""
    shared = np.frombuffer(mmap.mmap(-1, base.nbytes), np.float32).reshape(base.shape)
    shared[:] = base
    norms = inverse_norms(base)
    rotated = codec.rotation.apply(base * norms[:, None].astype(np.float32))
    fit = codec.fit(rotated[:1024])
    index = TurboIndex(codec, fit, Metric.COSINE)
    index.append(codec.encode(codec.normalise(rotated, fit)))
    asked = codec.rotation.apply(queries)
    distances = Distances(Metric.COSINE, shared, norms)
    candidates = resolve({}, base.shape[1])["oversample"] * _K

    def measure(pause_s: float) -> tuple[float, float]:
        faiss_ns = rerank_ns = 0
        for number in range(_SEARCHES):
            query = queries[number % len(queries)]
            if pause_s:
                threading.Event().wait(pause_s)
            began = time.thread_time_ns()
            rows = index.search(asked[number % len(asked)][None], candidates)[1][0]
            found = time.thread_time_ns()
            best = rows[np.argpartition(distances.keys_of_rows(query, rows), _K)[:_K]]
            best[np.argsort(distances.exact(query, best))]
            rerank_ns += time.thread_time_ns() - found
            faiss_ns += found - began
        return faiss_ns / _SEARCHES / 1000, rerank_ns / _SEARCHES / 1000

    return measure


def _through_server(base: np.ndarray, queries: np.ndarray) -> float:
    with server(cores=1) as running, reddb.connect(running.url) as database:
        database.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM {base.shape[1]} METRIC cosine")
        for first in range(0, len(base), 5000):
            database.insert("docs", np.arange(first, first + 5000), base[first : first + 5000])
        wait_coded(database, "docs")
        # Core 0 has the first processor; a client beside it would throw its data out of the cache.
        processors = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(processors)})
        for number in range(500):
            database.search("docs", queries[number % len(queries)], k=_K)
        began = processor_seconds(running.core_pids()[0])
        for number in range(_SEARCHES):
            database.search("docs", queries[number % len(queries)], k=_K)
        spent_s = processor_seconds(running.core_pids()[0]) - began
        os.sched_setaffinity(0, processors)
        return spent_s / _SEARCHES * 1e6


def _wire(queries: np.ndarray) -> Callable[[int], object]:
    """Reading the request and writing the answer, without the socket."""
    collection = Collection(1, "docs", Kind.TURBO, queries.shape[1], Metric.COSINE, {})
    options = (_K, None, False, True, False, None, [], None, False)
    message = Search("docs", queries.shape[1], queries[0].tobytes(), *options)
    request = encode(message, 1)
    ids = b"".join(make_batch(np.arange(_K), np.empty((_K, 0), np.float32)).encode())
    distances = np.zeros(_K).tobytes()
    wire = WireConnection(expects_hello=False)

    def both_ways(number: int) -> object:
        (event,) = wire.receive_data(request)
        search_of(event.message, collection)  # type: ignore[union-attr]
        return encode(Hits([_K], distances, ids, None), number)

    return both_ways
