"""What the coordinates of vectors may be, and the one form in which a wrong one is told.

    row 3: coordinate 0 of the vector is 1e+39, beyond COORDINATE_MAX, which is 1e+15

Rows and coordinates are counted from 0, as Python and numpy count them.

Invariant: the value in a message is the one that was given, not what float32 makes of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.types import Vectors

# Squared lengths that no vector with a coordinate out of bounds has, whatever its dimension.
_SQUARE_MIN = 1e6 * limits.DIM_MAX * limits.COORDINATE_MIN**2
_SQUARE_MAX = 1e-6 * limits.COORDINATE_MAX**2
_SCALE_HINT = "divide all vectors, and the queries, by one number: the order of distances stays"


class Wrong(NamedTuple):
    """The first wrong row; its first wrong coordinate, None where all of them are too small."""

    row: int
    coordinate: int | None


def wrong_of(vectors: Vectors) -> Wrong | None:
    """Looks for NaN, infinities and lengths whose square is none, in float32 (n, dim)."""
    if len(vectors) == 1 and _SQUARE_MIN <= float(np.vdot(vectors, vectors)) <= _SQUARE_MAX:
        return None  # the usual query, by one product: its largest coordinate is well within the bounds
    if not len(vectors):
        return None
    # The largest coordinate of each row; NaN and the infinities come through and fail the comparison below.
    largest = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))
    good = (largest <= limits.COORDINATE_MAX) & ((largest >= limits.COORDINATE_MIN) | (largest == 0))
    if good.all():
        return None
    row = int(np.argmin(good))
    too_large = ~(np.abs(vectors[row]) <= limits.COORDINATE_MAX)
    return Wrong(row, int(np.argmax(too_large)) if too_large.any() else None)


def told(coordinate: int | None, value: Any) -> tuple[str, str | None]:
    """Message and hint for a wrong coordinate that was given as this value, a number or its text."""
    if coordinate is None:
        bound = f"COORDINATE_MIN, which is {limits.COORDINATE_MIN:g}"
        return f"the vector is not zero, and none of its coordinates reaches {bound}", _SCALE_HINT
    place = f"coordinate {coordinate} of the vector is"
    if math.isnan(float(value)):
        return f"{place} NaN, and a coordinate is a finite number", None
    shown = value if isinstance(value, str) else f"{value:g}"
    return f"{place} {shown}, beyond COORDINATE_MAX, which is {limits.COORDINATE_MAX:g}", _SCALE_HINT


def check_coordinates(vectors: Vectors, given: NDArray[Any] | None = None, what: str = "row") -> None:
    """Check float32 (n, dim); `given` are the same numbers as they came, `what` a row of them is called, if anything.

    Raises INVALID_VECTOR naming row and coordinate.
    """
    wrong = wrong_of(vectors)
    if wrong is None:
        return
    row, coordinate = wrong
    message, hint = told(coordinate, (vectors if given is None else given)[row, coordinate or 0])
    detail: dict[str, Any] = {} if coordinate is None else {"coordinate": coordinate}
    if what:
        message, detail["row"] = f"{what} {row}: {message}", row
    if hint is not None:
        detail["hint"] = hint
    raise errors.INVALID_VECTOR.error(message, **detail)
