"""What each metric means, in one table that validation, `SHOW` and the documents share.

Invariants:
  * A smaller distance is nearer, for every metric.
  * A distance given to a user is computed in float64 from the stored float32 vectors, never from codes: in float32
    `1 - cos` of two near vectors keeps three digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from reddb.types import Metric, Vectors

# faiss's distance kernels, which its stubs do not list.
_L2_OF_ROWS: Any = faiss.fvec_L2sqr_by_idx  # type: ignore[attr-defined]
_L2_OF_RANGE: Any = faiss.fvec_L2sqr_ny  # type: ignore[attr-defined]
_PRODUCTS_OF_ROWS: Any = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]
_PRODUCTS_OF_RANGE: Any = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]

_BLOCK_ROWS = 1024  # rows converted to float64 at once: 3 MiB of 384-d


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric as a user reads about it."""

    metric: Metric
    formula: str
    range: str
    zero_vector: str


METRICS = {
    row.metric: row
    for row in (
        MetricRow(Metric.COSINE, "1 - x·y / (|x| |y|)", "0 to 2", "distance 1 to everything"),
        MetricRow(Metric.L2, "sqrt(sum((x - y)^2))", "0 up", "like any other vector"),
        MetricRow(Metric.IP, "-(x·y)", "all numbers", "distance 0 to everything"),
    )
}


def inverse_norms(vectors: Vectors) -> NDArray[np.float64]:
    """1 / length of each vector (n,), and 0 for the zero vector. In float64: squares of float32 overflow."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    inverse: NDArray[np.float64] = np.zeros(len(vectors))
    np.divide(1.0, lengths, out=inverse, where=lengths > 0)
    return inverse


class Distances:
    """Distances between a query and stored rows, over arrays that stay where they are.

    `vectors` is float32 (rows, dim), `inverse_norm` float64 (rows,). A *key* orders rows as the distance does but is
    cheaper: float32, without the last step (the root, the division by the query's length).
    """

    def __init__(self, metric: Metric, vectors: Vectors, inverse_norm: NDArray[np.float64]) -> None:
        self.metric = metric
        self._vectors = vectors
        self._inverse_norm = inverse_norm
        self._dim = vectors.shape[1]
        # faiss's kernels read rows in place: 4 us for 100 rows of 384-d, against 17 us for numpy's gather and product.
        self._pointer = faiss.swig_ptr(vectors.reshape(-1))

    def keys_of_rows(self, query: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Keys (n,) of the rows (n,), for a query (dim,)."""
        keys = np.empty(len(rows), np.float32)
        kernel = _L2_OF_ROWS if self.metric is Metric.L2 else _PRODUCTS_OF_ROWS
        ptr = faiss.swig_ptr
        kernel(ptr(keys), ptr(query), self._pointer, ptr(rows), self._dim, 1, len(rows))
        return self._finish(keys, rows)

    def keys_of_range(self, query: Vectors, first: int, last: int) -> NDArray[np.float32]:
        """Keys (last - first,) of consecutive rows, for a query (dim,)."""
        keys = np.empty(last - first, np.float32)
        kernel = _L2_OF_RANGE if self.metric is Metric.L2 else _PRODUCTS_OF_RANGE
        block = self._vectors[first:last].reshape(-1)
        kernel(faiss.swig_ptr(keys), faiss.swig_ptr(query), faiss.swig_ptr(block), self._dim, last - first)
        return self._finish(keys, slice(first, last))

    def exact(self, query: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (n,) of the rows (n,), for a query (dim,)."""
        wide = query.astype(np.float64)
        if len(rows) <= _BLOCK_ROWS:
            return self._exact_block(wide, rows)
        starts = range(0, len(rows), _BLOCK_ROWS)
        return np.concatenate([self._exact_block(wide, rows[start : start + _BLOCK_ROWS]) for start in starts])

    def _finish(self, keys: NDArray[np.float32], rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        if self.metric is Metric.L2:
            return keys
        if self.metric is Metric.COSINE:
            keys *= self._inverse_norm[rows]
        return np.negative(keys, out=keys)

    def _exact_block(self, query: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        block = self._vectors[rows].astype(np.float64)
        if self.metric is Metric.L2:
            block -= query
            distances: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", block, block))
            return distances
        products = block @ query
        if self.metric is Metric.IP:
            return -products
        length = math.sqrt(query @ query)
        similarity = products * self._inverse_norm[rows] * (1.0 / length if length > 0 else 0.0)
        # Rounding may leave -1e-16 for a vector and itself; a distance below zero would surprise.
        return np.maximum(1.0 - similarity, 0.0)
