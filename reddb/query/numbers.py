"""Integers beside floats, compared exactly: 2**53 + 1 is greater than 9007199254740992.0.

Rounding an integer to float64 keeps the order, so a comparison of the rounded ones is right wherever they differ; where
they are equal, what rounding took from the integers decides. It is at most 512, and nothing below 2**53.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb.fields import is_int
from reddb.query.operands import Values, as_float
from reddb.storage.payload_columns import Family

LOST_MAX = 512
_EXACT = 2**53  # every integer below is a float64


def compared(kernel: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """What a comparison of two columns or scalars gives, one of integers and one of floats; null beside a null."""
    wide, other_wide = as_float(one), as_float(other)
    rough = kernel(wide, other_wide)
    if _is_small(one) or _is_small(other):
        return rough
    near = pc.and_(pc.equal(wide, other_wide), pc.greater_equal(pc.abs(wide), float(_EXACT)))
    if not pc.any(near if isinstance(near, pa.Array) else pa.array([near.as_py()])).as_py():
        return rough
    return pc.if_else(near, kernel(_lost(one), _lost(other)), rough)


def lost(integers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much less than each integer its float64 is, (n,)."""
    wide = integers.astype(np.float64)
    # 2**63 is none of int64, but the least one less anything is the same, for both wrap round.
    return integers - np.where(wide == 2.0**63, -(2.0**63), wide).astype(np.int64)


def widened(integers: Any) -> Values:
    """Integers (n,), or one, as floats; those that no float is as they are."""
    rest = _lost(integers)
    if isinstance(integers, pa.Scalar):
        return {Family.INT: integers} if rest.as_py() else {Family.FLOAT: as_float(integers)}
    exact = pc.equal(rest, 0)
    values: dict[str, Any] = {Family.FLOAT: pc.if_else(exact, as_float(integers), pa.scalar(None, pa.float64()))}
    if not pc.all(exact).as_py():
        values[Family.INT] = pc.if_else(exact, pa.scalar(None, pa.int64()), integers)
    return values


def held(family: Family, numbers: Iterable[float]) -> list[Any]:
    """Those of the numbers that INT or FLOAT has, as such."""
    if family is Family.FLOAT:
        return [float(number) for number in numbers if float(number) == number]
    return [int(number) for number in numbers if number == int(number) and is_int(int(number))]


def _is_small(numbers: Any) -> bool:
    return isinstance(numbers, pa.Scalar) and numbers.is_valid and abs(numbers.as_py()) < _EXACT


def _lost(numbers: Any) -> Any:
    if not pa.types.is_integer(numbers.type):
        return pa.scalar(0, pa.int64())
    if isinstance(numbers, pa.Scalar):
        return pa.scalar(numbers.as_py() - int(float(numbers.as_py())), pa.int64())
    return pa.array(lost(numbers.fill_null(0).to_numpy()))
