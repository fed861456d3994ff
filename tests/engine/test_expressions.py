"""Expressions over columns against plain Python row by row, with values that are missing, mixed and out of range."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors
from reddb.fields import Fields, pack_payload
from reddb.grammar import ast
from reddb.query.expressions import Bound, Scope, bind_expression, to_plain
from reddb.query.sources import RowsAtHand
from reddb.query.values import Values
from reddb.storage import payload_cells
from tests.engine.row_oracle import COMPARE, WRONG, Oracle, compare

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOW = datetime(2025, 1, 1, tzinfo=UTC)
PARAMETERS = {"moment": NOON}


class Reference(Oracle):
    """The value of an expression for one row; `wrongs` counts what has none, even where nothing depends on it."""

    wrongs = 0

    def value(self, node: Any) -> Any:
        match node:
            case ast.Arithmetic(right=ast.Interval()):
                step = timedelta(hours=2) if node.operator == "+" else -timedelta(hours=2)
                moment = self.value(node.left)
                return self._tried(lambda: moment + step) if isinstance(moment, datetime) else self._none(moment)
            case ast.Arithmetic():
                return self._calculated(node.operator, self.value(node.left), self.value(node.right))
            case ast.Negative():
                value = self.value(node.operand)
                return self._number(-value) if is_number(value) else self._none(value)
            case ast.Call():
                return self._called(node.name, [self.value(argument) for argument in node.arguments])
            case ast.Cast():
                return self._cast(self.value(node.operand), node.type.text)
            case ast.RowComparison():
                return self._rows(node)
        return super().value(node)

    def _tried(self, work: Any) -> Any:
        try:
            return work()
        except (ValueError, OverflowError, ZeroDivisionError):
            self.wrongs += 1
            return WRONG

    def _number(self, value: Any) -> Any:
        is_right = -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)
        return value if is_right else self._tried(lambda: 1 / 0)

    @staticmethod
    def _none(value: Any) -> Any:
        return WRONG if value is WRONG else None

    def _calculated(self, sign: str, one: Any, other: Any) -> Any:
        if None in (one, other) or WRONG in (one, other):
            return None if None in (one, other) else WRONG
        if isinstance(one, datetime) and isinstance(other, datetime) and sign == "-":
            return float((one - other) // timedelta(microseconds=1)) / 1e6
        if not is_number(one) or not is_number(other):
            return None
        if isinstance(one, float) or isinstance(other, float):
            one, other = float(one), float(other)
        if sign in "/%" and other == 0:
            return self._tried(lambda: 1 / 0)
        if sign == "%":
            return math.fmod(one, other) if isinstance(one, float) else one - other * cut(one, other)
        if sign == "/":
            return self._number(one / other if isinstance(one, float) else cut(one, other))
        return self._number({"+": one + other, "-": one - other, "*": one * other}[sign])

    def _called(self, name: str, values: list[Any]) -> Any:
        if WRONG in values:
            return WRONG
        first = values[0] if values else None
        known = [value for value in values if value is not None]
        match name:
            case "now":
                return NOW
            case "lower" | "upper":
                return getattr(first, name)() if isinstance(first, str) else None
            case "length":
                return len(first) if isinstance(first, str) else None
            case "cardinality":
                return len(first) if isinstance(first, list) else None
            case "concat":
                return "".join(value for value in values if isinstance(value, str))
            case "abs":
                return self._number(abs(first)) if is_number(first) else None
            case "floor" | "ceil" | "round":
                if not is_number(first) or isinstance(first, int):
                    return first if is_number(first) else None
                return half_up(first) if name == "round" else float(getattr(math, name)(first))
            case "coalesce":
                return known[0] if known else None
            case "nullif":
                return None if compare("=", *values) is True else first
        sign = ">" if name == "greatest" else "<"
        if len(known) > 1 and any(compare("=", one, known[0]) is None for one in known):
            return None
        best = known[0] if known else None
        for value in known[1:]:
            best = best if compare(sign, best, value) else value
        return best

    def _cast(self, value: Any, name: str) -> Any:
        match name, value:
            case _, None:
                return None
            case "INT", bool():
                return int(value)
            case "INT", float():
                return self._number(int(half_up(value)))
            case "INT", str():
                return self._tried(lambda: self._number(int(value)))
            case "FLOAT", int() if not isinstance(value, bool):
                return float(value)
            case "FLOAT", str():
                return self._tried(lambda: float(value))
            case "TEXT", bool():
                return str(value).lower()
            case "TEXT", int() | float():
                return repr(value)
            case "TEXT", datetime():
                return value.isoformat()
        own = {"INT": int, "FLOAT": float, "TEXT": str}[name]
        return value if type(value) is own else self._none(value)

    def _rows(self, node: ast.RowComparison) -> Any:
        pairs = [(self.value(one), self.value(other)) for one, other in zip(node.left, node.right, strict=True)]
        if node.operator in ("=", "<>"):
            equal = self.truth(
                ast.And(tuple(ast.Comparison("=", *pair) for pair in zip(node.left, node.right, strict=True)))
            )
            return equal if node.operator == "=" or equal in (None, WRONG) else not equal
        for pair in pairs[:-1]:
            equal = compare("=", *pair)
            if equal is not True:
                return equal if equal is not False else compare(node.operator[0], *pair)
        return compare(node.operator, *pairs[-1])


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def cut(one: int, other: int) -> int:
    """The quotient, towards zero."""
    size = abs(one) // abs(other)
    return size if (one < 0) == (other < 0) else -size


def half_up(value: float) -> float:
    return float(Decimal(value).quantize(Decimal(1), ROUND_HALF_UP)) if abs(value) < 1e15 else value


# --- random rows and expressions ---------------------------------------------------------------------------

integers = st.sampled_from([-(2**63), -7, -1, 0, 1, 2, 3, 10, 2**53 + 1, 2**63 - 1])
floats = st.sampled_from([-2.5, -0.5, 0.0, 0.5, 1.0, 2.5, 1e19, 1e300])
texts = st.sampled_from(["", "a", "Ab", "é", "É", "12", " -7 ", "2.5", "😀", "99999999999999999999"])
moments = st.sampled_from([NOON, NOON - timedelta(microseconds=1), datetime(9999, 12, 31, 23, tzinfo=UTC)])
lists = st.lists(texts, max_size=3) | st.lists(integers, max_size=3)
leaves = st.none() | st.booleans() | integers | floats | texts | moments | lists
rows = st.dictionaries(st.sampled_from("abc"), leaves, max_size=3)
tables = st.lists(rows, max_size=8)

columns = st.sampled_from([ast.Column((name,)) for name in ("a", "b", "c", "none")])
signs = st.sampled_from(sorted(COMPARE))


def call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*arguments).map(lambda given: ast.Call(name, given))


def cast(name: str, operands: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return operands.map(lambda operand: ast.Cast(operand, ast.Identifier(name)))


def negative(operands: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return operands.filter(lambda node: not isinstance(node, ast.Literal)).map(ast.Negative)


instants = columns | st.just(ast.Parameter("moment")) | st.just(ast.Call("now"))
instants |= st.builds(ast.Arithmetic, st.sampled_from("+-"), instants, st.just(ast.Interval("2 h")))
words = st.deferred(
    lambda: (
        columns
        | texts.map(ast.Literal)
        | call("lower", words)
        | call("upper", words)
        | call("concat", words, words)
        | call("coalesce", columns, words)
        | cast("TEXT", columns | integers.map(ast.Literal))
    )
)
numbers = st.deferred(
    lambda: (
        columns
        | (integers | floats).map(ast.Literal)
        | st.builds(ast.Arithmetic, st.sampled_from("+-*/%"), numbers, numbers)
        | st.builds(ast.Arithmetic, st.just("-"), columns, instants)
        | negative(numbers)
        | st.one_of([call(name, numbers) for name in ("abs", "round", "floor", "ceil")])
        | st.one_of([call(name, columns, numbers, numbers) for name in ("coalesce", "greatest", "least")])
        | call("nullif", numbers, numbers)
        | call("length", words)
        | call("cardinality", columns)
        | cast("INT", columns | floats.map(ast.Literal))
        | cast("FLOAT", columns)
    )
)
pairs = st.tuples(numbers, words)
conditions = st.recursive(
    st.builds(ast.Comparison, signs, numbers, numbers)
    | st.builds(ast.Comparison, signs, words, words)
    | st.builds(ast.RowComparison, signs, pairs, pairs)
    | st.builds(ast.InList, numbers, st.tuples(numbers, numbers), st.booleans())
    | st.builds(ast.Between, numbers, numbers, numbers, st.booleans())
    | st.builds(ast.IsNull, numbers | words | instants, st.booleans()),
    lambda inner: (
        st.builds(ast.And, st.tuples(inner, inner))
        | st.builds(ast.Or, st.tuples(inner, inner))
        | st.builds(ast.Not, inner)
    ),
    max_leaves=4,
)


def bound(node: Any) -> Bound:
    used = ast.And((node, ast.Parameter("moment")))  # so that the parameter is not unused
    return bind_expression(node, Values("", used, PARAMETERS, lambda: NOW), Scope(Fields()))


def evaluated(node: Any, payloads: list[dict[str, Any]]) -> list[Any] | errors.RedDBError:
    """The values for all rows; the refusal of a value."""
    packed = [pack_payload(payload) for payload in payloads]
    source = RowsAtHand(list(range(len(payloads))), lambda: packed, lambda: pytest.fail("no vectors are asked for"))
    try:
        return to_plain(bound(node).operand.values(source), len(payloads))
    except errors.RedDBError as error:
        return error


@given(tables, numbers | words | instants | conditions)
def test_an_expression_gives_for_all_rows_what_it_gives_for_each(table, expression):
    references = [Reference(0, payload, PARAMETERS) for payload in table]
    expected = [reference.value(expression) for reference in references]
    found = evaluated(expression, table)
    if isinstance(found, errors.RedDBError):
        assert found.code is errors.INVALID_VALUE
        empty = Reference(0, {}, PARAMETERS)  # constants are computed without any row
        empty.value(expression)
        assert any(reference.wrongs for reference in [*references, empty]), found
    else:
        assert [type(value) for value in found] == [type(value) for value in expected]
        assert found == expected
        with mock.patch.object(payload_cells, "_REPEATS_MIN", 0):  # texts by way of a dictionary
            assert evaluated(expression, table) == expected


@given(numbers | words | conditions)
def test_an_expression_bound_twice_is_one_key(expression):
    try:
        one, other = bound(expression), bound(expression)
    except errors.RedDBError:
        return
    assert one.operand == other.operand
    assert hash(one.operand) == hash(other.operand)
    assert str(one.operand) == str(other.operand)
