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
    ast.Member: _PREDICATE,
    ast.Overlap: _PREDICATE,
    ast.Between: _PREDICATE,
    ast.Like: _PREDICATE,
    ast.IsNull: _PREDICATE,
    ast.Distance: _OPERAND,
}


def render(statement: ast.Statement) -> str:
    """Write a statement so that `parse` reads the same statement back."""
    match statement:
        case ast.Explain():
            return _words("EXPLAIN", statement.analyze and "ANALYZE", render(statement.statement))
        case ast.Insert():
            return _insert(statement)
        case ast.Update():
            return _update(statement)
        case ast.Delete():
            return _words("DELETE FROM", _name(statement.collection.text), _clause("WHERE", statement.where))
        case ast.Select():
            return _select(statement)
        case ast.VectorSearch():
            return _vector_search(statement)
        case ast.ShowCollections():
            return "SHOW COLLECTIONS"
        case ast.ShowCollection():
            return f"SHOW COLLECTION {_name(statement.name.text)}"
        case ast.ShowSegments():
            return f"SHOW SEGMENTS FOR {_name(statement.name.text)}"
        case ast.ShowIndexes():
            return f"SHOW INDEXES FOR {_name(statement.name.text)}"
        case ast.ShowStats():
            return f"SHOW STATS FOR {_name(statement.name.text)}"
        case ast.ShowSettings():
            return "SHOW SETTINGS"
        case _:
            return _definition(statement)


def _definition(statement: ast.Definition) -> str:
    match statement:
        case ast.CreateCollection():
            return _words(
                "CREATE COLLECTION",
                statement.if_not_exists and "IF NOT EXISTS",
                _name(statement.name.text),
                f"KIND {_dotted_name(statement.kind.text)} DIM {statement.dim.value}",
                f"METRIC {_name(statement.metric.text)}" if statement.metric else None,
                f"FIELDS ({', '.join(map(_field, statement.fields))})" if statement.fields else None,
                _with(statement.options),
            )
        case ast.DropCollection():
            return _words("DROP COLLECTION", statement.if_exists and "IF EXISTS", _name(statement.name.text))
        case ast.TruncateCollection():
            return _words("TRUNCATE COLLECTION", statement.if_exists and "IF EXISTS", _name(statement.name.text))
        case ast.AlterCollection():
            return f"ALTER COLLECTION {_name(statement.name.text)} {_action(statement.action)}"
        case ast.CreateIndex():
            return _words(
                "CREATE INDEX",
                statement.if_not_exists and "IF NOT EXISTS",
                _name(statement.name.text) if statement.name else None,
                _place(statement),
            )
        case ast.DropIndex():
            return _words("DROP INDEX", statement.if_exists and "IF EXISTS", _place(statement))


def _place(index: ast.CreateIndex | ast.DropIndex) -> str:
    return f"ON {_name(index.collection.text)} ({_expression(index.field)})"


def _field(field: ast.FieldDefinition) -> str:
    return _words(
        _name(field.name.text),
        _type_name(field.type.text),
        field.not_null and "NOT NULL",
        _clause("DEFAULT", field.default),
    )


def _action(action: ast.Action) -> str:
    match action:
        case ast.Seal():
            return "SEAL"
        case ast.Compact():
            return "COMPACT"
        case ast.Checkpoint():
            return "CHECKPOINT"
        case ast.Rebuild():
            return _words("REBUILD", _with(action.options))
        case ast.SetOptions():
            return f"SET {_options(action.options)}"
        case ast.AddField():
            return f"ADD FIELD {_field(action.field)}"
        case ast.DropField():
            return f"DROP FIELD {_name(action.name.text)}"


def _insert(statement: ast.Insert) -> str:
    verb = "UPSERT" if statement.upsert else "INSERT"
    columns = ", ".join(_name(column.text) for column in statement.columns)
    rows = ", ".join(f"({_values(row)})" for row in statement.rows)
    return f"{verb} INTO {_name(statement.collection.text)} ({columns}) VALUES {rows}"


def _update(statement: ast.Update) -> str:
    assignments = ", ".join(
        f"{_name(assignment.column.text)} = {_expression(assignment.value)}" for assignment in statement.assignments
    )
    return _words(
        f"UPDATE {_name(statement.collection.text)} SET {assignments}",
        _clause("WHERE", statement.where),
    )


def _select(statement: ast.Select) -> str:
    return _words(
        "SELECT",
        ", ".join(_select_item(item) for item in statement.items),
        f"FROM {_name(statement.collection.text)}",
        _clause("WHERE", statement.where),
        _order(statement.order) if statement.order else None,
        _clause("LIMIT", statement.limit),
        _clause("OFFSET", statement.offset),
        _with(statement.options),
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
        f"METRIC {_name(statement.metric.text)}" if statement.metric else None,
        _clause("THRESHOLD", statement.threshold),
        _clause("MIN_SCORE", statement.min_score),
        statement.include_vectors and "INCLUDE VECTORS",
        statement.include_metadata and "INCLUDE METADATA",
        _clause("LIMIT", statement.limit),
        _with(statement.options),
    )


def _words(*words: str | bool | None) -> str:
    return " ".join(word for word in words if isinstance(word, str) and word)


def _clause(keyword: str, value: ast.Expression | None) -> str:
    return f"{keyword} {_expression(value)}" if value else ""


def _with(options: tuple[ast.Option, ...]) -> str:
    return f"WITH {_options(options)}" if options else ""


def _options(options: tuple[ast.Option, ...]) -> str:
    pairs = ", ".join(f"{_name(option.name.text)} = {_expression(option.value)}" for option in options)
    return f"({pairs})"


# --- names -------------------------------------------------------------------------------------------------


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and name.upper() not in reserved_words()


def _name(name: str) -> str:
    return name if _is_plain(name) else '"' + name.replace('"', '""') + '"'


def _dotted_name(name: str) -> str:
    return name if all(map(_is_plain, name.split("."))) else _name(name)


def _type_name(name: str) -> str:
    base = name.removesuffix("[]")
    return name if base.isascii() and _is_plain(base.lower()) else _name(name)


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


def _predicate(node: ast.Predicate) -> str:
    match node:
        case ast.Comparison():
            return f"{_expression(node.left, _OPERAND)} {node.operator} {_expression(node.right, _OPERAND)}"
        case ast.Member():
            return _words(_expression(node.item, _OPERAND), node.negated and "NOT", "IN", _expression(node.array))
        case ast.Overlap():
            return f"{_expression(node.left, _OPERAND)} && {_expression(node.right)}"
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
