"""Recall@10 of every set at default settings, and how far its distances are from numpy's.

Rows are inserted through the wire and stay growing; truth is an exact search over the same float32 values.
"""

from __future__ import annotations

import numpy as np

import reddb
from tests.bench.common import Dataset, datasets, server

_BATCH_ROWS = 5000
_K = 10


def run() -> None:
    """Print a line per set."""
    loaded: dict[int, str] = {}
    with server(cores=2) as running, reddb.connect(running.url, timeout_s=120) as database:
        for number, data in enumerate(datasets()):
            # Two query sets share one base: it is loaded once.
            name = loaded.setdefault(id(data.base), f"set{number}")
            if name == f"set{number}":
                _load(database, name, data)
            found = database.search(name, data.queries, k=_K)
            right = [
                len(set(hits.ids) & set(truth[:_K])) for hits, truth in zip(found, data.truth.tolist(), strict=True)
            ]
            error = max(_error(data, query, hits) for query, hits in zip(data.queries, found, strict=True))
            print(
                f"recall@{_K} {np.mean(right) / _K:.4f}  {data.name}, {len(data.base):,} x {data.base.shape[1]} "
                f"{data.metric}, {len(data.queries)} queries, largest relative error of a distance {error:.1e}"
            )


def _load(database: reddb.Client, name: str, data: Dataset) -> None:
    database.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {data.base.shape[1]} METRIC {data.metric}")
    for first in range(0, len(data.base), _BATCH_ROWS):
        part = data.base[first : first + _BATCH_ROWS]
        database.insert(name, np.arange(first, first + len(part)), part)


def _error(data: Dataset, query: np.ndarray, hits: reddb.Hits) -> float:
    """The largest relative difference of a hit's distance from numpy's, in float64."""
    rows, wide = data.base[hits.ids].astype(np.float64), query.astype(np.float64)
    if data.metric == "l2":
        exact = np.linalg.norm(rows - wide, axis=1)
    else:
        exact = 1.0 - rows @ wide / (np.linalg.norm(rows, axis=1) * np.linalg.norm(wide))
    return float(np.max(np.abs(hits.distances - exact) / np.maximum(np.abs(exact), 1e-12)))
