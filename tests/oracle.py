"""The right answer to a search, by plain float64 arithmetic over all rows.

Shares no code with reddb: it is what the engine is measured against.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def distances(metric: str, base: NDArray[np.floating], query: NDArray[np.floating]) -> Floats:
    """Distance of the query (dim,) to each row of base (n, dim)."""
    rows, wanted = np.asarray(base, np.float64), np.asarray(query, np.float64)
    if metric == "l2":
        return np.linalg.norm(rows - wanted, axis=1)
    products = rows @ wanted
    if metric == "ip":
        return -products
    assert metric == "cosine"
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    return 1.0 - np.array([product / length if length else 0.0 for product, length in zip(products, lengths, strict=True)])


def nearest(
    metric: str, base: NDArray[np.floating], queries: NDArray[np.floating], k: int
) -> tuple[list[NDArray[np.int64]], list[Floats]]:
    """Indexes and distances of the k nearest rows for each query, nearest first; of equal ones the earlier row."""
    indexes, found = [], []
    for query in queries:
        far = distances(metric, base, query)
        order = np.argsort(far, kind="stable")[:k]
        indexes.append(order)
        found.append(far[order])
    return indexes, found


def recall(found: list[NDArray[np.int64]], right: list[NDArray[np.int64]]) -> float:
    """Share of the right indexes that were found."""
    hits = sum(len(set(mine.tolist()) & set(true.tolist())) for mine, true in zip(found, right, strict=True))
    return hits / sum(len(true) for true in right)
