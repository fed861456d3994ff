"""A sealed segment through the server: recall at default settings, and what it costs beside faiss alone.

All rows of a set in one sealed segment, one core. In-process the very same files are mapped, the same index is called
with as many candidates, and the candidates are ranked by the same kernels, one query after the other. The server gets
its searches from one connection, sixteen at a time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

import reddb
from reddb.disk import OsDisk
from reddb.index.metrics import Distances, prepare
from reddb.index.turbo import TurboIndex
from reddb.partition.kinds import codec_of
from reddb.partition.settled import FlatIndex, Graph, open_index
from reddb.storage.folder import DataFolder, partition_folder
from reddb.storage.manifest import read_manifest
from reddb.storage.sealed import SealedSegment, segment_folder
from reddb.types import Collection
from tests.bench.common import Dataset, datasets, insert_all, processor_seconds, server

_SEARCHES = 4_000
_AT_ONCE = 16
_K = 10
_KINDS = ("vector", "vector.turbo")


def run() -> None:
    """Print a line for each set and kind."""
    faiss.omp_set_num_threads(1)
    for data in datasets():
        for kind in _KINDS:
            with tempfile.TemporaryDirectory(prefix="reddb-bench-") as folder:
                _run_one(data, kind, Path(folder))


def _run_one(data: Dataset, kind: str, folder: Path) -> None:
    with server(cores=1, folder=folder) as running:
        with reddb.connect(running.url, timeout_s=900) as database:
            options = f"KIND {kind} DIM {data.base.shape[1]} METRIC {data.metric}"
            database.execute(f"CREATE COLLECTION docs {options}")
            insert_all(database, "docs", data.base)
            database.execute("ALTER COLLECTION docs COMPACT")
            (shown,) = database.execute("SHOW SEGMENTS FOR docs")
            found = database.search("docs", data.queries, k=_K)
        right = [len(set(hits.ids) & set(truth[:_K])) for hits, truth in zip(found, data.truth.tolist(), strict=True)]
        pid = running.core_pids()[0]
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # core 0 has the first processor
        asyncio.run(_search(running.url, data, 500))
        began = processor_seconds(pid)
        asyncio.run(_search(running.url, data, _SEARCHES))
        server_us = (processor_seconds(pid) - began) / _SEARCHES * 1e6
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    faiss_us, count = _in_process(data, folder)
    print(
        f"sealed recall@{_K} {np.mean(right) / _K:.4f}, {faiss_us / server_us:.2f} of the searches of faiss alone  "
        f"{data.name}, {kind}, {shown[3]}, {len(data.base):,} x {data.base.shape[1]}: server {server_us:.0f} us, "
        f"in-process {faiss_us:.0f} us of processor time a search, {count} candidates"
    )


async def _search(url: str, data: Dataset, count: int) -> None:
    async with reddb.aio.connect(url) as database:

        async def some(first: int) -> None:
            for number in range(first, count, _AT_ONCE):
                await database.search("docs", data.queries[number % len(data.queries)], k=_K)

        await asyncio.gather(*(some(first) for first in range(_AT_ONCE)))


def _in_process(data: Dataset, folder: Path) -> tuple[float, int]:
    """Microseconds of processor time of one search over the same files, and how many candidates it ranked."""
    disk = OsDisk()
    opened = DataFolder.open(disk, folder, lambda: 7)
    (collection,) = opened.catalog.collections()
    opened.close()
    place = partition_folder(folder, collection.id, 0)
    (record,) = read_manifest(disk, place, collection, 0).segments
    of = disk, segment_folder(place, record.id), collection, 0, record.id, record.rows
    segment = SealedSegment(*of, verify=False)
    index = open_index(*of, record.index, verify=False)
    distances = Distances(collection.metric, segment.columns.vectors, segment.columns.inverse_norm)
    assert isinstance(index, FlatIndex | Graph)
    count = _candidates(collection, index)
    for number in range(_SEARCHES + 200):
        if number == 200:
            began = time.thread_time()
        query = data.queries[number % len(data.queries)]
        prepared = prepare(collection.metric, query[None])
        rows = _ask(collection, index, prepared, count)
        best = rows[np.argpartition(distances.keys_of_rows(query, rows), _K)[:_K]]
        best[np.argsort(distances.exact(query, best))]
    return (time.thread_time() - began) / _SEARCHES * 1e6, count


def _ask(collection: Collection, index: FlatIndex | Graph, prepared: np.ndarray, count: int) -> np.ndarray:
    if isinstance(index, Graph):
        return index.graph.search(prepared, count, count)[1][0]
    codec, turbo = codec_of(collection), index.turbo
    assert codec is not None
    assert isinstance(turbo, TurboIndex)
    return turbo.search(codec.rotation.apply(prepared), count)[1][0]


def _candidates(collection: Collection, index: FlatIndex | Graph) -> int:
    """As many as the server takes."""
    needed = index.description.calibration.like.needed(0.99)
    assert needed is not None
    if isinstance(index, Graph):
        return max(collection.number("ef"), 2 * _K, needed)
    return max(collection.number("oversample") * _K, 32, needed)
