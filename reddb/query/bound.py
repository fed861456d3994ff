"""What binding an expression needs and gives: what names mean, values with their families, refusals with a place.

A declared field has the families of its type, a free key any family, `id` integers and strings. An operation on
families that can never meet (a TEXT field and an integer) is refused while binding; between a free key and a value it
is NULL in the rows where they do not meet.

    TIMESTAMP fields    also take ISO-8601 texts with a zone; a free key that holds timestamps takes datetimes only
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn, TypeAlias

import numpy as np

from reddb import errors, limits
from reddb.fields import NO_FIELDS, TIMESTAMP_HINT, Fields, FieldType, is_int, parse_timestamp
from reddb.grammar import ast
from reddb.keys import nearest
from reddb.query.operands import ITEMS_OF, NULL, VECTOR, Column, Constant, Operand, are_comparable
from reddb.query.values import Values
from reddb.storage.payload_columns import Family, column_path
from reddb.types import Metric

Families: TypeAlias = frozenset[str]

ANY: Families = frozenset(Family)
FAMILIES_OF: dict[FieldType, Families] = {
    FieldType.TEXT: frozenset({Family.TEXT}),
    FieldType.INT: frozenset({Family.INT}),
    FieldType.FLOAT: frozenset({Family.FLOAT}),
    FieldType.BOOL: frozenset({Family.BOOL}),
    FieldType.TIMESTAMP: frozenset({Family.TIMESTAMP}),
    FieldType.TEXTS: frozenset({Family.TEXTS}),
    FieldType.INTS: frozenset({Family.INTS}),
    FieldType.JSON: ANY,
}
_WORDS: dict[str, str] = {Family.TEXTS: "TEXT[]", Family.INTS: "INT[]", VECTOR: "a vector"}
VECTOR_HINT = "a vector and a list are compared by a distance: vector <=> [ … ] < 0.1"
BOOL: Families = frozenset({Family.BOOL})


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound expression: its operand, its place, the families that it can have, and what they are in words."""

    operand: Operand
    node: ast.Node
    families: Families
    type: str

    @property
    def is_id(self) -> bool:
        return self.operand == Column("id")

    @property
    def is_constant(self) -> bool:
        return isinstance(self.operand, Constant)


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names of an expression mean.

    `metric` and `dim` are those of the column `vector`; without a metric there is none. `has_distance`: a search found
    the rows, so `distance` and `score` are there. `known` gives expressions that stand for something bound already:
    an alias is a column here, an aggregate a call. `is_closed`: there are only the declared fields and what is known,
    neither free keys nor `id`; `hint` is then told with the refusal of another name.
    """

    fields: Fields = NO_FIELDS
    metric: Metric | None = None
    dim: int = 0
    has_distance: bool = False
    known: Mapping[ast.Expression, Bound] = field(default_factory=dict)
    is_closed: bool = False
    hint: str | None = None


class Binder(ABC):
    """One expression's values and scope; a subclass knows how each kind of node is bound."""

    def __init__(self, values: Values, scope: Scope) -> None:
        self.values = values
        self.scope = scope

    @abstractmethod
    def bind(self, node: ast.Expression) -> Bound:
        """Raises INVALID_VALUE, INVALID_PARAMETER, UNKNOWN_COLUMN or NOT_SUPPORTED at the place."""

    def column(self, node: ast.Column) -> Bound:
        name, path = node.path[0], column_path(node.path)
        field = self.scope.fields.get(name) if len(node.path) == 1 else None
        if field is not None:
            return Bound(Column(path), node, FAMILIES_OF[field.type], str(field.type))
        if self.scope.is_closed:
            hint = self.scope.hint or nearest(name, [item.name for item in self.scope.fields])
            self.refuse(errors.UNKNOWN_COLUMN, f"there is no column {path} here", node, hint)
        match path:
            case "id":
                return Bound(Column(path), node, frozenset({Family.INT, Family.TEXT}), "an integer or a string")
            case "vector" if self.scope.metric is not None:
                return Bound(Column(VECTOR), node, frozenset({VECTOR}), "a vector")
            case "distance" if self.scope.has_distance:
                return Bound(Column(path), node, frozenset({Family.FLOAT}), "FLOAT")
        if name in ("id", "vector", "distance", "score"):
            self.refuse(errors.UNKNOWN_COLUMN, f"there is no column {path} here", node)
        return Bound(Column(path), node, ANY, "any value")

    def constant(self, value: Any, node: ast.Node) -> Bound:
        """A single value. Raises INVALID_VALUE for what is none."""
        family: Family
        match value:
            case None:
                return Bound(NULL, node, ANY, "NULL")
            case bool():
                family = Family.BOOL
            case int() if is_int(value):
                family = Family.INT
            case float() if math.isfinite(value):
                # numpy's float64 is a float too; and one zero, for equal operands give the same.
                family, value = Family.FLOAT, float(value) + 0.0
            case str() if _is_unicode(value):
                self._check_length(value, node)
                family = Family.TEXT
            case datetime() if value.utcoffset() is not None:
                family, value = Family.TIMESTAMP, parse_timestamp(value)
            case _:
                self._refuse_value(value, node)
        return Bound(Constant(family, value), node, frozenset({family}), family.name)

    def items(self, array: Any, node: ast.Node) -> list[Bound]:
        """The items of a list that is a value. Raises LIMIT_EXCEEDED for too many."""
        if len(array) > limits.LIST_ITEMS_MAX:
            message = f"a list to compare with has at most {limits.LIST_ITEMS_MAX} values, not {len(array)}"
            self.refuse(errors.LIMIT_EXCEEDED, message, node, "ask several times, with a part of the list each time")
        return [self.constant(item, node) for item in plain_items(array)]

    def _check_length(self, text: str, node: ast.Node) -> None:
        size = len(text) if text.isascii() else len(text.encode())
        if size > limits.TEXT_BYTES_MAX:
            message = f"a text of {size} bytes; TEXT_BYTES_MAX is {limits.TEXT_BYTES_MAX}"
            self.refuse(errors.TOO_LARGE, message, node)

    # --- types ---------------------------------------------------------------------------------------------

    def meet(self, bound: Bound, other: Bound) -> Bound:
        """A text beside a TIMESTAMP as the timestamp that it says; anything else as it is."""
        if other.families != {Family.TIMESTAMP} or not isinstance(bound.operand, Constant):
            return bound
        return self.timestamp(bound) if bound.operand.family is Family.TEXT else bound

    def timestamp(self, text: Bound) -> Bound:
        """The timestamp that a constant text says. Raises INVALID_VALUE."""
        assert isinstance(text.operand, Constant)
        try:
            return self.constant(parse_timestamp(text.operand.value), text.node)
        except ValueError:
            message = f"{text.operand} is no timestamp with a time zone"
            self.refuse(errors.INVALID_VALUE, message, text.node, TIMESTAMP_HINT)

    def check_comparable(self, left: Bound, right: Bound) -> None:
        """Raises INVALID_VALUE for families that never compare."""
        if NULL in (left.operand, right.operand):
            return  # UNKNOWN, whatever stands beside it
        if any(are_comparable(one, other) for one in left.families for other in right.families):
            return
        if left.is_constant:
            left, right = right, left
        arrays = ITEMS_OF.keys()
        is_array = left.families <= arrays or right.families <= arrays
        hint = "'x' IN tags and tags && ['x', 'y'] look into an array" if is_array else None
        if VECTOR in left.families | right.families:
            hint = VECTOR_HINT
        message = f"{left.operand} is {left.type} and does not compare with {right.operand}, which is {right.type}"
        self.refuse(errors.INVALID_VALUE, message, right.node, hint)

    def note_ids(self, one: Bound, other: Bound) -> None:
        """Remember of which type an id is that stands beside the column."""
        if one.is_id and isinstance(other.operand, Constant) and other.operand.family is not None:
            family = Family.TEXT if other.operand.family is Family.TEXT else Family.INT
            self.values.ids_named.setdefault(family, other.node)

    def _refuse_value(self, value: object, node: ast.Node) -> NoReturn:
        match value:
            case int() | float():
                message = "a number is a 64-bit integer or a finite float"
            case str():
                message = "the string is not valid Unicode"
            case datetime():
                message = "a timestamp has a time zone"
            case list() | tuple() | np.ndarray():
                hint = "'x' IN tags and tags && ['x', 'y'] look into an array"
                self.refuse(errors.INVALID_VALUE, "one value is expected here, not a list", node, hint)
            case _:
                message = f"one value is expected here, not a {type(value).__name__}"
        self.refuse(errors.INVALID_VALUE, message, node)

    def refuse(self, code: errors.ErrorCode, message: str, node: ast.Node, hint: str | None = None) -> NoReturn:
        raise self.values.error(code, message, node, hint)


def in_words(families: Families) -> str:
    """What values of these families are."""
    if families == ANY:
        return "any value"
    words = sorted(_WORDS.get(family, family.upper()) for family in families)
    return " or ".join(words)


def plain_items(array: Any) -> list[Any]:
    """The items of a list, a tuple or an array."""
    return array.tolist() if isinstance(array, np.ndarray) else list(array)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
