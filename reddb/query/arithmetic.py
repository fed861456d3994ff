"""Arithmetic: binding and evaluation of + - * / % and the minus sign.

    INT op INT                 INT; `/` cuts towards zero, `%` has the sign of its left side
    INT op FLOAT, FLOAT op …   FLOAT
    TIMESTAMP - TIMESTAMP      seconds, FLOAT
    TIMESTAMP ± INTERVAL       TIMESTAMP

NULL where a side is NULL, and for a free key in the rows where the families do not fit. A sum beyond 64 bits, a FLOAT
beyond its range, a timestamp beyond the years 1 to 9999 and a division by zero are INVALID_VALUE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from reddb import errors
from reddb.durations import INTERVAL_HINT, parse_interval
from reddb.grammar import ast
from reddb.query.bound import Binder, Bound, in_words
from reddb.query.operands import NULL, NUMBERS, Compound, Constant, Operand, Source, Values, as_float, atom
from reddb.storage.payload_columns import ARROW_TYPES, Family

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_FIRST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _US
_LAST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _US


def _remainder(left: Any, right: Any) -> Any:
    if pa.types.is_integer(right.type):
        right = pc.if_else(pc.equal(right, -1), 1, right)  # the same remainder, and no overflow for the least integer
    return pc.remainder_checked(left, right)


_KERNELS: dict[str, Callable[[Any, Any], Any]] = {
    "+": pc.add_checked,
    "-": pc.subtract_checked,
    "*": pc.multiply_checked,
    "/": pc.divide_checked,
    "%": _remainder,
}
_WHAT_FAILED = {"divide by zero": "division by zero"}


def result_family(operator: str, left: str, right: str) -> Family | None:
    """What the operation on two families gives; None where they do not fit."""
    if left in NUMBERS and right in NUMBERS:
        return Family.INT if left == right == Family.INT else Family.FLOAT
    return Family.FLOAT if operator == "-" and left == right == Family.TIMESTAMP else None


@dataclass(frozen=True, slots=True)
class Calculation(Compound):
    operator: str
    left: Operand
    right: Operand

    def values(self, source: Source) -> Values:
        found: dict[str, Any] = {}
        right = self.right.values(source)
        for own, mine in self.left.values(source).items():
            for other, theirs in right.items():
                family = result_family(self.operator, own, other)
                if family is not None:
                    part = self._part(family, mine, theirs)
                    found[family] = pc.coalesce(found[family], part) if family in found else part
        return found

    def _part(self, family: Family, left: Any, right: Any) -> Any:
        if pa.types.is_timestamp(left.type):
            difference = pc.subtract_checked(pc.cast(left, pa.int64()), pc.cast(right, pa.int64()))
            return pc.divide(as_float(difference), 1e6)
        if family is Family.FLOAT:
            left, right = as_float(left), as_float(right)
        return checked(lambda: _KERNELS[self.operator](left, right), self)

    def __str__(self) -> str:
        return f"{atom(self.left)} {self.operator} {atom(self.right)}"


@dataclass(frozen=True, slots=True)
class Opposite(Compound):
    """`-operand`."""

    operand: Operand

    def values(self, source: Source) -> Values:
        values = self.operand.values(source)
        numbers = {family: array for family, array in values.items() if family in NUMBERS}
        return {family: checked(partial(pc.negate_checked, array), self) for family, array in numbers.items()}

    def __str__(self) -> str:
        return f"-{atom(self.operand)}"


@dataclass(frozen=True, slots=True)
class Shifted(Compound):
    """A timestamp so many microseconds later, or earlier."""

    operand: Operand
    us: int

    def values(self, source: Source) -> Values:
        array = self.operand.values(source).get(Family.TIMESTAMP)
        if array is None:
            return {}
        shifted = checked(lambda: pc.add_checked(pc.cast(array, pa.int64()), self.us), self)
        outside = pc.or_(pc.less(shifted, _FIRST_US), pc.greater(shifted, _LAST_US))
        if _any(outside):
            raise errors.INVALID_VALUE.error(f"a timestamp beyond the years 1 to 9999 in {self}")
        return {Family.TIMESTAMP: pc.cast(shifted, ARROW_TYPES[Family.TIMESTAMP])}

    def __str__(self) -> str:
        return f"{atom(self.operand)} {'-' if self.us < 0 else '+'} INTERVAL '{abs(self.us) / 1e6:g} s'"


def checked(work: Callable[[], Any], what: Operand) -> Any:
    """What the kernels give. Raises INVALID_VALUE, naming the expression, for a result that is no number."""
    try:
        result = work()
    except pa.ArrowInvalid as error:
        message = _WHAT_FAILED.get(str(error), "integer overflow")
        raise errors.INVALID_VALUE.error(f"{message} in {what}") from error
    if pa.types.is_floating(result.type) and _any(pc.invert(pc.is_finite(result))):
        raise errors.INVALID_VALUE.error(f"a number beyond the range of a 64-bit float in {what}")
    return result


def _any(flags: Any) -> bool:
    return bool(flags.as_py() if isinstance(flags, pa.Scalar) else pc.any(flags).as_py())


# --- binding -----------------------------------------------------------------------------------------------


def bind_arithmetic(binder: Binder, node: ast.Arithmetic) -> Bound:
    if isinstance(node.right, ast.Interval):
        if node.operator not in "+-":
            refuse_interval(binder, node.right)
        us = _interval_us(binder, node.right)
        return _shifted(binder, node, binder.bind(node.left), us if node.operator == "+" else -us)
    if isinstance(node.left, ast.Interval):
        if node.operator != "+":
            refuse_interval(binder, node.left)
        return _shifted(binder, node, binder.bind(node.right), _interval_us(binder, node.left))
    left, right = binder.bind(node.left), binder.bind(node.right)
    if node.operator == "-":
        left, right = binder.meet(left, right), binder.meet(right, left)
    pairs = {result_family(node.operator, one, other) for one in left.families for other in right.families}
    families = frozenset[str](family for family in pairs if family is not None)
    if not families:
        _refuse_sides(binder, node, left, right)
    operand = NULL if NULL in (left.operand, right.operand) else Calculation(node.operator, left.operand, right.operand)
    return Bound(operand, node, families, in_words(families))


def bind_negative(binder: Binder, node: ast.Negative) -> Bound:
    bound = binder.bind(node.operand)
    families = bound.families & NUMBERS
    if not families:
        binder.refuse(errors.INVALID_VALUE, f"{bound.operand} is {bound.type} and has no sign", node.operand)
    return Bound(Opposite(bound.operand), node, families, in_words(families))


def _interval_us(binder: Binder, node: ast.Interval) -> int:
    """Raises INVALID_VALUE at the place."""
    try:
        return parse_interval(node.text)
    except ValueError as error:
        binder.refuse(errors.INVALID_VALUE, str(error), node, INTERVAL_HINT)


def refuse_interval(binder: Binder, node: ast.Interval) -> NoReturn:
    hint = "now() - INTERVAL '1 day'"
    binder.refuse(errors.INVALID_VALUE, "an interval is added to a timestamp, or taken from one", node, hint)


def _shifted(binder: Binder, node: ast.Arithmetic, moved: Bound, us: int) -> Bound:
    if isinstance(moved.operand, Constant) and moved.operand.family is Family.TEXT:
        moved = binder.timestamp(moved)
    if Family.TIMESTAMP not in moved.families:
        message = f"{moved.operand} is {moved.type}, and an interval is added to a TIMESTAMP"
        binder.refuse(errors.INVALID_VALUE, message, moved.node)
    operand = NULL if moved.operand == NULL else Shifted(moved.operand, us)
    return Bound(operand, node, frozenset({Family.TIMESTAMP}), "TIMESTAMP")


def _refuse_sides(binder: Binder, node: ast.Arithmetic, left: Bound, right: Bound) -> NoReturn:
    hint = None
    if left.families == right.families == {Family.TEXT} and node.operator == "+":
        hint = f"concat({left.operand}, {right.operand}) joins texts"
    elif {Family.TEXT} in (left.families, right.families):
        text = left if left.families == {Family.TEXT} else right
        hint = f"CAST({text.operand} AS INT) makes a number of a text"
    elif Family.TIMESTAMP in left.families | right.families:
        hint = "a timestamp takes an interval: at + INTERVAL '2 h'"
    message = f"{left.operand} is {left.type} and {right.operand} is {right.type}: {node.operator} takes numbers"
    binder.refuse(errors.INVALID_VALUE, message, node, hint)
