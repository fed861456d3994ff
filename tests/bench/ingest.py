"""Rows per second that one client gets acknowledged: 20,000 x 384 in batches of 1,000, each batch synced to disk."""

from __future__ import annotations

import time

import numpy as np

import reddb
from tests.bench.common import datasets, server

_ROWS = 20_000
_BATCH_ROWS = 1_000


def run() -> None:
    """Print the rate of one partition, and of one for each of two cores."""
    data = datasets()[0]
    base = np.resize(data.base, (_ROWS, data.base.shape[1])) if len(data.base) < _ROWS else data.base[:_ROWS]
    rates = {partitions: _rate(base, partitions) for partitions in (1, 2)}
    print(
        f"ingest {rates[1]:,.0f} acknowledged rows/s into one partition, {rates[2]:,.0f} into two  "
        f"{_ROWS:,} x {base.shape[1]}, batches of {_BATCH_ROWS:,}"
    )


def _rate(base: np.ndarray, partitions: int) -> float:
    with server(cores=2) as running, reddb.connect(running.url) as database:
        database.execute(
            f"CREATE COLLECTION docs KIND vector.turbo DIM {base.shape[1]} METRIC cosine "
            f"WITH (partitions = {partitions})"
        )
        began = time.perf_counter()
        for first in range(0, _ROWS, _BATCH_ROWS):
            ids = np.arange(first, first + _BATCH_ROWS)
            database.insert("docs", ids, base[first : first + _BATCH_ROWS])
        elapsed_s = time.perf_counter() - began
        ((count,),) = database.execute("SELECT count(*) FROM docs")
        assert count == _ROWS
    return _ROWS / elapsed_s
