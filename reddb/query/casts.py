"""CAST(x AS type) and x::type: what becomes what, and how.

    to INT          from FLOAT, rounded, halves away from zero; from TEXT, digits; from BOOL, 0 and 1
    to FLOAT        from INT; from TEXT
    to TEXT         from INT, FLOAT, BOOL (true, false) and TIMESTAMP (ISO-8601)
    to BOOL         from INT, true unless 0; from TEXT (true, t, yes, on, 1, …)
    to TIMESTAMP    from TEXT, ISO-8601 with a zone
    to VECTOR       from a text like '[1, 2, 3]' or a list that is a value
    to JSON         from a text that is a value

A value that does not become the type is INVALID_VALUE, and the error names it. NULL stays NULL, and for a free key so
are the rows whose values have no such conversion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reddb import errors
from reddb.fields import TIMESTAMP_HINT, is_int, parse_timestamp
from reddb.grammar import absent, ast, float_of, integer_of
from reddb.keys import nearest
from reddb.query.bound import Binder, Bound
from reddb.query.json_values import GivenJson, is_json, json_value
from reddb.query.operands import NULL, VECTOR, Constant, Operand, Source, Values, as_float, decoded, each
from reddb.query.vectors import bind_vector
from reddb.storage.payload_columns import ARROW_TYPES, Family

_TARGETS = {
    "INT": Family.INT,
    "FLOAT": Family.FLOAT,
    "TEXT": Family.TEXT,
    "BOOL": Family.BOOL,
    "TIMESTAMP": Family.TIMESTAMP,
}
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
_SPACE = " \t\n\r\v\f"  # may surround a text, as in PostgreSQL
_DIGITS = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _int_of_text(text: str) -> int:
    digits = text.strip(_SPACE)
    if not _DIGITS.fullmatch(digits) or not is_int(integer_of(digits)):
        raise ValueError
    return integer_of(digits)


def _int_of_float(number: float) -> int:
    if not math.isfinite(number):
        raise ValueError
    whole = math.trunc(number)
    if abs(number - whole) >= 0.5:
        whole += int(math.copysign(1, number))
    if not is_int(whole):
        raise ValueError
    return whole


def _float_of_text(text: str) -> float:
    written = text.strip(_SPACE)
    if not _NUMBER.fullmatch(written):
        raise ValueError
    return float_of(written)


def _bool_of_text(text: str) -> bool:
    word = text.strip(_SPACE).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


# From one family to another, value by value; ValueError for one that has no such form.
_CONVERSIONS: dict[tuple[str, str], Callable[[Any], Any]] = {
    (Family.TEXT, Family.INT): _int_of_text,
    (Family.FLOAT, Family.INT): _int_of_float,
    (Family.BOOL, Family.INT): int,
    (Family.INT, Family.FLOAT): float,
    (Family.TEXT, Family.FLOAT): _float_of_text,
    (Family.INT, Family.TEXT): str,
    (Family.FLOAT, Family.TEXT): repr,
    (Family.BOOL, Family.TEXT): {False: "false", True: "true"}.__getitem__,
    (Family.TIMESTAMP, Family.TEXT): datetime.isoformat,
    (Family.INT, Family.BOOL): bool,
    (Family.TEXT, Family.BOOL): _bool_of_text,
    (Family.TEXT, Family.TIMESTAMP): parse_timestamp,
}


@dataclass(frozen=True, slots=True)
class Cast:
    operand: Operand
    target: Family

    def values(self, source: Source) -> Values:
        parts = [
            array if family == self.target else each(self._convert, array, family)
            for family, array in self.operand.values(source).items()
            if is_castable(family, self.target)
        ]
        return {self.target: reduce(pc.coalesce, map(decoded, parts))} if parts else {}

    def _convert(self, array: Any, family: str) -> Any:
        if (family, self.target) == (Family.INT, Family.FLOAT):
            return as_float(array)
        is_scalar = isinstance(array, pa.Scalar)
        convert = _CONVERSIONS[family, self.target]
        converted: list[Any] = []
        for value in [array.as_py()] if is_scalar else array.to_pylist():
            try:
                converted.append(None if value is None else convert(value))
            except ValueError as error:
                message = f"{Constant(Family(family), value)} does not become {self.target.name} in {self}"
                hint = {"hint": TIMESTAMP_HINT} if self.target is Family.TIMESTAMP else {}
                raise errors.INVALID_VALUE.error(message, **hint) from error
        type_ = ARROW_TYPES[self.target]
        return pa.scalar(converted[0], type_) if is_scalar else pa.array(converted, type_)

    def __str__(self) -> str:
        return f"CAST({self.operand} AS {self.target.name})"


def is_castable(family: str, target: str) -> bool:
    return family == target or (family, target) in _CONVERSIONS


def bind_cast(binder: Binder, node: ast.Cast) -> Bound:
    name = node.type.text
    if name == VECTOR.upper():
        return Bound(bind_vector(binder, node.operand), node, frozenset({VECTOR}), "a vector")
    if is_json(node):
        return _bind_json(binder, node)
    if name not in _TARGETS:
        types = [*_TARGETS, VECTOR.upper(), "JSON"]
        hint = absent.type_hint(name) or nearest(name, types) or "one of " + ", ".join(types)
        binder.refuse(errors.INVALID_VALUE, f"there is no conversion to {name}", node.type, hint)
    bound, target = binder.bind(node.operand), _TARGETS[name]
    if not any(is_castable(family, target) for family in bound.families):
        binder.refuse(errors.INVALID_VALUE, f"{bound.operand} is {bound.type} and does not become {name}", node)
    operand = NULL if bound.operand == NULL else Cast(bound.operand, target)
    return Bound(operand, node, frozenset({target}), name)


def _bind_json(binder: Binder, node: ast.Cast) -> Bound:
    bound = binder.bind(node.operand)
    given = bound.operand
    if isinstance(given, Constant) and given.family in (None, Family.INT, Family.FLOAT, Family.BOOL):
        return bound
    if not isinstance(given, Constant) or not isinstance(given.value, str):
        message = f"a text that is a value becomes JSON, and {given} is {bound.type}"
        binder.refuse(errors.NOT_SUPPORTED, message, node.operand, """CAST('{"k": 1}' AS JSON)""")
    value = json_value(binder.values, given.value, node.operand)
    if isinstance(value, dict | list):
        return Bound(GivenJson(given.value), node, frozenset({Family.OTHER}), "JSON")
    return binder.constant(value, node)
