"""What each metric means, in one table that validation, `SHOW` and the documents share.

Invariants:
  * A smaller distance is nearer, for every metric.
  * A distance given to a user is computed in float64 from the stored float32 vectors, never from codes: in float32
    `1 - cos` of two near vectors keeps three digits. It has the same bits whatever rows it is computed beside.
  * A vector is at distance 0 from itself and, by cosine and pearson, 2 from its opposite, to the last bit.
  * Stored vectors are read in place or a block at a time: they are shared memory, and never copied whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.types import INDEXABLE, Metric, Vectors

Floats: TypeAlias = NDArray[np.floating[Any]]

# faiss's distance kernels, which its stubs do not list.
_L2_OF_ROWS: Any = faiss.fvec_L2sqr_by_idx  # type: ignore[attr-defined]
_L2_OF_RANGE: Any = faiss.fvec_L2sqr_ny  # type: ignore[attr-defined]
_PRODUCTS_OF_ROWS: Any = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]
_PRODUCTS_OF_RANGE: Any = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]
_EXTRA_DISTANCES: Any = faiss.pairwise_extra_distances  # type: ignore[attr-defined]

_BLOCK_ROWS = 256  # rows converted to float64 at once: 768 KiB of 384-d; blocks that leave the L2 cache cost twice
_KEY_BLOCK_COORDINATES = 96 * 1024  # of rows whose keys are computed at once: 256 rows of 384-d, as above
_NO_KEYS: NDArray[np.float32] = np.empty(0, np.float32)
_UNIT32, _UNIT64 = 2.0**-24, 2.0**-53  # the unit roundoffs
_TINY32 = 2.0**-126  # what a product may lose where it is flushed to zero


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric as a user reads about it. `operator` is empty where SQL has none for it."""

    metric: Metric
    operator: str
    formula: str
    range: str
    zero_vector: str
    score: str = "1 / (1 + distance)"


METRICS = {
    row.metric: row
    for row in (
        MetricRow(Metric.COSINE, "<=>", "1 - x·y / (|x| |y|)", "0 to 2", "distance 1 to everything", "1 - distance"),
        MetricRow(Metric.L2, "<->", "sqrt(sum((x - y)^2))", "0 up", "like any other vector"),
        MetricRow(Metric.IP, "<#>", "-(x·y)", "all numbers", "distance 0 to everything", "-distance"),
        MetricRow(Metric.MANHATTAN, "<+>", "sum(|x - y|)", "0 up", "like any other vector"),
        MetricRow(Metric.CHEBYSHEV, "", "max(|x - y|)", "0 up", "like any other vector"),
        MetricRow(
            Metric.HAMMING, "", "number of i with (x[i] > 0.5) ≠ (y[i] > 0.5)", "0 to dim", "like any other vector"
        ),
        MetricRow(
            Metric.JACCARD,
            "",
            "1 - |X ∩ Y| / |X ∪ Y|, X = all i with x[i] > 0.5",
            "0 to 1",
            "the empty set: distance 0 to another, 1 to any other set",
            "1 - distance",
        ),
        MetricRow(
            Metric.PEARSON,
            "",
            "1 - (x - mean(x))·(y - mean(y)) / (|x - mean(x)| |y - mean(y)|)",
            "0 to 2",
            "distance 1 to everything, as is any vector of equal coordinates",
            "1 - distance",
        ),
    )
}

_SIMILARITIES = frozenset({Metric.COSINE, Metric.JACCARD, Metric.PEARSON})  # whose score is 1 - distance


