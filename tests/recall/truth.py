"""Distances in extended precision, and by how much a correct float64 computation may differ from them.

Shares no code with reddb, nor with `tests.oracle`, which is float64 itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Long = np.longdouble
Longs = NDArray[np.longdouble]
_EPSILON = 2.0**-52

METRICS = ("l2", "cosine", "ip", "pearson", "manhattan", "chebyshev", "hamming", "jaccard")


def true_distances(metric: str, base: NDArray[np.floating], query: NDArray[np.floating]) -> Longs:
    """Distances (n,) of a query (dim,) to each row of base (n, dim)."""
    rows, wanted = base.astype(Long), query.astype(Long)
    if metric in ("hamming", "jaccard"):
        mine, its = rows > 0.5, wanted > 0.5
        different, union = (mine != its).sum(axis=1), (mine | its).sum(axis=1)
        return (different if metric == "hamming" else different / np.maximum(union, 1)).astype(Long)
    apart = np.abs(rows - wanted)
    if metric == "l2":
        return np.sqrt(np.square(apart).sum(axis=1))
    if metric in ("manhattan", "chebyshev"):
        return apart.sum(axis=1) if metric == "manhattan" else apart.max(axis=1)
    if metric == "ip":
        return -(rows * wanted).sum(axis=1)
    if metric == "pearson":
        rows, wanted = _centred(rows), _centred(wanted[None])[0]
    # |u - v|^2 / 2 of unit vectors: unlike 1 - u·v it keeps all digits of a small distance.
    units, unit = _unit(rows), _unit(wanted[None])[0]
    far = np.square(units - unit).sum(axis=1) / 2
    has_none = ~units.any(axis=1) | ~unit.any()
    return np.where(has_none, Long(1), far)


def rounding(metric: str, base: NDArray[np.floating], query: NDArray[np.floating]) -> NDArray[np.float64]:
    """Bounds (n,) of how far float64 may be from the true distance."""
    rows, wanted = base.astype(np.float64), query.astype(np.float64)
    dim = rows.shape[1]
    if metric in ("cosine", "pearson"):
        # Centring loses what the mean is larger than the rest by.
        offset = np.abs(rows.mean(axis=1)) / np.maximum(rows.std(axis=1), 1e-300) if metric == "pearson" else 0.0
        return (4 + dim**0.5) * _EPSILON * (1.0 + np.minimum(offset, 1e12) * np.ones(len(rows)))
    if metric == "ip":
        products: NDArray[np.float64] = (np.abs(rows) * np.abs(wanted)).sum(axis=1)
        return (4 + dim**0.5) * _EPSILON * products
    return (4 + dim) * _EPSILON * true_distances(metric, base, query).astype(np.float64)


def _centred(rows: Longs) -> Longs:
    constant = rows.max(axis=1) == rows.min(axis=1)
    return np.where(constant[:, None], Long(0), rows - rows.mean(axis=1, keepdims=True))


def _unit(rows: Longs) -> Longs:
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
