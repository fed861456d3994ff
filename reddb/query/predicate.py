"""The expression of a WHERE, bound to its values and to the types of a collection's fields.

A declared field has the families of its type, a free key any family, `id` integers and strings. An operation on
families that can never meet (a TEXT field and an integer) is an error here; between a free key and a value it is
UNKNOWN in the rows where they do not meet.

    TIMESTAMP fields    also take ISO-8601 texts with a zone; a free key that holds timestamps takes datetimes only
    id                  ids of two types are two ids: `id = 'a'` is FALSE, and `id <> 'a'` TRUE, where the id is an
                        integer; neither comes before the other, so `id < 'a'` is UNKNOWN there

Invariants:
  * A predicate is immutable and hashable; the same text with the same values gives an equal one.
  * A row is chosen only where the expression is TRUE, never where it is UNKNOWN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import errors
from reddb.fields import TIMESTAMP_HINT, Fields, FieldType, is_int, parse_timestamp
from reddb.grammar import ast
from reddb.query import evaluate
from reddb.query.evaluate import Constant, Operand, Source
from reddb.query.values import Values
from reddb.storage.payload_columns import Family, column_path
from reddb.types import RESERVED_NAMES

_ANY = frozenset(Family)
_FAMILIES = {
    FieldType.TEXT: frozenset({Family.TEXT}),
    FieldType.INT: frozenset({Family.INT}),
    FieldType.FLOAT: frozenset({Family.FLOAT}),
    FieldType.BOOL: frozenset({Family.BOOL}),
    FieldType.TIMESTAMP: frozenset({Family.TIMESTAMP}),
    FieldType.TEXTS: frozenset({Family.TEXTS}),
    FieldType.INTS: frozenset({Family.INTS}),
    FieldType.JSON: _ANY,
}
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WHOLE_FLOAT32_MAX = 2**24  # below it a float32 is the integer that was written


@dataclass(frozen=True, slots=True)
class Predicate:
    """A bound WHERE, the key of a cache and the evaluator at once."""

    condition: Operand
    columns: frozenset[str]  # the path of every column that `evaluate` asks its source for

    def evaluate(self, source: Source) -> NDArray[np.bool_]:
        """Which rows the expression is TRUE for, bool (source.rows,)."""
        truth = evaluate.truth(self.condition, source)
        if isinstance(truth, pa.Scalar):
            return np.full(source.rows, truth.as_py() is True)
        mask: NDArray[np.bool_] = truth.fill_null(False).to_numpy(zero_copy_only=False)
        return mask

    def describe(self) -> str:
        """The expression with its values, for EXPLAIN; long texts and lists are cut short."""
        return str(self.condition)


def bind_predicate(expression: ast.Expression, values: Values, fields: Fields) -> Predicate:
    """Bind the expression of a WHERE.

    Raises, each pointing at the place: INVALID_VALUE for values and types that do not go together, INVALID_PARAMETER
    for a value that is not given, UNKNOWN_COLUMN for vector, distance and score, NOT_SUPPORTED for a pattern that is
    no constant and for a distance.
    """
    condition = _Binder(values, fields).condition(expression)
    return Predicate(condition, frozenset(evaluate.columns(condition)))


@dataclass(frozen=True, slots=True)
class _Typed:
    """An operand, its place, the families that it can have and what they are in words."""

    operand: Operand
    node: ast.Node
    families: frozenset[Family]
    type: str

    @property
    def is_id(self) -> bool:
        return self.operand == evaluate.Column("id")


class _Binder:
    def __init__(self, values: Values, fields: Fields) -> None:
        self._values = values
        self._fields = fields

    # --- conditions ----------------------------------------------------------------------------------------

    def condition(self, node: ast.Expression) -> Operand:
        typed = self._typed(node)
        if Family.BOOL not in typed.families:
            self._refuse(errors.INVALID_VALUE, f"a condition is true or false, and this is {typed.type}", node)
        return typed.operand

    def _condition(self, node: ast.Predicate | ast.Not | ast.And | ast.Or) -> Operand:
        match node:
            case ast.And():
                return evaluate.All(tuple(map(self.condition, node.operands)))
            case ast.Or():
                return evaluate.AnyOf(tuple(map(self.condition, node.operands)))
            case ast.Not():
                return evaluate.Not(self.condition(node.operand))
            case ast.Comparison():
                return self._comparison(node.operator, node.left, node.right)
            case ast.Between():
                low = self._comparison(">=", node.operand, node.low)
                high = self._comparison("<=", node.operand, node.high)
                return _negated(evaluate.All((low, high)), node.negated)
            case ast.InList():
                return _negated(self._among(node.operand, self._listed(node.items)), node.negated)
            case ast.Member():
                return _negated(self._member(node), node.negated)
            case ast.Overlap():
                return self._overlap(node)
            case ast.Like():
                return _negated(self._like(node), node.negated)
            case ast.RowComparison() | ast.Near():
                self._refuse(errors.NOT_SUPPORTED, "this condition is not supported yet", node)
            case ast.IsNull():
                return _negated(evaluate.IsNull(self._typed(node.operand).operand), node.negated)

    def _comparison(self, operator: str, left_node: ast.Expression, right_node: ast.Expression) -> Operand:
        left, right = self._typed(left_node), self._typed(right_node)
        left, right = self._meet(left, right), self._meet(right, left)
        self._check_comparable(left, right)
        if isinstance(left.operand, Constant):
            left, right, operator = right, left, _MIRRORED[operator]
        compare = evaluate.Compare(operator, left.operand, right.operand)
        if left.is_id and operator in ("=", "<>") and _is_value(right.operand):
            return evaluate.Decided(compare, operator == "<>")
        return compare

    def _among(self, node: ast.Expression, items: list[_Typed]) -> Operand:
        typed = self._typed(node)
        items = [self._meet(item, typed) for item in items]
        for item in items:
            self._check_comparable(typed, item)
        constants = _constants(items)
        if not constants:  # even for NULL: the OR of nothing
            return Constant(Family.BOOL, False)
        among = evaluate.Among(typed.operand, constants)
        return evaluate.Decided(among, False) if typed.is_id and all(map(_is_value, constants)) else among

    def _member(self, node: ast.Member) -> Operand:
        if isinstance(node.array, ast.Parameter):
            items = self._array(node.array)
            return evaluate.NULL if items is None else self._among(node.item, items)
        array, element = self._array_column(node.array)
        item = self._typed(node.item)
        self._check_comparable(element, item)
        return evaluate.Contains(item.operand, array.operand)

    def _overlap(self, node: ast.Overlap) -> Operand:
        array, element = self._array_column(node.left)
        items = self._array(node.right)
        if items is None:
            return evaluate.NULL
        for item in items:
            self._check_comparable(element, item)
        return evaluate.Overlaps(array.operand, _constants(items))

    def _like(self, node: ast.Like) -> Operand:
        typed = self._typed(node.operand)
        if Family.TEXT not in typed.families:
            self._refuse(errors.INVALID_VALUE, f"LIKE compares texts, and this is {typed.type}", node.operand)
        pattern = self._typed(node.pattern)
        if not isinstance(pattern.operand, Constant):
            self._refuse(errors.NOT_SUPPORTED, "a pattern is a string or a parameter", node.pattern)
        value = pattern.operand.value
        if value is None:
            return pattern.operand
        if not isinstance(value, str):
            self._refuse(errors.INVALID_VALUE, f"a pattern is a string, and this is {pattern.type}", node.pattern)
        try:
            evaluate.like_regex(value)
        except ValueError as error:
            hint = r"\\ stands for one backslash, \% and \_ for the sign itself"
            self._refuse(errors.INVALID_VALUE, str(error), node.pattern, hint)
        return evaluate.Match(typed.operand, value, node.case_insensitive)

    # --- operands ------------------------------------------------------------------------------------------

    def _typed(self, node: ast.Expression) -> _Typed:
        match node:
            case ast.Column():
                return self._column(node)
            case ast.Literal() | ast.VectorLiteral() | ast.ListLiteral() | ast.Parameter():
                return self._constant(self._values.value(node), node)
            case ast.Distance():
                hint = "ORDER BY … LIMIT finds the nearest rows"
                self._refuse(errors.NOT_SUPPORTED, "a distance cannot stand in a WHERE", node, hint)
            case ast.Arithmetic() | ast.Negative() | ast.Call() | ast.Cast() | ast.Interval():
                self._refuse(errors.NOT_SUPPORTED, "this operation is not supported yet", node)
            case _:
                return _Typed(self._condition(node), node, frozenset({Family.BOOL}), "BOOL")

    def _column(self, node: ast.Column) -> _Typed:
        path = column_path(node.path)
        column = evaluate.Column(path)
        if path == "id":
            return _Typed(column, node, frozenset({Family.INT, Family.TEXT}), "an integer or a string")
        if node.path[0] in RESERVED_NAMES:
            hint = "a WHERE compares id and the keys of the payload"
            self._refuse(errors.UNKNOWN_COLUMN, f"there is no column {path} in a WHERE", node, hint)
        field = self._fields.get(node.path[0]) if len(node.path) == 1 else None
        return _Typed(column, node, _FAMILIES[field.type] if field else _ANY, str(field.type) if field else "any value")

    def _array_column(self, node: ast.Expression) -> tuple[_Typed, _Typed]:
        """The column of arrays, and what an item of one is."""
        array = self._typed(node)
        families = frozenset(item for family, item in evaluate.ITEMS_OF.items() if family in array.families)
        if not isinstance(array.operand, evaluate.Column) or not families:
            self._refuse(errors.INVALID_VALUE, f"an array column is expected here, and this is {array.type}", node)
        if array.families == _ANY:  # a free key: what does not meet is UNKNOWN, as everywhere
            families = _ANY
        return array, _Typed(array.operand, node, families, array.type)

    def _constant(self, value: Any, node: ast.Node) -> _Typed:
        family: Family
        match value:
            case None:
                return _Typed(evaluate.NULL, node, _ANY, "NULL")
            case bool():
                family = Family.BOOL
            case int() if is_int(value):
                family = Family.INT
            case float() if math.isfinite(value):
                family, value = Family.FLOAT, float(value)  # numpy's float64 is a float too
            case str() if _is_unicode(value):
                family = Family.TEXT
            case datetime() if value.utcoffset() is not None:
                family, value = Family.TIMESTAMP, parse_timestamp(value)
            case _:
                self._refuse_value(value, node)
        return _Typed(Constant(family, value), node, frozenset({family}), family.name)

    def _listed(self, nodes: tuple[ast.Expression, ...]) -> list[_Typed]:
        """The values of `IN (…)`; a parameter that is a list stands for its items."""
        items: list[_Typed] = []
        for node in nodes:
            value = self._values.value(node) if isinstance(node, ast.Parameter) else None
            if isinstance(value, list | tuple | np.ndarray):
                items += [self._constant(item, node) for item in _plain(value)]
            else:
                items.append(self._typed(node))
        return items

    def _array(self, node: ast.VectorLiteral | ast.ListLiteral | ast.Parameter) -> list[_Typed] | None:
        """The items of an array that is a value; None for NULL."""
        if isinstance(node, ast.ListLiteral):
            return [self._typed(item) for item in node.items]
        value = self._values.value(node)
        if isinstance(node, ast.VectorLiteral):
            if not ((value == np.trunc(value)) & (abs(value) < _WHOLE_FLOAT32_MAX)).all():
                message = f"numbers of a written-out array are whole and below {_WHOLE_FLOAT32_MAX}"
                self._refuse(errors.INVALID_VALUE, message, node, "pass others as a parameter")
            value = value.astype(np.int64)
        if value is None:
            return None
        if not isinstance(value, list | tuple | np.ndarray):
            self._refuse(errors.INVALID_VALUE, "a list is expected here", node, "x IN $1 with a list, or x = $1")
        return [self._constant(item, node) for item in _plain(value)]

    # --- types ---------------------------------------------------------------------------------------------

    def _meet(self, typed: _Typed, other: _Typed) -> _Typed:
        """A text beside a TIMESTAMP field as the timestamp that it says; anything else as it is."""
        if other.families != {Family.TIMESTAMP} or not isinstance(typed.operand, Constant):
            return typed
        if typed.operand.family is not Family.TEXT:
            return typed
        try:
            return self._constant(parse_timestamp(typed.operand.value), typed.node)
        except ValueError:
            message = f"{typed.operand} is no timestamp with a time zone"
            self._refuse(errors.INVALID_VALUE, message, typed.node, TIMESTAMP_HINT)

    def _check_comparable(self, left: _Typed, right: _Typed) -> None:
        if evaluate.NULL in (left.operand, right.operand):
            return  # UNKNOWN, whatever stands beside it
        if any(evaluate.are_comparable(one, other) for one in left.families for other in right.families):
            return
        if isinstance(left.operand, Constant):
            left, right = right, left
        arrays = evaluate.ITEMS_OF.keys()
        is_array = left.families <= arrays or right.families <= arrays
        hint = "'x' IN tags and tags && ['x', 'y'] look into an array" if is_array else None
        message = f"{left.operand} is {left.type} and does not compare with {right.operand}, which is {right.type}"
        self._refuse(errors.INVALID_VALUE, message, right.node, hint)

    def _refuse_value(self, value: object, node: ast.Node) -> NoReturn:
        match value:
            case int() | float():
                message = "a number is a 64-bit integer or a finite float"
            case str():
                message = "the string is not valid Unicode"
            case datetime():
                message = "a timestamp has a time zone"
            case _:
                message = f"one value is expected here, not a {type(value).__name__}"
        self._refuse(errors.INVALID_VALUE, message, node)

    def _refuse(self, code: errors.ErrorCode, message: str, node: ast.Node, hint: str | None = None) -> NoReturn:
        raise self._values.error(code, message, node, hint)


def _negated(operand: Operand, negated: bool) -> Operand:
    return evaluate.Not(operand) if negated else operand


def _is_value(operand: Operand) -> bool:
    return isinstance(operand, Constant) and operand.family is not None


def _constants(items: list[_Typed]) -> tuple[Constant, ...]:
    return tuple(dict.fromkeys(item.operand for item in items if isinstance(item.operand, Constant)))


def _plain(array: Any) -> list[Any]:
    return array.tolist() if isinstance(array, np.ndarray) else list(array)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
