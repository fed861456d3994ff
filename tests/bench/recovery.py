"""How fast a database is there again: rows of the log replayed a second, and the first right answer over sealed rows.

    replay    100,000 x 384 in the log, in batches of 1,000; one partition is opened in this process, on one core
    sealed    200,000 x 128 sealed; from the start of a server that was killed to a search that finds what numpy does,
              less the same start over an empty folder, which is what Python and its libraries take

The page cache is warm, as it is after a killed process.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import reddb
from reddb.disk import OsDisk
from reddb.partition.operations import Operation
from reddb.partition.writer import Partition
from reddb.rows import make_batch
from reddb.settings import resolve
from reddb.storage.folder import partition_folder
from reddb.storage.manifest import begin_partition
from reddb.types import Collection, Kind, Metric
from tests.bench.common import Dataset, datasets, insert_all, server

_LOGGED_ROWS, _SEALED_ROWS, _BATCH_ROWS = 100_000, 200_000, 1_000


def run() -> None:
    """Print a line for each."""
    data = datasets()
    _replay(np.resize(data[0].base, (_LOGGED_ROWS, data[0].base.shape[1])))
    with tempfile.TemporaryDirectory(prefix="reddb-bench-") as folder:
        _sealed(data[-1], Path(folder))


def _replay(base: np.ndarray) -> None:
    dim = base.shape[1]
    collection = Collection(1, "docs", Kind.TURBO, dim, Metric.COSINE, resolve({"seal_rows": 65_536}, dim))
    with tempfile.TemporaryDirectory(prefix="reddb-bench-") as temporary:
        folder = partition_folder(Path(temporary), 1, 0)
        # Written by a partition without anything that seals it, so that all of it is in the log.
        begin_partition(OsDisk(), folder, collection, 0, salt=7)
        partition = Partition.open(OsDisk(), folder, collection, 0, lambda: 7)
        for first in range(0, len(base), _BATCH_ROWS):
            rows = np.arange(first, first + _BATCH_ROWS)
            partition.prepare(Operation.INSERT, make_batch(rows, base[rows]))
            group = partition.take_group()
            assert group is not None
            group.write(partition.wal)
            partition.complete(group)
        partition.close()
        began = time.perf_counter()
        partition = Partition.open(OsDisk(), folder, collection, 0, lambda: 7)
        took_s = time.perf_counter() - began
        assert partition.memory.snapshot().live_rows == len(base)
        partition.close()
    print(f"recovery {len(base) / took_s:,.0f} rows/s of {dim} dimensions replayed from the log, {len(base):,} rows")


def _sealed(data: Dataset, folder: Path) -> None:
    base, query = data.base[:_SEALED_ROWS], data.queries[0]
    right = int(np.argmin(((base - query) ** 2).sum(axis=1)))
    with server(cores=2, folder=folder) as running, reddb.connect(running.url, timeout_s=900) as database:
        database.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM {base.shape[1]} METRIC {data.metric}")
        insert_all(database, "docs", base)
        database.execute("ALTER COLLECTION docs COMPACT")
        for pid in [running.pid, *running.core_pids().values()]:
            os.kill(pid, signal.SIGKILL)
    empty_s = _first_answer(folder / "empty", lambda database: len(database.execute("SHOW COLLECTIONS")) == 0)
    full_s = _first_answer(folder, lambda database: database.search("docs", query, k=1).ids == [right])
    print(
        f"recovery {full_s:.2f} s from start to the first right answer, {full_s - empty_s:.2f} s more "
        f"than over an empty folder; {len(base):,} x {base.shape[1]} sealed rows"
    )


def _first_answer(folder: Path, is_right: Callable[[reddb.Client], bool]) -> float:
    began = time.perf_counter()
    with server(cores=2, folder=folder) as running, reddb.connect(running.url) as database:
        while True:
            try:
                assert is_right(database)
                return time.perf_counter() - began
            except reddb.RedDBError as error:
                if not error.retryable:
                    raise
