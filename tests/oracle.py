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
    if metric == "manhattan":
        return np.abs(rows - wanted).sum(axis=1)
    if metric == "chebyshev":
        return np.abs(rows - wanted).max(axis=1)
    if metric in ("hamming", "jaccard"):
        return _of_sets(metric, rows > 0.5, wanted > 0.5)
    if metric == "pearson":
        rows, wanted = _centred(rows), _centred(wanted[None])[0]
    products = rows @ wanted
    if metric == "ip":
        return -products
    assert metric in ("cosine", "pearson")
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    similarities = np.zeros(len(rows))  # and 0 stays for a vector without length
    np.divide(products, lengths, out=similarities, where=lengths > 0)
    return 1.0 - similarities


def _of_sets(metric: str, rows: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Floats:
    different = np.count_nonzero(rows != wanted, axis=1).astype(np.float64)
    if metric == "hamming":
        return different
    united = np.count_nonzero(rows | wanted, axis=1)
    return np.divide(different, united, out=np.zeros(len(rows)), where=united > 0)


def _centred(rows: Floats) -> Floats:
    constant = rows.max(axis=1) == rows.min(axis=1)  # whose rounded mean would leave a rest
    return np.where(constant[:, None], 0.0, rows - rows.mean(axis=1, keepdims=True))


def nearest(
    metric: str, base: NDArray[np.floating], queries: NDArray[np.floating], k: int
) -> tuple[list[NDArray[np.int64]], list[Floats]]:
    """Indexes and distances of the k nearest rows for each query, nearest first; of equal ones the earlier row."""
    indexes, found = [], []
    wide = np.asarray(base, np.float64)
    for query in queries:
        far = distances(metric, wide, query)
        order = np.argsort(far, kind="stable")[:k]
        indexes.append(order)
        found.append(far[order])
    return indexes, found


def recall(found: list[NDArray[np.int64]], right: list[NDArray[np.int64]]) -> float:
    """Share of the right indexes that were found."""
    hits = sum(len(set(mine.tolist()) & set(true.tolist())) for mine, true in zip(found, right, strict=True))
    return hits / sum(len(true) for true in right)
