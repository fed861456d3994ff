"""Names, values and expressions as canonical text, for `render.py`.

Invariant: `parse` reads each back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from reddb.grammar import ast
from reddb.grammar.language import MOMENTS, reserved_words

_PLAIN_NAME = re.compile("[a-z_][a-z0-9_]*")

# How tightly the parts of an expression hold together; a part that holds less than its place asks for is
# written in parentheses.
_OR, _AND, _NOT, _PREDICATE, _SUM, _PRODUCT, _FACTOR, _DISTANCE, _TYPED, _ATOM = range(10)
_STRENGTH: dict[type[ast.Node], int] = {
    ast.Or: _OR,
    ast.And: _AND,
    ast.Not: _NOT,
    ast.Comparison: _PREDICATE,
    ast.RowComparison: _PREDICATE,
    ast.InList: _PREDICATE,
    ast.Member: _PREDICATE,
    ast.Overlap: _PREDICATE,
    ast.Between: _PREDICATE,
    ast.Like: _PREDICATE,
    ast.IsNull: _PREDICATE,
    ast.Near: _PREDICATE,
    ast.Negative: _FACTOR,
    ast.Distance: _DISTANCE,
    ast.Cast: _TYPED,
}


def words(*parts: str | bool | None) -> str:
    """The texts among the parts, with a blank between each two."""
    return " ".join(part for part in parts if isinstance(part, str) and part)


# --- names -------------------------------------------------------------------------------------------------


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and name.upper() not in reserved_words() and name not in MOMENTS


def name_text(name: str) -> str:
    """A name, in double quotes where it must be."""
    return name if _is_plain(name) else quoted(name)


def quoted(name: str) -> str:
    """A name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def dotted_name_text(name: str) -> str:
    """A name that may hold dots."""
    return name if all(map(_is_plain, name.split("."))) else name_text(name)


def type_text(name: str) -> str:
    """A type, with its brackets."""
    base = name.removesuffix("[]")
    return name if base.isascii() and _is_plain(base.lower()) else name_text(name)


# --- expressions -------------------------------------------------------------------------------------------


def values_text(values: Iterable[ast.Expression]) -> str:
    """Expressions with commas between them."""
    return ", ".join(map(expression_text, values))


def expression_text(node: ast.Expression, place: int = _OR) -> str:
    """An expression, in parentheses where `place` asks for them."""
    match node:
        case ast.Literal():
            text = _literal(node.value)
        case ast.VectorLiteral():
            text = "[" + ", ".join(map(_coordinate, node.array)) + "]"
        case ast.ListLiteral():
            text = f"[{values_text(node.items)}]"
        case ast.Parameter():
            text = f"${node.key}" if isinstance(node.key, int) else f":{node.key}"
        case ast.Column():
            text = ".".join(map(name_text, node.path))
        case ast.Not():
            text = f"NOT {expression_text(node.operand, _NOT)}"
        case ast.And():
            text = " AND ".join(expression_text(operand, _NOT) for operand in node.operands)
        case ast.Or():
            text = " OR ".join(expression_text(operand, _AND) for operand in node.operands)
        case ast.Arithmetic() | ast.Negative() | ast.Call() | ast.Cast() | ast.Distance() | ast.Interval():
            text = _operation(node)
        case _:
            text = _predicate(node)
    return text if _strength(node) >= place else f"({text})"


def _strength(node: ast.Expression) -> int:
    if isinstance(node, ast.Arithmetic):
        return _SUM if node.operator in "+-" else _PRODUCT
    if isinstance(node, ast.Literal) and node.is_number and _literal(node.value).startswith("-"):
        return _FACTOR  # it is a sign and a number where a keyword that may be a column stands before it
    return _STRENGTH.get(type(node), _ATOM)


def _operation(node: ast.Operation) -> str:
    match node:
        case ast.Arithmetic(operator=operator, left=left, right=right):
            own = _strength(node)
            return f"{expression_text(left, own)} {operator} {expression_text(right, own + 1)}"
        case ast.Negative(operand=operand):
            text = expression_text(operand, _DISTANCE)
            return f"-({text})" if text[0].isdigit() else f"-{text}"  # a sign before digits is part of the number
        case ast.Call(arguments=arguments):
            inside = "*" if node.star else words(node.distinct and "DISTINCT", values_text(arguments))
            return f"{name_text(node.name)}({inside})"
        case ast.Cast(operand=operand):
            return f"{expression_text(operand, _TYPED)}::{type_text(node.type.text)}"
        case ast.Distance(operator=operator, left=left, right=right):
            return f"{expression_text(left, _TYPED)} {operator} {expression_text(right, _TYPED)}"
        case ast.Interval(text=text):
            return f"INTERVAL {_literal(text)}"


def _predicate(node: ast.Predicate) -> str:
    match node:
        case ast.Comparison():
            return f"{expression_text(node.left, _SUM)} {node.operator} {expression_text(node.right, _SUM)}"
        case ast.RowComparison():
            return f"({values_text(node.left)}) {node.operator} ({values_text(node.right)})"
        case ast.Near():
            return f"{expression_text(node.operand, _SUM)} NEAR {expression_text(node.target, _SUM)}"
        case ast.Member():
            item, array = expression_text(node.item, _SUM), expression_text(node.array)
            return words(item, node.negated and "NOT", "IN", array)
        case ast.Overlap():
            return f"{expression_text(node.left, _SUM)} && {expression_text(node.right)}"
        case ast.InList():
            tail = f"IN ({values_text(node.items)})"
        case ast.Between():
            tail = f"BETWEEN {expression_text(node.low, _SUM)} AND {expression_text(node.high, _SUM)}"
        case ast.Like():
            tail = f"{'ILIKE' if node.case_insensitive else 'LIKE'} {expression_text(node.pattern, _SUM)}"
        case ast.IsNull():
            return words(expression_text(node.operand, _SUM), "IS", node.negated and "NOT", "NULL")
    return words(expression_text(node.operand, _SUM), node.negated and "NOT", tail)


def _literal(value: bool | int | float | str | None) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)


def _coordinate(value: np.float32) -> str:
    if np.isinf(value):
        return "1e39" if value > 0 else "-1e39"
    # The shortest text that names one float32. `parse` reads it through a float64, and where that one falls
    # exactly between two float32 it rounds twice, maybe to the wrong one: then the float64 is written out.
    shortest = str(value)
    return shortest if np.float32(float(shortest)) == value else repr(float(value))