def score_of(metric: Metric, distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (n,) of distances (n,): larger is nearer. The formulas stand in `METRICS`."""
    if metric is Metric.IP:
        return -distances
    if metric in _SIMILARITIES:
        return 1.0 - distances
    return 1.0 / (1.0 + distances)


def distance_of(metric: Metric, score: float) -> float:
    """The distance that has this score; infinite for a score of 0 and less where all scores are above it."""
    if metric is Metric.IP:
        return -score
    if metric in _SIMILARITIES:
        return 1.0 - score
    return 1.0 / score - 1.0 if score > 0 else math.inf


def exact_distances(metric: Metric, vectors: Vectors, query: Vectors) -> NDArray[np.float64]:
    """Distances (n,) of the vectors (n, dim), any that lie in one piece, to a query (dim,)."""
    if not len(vectors):
        return np.empty(0)
    return Distances(metric, vectors, np.empty(0)).exact(query, np.arange(len(vectors)))


def use_one_thread() -> None:
    """Let faiss work in the caller's thread: the calls of a search are so short that waking others costs more."""
    faiss.omp_set_num_threads(1)


def uses_l2(metric: Metric) -> bool:
    """Whether an index over prepared vectors searches by l2; for the other indexable metrics by inner product."""
    return metric is Metric.L2


def prepare(metric: Metric, vectors: Vectors) -> Vectors:
    """What an index is given for rows and queries (n, dim) alike, so that l2 or inner product orders as the metric.

    Unit vectors for cosine, centred unit vectors for pearson, zero where there is no length; else the same array.
    """
    assert metric in INDEXABLE
    if metric in (Metric.L2, Metric.IP):
        return vectors
    prepared = np.empty_like(vectors)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        wide = _wide(metric, block)
        wide *= inverse_norms(block, metric)[:, None]
        prepared[start : start + _BLOCK_ROWS] = wide
    return prepared


def inverse_norms(vectors: Vectors, metric: Metric = Metric.COSINE) -> NDArray[np.float64]:
    """1 / length of each vector (n,), for pearson of the centred vector, and 0 where there is no length.

    In float64: squares of float32 overflow.
    """
    if metric is Metric.PEARSON:
        blocks = (_wide(metric, vectors[start : start + _BLOCK_ROWS]) for start in range(0, len(vectors), _BLOCK_ROWS))
        squares = np.concatenate([np.empty(0), *(np.einsum("ij,ij->i", block, block) for block in blocks)])
    else:
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    inverse: NDArray[np.float64] = np.zeros(len(vectors))
    np.divide(1.0, np.sqrt(squares), out=inverse, where=squares > 0)
    return inverse


def _wide(metric: Metric, vectors: Vectors) -> NDArray[np.float64]:
    """A copy (n, dim) in float64; for pearson centred: each vector less the mean of its coordinates."""
    wide = vectors.astype(np.float64)
    if metric is Metric.PEARSON:
        # First less one coordinate: so equal ones leave exactly 0, and no rounded mean makes variance of a constant.
        wide -= wide[:, :1].copy()
        wide -= wide.mean(axis=1, keepdims=True)
    return wide


def _manhattan(rows: Floats, query: Floats) -> Floats:
    difference = rows - query
    return np.asarray(np.abs(difference, out=difference).sum(axis=1))


def _chebyshev(rows: Floats, query: Floats) -> Floats:
    difference = rows - query
    return np.asarray(np.abs(difference, out=difference).max(axis=1))


def _hamming(rows: Floats, query: Floats) -> Floats:
    common, united = _set_sizes(rows, query)
    return united - common


def _jaccard(rows: Floats, query: Floats) -> Floats:
    common, united = _set_sizes(rows, query)
    return np.divide(united - common, united, out=np.zeros_like(united), where=united > 0)


def _set_sizes(rows: Floats, query: Floats) -> tuple[Floats, Floats]:
    """|X ∩ Y| and |X ∪ Y| (n,) of the sets of coordinates above 0.5."""
    wanted = query > 0.5
    # As products of zeros and ones, exact in float32 up to 2**24: faster than packing bits and counting them.
    weights = np.stack([wanted, np.ones_like(wanted)], axis=1).astype(rows.dtype)
    common, size = ((rows > 0.5).astype(rows.dtype) @ weights).T
    return common, size + np.count_nonzero(wanted) - common


# Of rows (n, dim) to a query (dim,), in the type of both: in float32 keys, in float64 distances.
_DISTANCES: dict[Metric, Callable[[Floats, Floats], Floats]] = {
    Metric.MANHATTAN: _manhattan,
    Metric.CHEBYSHEV: _chebyshev,
    Metric.HAMMING: _hamming,
    Metric.JACCARD: _jaccard,
}


class Distances:
    """Distances between a query and stored rows, over arrays that stay where they are.

    `vectors` is float32 (rows, dim), `inverse_norm` float64 (rows,), as `inverse_norms` gives it for the metric. A
    *key* orders rows as the distance does but for near ties, and is cheaper: float32, without the last step (the root,
    the division by the query's length). `errors` says how near ties must be to be mixed up.
    """

    def __init__(self, metric: Metric, vectors: Vectors, inverse_norm: NDArray[np.float64]) -> None:
        self.metric = metric
        self._vectors = vectors
        self._inverse_norm = inverse_norm
        self._dim = vectors.shape[1]
        self._in_place = metric in (Metric.L2, Metric.COSINE, Metric.IP)
        self._key_block_rows = max(_KEY_BLOCK_COORDINATES // self._dim, 1)
        # faiss's kernels read rows in place: 4 us for 100 rows of 384-d, against 17 us for numpy's gather and product.
        self._pointer = faiss.swig_ptr(vectors.reshape(-1))

    def keys_of_rows(self, query: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Keys (n,) of the rows (n,), for a query (dim,)."""
        if not self._in_place:
            step = self._key_block_rows
            return self._keys_of_blocks(query, [rows[start : start + step] for start in range(0, len(rows), step)])
        keys = np.empty(len(rows), np.float32)
        kernel = _L2_OF_ROWS if self.metric is Metric.L2 else _PRODUCTS_OF_ROWS
        ptr = faiss.swig_ptr
        kernel(ptr(keys), ptr(query), self._pointer, ptr(rows), self._dim, 1, len(rows))
        return self._finish(keys, rows)

    def keys_of_range(self, query: Vectors, first: int, last: int) -> NDArray[np.float32]:
        """Keys (last - first,) of consecutive rows, for a query (dim,)."""
        if not self._in_place:
            step = self._key_block_rows
            starts = range(first, last, step)
            return self._keys_of_blocks(query, [slice(start, min(start + step, last)) for start in starts])
        keys = np.empty(last - first, np.float32)
        kernel = _L2_OF_RANGE if self.metric is Metric.L2 else _PRODUCTS_OF_RANGE
        block = self._vectors[first:last].reshape(-1)
        kernel(faiss.swig_ptr(keys), faiss.swig_ptr(query), faiss.swig_ptr(block), self._dim, last - first)
        return self._finish(keys, slice(first, last))

    def errors(self, query: Vectors, keys: NDArray[np.float32], rows: NDArray[np.int64]) -> float | NDArray[np.float32]:
        """How far each key (n,) of the rows (n,) may be from what the float64 distance would give, at most: one number
        for all, or (n,).

        A sum of n products in any order, fused or not, is off by at most g(n) = n u / (1 - n u) times the sum of their
        sizes, where u is the unit roundoff (N. Higham, "Accuracy and Stability of Numerical Algorithms", 2002, 3.1),
        and that sum is at most |x| |q|. Differences of float32 numbers lose no more than u of themselves, so sums of
        them have a relative bound. A few u more pay for the last roundings, here and in float64, and for these bounds.
        """
        dim, metric = self._dim, self.metric
        if metric is Metric.COSINE:
            return float((_sum_error(dim) + 6 * _UNIT32) * _length(query) + dim * _TINY32 / limits.COORDINATE_MIN)
        if metric is Metric.IP:
            inverse = self._inverse_norm[rows]
            lengths = np.divide(1.0, inverse, out=np.zeros(len(rows)), where=inverse > 0)
            factor = (_sum_error(dim) + 6 * _UNIT32) * _length(query)
            products: NDArray[np.float32] = (lengths * factor + dim * _TINY32).astype(np.float32)
            return products
        if metric is Metric.PEARSON:
            # Products of float64, of a row less its first coordinate: at most 1 + sqrt(dim) times its centred length.
            (centred,) = _wide(metric, query[None])
            wide = 2 * _UNIT64 * dim * (2 + math.sqrt(dim))
            return float((4 * _UNIT32 + wide) * _length(centred))
        if metric is Metric.HAMMING:
            return 0.0
        summed = {Metric.L2: dim + 2, Metric.MANHATTAN: dim}.get(metric, 1)
        errors: NDArray[np.float32] = keys * np.float32(_sum_error(summed) + 6 * _UNIT32)
        errors += np.float32(dim * _TINY32)
        return errors

    def relative_key(self, query: Vectors, key: float) -> float:
        """The key that a query of the same direction and length 1 would have, where its length orders nothing."""
        if self.metric not in INDEXABLE or self.metric is Metric.L2:
            return key
        length = self._query_length(query)
        return key / length if length > 0 else 0.0

    def key_scale(self, query: Vectors) -> float:
        """What makes keys of the squares and products that an index gives for prepared vectors, by multiplication."""
        if self.metric is Metric.L2:
            return 1.0
        return -1.0 if self.metric is Metric.IP else -self._query_length(query)

    def _query_length(self, query: Vectors) -> float:
        return _length(_wide(self.metric, query[None])[0] if self.metric is Metric.PEARSON else query)

    def exact(self, query: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (n,) of the rows (n,), for a query (dim,)."""
        (wide,) = _wide(self.metric, query[None])
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

    def _keys_of_blocks(self, query: Vectors, blocks: Sequence[NDArray[np.int64] | slice]) -> NDArray[np.float32]:
        """Keys of rows that no kernel reads in place, block after block."""
        if self.metric is Metric.PEARSON:
            (centred,) = _wide(self.metric, query[None])
            keys = [self._pearson_keys(centred, rows) for rows in blocks]
        elif self.metric is Metric.MANHATTAN:
            keys = [self._manhattan_keys(query, rows) for rows in blocks]
        else:
            keys = [_DISTANCES[self.metric](self._vectors[rows], query) for rows in blocks]
        return np.concatenate([_NO_KEYS, *keys], dtype=np.float32)

    def _pearson_keys(self, centred: NDArray[np.float64], rows: NDArray[np.int64] | slice) -> Floats:
        """Of a query less its mean: then the mean of a row changes no product, and need not be known.

        In float64, at 2.5 times the cost: in float32 a row of 1000 ± 1 would lose the digits that order it. Less one
        coordinate, so that a row far from zero does not lose them either.
        """
        block = self._vectors[rows].astype(np.float64)
        block -= block[:, :1].copy()
        return -(block @ centred) * self._inverse_norm[rows]

    def _manhattan_keys(self, query: Vectors, rows: NDArray[np.int64] | slice) -> Floats:
        """By faiss's kernel, in a fifth of numpy's time; its kernel for chebyshev would take five times numpy's."""
        block = self._vectors[rows]
        keys = np.empty(len(block), np.float32)
        ptr = faiss.swig_ptr
        _EXTRA_DISTANCES(self._dim, 1, ptr(query), len(block), ptr(block), faiss.METRIC_L1, 0.0, ptr(keys))
        return keys

    def _exact_block(self, query: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        block = _wide(self.metric, self._vectors[rows])
        if self.metric in _DISTANCES:
            return _DISTANCES[self.metric](block, query).astype(np.float64, copy=False)
        if self.metric is Metric.L2:
            block -= query
            distances: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", block, block))
            return distances
        # Row by row: in a product of matrices the last bits of a row depend on its place among the others.
        products: NDArray[np.float64] = np.linalg.vecdot(block, query)
        if self.metric is Metric.IP:
            return 0.0 - products
        # By one root of both squares, of sums made alike: so a vector and itself give exactly 1. A stored 1 / length
        # would leave 1e-16 for every tenth row.
        lengths = np.sqrt(np.linalg.vecdot(block, block) * np.linalg.vecdot(query, query))
        similarity = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        cosine: NDArray[np.float64] = 1.0 - np.minimum(np.maximum(similarity, -1.0), 1.0)
        return cosine


def contenders(keys: NDArray[np.float32], errors: float | NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of all rows that can be among the `count` nearest, given how far each key may be off; `count` at least 1.

    Whoever is surely farther than `count` others is out; so of rows that the keys may have mixed up all are in.
    """
    if len(keys) <= count:
        return np.arange(len(keys))
    farthest = np.partition(keys + errors, count - 1)[count - 1]
    return np.flatnonzero(keys - errors <= farthest)


def _sum_error(terms: int) -> float:
    return terms * _UNIT32 / (1 - terms * _UNIT32)


def _length(vector: Floats) -> float:
    wide = vector.astype(np.float64)  # with the product a third of what einsum takes
    return math.sqrt(wide @ wide)
