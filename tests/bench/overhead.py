"""Processor time of one search through the server against the same faiss call and re-rank in a process of its own.

One connection, one search at a time, 20,000 x 384. The split shows where the server's time goes: the parts are
timed in this process on the same data, the rest (event loop, system calls) is what is left of the server's total.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import reddb
from reddb.index.metrics import Distances, inverse_norms
from reddb.index.turbo import TurboCodec, TurboIndex
from reddb.requests import search_of
from reddb.rows import make_batch
from reddb.types import Collection, Kind, Metric
from reddb.wire.connection import WireConnection, encode
from reddb.wire.messages import Hits, Search
from tests.bench.common import datasets, processor_seconds, server

_ROWS = 20_000
_SEARCHES = 3_000
_ROUNDS = 3
_K = 10
_CANDIDATES = 100  # 10 x 10: the default at 2 bits


def run() -> None:
    """Print the ratio and the split, in microseconds of processor time per search."""
    data = datasets()[0]
    base, queries = np.resize(data.base, (_ROWS, data.base.shape[1])), data.queries
    faiss_call, rerank = _in_process(base, queries)
    rounds = [(_time(faiss_call), _time(rerank), _through_server(base, queries)) for _ in range(_ROUNDS)]
    faiss_us, rerank_us, server_us = (float(np.median(column)) for column in zip(*rounds, strict=True))
    wire_us = _wire(queries)
    rest = server_us - faiss_us - rerank_us - wire_us
    print(
        f"overhead {server_us / (faiss_us + rerank_us):.2f}  server {server_us:.0f} us a search against "
        f"{faiss_us + rerank_us:.0f} us in-process: faiss {faiss_us:.0f}, re-rank {rerank_us:.0f}, wire {wire_us:.0f}, "
        f"loop, rotation and bookkeeping {rest:.0f}; {_ROWS:,} x {base.shape[1]}, k = {_K}"
    )


def _time(call: Callable[[int], object]) -> float:
    for number in range(200):
        call(number)
    began = time.process_time()
    for number in range(_SEARCHES):
        call(number)
    return (time.process_time() - began) / _SEARCHES * 1e6


def _in_process(base: np.ndarray, queries: np.ndarray) -> tuple[Callable[[int], object], Callable[[int], object]]:
    codec = TurboCodec(base.shape[1], bits=2)
    norms = inverse_norms(base)
    rotated = codec.rotation.apply(base * norms[:, None].astype(np.float32))
    fit = codec.fit(rotated[:1024])
    index = TurboIndex(codec, fit, Metric.COSINE)
    index.append(codec.encode(codec.normalise(rotated, fit)))
    asked = codec.rotation.apply(queries)
    candidates = [index.search(query[None], _CANDIDATES)[0] for query in asked]
    distances = Distances(Metric.COSINE, base, norms)

    def faiss_call(number: int) -> object:
        return index.search(asked[number % len(asked)][None], _CANDIDATES)

    def rerank(number: int) -> object:
        query, rows = queries[number % len(queries)], candidates[number % len(queries)]
        best = rows[np.argpartition(distances.keys_of_rows(query, rows), _K)[:_K]]
        exact = distances.exact(query, best)
        return best[np.argsort(exact)]

    return faiss_call, rerank


def _through_server(base: np.ndarray, queries: np.ndarray) -> float:
    with server(cores=1) as running, reddb.connect(running.url) as database:
        database.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM {base.shape[1]} METRIC cosine")
        for first in range(0, len(base), 5000):
            database.insert("docs", np.arange(first, first + 5000), base[first : first + 5000])
        for number in range(500):
            database.search("docs", queries[number % len(queries)], k=_K)
        began = processor_seconds(running.cores[0])
        for number in range(_SEARCHES):
            database.search("docs", queries[number % len(queries)], k=_K)
        return (processor_seconds(running.cores[0]) - began) / _SEARCHES * 1e6


def _wire(queries: np.ndarray) -> float:
    """Reading the request and writing the answer, without the socket."""
    collection = Collection(1, "docs", Kind.TURBO, queries.shape[1], Metric.COSINE, {})
    message = Search("docs", queries.shape[1], queries[0].tobytes(), _K, None, False, True, False, None, [])
    request = encode(message, 1)
    ids = b"".join(make_batch(np.arange(_K), np.empty((_K, 0), np.float32)).encode())
    distances = np.zeros(_K).tobytes()
    wire = WireConnection(expects_hello=False)

    def both_ways(number: int) -> object:
        (event,) = wire.receive_data(request)
        search_of(event.message, collection)  # type: ignore[union-attr]
        return encode(Hits([_K], distances, ids), number)

    return _time(both_ways)
