"""The vector that a search from stored rows starts at.

One row is meant as it is. Of several, the mean of those to be like, and where there are some to be unlike, once more
the way from their mean to it: 2 · mean(like) - mean(unlike). Where only the direction of a vector counts (cosine,
pearson), each has the same weight, whatever its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.coordinates import check_coordinates
from reddb.index.metrics import prepare
from reddb.query.read_plans import Examples
from reddb.types import Collection, Metric, RowId, Vectors

_OF_DIRECTION = (Metric.COSINE, Metric.PEARSON)
_NOTHING = 1e-6  # the length of a mean of unit vectors that is zero but for rounding


class Stored(Protocol):
    """What is needed of a view."""

    @property
    def collection(self) -> Collection: ...

    def get(self, ids: Sequence[RowId]) -> NDArray[np.int64]: ...

    def vectors(self, addresses: NDArray[np.int64]) -> Vectors: ...


def vector_of(query: RowId | Examples, view: Stored, metric: Metric) -> Vectors:
    """The vector (1, dim) to search for by this metric.

    Raises INVALID_ID naming the ids that are not stored, INVALID_VECTOR for a mean of zero.
    """
    if not isinstance(query, Examples):
        return _stored([query], view)
    mean = _mean(query.like, view, metric)
    if query.unlike:
        mean = 2 * mean - _mean(query.unlike, view, metric)
    if metric in _OF_DIRECTION and np.linalg.norm(mean) < _NOTHING:
        message = f"the examples cancel out, and no row is nearest to a vector of zeros by {metric}"
        raise errors.INVALID_VECTOR.error(message, hint="leave an example out")
    vector: Vectors = mean.astype(np.float32)
    if np.abs(vector).max() < limits.COORDINATE_MIN:
        vector[:] = 0
    check_coordinates(vector, what="")
    return vector


def _mean(ids: Sequence[RowId], view: Stored, metric: Metric) -> NDArray[np.float64]:
    vectors = _stored(ids, view)
    if metric in _OF_DIRECTION:
        vectors = prepare(metric, vectors)
    mean: NDArray[np.float64] = vectors.mean(axis=0, dtype=np.float64, keepdims=True)
    return mean


def _stored(ids: Sequence[RowId], view: Stored) -> Vectors:
    found = view.get(ids)
    missing = [row_id for row_id, address in zip(ids, found.tolist(), strict=True) if address < 0]
    if missing:
        names = ", ".join(map(repr, missing[:10]))
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        what = "row with id" if len(missing) == 1 else "rows with the ids"
        raise errors.INVALID_ID.error(f"there is no {what} {names}{more} in {view.collection.name!r}")
    return view.vectors(found)
