"""Statements as canonical text: keywords in upper case, names in double quotes only where they must be.

Invariant: `parse(render(statement)) == statement`, for every statement that can be made.
"""

from __future__ import annotations

import re

import numpy as np

from reddb.grammar import ast
from reddb.grammar.language import reserved_words

_PLAIN_NAME = re.compile("[a-z_][a-z0-9_]*")

# How tightly the parts of an expression hold together; a part that holds less than its place asks for is
# written in parentheses.
_OR, _AND, _NOT, _PREDICATE, _OPERAND, _ATOM = range(6)
_STRENGTH: dict[type[ast.Node], int] = {
    ast.Or: _OR,
    ast.And: _AND,
    ast.Not: _NOT,
    ast.Comparison: _PREDICATE,
    ast.InList: _PREDICATE,
    ast.Between: _PREDICATE,
    ast.Like: _PREDICATE,
    ast.IsNull: _PREDICATE,
    ast.Distance: _OPERAND,
}


def render(statement: ast.Statement) -> str:
    """Write a statement so that `parse` reads the same statement back."""
    match statement:
        case ast.CreateCollection():
            return _words(
                "CREATE COLLECTION",
                statement.if_not_exists and "IF NOT EXISTS",
                _name(statement.name.text),
                f"KIND {_dotted_name(statement.kind.text)} DIM {statement.dim.value}",
                f"METRIC {_name(statement.metric.text)}" if statement.metric else None,
                _options(statement.options),
            )
        case ast.DropCollection():
            return _words("DROP COLLECTION", statement.if_exists and "IF EXISTS", _name(statement.name.text))
        case ast.ShowCollections():
            return "SHOW COLLECTIONS"
        case ast.ShowCollection():
            return f"SHOW COLLECTION {_name(statement.name.text)}"
        case ast.Insert():
            return _insert(statement)
        case ast.Delete():
            return _words("DELETE FROM", _name(statement.collection.text), _clause("WHERE", statement.where))
        case ast.Select():
            return _select(statement)
        case ast.VectorSearch():
            return _vector_search(statement)


def _insert(statement: ast.Insert) -> str:
    verb = "UPSERT" if statement.upsert else "INSERT"
    columns = ", ".join(_name(column.text) for column in statement.columns)
    rows = ", ".join(f"({_values(row)})" for row in statement.rows)
    return f"{verb} INTO {_name(statement.collection.text)} ({columns}) VALUES {rows}"


def _select(statement: ast.Select) -> str:
    return _words(
        "SELECT",
        ", ".join(_select_item(item) for item in statement.items),
        f"FROM {_name(statement.collection.text)}",
        _clause("WHERE", statement.where),
        _order(statement.order) if statement.order else None,
        _clause("LIMIT", statement.limit),
        _clause("OFFSET", statement.offset),
        _options(statement.options),
    )


def _select_item(item: ast.SelectItem) -> str:
    match item.expression:
        case ast.Star():
            text = "*"
        case ast.CountStar():
            text = "count(*)"
        case ast.Column():
            text = _expression(item.expression)
    return f"{text} AS {_name(item.alias.text)}" if item.alias else text


def _order(order: ast.OrderBy) -> str:
    return _words("ORDER BY", _expression(order.expression), order.descending and "DESC")


def _vector_search(statement: ast.VectorSearch) -> str:
    target = statement.target
    return _words(
        f"VECTOR SEARCH {_name(statement.collection.text)} SIMILAR TO",
        f"ID {_expression(target.id)}" if isinstance(target, ast.StoredRow) else _expression(target),
        _clause("WHERE", statement.where),
        statement.include_vectors and "INCLUDE VECTORS",
        statement.include_metadata and "INCLUDE METADATA",
        _clause("LIMIT", statement.limit),
        _options(statement.options),
    )


def _words(*words: str | bool | None) -> str:
    return " ".join(word for word in words if isinstance(word, str) and word)


def _clause(keyword: str, value: ast.Expression | None) -> str:
    return f"{keyword} {_expression(value)}" if value else ""


def _options(options: tuple[ast.Option, ...]) -> str:
    pairs = ", ".join(f"{_name(option.name.text)} = {_expression(option.value)}" for option in options)
    return f"WITH ({pairs})" if pairs else ""


# --- names -------------------------------------------------------------------------------------------------


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and name.upper() not in reserved_words()


def _name(name: str) -> str:
    return name if _is_plain(name) else '"' + name.replace('"', '""') + '"'


def _dotted_name(name: str) -> str:
    return name if all(map(_is_plain, name.split("."))) else _name(name)


# --- expressions -------------------------------------------------------------------------------------------


def _values(values: tuple[ast.Expression, ...]) -> str:
    return ", ".join(map(_expression, values))


def _expression(node: ast.Expression, place: int = _OR) -> str:
    match node:
        case ast.Literal():
            text = _literal(node.value)
        case ast.VectorLiteral():
            text = "[" + ", ".join(map(_coordinate, node.array)) + "]"
        case ast.ListLiteral():
            text = f"[{_values(node.items)}]"
        case ast.Parameter():
            text = f"${node.key}" if isinstance(node.key, int) else f":{node.key}"
        case ast.Column():
            text = ".".join(map(_name, node.path))
        case ast.Distance():
            text = f"{_expression(node.left, _ATOM)} {node.operator} {_expression(node.right, _ATOM)}"
        case ast.Not():
            text = f"NOT {_expression(node.operand, _NOT)}"
        case ast.And():
            text = " AND ".join(_expression(operand, _NOT) for operand in node.operands)
        case ast.Or():
            text = " OR ".join(_expression(operand, _AND) for operand in node.operands)
        case _:
            text = _predicate(node)
    return text if _STRENGTH.get(type(node), _ATOM) >= place else f"({text})"


def _predicate(node: ast.Comparison | ast.InList | ast.Between | ast.Like | ast.IsNull) -> str:
    match node:
        case ast.Comparison():
            return f"{_expression(node.left, _OPERAND)} {node.operator} {_expression(node.right, _OPERAND)}"
        case ast.InList():
            tail = f"IN ({_values(node.items)})"
        case ast.Between():
            tail = f"BETWEEN {_expression(node.low, _OPERAND)} AND {_expression(node.high, _OPERAND)}"
        case ast.Like():
            tail = f"{'ILIKE' if node.case_insensitive else 'LIKE'} {_expression(node.pattern, _OPERAND)}"
        case ast.IsNull():
            return _words(_expression(node.operand, _OPERAND), "IS", node.negated and "NOT", "NULL")
    return _words(_expression(node.operand, _OPERAND), node.negated and "NOT", tail)


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
    # The shortest text that names one float32. `parse` reads it through a float64, and where that one falls
    # exactly between two float32 it rounds twice, maybe to the wrong one: then the float64 is written out.
    shortest = str(value)
    return shortest if np.float32(float(shortest)) == value else repr(float(value))
