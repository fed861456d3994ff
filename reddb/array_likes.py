"""What a user holds as vectors, ids or rows, as arrays and lists of ours: nothing is guessed, cut or filled in.

Invariant: every number that comes out is the float32 nearest to one that went in; what is none is refused at its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reddb import errors
from reddb.coordinates import check_coordinates
from reddb.wording import shown

MaskedArray: TypeAlias = np.ma.MaskedArray[Any, Any]

_KINDS = {"b": "truth values", "c": "complex numbers", "U": "texts", "S": "bytes", "M": "dates", "m": "time spans"}


def float32_array(value: ArrayLike | Iterator[Any], what: str, row: str = "row") -> NDArray[np.float32]:
    """The numbers of `value`, of any shape; `what` names them in a message, `row` one of several vectors.

    An iterator is read to its end. Raises INVALID_VECTOR for what is no array of numbers, or hides some behind a mask,
    and for a vector with a number that float32 does not hold.
    """
    if isinstance(value, Iterator):
        value = list(value)
    _refuse_masked(value, what)
    try:
        array = np.asarray(value)
    # An array of another library says in its own way that it is none for numpy, or may only warn.
    except (ValueError, TypeError, RuntimeError, OverflowError, Warning) as error:
        message = f"{what} cannot be read as an array of numbers: {error}"
        raise errors.INVALID_VECTOR.error(message, hint="all vectors have one length") from error
    if array.dtype.kind == "O":
        raise _no_number(array, what)
    if array.dtype.kind not in "fiu":
        kind = _KINDS.get(array.dtype.kind, str(array.dtype))
        raise errors.INVALID_VECTOR.error(f"{what} must hold numbers, not {kind}", hint="numpy.float32 is what is kept")
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(array, np.float32) if array.ndim else array.astype(np.float32)
    if array.dtype != np.float32 and array.ndim in (1, 2) and not np.isfinite(narrow).all():
        check_coordinates(np.atleast_2d(narrow), np.atleast_2d(array), row if array.ndim == 2 else "")
    return narrow


def is_hidden(value: Any) -> TypeGuard[MaskedArray]:
    """Whether it is a masked array some of whose values are masked, or a masked value itself."""
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def _refuse_masked(value: Any, what: str) -> None:
    if is_hidden(value):
        place = ", ".join(map(str, np.argwhere(np.ma.getmaskarray(value))[0].tolist()))
        raise _masked(f"{what} has a masked value at [{place}]")
    if isinstance(value, list | tuple):
        for row, item in enumerate(value):
            if is_hidden(item):
                raise _masked(f"{what} has a masked value in item {row}")


def _masked(message: str) -> errors.RedDBError:
    return errors.INVALID_VECTOR.error(message, hint="fill it, as with .filled(0), or leave the row out")


def _no_number(array: NDArray[Any], what: str) -> errors.RedDBError:
    """The error of an array of objects, at the first that is no number."""
    for place, item in np.ndenumerate(array):
        if not isinstance(item, int | float | np.integer | np.floating) or isinstance(item, bool):
            at = ", ".join(map(str, place))
            kind = type(item).__name__
            message = f"{what} must hold numbers; at [{at}] is a {kind}, {shown(item)}"
            return errors.INVALID_VECTOR.error(message)
    message = f"{what} must be an array of numbers, not of Python objects"
    return errors.INVALID_VECTOR.error(message, hint=".astype(numpy.float32)")
